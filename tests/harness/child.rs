//! Tests that need a process of their own: to be measured, to die, or to have their output read.

use std::env;
use std::process::{Command, Output};

/// Set in the child process.
const MARK: &str = "GREENPATCH_TEST_CHILD";

/// In the test process: runs `test` again in a child process and returns what became of it. In the
/// child: does `work` and returns `None`, upon which the test should return.
///
/// `test` is the full name of the calling test, as the test harness lists it.
pub(crate) fn output_of(test: &str, work: impl FnOnce()) -> Option<Output> {
    if env::var_os(MARK).is_some() {
        work();
        return None;
    }
    let program = env::current_exe().expect("the test binary has a path");
    let output = Command::new(program)
        .args([
            "--exact",
            test,
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ])
        .env(MARK, "1")
        .output()
        .expect("the test binary can be started");
    Some(output)
}

/// As [`output_of`], for work that asserts for itself: fails if the child did, and else shows what
/// the child printed.
#[allow(clippy::print_stdout, reason = "the child's figures are of interest")]
pub(crate) fn succeeds(test: &str, work: impl FnOnce()) {
    let Some(output) = output_of(test, work) else {
        return;
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    assert!(
        stdout.contains("1 passed"),
        "no test is called '{test}':\n{stdout}"
    );
    print!("{stdout}");
}
