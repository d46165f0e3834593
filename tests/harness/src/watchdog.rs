//! The end of tests that hang, and turns for those that disturb each other.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use greenpatch_runtime::{DumpOptions, dump_all};

/// How long a test may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(120);

/// Seconds within which what the green threads wait for must have been written.
const DUMP_LIMIT: u32 = 20;

/// Aborts the process if it is not dropped in time, and says before what each green thread waits for.
///
/// It is an OS thread that no worker can hold up. Start it on an OS thread; it is called by that thread's name, which is the
/// test's.
#[must_use = "it watches until it is dropped"]
pub struct Watchdog {
    _dropped_at_the_end: mpsc::Sender<()>,
}

impl Watchdog {
    /// Watches for as long as a test may take.
    pub fn start() -> Watchdog {
        Watchdog::with_limit(LIMIT)
    }

    /// Watches for this long.
    pub fn with_limit(limit: Duration) -> Watchdog {
        let (sender, receiver) = mpsc::channel();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                tell(format!("{name} hangs: not done after {limit:?}; aborting"));
                // SAFETY: plain; the signal ends the process if the dump hangs, too.
                unsafe { libc::alarm(DUMP_LIMIT) };
                for dump in dump_all(DumpOptions::new().backtraces(true)) {
                    tell(dump);
                }
                process::abort();
            }
        });
        Watchdog {
            _dropped_at_the_end: sender,
        }
    }
}

/// Runs `test` under a [`Watchdog`] when no other of the process's tests runs so: for those that measure time, or share what
/// the process has once.
pub fn alone<T>(test: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::start();
    test()
}

/// Straight to the descriptor: the test harness captures `eprintln!`, and what it captured is lost in the abort.
fn tell(what: impl std::fmt::Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
