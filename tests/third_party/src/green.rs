//! Green threads that cannot hide a blocked worker.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use greenpatch::{Patch, Runtime};

/// After how long a test counts as hung.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `body` on a green thread of a runtime with one worker that nobody stands in for: what blocks it stops them all.
///
/// A watchdog on an OS thread ends the process if `body` hangs.
pub fn on_one_worker(body: impl FnOnce() + Send + 'static) {
    let (_alive, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("hangs: {LIMIT:?} are over");
            for dump in greenpatch::dump_all(greenpatch::DumpOptions::new().backtraces(true)) {
                eprintln!("{dump}");
            }
            std::process::abort();
        }
    });
    Runtime::builder()
        .workers(1)
        .compensation(false)
        .patch(Patch::all())
        .build()
        .expect("this machine can run green threads")
        .run(move || {
            assert!(greenpatch::is_patched(Patch::all()));
            body();
        });
}

/// Starts `count` threads of std, which are green when the caller is, and numbers them.
pub fn threads<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> T + Clone + Send + 'static,
) -> Vec<JoinHandle<T>> {
    (0..count)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || work(number))
        })
        .collect()
}

/// What the threads return, in their order.
pub fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads
        .into_iter()
        .map(|thread| thread.join().expect("the thread did not panic"))
        .collect()
}

/// Asks `is_so` again and again until it is.
pub fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::sleep(Duration::from_millis(5));
    }
}
