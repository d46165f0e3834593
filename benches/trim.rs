//! What it saves and costs to give back stack memory of parked green threads.
//!
//! Green threads use some of their stacks and park; then `Runtime::trim` is called, and once more with nothing left to give back.
//! Last, all go on, and use as much as before: on stacks that were given back, and, in another round, on ones that were not.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use greenpatch::{Runtime, thread};

const COUNT: usize = 10_000;
/// Buffers of a page that each has on its stack at once.
const PAGES: u32 = 25;

fn use_pages(left: u32) {
    // By reference: unoptimized, each move takes as much stack once more.
    let page = [left; 1024];
    black_box(&page);
    if left > 1 {
        use_pages(left - 1);
    }
    black_box(&page);
}

/// Bytes of the process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn mebibytes(bytes: usize) -> usize {
    bytes >> 20
}

fn round(trims: bool) {
    let runtime = Runtime::builder()
        .workers(1)
        .build()
        .expect("this machine has what green threads need");
    let parked: Vec<_> = (0..COUNT)
        .map(|_| {
            runtime.spawn(|| {
                use_pages(PAGES);
                thread::park();
                use_pages(PAGES);
            })
        })
        .collect();
    while runtime.metrics().parked < COUNT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = resident();
    if trims {
        let started = Instant::now();
        // SAFETY: nothing here makes stacks.
        let given_back = unsafe { runtime.trim(Duration::ZERO) };
        let took = started.elapsed();
        let after = resident();
        println!(
            "{COUNT} green threads: of {} MiB in memory {} MiB are left; {} MiB were given back in {took:?}",
            mebibytes(before),
            mebibytes(after),
            mebibytes(given_back),
        );
        let started = Instant::now();
        // SAFETY: as above.
        assert_eq!(unsafe { runtime.trim(Duration::ZERO) }, 0);
        println!(
            "with nothing to give back: {:?} each",
            started.elapsed() / COUNT as u32
        );
    }
    let started = Instant::now();
    parked.iter().for_each(|parked| parked.thread().unpark());
    for parked in parked {
        parked.join().expect("nothing here panics");
    }
    let name = if trims { "given back" } else { "kept" };
    println!(
        "to use them again, {name}: {:?} each",
        started.elapsed() / COUNT as u32
    );
}

fn main() {
    // In both the slots are the same ones, and new ones to neither.
    round(false);
    round(true);
    round(false);
}
