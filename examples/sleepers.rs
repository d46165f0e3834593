//! A hundred thousand green threads that sleep for a second, at the kernel's default limits.
//!
//! They have no mapping of their own each, so the limit of 65,530 mappings is no obstacle.
//!
//! ```text
//! cargo run --release -p greenpatch --example sleepers
//! cargo run --release -p greenpatch --example sleepers -- 1000000
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let count = std::env::args().nth(1).map_or(100_000, |count| {
        count
            .parse()
            .expect("the argument is the number of sleepers")
    });
    greenpatch::run(move || {
        let started = Instant::now();
        let sleepers: Vec<_> = (0..count)
            .map(|_| greenpatch::spawn(|| thread::sleep(Duration::from_secs(1))))
            .collect();
        println!("{count} sleepers started in {:.2?}", started.elapsed());
        for sleeper in sleepers {
            sleeper.join().expect("a sleeper does not panic");
        }
        println!(
            "all of them slept for 1 s and were joined in {:.2?}",
            started.elapsed()
        );
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        println!("the process has {} mappings", maps.lines().count());
    });
}
