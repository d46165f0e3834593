//! Tests that need a process of their own: to be measured, to die, or to have their output read.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Set in the child process.
const MARK: &str = "GREENPATCH_TEST_CHILD";

/// Seconds after which a child dies of SIGALRM. It has no watchdog: that would be an OS thread.
const LIMIT: u32 = 120;

/// In the test process: runs `test` again in a child process and returns what became of it. In the
/// child: does `work` and returns `None`, upon which the test should return.
///
/// `test` is the full name of the calling test, as the test harness lists it.
pub(crate) fn output_of(test: &str, work: impl FnOnce()) -> Option<Output> {
    output_under(&[], test, work)
}

/// As [`output_of`], with these variables set in the child's environment.
fn output_under(variables: &[(&str, &str)], test: &str, work: impl FnOnce()) -> Option<Output> {
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
        .envs(variables.iter().copied())
        .output()
        .expect("the test binary can be started");
    Some(output)
}

/// As [`output_of`], for work that asserts for itself: fails if the child did, and else shows what
/// the child printed.
pub(crate) fn succeeds(test: &str, work: impl FnOnce()) {
    succeeds_under(&[], test, work);
}

/// As [`succeeds`], with these variables set in the child's environment.
#[allow(clippy::print_stdout, reason = "the child's figures are of interest")]
pub(crate) fn succeeds_under(variables: &[(&str, &str)], test: &str, work: impl FnOnce()) {
    let Some(output) = output_under(variables, test, work) else {
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

/// In the test process: starts `test`, the full name of the calling test, again in a child process. In the child: does
/// `work` and returns `None`, upon which the test should return.
pub(crate) fn start(test: &str, work: impl FnOnce()) -> Option<Running> {
    if env::var_os(MARK).is_some() {
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: plain calls that concern this process alone.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &no_core);
            libc::alarm(LIMIT);
        }
        work();
        return None;
    }
    let program = env::current_exe().expect("the test binary has a path");
    let child = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary can be started");
    Some(Running(child))
}

/// A child process; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// What the child writes to standard error, up to the line that holds `word`, or all of it.
    pub(crate) fn stderr_until(&mut self, word: &str) -> String {
        let stderr = self.0.stderr.as_mut().expect("standard error is a pipe");
        let mut text = String::new();
        let mut lines = BufReader::with_capacity(1, stderr);
        while !text.contains(word) {
            match lines.read_line(&mut text) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        text
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: our child, which has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), signal) };
    }

    /// The end of the child, and the rest of what it wrote to standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let stderr = self.0.stderr.as_mut().expect("standard error is a pipe");
        let _ = stderr.read_to_string(&mut text);
        (self.0.wait().expect("our child"), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
