//! What a timer costs among a million others.
//!
//! `wheel` works on the runtime's timer wheel alone. A million timers stand in it, as those of a million
//! requests would; each step cancels one of them, chosen at random, puts it in again with another random
//! deadline, and lets a microsecond pass. A timer that expires is put in again, too. The figure is
//! the time of one operation: half a step.
//!
//! `wake-up` goes the whole way, from std through the shims and the scheduler to the wheel: one green thread
//! wakes a hundred others, in random order, out of `std::thread::park_timeout`, whose time-outs
//! are an hour or two away. It does so with nobody else about, and with green threads that sleep for as long: a
//! million of them if there are the 10 GB that they take, otherwise fewer. Beside it stands the same with
//! `std::thread::park`: the difference is what a timer costs, insert and cancel together.
//!
//! The wheel is the runtime's own file, compiled here once more.

#![allow(missing_docs, reason = "criterion_group! makes public items")]

use std::fs;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use greenpatch::sync::{Condvar, Mutex};
use greenpatch::{Builder, JoinHandle, Runtime};
use harness::patched_runtime;

mod mode;
#[allow(
    dead_code,
    unused_imports,
    reason = "its unit tests run in their own crate"
)]
#[path = "../runtime/src/sched/wheel.rs"]
mod wheel;

use mode::is_test;
use wheel::{Timer, Wheel};

const OUTSTANDING: usize = 1_000_000;

/// Deadlines lie within this many nanoseconds: a minute, which is what time-outs are of.
const SPAN: u64 = 60_000_000_000;

/// Bytes that a sleeping green thread takes, with something to spare.
const SLEEPER_BYTES: usize = 10_000;

/// The stack of a green thread that only waits.
const STACK: usize = 64 << 10;

/// Green threads that are woken again and again.
const WAITERS: usize = 100;

/// A small deterministic generator (xorshift): all runs do the same.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half of the product is below the limit, without the cost of a division.
        ((u128::from(self.0) * u128::from(limit)) >> 64) as u64
    }
}

/// A wheel with its timers. A timer is its own owner.
struct Bench {
    timers: Box<[Timer<usize>]>,
    wheel: Wheel<usize>,
    random: Random,
    now: u64,
}

impl Bench {
    fn new(outstanding: usize) -> Bench {
        let mut bench = Bench {
            timers: (0..outstanding).map(|_| Timer::new()).collect(),
            wheel: Wheel::new(0),
            random: Random(0x9e37_79b9_7f4a_7c15),
            now: 0,
        };
        (0..outstanding).for_each(|timer| bench.insert(timer));
        bench
    }

    fn insert(&mut self, timer: usize) {
        let deadline = self.now + self.random.below(SPAN);
        // SAFETY: the box of timers stays as it is until the wheel is gone too, and this one is not in it.
        unsafe {
            self.wheel
                .insert(NonNull::from(&self.timers[timer]), deadline, timer)
        };
    }

    /// Lets some time pass, and replaces `count` timers.
    fn step(&mut self, count: u64) {
        for _ in 0..count {
            self.now += 1_000;
            let timer = self.random.below(self.timers.len() as u64) as usize;
            // SAFETY: every timer is in this wheel.
            unsafe { self.wheel.cancel(&self.timers[timer]) };
            self.insert(timer);
            let mut expired = None;
            while !self.wheel.advance(self.now, |owner| {
                expired = Some(owner);
                false
            }) {
                if let Some(owner) = expired.take() {
                    self.insert(owner);
                }
            }
        }
    }
}

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    for outstanding in [1_000, OUTSTANDING] {
        let mut bench = Bench::new(if is_test() { 1_000 } else { outstanding });
        group.bench_function(
            BenchmarkId::new("insert or cancel", outstanding),
            |bencher| {
                // Two operations are a step.
                bencher.iter_custom(|operations| {
                    let started = Instant::now();
                    bench.step(operations.div_ceil(2));
                    started.elapsed()
                });
            },
        );
    }
    group.finish();
}

/// Some time between one and two hours.
fn an_hour_or_two(random: &mut Random) -> Duration {
    Duration::from_secs(3600) + Duration::from_millis(random.below(3_600_000))
}

/// How many sleepers there is memory for, up to `OUTSTANDING`.
fn affordable_sleepers() -> usize {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .split_whitespace()
                .next()
        })
        .and_then(|kilobytes| kilobytes.parse::<usize>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024);
    if is_test() {
        1_000
    } else {
        OUTSTANDING.min(available / SLEEPER_BYTES)
    }
}

/// Green threads that sleep, each until a time of its own, or until they are let go.
struct Sleepers {
    gate: Arc<(Mutex<bool>, Condvar)>,
    handles: Vec<JoinHandle<()>>,
}

impl Sleepers {
    fn start(runtime: &Runtime, count: usize) -> Sleepers {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let handles = (0..count)
            .map(|_| {
                let (gate, time) = (Arc::clone(&gate), an_hour_or_two(&mut random));
                let sleep = move || {
                    let (open, opened) = &*gate;
                    let open = open.lock().expect("no sleeper panics");
                    drop(opened.wait_timeout_while(open, time, |open| !*open));
                };
                runtime
                    .spawn_with(Builder::new().stack_size(STACK), sleep)
                    .expect("there is memory for the sleepers")
            })
            .collect();
        Sleepers { gate, handles }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let (open, opened) = &*self.gate;
        *open.lock().expect("no sleeper panics") = true;
        opened.notify_all();
        for sleeper in self.handles.drain(..) {
            sleeper.join().expect("no sleeper panics");
        }
    }
}

/// Wakes green threads out of their parks, `count` times in all.
fn wake_ups(count: u64, park: fn(&mut Random)) -> Duration {
    let over = Arc::new(AtomicBool::new(false));
    let waiters: Vec<_> = (1..=WAITERS as u64)
        .map(|seed| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut random = Random(seed << 32 | 0x9e37_79b9);
                while !over.load(Ordering::Relaxed) {
                    park(&mut random);
                }
            })
        })
        .collect();
    // All park before the clock starts.
    greenpatch::yield_now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let started = Instant::now();
    for _ in 0..count {
        waiters[random.below(WAITERS as u64) as usize]
            .thread()
            .unpark();
        greenpatch::yield_now();
    }
    let elapsed = started.elapsed();
    over.store(true, Ordering::Relaxed);
    for waiter in waiters {
        waiter.thread().unpark();
        waiter.join().expect("a waiter does not panic");
    }
    elapsed
}

fn whole_path(criterion: &mut Criterion) {
    let runtime = patched_runtime(1);
    let mut group = criterion.benchmark_group("wake-up");
    for count in [0, affordable_sleepers()] {
        let mut sleepers = None;
        group.bench_function(BenchmarkId::new("park", count), |bencher| {
            sleepers.get_or_insert_with(|| Sleepers::start(&runtime, count));
            bencher.iter_custom(|wakes| runtime.run(move || wake_ups(wakes, |_| thread::park())));
        });
        group.bench_function(BenchmarkId::new("park_timeout", count), |bencher| {
            sleepers.get_or_insert_with(|| Sleepers::start(&runtime, count));
            bencher.iter_custom(|wakes| {
                runtime.run(move || {
                    wake_ups(wakes, |random| thread::park_timeout(an_hour_or_two(random)))
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wheel, whole_path);
criterion_main!(benches);
