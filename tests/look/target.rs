//! Programs that are looked into.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{GREENPATCH, Scratch, green_silent};

/// Threads with names: one sleeps, one is asleep in a function of its own, and as many as are asked for compute or wait for each
/// other's locks for ever.
const SOURCE: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
volatile unsigned long sum;

__attribute__((noinline)) static void counts_for_ever(void) { for (;;) sum++; }
__attribute__((noinline)) static void sleeps_long(void) { sleep(1000); sum++; }
__attribute__((noinline)) static void locks(pthread_mutex_t *first, pthread_mutex_t *second) {
    pthread_mutex_lock(first);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(second);
    sum++;
}

static void *body(void *name) {
    pthread_setname_np(pthread_self(), name);
    if (!strcmp(name, "counts")) counts_for_ever();
    if (!strcmp(name, "sleeps")) sleeps_long();
    if (!strcmp(name, "locks-one")) locks(&one, &other);
    if (!strcmp(name, "locks-other")) locks(&other, &one);
    return NULL;
}

int main(int count, char **names) {
    pthread_barrier_init(&both, NULL, 2);
    for (int i = 1; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, body, names[i])) return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
"#;

/// A running program; killed when dropped.
pub(crate) struct Target {
    child: Child,
    _scratch: Scratch,
}

impl Target {
    /// A program in C under `greenpatch run`, with threads of these names, each of which tells what its thread does.
    pub(crate) fn threads(names: &[&str]) -> Target {
        let scratch = Scratch::new();
        let program = scratch.compile("threads", SOURCE, &[]);
        let mut command = vec![program.into_os_string()];
        command.extend(names.iter().map(Into::into));
        Target::start(green_silent(&[], &command), scratch)
    }

    /// The same without us.
    pub(crate) fn without_greenpatch(names: &[&str]) -> Target {
        let scratch = Scratch::new();
        let program = scratch.compile("threads", SOURCE, &[]);
        let mut command = Command::new(program);
        command.args(names);
        Target::start(command, scratch)
    }

    /// As [`threads`](Target::threads), in namespaces of processes and of the network of its own, as in a container. Takes root.
    pub(crate) fn contained(names: &[&str]) -> Target {
        let scratch = Scratch::new();
        let program = scratch.compile("threads", SOURCE, &[]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--net", "--mount-proc"]);
        command.args([GREENPATCH, "run", "--workers", "2", "--"]);
        command.arg(program).args(names);
        Target::start(command, scratch)
    }

    /// A script under `greenpatch run`, which prints a line when it is ready.
    pub(crate) fn python(script: &str) -> Target {
        let scratch = Scratch::new();
        let script: PathBuf = scratch.file("script.py", script);
        let command = ["python3".into(), script.into_os_string()];
        Target::start(green_silent(&[], &command), scratch)
    }

    fn start(mut command: Command, scratch: Scratch) -> Target {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A deadlock that is meant need not be told.
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "{command:?}");
        Target {
            child,
            _scratch: scratch,
        }
    }

    /// `run` executes the program in its own place.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The only child of a process.
pub(crate) fn child_of(process: u32) -> u32 {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).expect("the kernel lists children");
    children.trim().parse().expect("one child")
}

/// `greenpatch` with these arguments.
pub(crate) fn greenpatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(GREENPATCH);
    command.args(arguments);
    command
}

/// What `greenpatch` with these arguments prints, if it succeeds.
pub(crate) fn printed(arguments: &[&str]) -> String {
    let output = output(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}\n{errors}");
    text
}

/// What it says if it fails.
pub(crate) fn refusal(arguments: &[&str]) -> String {
    let output = output(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    errors
}

fn output(arguments: &[&str]) -> Output {
    let mut command = greenpatch(arguments);
    command.output().expect("the command can be executed")
}
