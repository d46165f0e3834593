//! Tests that need a process of their own: to be measured, to die, or to have their output read.
//!
//! Such a test runs itself again in a child process, where it does its work. `test` is always the full name of the calling
//! test, as it is listed, and in the child, where nothing is returned, the test should return.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Set in the child process.
const MARK: &str = "GREENPATCH_TEST_CHILD";

/// Seconds after which a child that is started with [`start`] dies of SIGALRM. It has no watchdog: that would be an OS
/// thread.
const LIMIT: u32 = 120;

/// In the test process: runs `test` again in a child process and returns what became of it. In the child: does `work`.
pub fn output_of(test: &str, work: impl FnOnce()) -> Option<Output> {
    output_under(&[], test, work)
}

/// As [`output_of`], with these variables set in the child's environment.
fn output_under(variables: &[(&str, &str)], test: &str, work: impl FnOnce()) -> Option<Output> {
    let mut child = child(test, work)?;
    let output = child.envs(variables.iter().copied()).output();
    Some(output.expect("the test binary can be started"))
}

/// As [`output_of`], for work that asserts for itself: fails if the child did, and else shows what the child printed.
pub fn succeeds(test: &str, work: impl FnOnce()) {
    succeeds_under(&[], test, work);
}

/// As [`succeeds`], with these variables set in the child's environment.
#[allow(clippy::print_stdout, reason = "the child's figures are of interest")]
pub fn succeeds_under(variables: &[(&str, &str)], test: &str, work: impl FnOnce()) {
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

/// In the test process: starts `test` again in a child process. In the child: does `work`.
pub fn start(test: &str, work: impl FnOnce()) -> Option<Running> {
    let limited = || {
        // SAFETY: plain; it concerns this process alone.
        unsafe { libc::alarm(LIMIT) };
        work();
    };
    let child = child(test, limited)?
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Some(Running(child.expect("the test binary can be started")))
}

/// In the test process: the command that runs `test` alone. In the child: does `work`, of whose death no core file tells.
fn child(test: &str, work: impl FnOnce()) -> Option<Command> {
    if env::var_os(MARK).is_some() {
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core) };
        work();
        return None;
    }
    let program = env::current_exe().expect("the test binary has a path");
    let mut child = Command::new(program);
    child
        .args(["--exact", test, "--nocapture"])
        .args(["--include-ignored", "--test-threads=1"])
        .env(MARK, "1");
    Some(child)
}

/// A child process; killed when dropped.
pub struct Running(Child);

impl Running {
    /// What the child writes to standard error, up to the line that holds `word`, or all of it.
    pub fn stderr_until(&mut self, word: &str) -> String {
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

    /// Sends the child a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: our child, which has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), signal) };
    }

    /// The end of the child, and the rest of what it wrote to standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
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
