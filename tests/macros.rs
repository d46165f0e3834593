//! `#[greenpatch::main]` and `#[greenpatch::test]`: whatever a function may return, and whatever else is written on it.

use std::error::Error;
use std::process::ExitCode;
use std::thread;

use greenpatch::{Patch, is_patched};
use harness::package::{Package, text};

#[greenpatch::test]
fn a_tests_body_runs_on_a_green_thread() {
    assert!(greenpatch::thread::is_green());
    let started = thread::spawn(greenpatch::thread::is_green);
    assert!(started.join().unwrap());
}

#[greenpatch::test(workers = 3, patch = Patch::TIME | Patch::SOCKET, stack_size = 64 << 10,)]
fn arguments_are_the_runtimes_settings() {
    assert_eq!(greenpatch::metrics().unwrap().workers, 3);
    assert!(is_patched(Patch::TIME) && !is_patched(Patch::THREAD));
    let size = greenpatch::spawn(|| {
        let dump = greenpatch::dump(Default::default()).unwrap();
        let own = greenpatch::thread::current().id();
        let own = dump.green_threads.into_iter().find(|green| green.id == own);
        own.unwrap().stack_size
    });
    assert_eq!(size.join().unwrap(), 64 << 10);
}

#[greenpatch::test]
fn a_test_may_return_a_result() -> Result<(), Box<dyn Error>> {
    let number: u32 = "7".parse()?;
    if number == 7 {
        return Ok(());
    }
    Err("not seven".into())
}

#[greenpatch::test]
fn a_test_may_return_anything_that_terminates() -> impl std::process::Termination {
    ExitCode::SUCCESS
}

#[greenpatch::test]
#[should_panic(expected = "as it should")]
fn a_test_may_be_expected_to_panic() {
    panic!("as it should");
}

#[greenpatch::test]
#[ignore = "shows that this is kept"]
fn a_test_may_be_ignored() {
    panic!("it was not");
}

#[test]
fn main_may_return_what_any_main_may() {
    let package = Package::new(
        "mains",
        &[
            (
                "src/bin/fails.rs",
                "#[greenpatch::main(workers = 1)]\nfn main() -> Result<(), Box<dyn std::error::Error>> {\n\
                 \x20   let rc = std::rc::Rc::new(());\n    assert!(greenpatch::thread::is_green());\n\
                 \x20   drop(rc);\n    Err(\"no luck\".into())\n}\n",
            ),
            (
                "src/bin/code.rs",
                "#[greenpatch::main]\npub fn main() -> std::process::ExitCode { 7.into() }\n",
            ),
            (
                "src/bin/nothing.rs",
                "#[greenpatch::main]\nfn main() { println!(\"done\") }\n",
            ),
        ],
    );
    let run = |name| package.cargo(&["run", "--quiet", "--bin", name]);
    let fails = run("fails");
    let said = String::from_utf8_lossy(&fails.stderr).into_owned();
    assert_eq!(fails.status.code(), Some(1), "{said}");
    assert!(said.contains("Error: \"no luck\""), "{said}");
    assert_eq!(run("code").status.code(), Some(7));
    assert_eq!(text(run("nothing")), "done\n");
}

/// What is wrong, and what the compiler says about it.
const WRONG: [(&str, &str, &str); 9] = [
    (
        "argument",
        "#[greenpatch::main(threads = 2)]\nfn main() {}",
        "unknown argument `threads`; use workers, stack_size or patch",
    ),
    (
        "twice",
        "#[greenpatch::main(workers = 2, workers = 3)]\nfn main() {}",
        "`workers` is given twice",
    ),
    (
        "equals",
        "#[greenpatch::main(workers(2))]\nfn main() {}",
        "`workers` needs a value: `workers = ...`",
    ),
    (
        "value",
        "#[greenpatch::main(workers = , patch = greenpatch::Patch::all())]\nfn main() {}",
        "`workers` needs a value after the `=`",
    ),
    (
        "type",
        "#[greenpatch::main(workers = \"two\")]\nfn main() {}",
        "expected `usize`, found `&str`",
    ),
    (
        "async",
        "#[greenpatch::main]\nasync fn main() {}",
        "remove `async`",
    ),
    (
        "parameter",
        "fn main() {}\n#[greenpatch::test]\nfn takes(_: u8) {}",
        "the function of `greenpatch::test` takes no arguments",
    ),
    (
        "struct",
        "fn main() {}\n#[greenpatch::test]\nstruct NoFunction;",
        "`greenpatch::test` is for functions",
    ),
    (
        "second",
        "fn main() {}\n#[greenpatch::test]\n#[test]\nfn tested_twice() {}",
        "a second `test` attribute",
    ),
];

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (name, code, message) in WRONG {
        let package = Package::new("wrong", &[("src/main.rs", code)]);
        let checked = package.cargo(&["check", "--quiet", "--tests"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success(), "{name} compiles");
        assert!(said.contains(message), "{name}: {said}");
        assert!(said.contains("src/main.rs:"), "{name}: {said}");
    }
}
