//! What `greenpatch run` says of programs that it cannot run, and the exit status.

use crate::program::{GREENPATCH, Scratch, green, native, run};

/// The exit status of a command, which fails with this in its message.
#[track_caller]
fn refuses(command: &[&str], status: i32, message: &str) {
    let outcome = run(&mut green(&[], command), b"");
    assert_eq!(outcome.code(), status, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
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
    let scratch = Scratch::new();
    let program = scratch.compile("static", "int main(void) { return 0; }", &["-static"]);
    refuses(
        &[program.to_str().expect("UTF-8")],
        125,
        "linked statically",
    );
}

#[test]
fn a_script_whose_interpreter_is_linked_statically() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    let program = scratch.compile("static", "int main(void) { return 0; }", &["-static"]);
    let script = scratch.file("script", format!("#!{}\n", program.display()));
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our file");
    refuses(&[script.to_str().expect("UTF-8")], 125, "linked statically");
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
    std::fs::copy(GREENPATCH, &alone).expect("room for a copy");
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
