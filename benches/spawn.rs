//! What starting and joining a thread costs, green and not.
//!
//! `one by one` joins each thread before the next starts; `10,000 at a time` starts a batch and then
//! joins it. All green threads run on one worker. The figures are per thread.

#![allow(missing_docs, reason = "criterion_group! makes public items")]

use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use harness::patched_runtime;

const BATCH: u64 = 10_000;

/// Starts a thread with `spawn` and joins it with `join`, `count` times.
fn one_by_one<J>(count: u64, spawn: impl Fn() -> J, join: impl Fn(J)) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        join(spawn());
    }
    started.elapsed()
}

/// Does so in batches, and returns the time for `count` threads.
fn in_batches<J>(count: u64, spawn: impl Fn() -> J, join: impl Fn(J)) -> Duration {
    let batches = count.div_ceil(BATCH);
    let started = Instant::now();
    for _ in 0..batches {
        let handles: Vec<J> = (0..BATCH).map(|_| spawn()).collect();
        handles.into_iter().for_each(&join);
    }
    started
        .elapsed()
        .mul_f64(count as f64 / (batches * BATCH) as f64)
}

fn join_green(handle: greenpatch::JoinHandle<()>) {
    handle.join().expect("an empty green thread ends");
}

fn join_std(handle: thread::JoinHandle<()>) {
    handle.join().expect("an empty thread ends");
}

fn spawns(criterion: &mut Criterion) {
    let runtime = patched_runtime(1);
    let mut group = criterion.benchmark_group("spawn and join");
    group.bench_function("greenpatch::spawn, one by one", |bencher| {
        bencher.iter_custom(|count| {
            runtime.run(move || one_by_one(count, || greenpatch::spawn(|| {}), join_green))
        });
    });
    group.bench_function("greenpatch::spawn, 10,000 at a time", |bencher| {
        bencher.iter_custom(|count| {
            runtime.run(move || in_batches(count, || greenpatch::spawn(|| {}), join_green))
        });
    });
    group.bench_function(
        "std::thread::spawn on green threads, one by one",
        |bencher| {
            bencher.iter_custom(|count| {
                runtime.run(move || one_by_one(count, || thread::spawn(|| {}), join_std))
            });
        },
    );
    group.bench_function("std::thread::spawn on OS threads, one by one", |bencher| {
        bencher.iter_custom(|count| one_by_one(count, || thread::spawn(|| {}), join_std));
    });
    group.finish();
}

criterion_group!(benches, spawns);
criterion_main!(benches);
