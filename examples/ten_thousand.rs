//! Ten thousand `std::thread::spawn` threads that sleep, lock a `std::sync::Mutex` and are joined.
//!
//! Only the line with `greenpatch::run` is not plain std. Without it the same program asks the
//! kernel for ten thousand threads.
//!
//! ```text
//! cargo run --release -p greenpatch --example ten_thousand
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u32 = 10_000;

fn main() {
    greenpatch::run(|| {
        let total = Arc::new(Mutex::new(0));
        let started = Instant::now();
        let threads: Vec<_> = (1..=THREADS)
            .map(|number| {
                let total = Arc::clone(&total);
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs(1));
                    *total.lock().unwrap() += u64::from(number);
                })
            })
            .collect();
        println!("{THREADS} threads started in {:.2?}", started.elapsed());
        println!("{}; {}", status("Threads:"), status("VmRSS:"));
        for thread in threads {
            thread.join().unwrap();
        }
        println!(
            "all of them slept for 1 s and were joined in {:.2?}",
            started.elapsed()
        );
        let total = *total.lock().unwrap();
        println!("the numbers from 1 to {THREADS} sum to {total}");
        assert_eq!(total, u64::from(THREADS) * u64::from(THREADS + 1) / 2);
    });
}

/// A line of what the kernel says of this process.
fn status(key: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or(key);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
