//! How soon a thread runs that has been woken, while the one that woke it computes: green threads beside OS threads.
//!
//! A thread waits, in one of several ways; another one takes the time, wakes it, and computes for a while. The woken thread
//! takes the time as soon as it runs. The runtime has two workers, so one of them is idle, and so is a second processor for the
//! OS threads. Before each wake-up all is quiet for a moment. Green and OS threads take turns, a few wake-ups each, so
//! that both see the same machine.
//!
//! The table shows latencies in microseconds, of green threads and of OS threads, and the ratios of their medians and of
//! their 99th percentiles. If the waker computes for no time, it waits at once, and its own worker runs the woken thread.
//! An argument picks the ways by a part of their names.
//!
//! ```text
//! cargo bench -p greenpatch --bench wake
//! cargo bench -p greenpatch --bench wake -- mpsc
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod mode;

use std::hint;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use greenpatch::sync::mpmc;
use harness::compensated_runtime;

/// For how long the waker computes.
const COMPUTING: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(5),
];

/// How long all is quiet before a wake-up.
const PAUSE: Duration = Duration::from_micros(500);

const SAMPLES: usize = 1_000;

/// Wake-ups in a row, before it is the others' turn.
const TURN: usize = 20;

/// Wakes the thread that it is given.
type Wake = Box<dyn FnMut(&Thread) + Send>;

/// Returns when it has been woken once more.
type Wait = Box<dyn FnMut() + Send>;

/// A way to wait and be woken. Ours stands beside the one of std that OS threads have.
struct Way {
    name: &'static str,
    green: fn() -> (Wake, Wait),
    os: fn() -> (Wake, Wait),
}

const WAYS: &[Way] = &[
    Way {
        name: "unpark",
        green: by_unpark,
        os: by_unpark,
    },
    Way {
        name: "std mpsc",
        green: by_mpsc,
        os: by_mpsc,
    },
    Way {
        name: "std Condvar",
        green: by_condvar,
        os: by_condvar,
    },
    Way {
        name: "our mpmc (OS: std mpsc)",
        green: by_our_channel,
        os: by_mpsc,
    },
    Way {
        name: "our Condvar (OS: std's)",
        green: by_our_condvar,
        os: by_condvar,
    },
    Way {
        name: "socket pair",
        green: by_socket,
        os: by_socket,
    },
];

fn by_unpark() -> (Wake, Wait) {
    let is_woken = Arc::new(AtomicBool::new(false));
    let seen = is_woken.clone();
    let wake = move |thread: &Thread| {
        is_woken.store(true, Ordering::Release);
        thread.unpark();
    };
    let wait = move || {
        while !seen.swap(false, Ordering::Acquire) {
            thread::park();
        }
    };
    (Box::new(wake), Box::new(wait))
}

fn by_mpsc() -> (Wake, Wait) {
    let (sender, receiver) = mpsc::channel();
    let wake = move |_: &Thread| sender.send(()).expect("the receiver is there");
    let wait = move || receiver.recv().expect("the sender is there");
    (Box::new(wake), Box::new(wait))
}

fn by_our_channel() -> (Wake, Wait) {
    let (sender, receiver) = mpmc::channel();
    let wake = move |_: &Thread| sender.send(()).expect("the receiver is there");
    let wait = move || receiver.recv().expect("the sender is there");
    (Box::new(wake), Box::new(wait))
}

/// By a condition variable of this module, std's or ours: they have the same names.
macro_rules! by_condvar_of {
    ($($sync:ident)::+) => {{
        let shared = Arc::new(($($sync::)+Mutex::new(false), $($sync::)+Condvar::new()));
        let theirs = shared.clone();
        let wake = move |_: &Thread| {
            *shared.0.lock().expect("nobody panics with the lock") = true;
            shared.1.notify_one();
        };
        let wait = move || {
            let is_woken = theirs.0.lock().expect("nobody panics with the lock");
            let is_woken = theirs.1.wait_while(is_woken, |is_woken| !*is_woken);
            *is_woken.expect("nobody panics with the lock") = false;
        };
        (Box::new(wake), Box::new(wait))
    }};
}

fn by_condvar() -> (Wake, Wait) {
    by_condvar_of!(std::sync)
}

fn by_our_condvar() -> (Wake, Wait) {
    by_condvar_of!(greenpatch::sync)
}

fn by_socket() -> (Wake, Wait) {
    let (mut near, mut far) = UnixStream::pair().expect("there are descriptors left");
    let wake = move |_: &Thread| far.write_all(&[0]).expect("the reader is there");
    let wait = move || near.read_exact(&mut [0]).expect("the writer is there");
    (Box::new(wake), Box::new(wait))
}

fn compute(duration: Duration) {
    let started = Instant::now();
    while started.elapsed() < duration {
        hint::spin_loop();
    }
}

/// Wakes a thread some times, and gives the latencies. Called on the kind of thread that is measured.
fn take_turn((mut wake, mut wait): (Wake, Wait), computing: Duration) -> Vec<Duration> {
    let epoch = Instant::now();
    let nanos = move || epoch.elapsed().as_nanos() as u64;
    let woken_at = Arc::new(AtomicU64::new(0));
    let runs = Arc::new(AtomicU64::new(0));
    let (began, counter) = (woken_at.clone(), runs.clone());
    let sleeper = thread::spawn(move || {
        let mut latencies = Vec::with_capacity(TURN);
        for _ in 0..TURN {
            wait();
            let now = nanos();
            latencies.push(Duration::from_nanos(now - began.load(Ordering::Acquire)));
            counter.fetch_add(1, Ordering::Release);
        }
        latencies
    });
    for turn in 1..=TURN as u64 {
        thread::sleep(PAUSE);
        woken_at.store(nanos(), Ordering::Release);
        wake(sleeper.thread());
        compute(computing);
        while runs.load(Ordering::Acquire) < turn {
            thread::sleep(PAUSE);
        }
    }
    sleeper.join().expect("the sleeper does not panic")
}

/// The median, the 99th percentile and the most, in microseconds.
fn quantiles(mut latencies: Vec<Duration>) -> [f64; 3] {
    latencies.sort_unstable();
    let last = (latencies.len() - 1) as f64;
    [0.5, 0.99, 1.0].map(|quantile| {
        let latency = latencies[(last * quantile).round() as usize];
        latency.as_secs_f64() * 1e6
    })
}

fn main() {
    let samples = if mode::is_test() { TURN } else { SAMPLES };
    let runtime = compensated_runtime(2);
    println!("from the wake-up to running, µs, {samples} wake-ups each");
    println!(
        "{:<24}{:>9} |{:>9}{:>9}{:>9} |{:>9}{:>9}{:>9} |{:>8}{:>8}",
        "", "computing", "green p50", "p99", "max", "OS p50", "p99", "max", "p50", "p99"
    );
    for way in WAYS.iter().filter(|way| mode::is_wanted(way.name)) {
        for computing in COMPUTING {
            let (mut green, mut os) = (Vec::new(), Vec::new());
            for _ in 0..samples.div_ceil(TURN) {
                green.extend(runtime.run(|| take_turn((way.green)(), computing)));
                os.extend(take_turn((way.os)(), computing));
            }
            let (green, os) = (quantiles(green), quantiles(os));
            print!("{:<24}{:>9} |", way.name, computing.as_micros());
            green.iter().for_each(|latency| print!("{latency:>9.1}"));
            print!(" |");
            os.iter().for_each(|latency| print!("{latency:>9.1}"));
            let [median, late] = [green[0] / os[0], green[1] / os[1]];
            println!(" |{median:>7.2}×{late:>7.2}×");
        }
    }
}
