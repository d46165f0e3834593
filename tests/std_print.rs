//! `println!` from many threads at once: every line comes out, and each in one piece.

#![allow(clippy::print_stdout, reason = "printing is what is tested")]

use std::collections::HashSet;
use std::thread;

// For its shims.
use greenpatch as _;
use harness::{Kind, child};

const THREADS: usize = 50;
const LINES: usize = 40;

fn print_from_many_threads() {
    // The test harness has begun a line.
    println!();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            thread::spawn(move || {
                for line in 0..LINES {
                    println!("thread {thread} line {line} {}.", "x".repeat(line));
                    if line % 4 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn check(test: &str, kind: Kind) {
    let print = || kind.run(print_from_many_threads);
    let Some(output) = child::output_of(test, print) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains("thread "))
        .collect();
    assert_eq!(lines.len(), THREADS * LINES);
    let lines: HashSet<&str> = lines.into_iter().collect();
    for thread in 0..THREADS {
        for line in 0..LINES {
            let expected = format!("thread {thread} line {line} {}.", "x".repeat(line));
            assert!(
                lines.contains(expected.as_str()),
                "'{expected}' is missing or broken"
            );
        }
    }
}

#[test]
fn lines_stay_whole_on_os_threads() {
    check("lines_stay_whole_on_os_threads", Kind::OsThread);
}

#[test]
fn lines_stay_whole_on_green_threads_of_1_worker() {
    check(
        "lines_stay_whole_on_green_threads_of_1_worker",
        Kind::Green { workers: 1 },
    );
}

#[test]
fn lines_stay_whole_on_green_threads_of_2_workers() {
    check(
        "lines_stay_whole_on_green_threads_of_2_workers",
        Kind::Green { workers: 2 },
    );
}
