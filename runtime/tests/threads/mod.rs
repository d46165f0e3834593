//! Runs a test on OS threads and on green threads without any shim, under a watchdog: on a single worker a call that
//! blocks instead of parking hangs.

#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::Cell;
use std::process::abort;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use greenpatch_runtime::{Patch, Runtime, spawn};

/// How long a test may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(120);

thread_local! {
    /// Green threads have their own.
    static IS_GREEN: Cell<bool> = const { Cell::new(false) };
}

/// A runtime that patches nothing.
pub(crate) fn unpatched(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .patch(Patch::none())
        .build()
        .unwrap()
}

/// Runs `test` on an OS thread, and on green threads of one and of two workers.
pub(crate) fn everywhere(test: fn()) {
    on_os_threads(test);
    on_green_threads(1, test);
    on_green_threads(2, test);
}

/// Runs `test` on an OS thread.
pub(crate) fn on_os_threads(test: fn()) {
    let _watchdog = watchdog();
    test();
}

/// Runs `test` on a green thread.
pub(crate) fn on_green_threads(workers: usize, test: impl FnOnce() + Send + 'static) {
    let _watchdog = watchdog();
    unpatched(workers).run(|| {
        IS_GREEN.set(true);
        test();
    });
}

/// Starts `f` on a thread of the caller's kind; what it gives waits for the end.
pub(crate) fn start<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T> {
    if IS_GREEN.get() {
        let thread = spawn(|| {
            IS_GREEN.set(true);
            f()
        });
        Box::new(|| thread.join().unwrap())
    } else {
        let thread = thread::spawn(f);
        Box::new(|| thread.join().unwrap())
    }
}

/// Aborts the process unless what it gives is dropped in time.
pub(crate) fn watchdog() -> mpsc::Sender<()> {
    let (alive, dropped) = mpsc::channel();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if dropped.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            abort();
        }
    });
    alive
}

/// Lets others go on for a moment: long enough for them to wait, if they do.
pub(crate) fn pause() {
    greenpatch_runtime::time::sleep(Duration::from_millis(10));
}

/// Waits until `condition` holds.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    while !condition() {
        greenpatch_runtime::time::sleep(Duration::from_millis(1));
    }
}
