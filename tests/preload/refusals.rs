//! What `greenpatch run` says of programs that it cannot run, and the exit status.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::program::{GREENPATCH, Scratch, green, native, run};

/// The exit status of a command, which fails with this in its message.
#[track_caller]
fn refuses(command: &[&str], status: i32, message: &str) {
    let outcome = run(&mut green(&[], command), b"");
    assert_eq!(outcome.code(), status, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
}

/// A program compiled with these options cannot be run, for this reason.
#[track_caller]
fn refuses_compiled(options: &[&str], message: &str) {
    let scratch = Scratch::new();
    let program = scratch.compile("program", "int main(void) { return 0; }", options);
    refuses(&[program.to_str().expect("UTF-8")], 125, message);
}

/// A program cannot be run, for this reason, with the bytes at these places changed.
#[track_caller]
fn refuses_changed(bytes: &[(usize, u8)], message: &str) {
    let scratch = Scratch::new();
    let program = copy_of_true(&scratch);
    let mut image = fs::read(&program).expect("our file");
    for &(place, byte) in bytes {
        image[place] = byte;
    }
    fs::write(&program, image).expect("our file");
    refuses(&[program.to_str().expect("UTF-8")], 125, message);
}

/// A program of our own, with mode 755.
fn copy_of_true(scratch: &Scratch) -> PathBuf {
    let program = scratch.path().join("true");
    fs::copy("/bin/true", &program).expect("room for a copy");
    set_mode(&program, 0o755);
    program
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("our file");
}

#[test]
fn the_exit_status_is_the_programs() {
    let outcome = run(&mut green(&[], &["sh", "-c", "exit 7"]), b"");
    assert_eq!(outcome.code(), 7);
}

#[test]
fn a_program_that_is_not_there() {
    refuses(&["no-such-program"], 127, "not in any directory of PATH");
    refuses(&["/no/such/program"], 127, "not there");
}

#[test]
fn a_program_that_cannot_be_executed() {
    refuses(&["/"], 126, "it is a directory");
    let scratch = Scratch::new();
    let file = scratch.file("text", "echo");
    refuses(&[file.to_str().expect("UTF-8")], 126, "no executable file");
}

#[test]
fn a_program_that_is_linked_statically() {
    refuses_compiled(&["-static"], "linked statically");
}

#[test]
fn a_program_of_another_c_library() {
    let linker = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    refuses_compiled(&[linker], "another C library than glibc");
}

#[test]
fn a_go_program() {
    let scratch = Scratch::new();
    let source = r#"
        __attribute__((section(".go.buildinfo"), used)) static char version[] = "go1.22";
        int main(void) { return 0; }
    "#;
    let program = scratch.compile("program", source, &[]);
    refuses(&[program.to_str().expect("UTF-8")], 125, "is a Go program");
}

#[test]
fn a_program_for_another_processor() {
    // The class of the file, then the machine; see elf(5).
    refuses_changed(&[(4, 1)], "is a 32-bit program");
    refuses_changed(
        &[(18, 183), (19, 0)],
        "built for another processor than x86-64",
    );
}

#[test]
fn a_program_that_is_damaged() {
    refuses_changed(&[(4, 9)], "is no ELF program");
    // Program headers that would begin far beyond the end.
    refuses_changed(&[(38, 1)], "is a damaged ELF file");
}

#[test]
fn a_program_that_changes_the_user_or_the_group() {
    const ANOTHER: u32 = 65534;
    let scratch = Scratch::new();
    let refuses_mode = |mode| {
        let program = copy_of_true(&scratch);
        if chown(&program, Some(ANOTHER), Some(ANOTHER)).is_err() {
            eprintln!("only root can give a file to another user: not tested");
            return;
        }
        set_mode(&program, mode);
        let program = program.to_str().expect("UTF-8");
        refuses(&[program], 125, "set-user-ID or set-group-ID program");
    };
    refuses_mode(0o4755);
    refuses_mode(0o2755);
}

#[test]
fn a_set_user_id_program_of_the_users_own_is_run() {
    let scratch = Scratch::new();
    let program = copy_of_true(&scratch);
    set_mode(&program, 0o4755);
    let outcome = run(&mut green(&[], &[&program]), b"").succeeds();
    assert!(
        outcome.stderr.contains("no thread was created"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_script_whose_interpreter_is_linked_statically() {
    let scratch = Scratch::new();
    let program = scratch.compile("static", "int main(void) { return 0; }", &["-static"]);
    let script = scratch.file("script", format!("#!{}\n", program.display()));
    set_mode(&script, 0o755);
    refuses(&[script.to_str().expect("UTF-8")], 125, "linked statically");
}

#[test]
fn a_script_that_is_its_own_interpreter() {
    let scratch = Scratch::new();
    let path = scratch.path().join("script");
    let script = scratch.file("script", format!("#!{}\n", path.display()));
    set_mode(&script, 0o755);
    let script = script.to_str().expect("UTF-8");
    refuses(&[script], 126, "too many interpreters");
}

#[test]
fn settings_out_of_range() {
    let outcome = run(
        &mut green(&["--stack-size", "999999999999"], &["true"]),
        b"",
    );
    assert_eq!(outcome.code(), 125);
    assert!(
        outcome.stderr.contains("setting stack_size cannot be"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_library_that_is_not_there() {
    let outcome = run(&mut green(&["--library", "/no/such.so"], &["true"]), b"");
    assert_eq!(outcome.code(), 125);
    assert!(
        outcome.stderr.contains("'/no/such.so'"),
        "{}",
        outcome.stderr
    );

    let scratch = Scratch::new();
    let alone = scratch.path().join("greenpatch");
    fs::copy(GREENPATCH, &alone).expect("room for a copy");
    let outcome = run(
        &mut native(&[alone.to_str().expect("UTF-8"), "run", "true"]),
        b"",
    );
    assert_eq!(outcome.code(), 125);
    assert!(
        outcome.stderr.contains("cargo build --release"),
        "{}",
        outcome.stderr
    );
}
