//! Runs one test body on every kind of thread, and test processes of their own.
//!
//! A body is an ordinary `fn()` of plain std code. [`on_every_kind_of_thread!`] turns it into four
//! tests: on the OS thread that the test harness provides, as it is and adopted by a runtime, and on a green thread of a
//! fully patched runtime with one and with two workers. A body that hangs is the failure to expect of a runtime,
//! so each runs under a [`Watchdog`], which is an OS thread that no worker can hold up.

#![allow(
    dead_code,
    unused_macros,
    reason = "each test file uses its part of the harness"
)]

pub(crate) mod child;
pub(crate) mod process;

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use greenpatch::{Builder, Patch, Runtime};

/// How long a body may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(60);

/// What a body runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The calling OS thread.
    OsThread,
    /// The calling OS thread while it is a green one of a fully patched runtime, by `Runtime::run`.
    Adopted,
    /// A green thread of a fully patched runtime.
    Green { workers: usize },
}

impl Kind {
    /// Runs `body` on this kind of thread, under a watchdog that knows it as `name`.
    pub(crate) fn run<F>(self, name: &str, body: F)
    where
        F: FnOnce() + Send + 'static,
    {
        let _watchdog = Watchdog::start(format!("{name} ({self:?})"), LIMIT);
        match self {
            Kind::OsThread => body(),
            Kind::Adopted => patched_runtime(1).run(body),
            Kind::Green { workers } => {
                let stack = Builder::new().stack_size(8 << 20);
                let green = patched_runtime(workers).spawn_with(stack, body);
                if let Err(payload) = green.unwrap().join() {
                    std::panic::resume_unwind(payload);
                }
            }
        }
    }
}

/// A runtime with `workers` workers and every shim family on. It calls in no spare worker, so that with one worker a call
/// that blocks instead of yielding hangs.
pub(crate) fn patched_runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .patch(Patch::all())
        .compensation(false)
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"))
}

/// Aborts the process if it is not dropped in time.
pub(crate) struct Watchdog {
    _dropped_at_the_end: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts the watch over `what`. Call it on an OS thread.
    pub(crate) fn start(what: String, limit: Duration) -> Watchdog {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let message = format!("{what} hangs: not done after {limit:?}; aborting\n");
                // Straight to the descriptor: the test harness captures `eprintln!`, and what it
                // captured is lost in the abort.
                let _ = io::stderr().write_all(message.as_bytes());
                std::process::abort();
            }
        });
        Watchdog {
            _dropped_at_the_end: sender,
        }
    }
}

/// Makes four tests of each body: `body::os_thread`, `body::adopted`, `body::green_1_worker`, `body::green_2_workers`.
macro_rules! on_every_kind_of_thread {
    ($($body:ident),+ $(,)?) => {$(
        mod $body {
            use crate::harness::Kind;

            #[test]
            fn os_thread() {
                Kind::OsThread.run(stringify!($body), super::$body);
            }

            #[test]
            fn adopted() {
                Kind::Adopted.run(stringify!($body), super::$body);
            }

            #[test]
            fn green_1_worker() {
                Kind::Green { workers: 1 }.run(stringify!($body), super::$body);
            }

            #[test]
            fn green_2_workers() {
                Kind::Green { workers: 2 }.run(stringify!($body), super::$body);
            }
        }
    )+};
}

/// Makes two tests of each `fn(workers: usize)`: `body::with_1_worker`, `body::with_2_workers`. The
/// body runs on the test's OS thread and builds its own runtime.
macro_rules! with_1_and_2_workers {
    ($($body:ident),+ $(,)?) => {$(
        mod $body {
            use std::time::Duration;

            use crate::harness::Watchdog;

            #[test]
            fn with_1_worker() {
                let _watchdog =
                    Watchdog::start(stringify!($body).to_owned(), Duration::from_secs(60));
                super::$body(1);
            }

            #[test]
            fn with_2_workers() {
                let _watchdog =
                    Watchdog::start(stringify!($body).to_owned(), Duration::from_secs(60));
                super::$body(2);
            }
        }
    )+};
}
