//! A package's tests on green threads, as the guide's page on testing says.

use std::path::Path;
use std::process::Command;

use crate::program::{GREENPATCH, run};

/// Tests that know nothing of green threads. There are far fewer OS threads than threads while they run.
const TESTS: &str = r#"
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

#[test]
fn two_hundred_threads_are_few_os_threads() {
    let barrier = Arc::new(Barrier::new(201));
    let threads: Vec<_> = (0..200)
        .map(|_| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(10));
                barrier.wait();
                barrier.wait();
            })
        })
        .collect();
    barrier.wait();
    let os_threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    barrier.wait();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(os_threads < 100, "{os_threads} OS threads");
}

#[test]
#[should_panic(expected = "as it should")]
fn a_panic_is_a_panic() {
    thread::scope(|scope| scope.spawn(|| panic!("as it should")).join())
        .map_err(|payload| std::panic::resume_unwind(payload))
        .unwrap()
}

#[test]
fn output_is_captured() {
    println!("not to be seen");
}
"#;

#[test]
fn a_packages_tests_run_on_green_threads_with_a_runner() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tested");
    std::fs::create_dir_all(root.join("src")).unwrap();
    let manifest =
        "[package]\nname = \"tested\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(root.join("src/lib.rs"), TESTS).unwrap();
    let cargo = |runner: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--offline", "--lib"])
            .current_dir(&root)
            .env("CARGO_TARGET_DIR", root.join("target"))
            .env_remove("RUSTFLAGS")
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
        run(&mut cargo, b"")
    };
    let green = cargo(&format!("{GREENPATCH} run --report")).succeeds();
    assert!(green.text().contains("3 passed"), "{}", green.text());
    assert!(!green.text().contains("not to be seen"));
    assert!(green.green_threads() >= 200, "{}", green.stderr);
    // Without the runner, the first test fails.
    let native = cargo("env");
    assert_eq!(native.code(), 101, "{}", native.text());
}
