//! How late a sleep of a millisecond ends, on a green thread and on an OS thread.
//!
//! The two take turns, a few sleeps each, so that both see the same machine; whichever does not sleep at the
//! moment leaves it idle. The table shows the overshoot, in microseconds, at some quantiles. Green threads sleep by
//! [`greenpatch::time::sleep`], which is ours, and by `std::thread::sleep`, which goes through the shim. Both are
//! run on one worker and on two. The kernel adds a slack of 50 µs to an OS thread's sleep, so as to wake several at
//! once; the second row is without it. A runtime's timers have none.
//!
//! ```text
//! cargo bench -p greenpatch --bench sleep
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod mode;

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use greenpatch::{Patch, Runtime};
use rustix::thread::set_current_timer_slack;

const NAME: &str = "overshoot of sleep(1 ms)";
const SLEEP: Duration = Duration::from_millis(1);
const SAMPLES: usize = 4_000;

/// Sleeps in a row, before it is the others' turn.
const TURN: usize = 20;

/// A kind of sleep: its name, the workers of the runtime that it runs on, and what it calls.
struct Kind {
    name: &'static str,
    runtime: Option<Runtime>,
    sleep: fn(Duration),
    overshoots: Vec<Duration>,
}

impl Kind {
    fn new(name: &'static str, workers: Option<usize>, sleep: fn(Duration)) -> Kind {
        let runtime = workers.map(|workers| {
            Runtime::builder()
                .workers(workers)
                .patch(Patch::all())
                .build()
                .expect("this machine can run green threads")
        });
        Kind {
            name,
            runtime,
            sleep,
            overshoots: Vec::new(),
        }
    }

    fn take_turn(&mut self) {
        let sleep = self.sleep;
        let mut turn = || {
            for _ in 0..TURN {
                let started = Instant::now();
                sleep(SLEEP);
                self.overshoots.push(started.elapsed() - SLEEP);
            }
        };
        match &self.runtime {
            Some(runtime) => runtime.run(turn),
            None => turn(),
        }
    }

    fn print(&mut self) {
        self.overshoots.sort_unstable();
        let last = self.overshoots.len() - 1;
        print!("{:<42}", self.name);
        for quantile in QUANTILES {
            let overshoot = self.overshoots[(last as f64 * quantile).round() as usize];
            print!("{:>9.1}", overshoot.as_secs_f64() * 1e6);
        }
        println!();
    }
}

fn sleep_without_slack(duration: Duration) {
    let set = |slack| set_current_timer_slack(slack).expect("the kernel takes any slack");
    set(NonZeroU64::new(1));
    thread::sleep(duration);
    // Back to the default.
    set(None);
}

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

fn main() {
    if !mode::is_wanted(NAME) {
        return;
    }
    let samples = if mode::is_test() { TURN } else { SAMPLES };
    let mut kinds = [
        Kind::new("OS thread, std::thread::sleep", None, thread::sleep),
        Kind::new("OS thread, without slack", None, sleep_without_slack),
        Kind::new(
            "1 worker, greenpatch::time::sleep",
            Some(1),
            greenpatch::time::sleep,
        ),
        Kind::new("1 worker, std::thread::sleep", Some(1), thread::sleep),
        Kind::new(
            "2 workers, greenpatch::time::sleep",
            Some(2),
            greenpatch::time::sleep,
        ),
        Kind::new("2 workers, std::thread::sleep", Some(2), thread::sleep),
    ];
    for _ in 0..samples.div_ceil(TURN) {
        kinds.iter_mut().for_each(Kind::take_turn);
    }
    println!("{NAME}, µs, {samples} sleeps each");
    println!("{:<42}{:>9}{:>9}{:>9}{:>9}", "", "p50", "p90", "p99", "max");
    kinds.iter_mut().for_each(Kind::print);
}
