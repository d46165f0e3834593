//! Tests of the runtime's own types, on OS threads and on green threads without any shim.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use greenpatch_runtime::thread::is_green;
use greenpatch_runtime::{JoinHandle, Patch, Runtime, spawn, yield_now};

use crate::Watchdog;

/// A runtime that patches nothing.
pub fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .patch(Patch::none())
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"))
}

/// Runs `test` on an OS thread, and on green threads of one and of two workers.
pub fn everywhere(test: fn()) {
    on_os_threads(test);
    on_green_threads(1, test);
    on_green_threads(2, test);
}

/// Runs `test` on an OS thread, under a [`Watchdog`].
pub fn on_os_threads(test: fn()) {
    let _watchdog = Watchdog::start();
    test();
}

/// Runs `test` on a green thread, under a [`Watchdog`].
pub fn on_green_threads(workers: usize, test: impl FnOnce()) {
    let _watchdog = Watchdog::start();
    runtime(workers).run(test);
}

/// Runs `test` on green threads of one, two and four workers, under a [`Watchdog`] each.
pub fn on_workers(test: impl Fn()) {
    for workers in [1, 2, 4] {
        on_green_threads(workers, &test);
    }
}

/// Spawns a green thread, and waits until it has begun.
pub fn spawn_begun<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let begun = Arc::new(AtomicBool::new(false));
    let tell = begun.clone();
    let handle = spawn(move || {
        tell.store(true, Ordering::SeqCst);
        f()
    });
    while !begun.load(Ordering::SeqCst) {
        yield_now();
    }
    handle
}

/// Starts `f` on a thread of the caller's kind; what it gives waits for the end.
pub fn start<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Box<dyn FnOnce() -> T> {
    const SOUND: &str = "the thread does not panic";
    if is_green() {
        let thread = spawn(f);
        Box::new(|| thread.join().expect(SOUND))
    } else {
        let thread = thread::spawn(f);
        Box::new(|| thread.join().expect(SOUND))
    }
}
