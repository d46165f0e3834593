//! Ten thousand `std::thread::spawn` threads that sleep for a second end after about a second.

#![allow(clippy::print_stdout, reason = "the wall time is of interest")]

use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::{child, patched_runtime, process};

const THREADS: u32 = 10_000;
const SLEEP: Duration = Duration::from_secs(1);
/// One after the other they would take ten thousand seconds.
const LIMIT: Duration = Duration::from_secs(60);

fn sleep_together(workers: usize) {
    let (took, kernel_threads) = patched_runtime(workers).run(|| {
        let started = Instant::now();
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                thread::spawn(move || {
                    thread::sleep(SLEEP);
                    number
                })
            })
            .collect();
        let kernel_threads = process::kernel_threads();
        for (number, thread) in (0..THREADS).zip(threads) {
            assert_eq!(thread.join().unwrap(), number);
        }
        (started.elapsed(), kernel_threads)
    });
    println!("{THREADS} threads, {workers} workers: {took:.2?}, {kernel_threads} kernel threads");
    assert!(took >= SLEEP);
    assert!(took < LIMIT, "{took:?}");
    assert!(kernel_threads < 50, "{kernel_threads} kernel threads");
}

#[test]
fn ten_thousand_sleep_together_on_1_worker() {
    child::succeeds("ten_thousand_sleep_together_on_1_worker", || {
        sleep_together(1)
    });
}

#[test]
fn ten_thousand_sleep_together_on_2_workers() {
    child::succeeds("ten_thousand_sleep_together_on_2_workers", || {
        sleep_together(2)
    });
}
