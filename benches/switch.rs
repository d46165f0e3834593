//! What one switch from green thread to green thread costs, beside a bare context switch.
//!
//! `yield_now/N` has N green threads on one worker yield in turns; the figure is the time from one
//! yield to the next, whoever makes it. `corosensei` resumes a coroutine that suspends at once: two
//! context switches, with no scheduler, no queue and no thread-local storage.
//!
//! The context switch is corosensei 0.3; its own figure is about 4 ns for the pair.

#![allow(missing_docs, reason = "criterion_group! makes public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use corosensei::Coroutine;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use harness::patched_runtime;

/// Lets `threads` green threads yield in turns, `yields` times in all, and returns how long it took.
fn yield_in_turns(threads: u64, yields: u64) -> Duration {
    let each = yields.div_ceil(threads);
    let ring: Vec<_> = (0..threads)
        .map(|_| {
            greenpatch::spawn(move || {
                // All have started when the clock does.
                greenpatch::yield_now();
                let started = Instant::now();
                for _ in 0..each {
                    greenpatch::yield_now();
                }
                (started, Instant::now())
            })
        })
        .collect();
    let times: Vec<_> = ring
        .into_iter()
        .map(|thread| thread.join().expect("a loop of yields ends"))
        .collect();
    let started = times.iter().map(|(started, _)| *started).min();
    let ended = times.iter().map(|(_, ended)| *ended).max();
    let elapsed = ended
        .zip(started)
        .map_or(Duration::ZERO, |(ended, started)| ended - started);
    // Rounding up made some more than were asked for.
    elapsed.mul_f64(yields as f64 / (each * threads) as f64)
}

fn switches(criterion: &mut Criterion) {
    let runtime = patched_runtime(1);
    let mut group = criterion.benchmark_group("switch");
    for threads in [2, 100] {
        group.bench_function(BenchmarkId::new("yield_now", threads), |bencher| {
            bencher.iter_custom(|yields| runtime.run(move || yield_in_turns(threads, yields)));
        });
    }
    group.bench_function("corosensei resume and suspend", |bencher| {
        // It goes on until it is told to end.
        let mut coroutine = Coroutine::new(|yielder, mut goes_on| {
            while goes_on {
                goes_on = yielder.suspend(())
            }
        });
        bencher.iter(|| coroutine.resume(black_box(true)).as_yield().is_some());
        coroutine.resume(false);
    });
    group.finish();
}

criterion_group!(benches, switches);
criterion_main!(benches);
