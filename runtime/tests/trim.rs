//! Stack memory of parked green threads that goes back to the kernel.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use greenpatch_runtime::sync::Event;
use greenpatch_runtime::{Builder, Runtime, thread, time, yield_now};
use harness::process::resident_bytes;
use harness::until_parked;

const DEPTH: u32 = 24;

/// Uses a page of stack and more for each step, and gives what only intact frames give.
fn deep(depth: u32) -> u64 {
    let frame = black_box([u64::from(depth); 512]);
    if depth == 0 {
        return 0;
    }
    deep(depth - 1) + frame[depth as usize]
}

fn sum() -> u64 {
    (1..=u64::from(DEPTH)).sum()
}

/// Waits `depth` frames down, and gives what only intact frames give.
fn wait_at(depth: u32, event: &Event) -> u64 {
    let frame = black_box([u64::from(depth); 256]);
    if depth == 0 {
        event.wait().unwrap();
        return 0;
    }
    wait_at(depth - 1, event) + frame[depth as usize]
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn trim(runtime: &Runtime, parked_for: Duration) -> usize {
    // SAFETY: what these tests run makes no stacks within those of its green threads.
    unsafe { runtime.trim(parked_for) }
}

#[test]
fn a_parked_green_thread_keeps_its_frames_and_gives_back_what_is_below() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let event = Arc::new(Event::new());
        let parked: Vec<_> = (0..50)
            .map(|depth| {
                let event = event.clone();
                runtime.spawn(move || {
                    let before = deep(DEPTH);
                    (before, wait_at(depth, &event), deep(DEPTH))
                })
            })
            .collect();
        until_parked(&runtime, 50);
        let given_back = trim(&runtime, Duration::ZERO);
        assert!(
            given_back > 20 * DEPTH as usize * 4096,
            "{given_back} bytes"
        );
        assert_eq!(
            trim(&runtime, Duration::ZERO),
            0,
            "each wait is trimmed once"
        );
        event.set();
        for (depth, parked) in parked.into_iter().enumerate() {
            let depth = depth as u64;
            let waited = depth * (depth + 1) / 2;
            assert_eq!(parked.join().unwrap(), (sum(), waited, sum()));
        }
    }
}

#[test]
fn the_process_has_less_in_memory_afterwards() {
    const COUNT: usize = 1000;
    let runtime = runtime(2);
    let parked: Vec<_> = (0..COUNT)
        .map(|_| {
            runtime.spawn(|| {
                deep(DEPTH);
                thread::park();
            })
        })
        .collect();
    until_parked(&runtime, COUNT);
    let before = resident_bytes();
    let given_back = trim(&runtime, Duration::ZERO);
    let saved = before.saturating_sub(resident_bytes()) as usize;
    // Other tests of this process use memory meanwhile.
    assert!(saved > given_back / 2, "{saved} of {given_back} bytes");
    assert!(given_back > COUNT * DEPTH as usize * 4096 / 2);
    parked.iter().for_each(|parked| parked.thread().unpark());
    parked.into_iter().for_each(|parked| parked.join().unwrap());
}

#[test]
fn who_has_not_waited_for_long_enough_is_left_alone() {
    let runtime = runtime(1);
    let parked = runtime.spawn(|| {
        deep(DEPTH);
        thread::park();
    });
    until_parked(&runtime, 1);
    assert_eq!(trim(&runtime, Duration::from_secs(3600)), 0);
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn wake_ups_that_race_a_trim_are_not_lost() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let (done, rounds) = (Arc::new(AtomicBool::new(false)), 2000);
        let woken = Arc::new(AtomicUsize::new(0));
        let sleepers: Vec<_> = (0..8)
            .map(|place: u32| {
                let woken = woken.clone();
                let body = move || {
                    for round in 0..rounds {
                        assert_eq!(
                            deep(place + round % 8),
                            (1..=u64::from(place + round % 8)).sum::<u64>()
                        );
                        match place % 3 {
                            0 => time::sleep(Duration::from_micros(20)),
                            1 => thread::park_timeout(Duration::from_micros(20)),
                            _ => yield_now(),
                        }
                        woken.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let builder = Builder::new();
                let builder = if place == 7 {
                    builder.pinned()
                } else {
                    builder
                };
                runtime.spawn_with(builder, body).unwrap()
            })
            .collect();
        let is_done = done.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    trim(&runtime, Duration::ZERO);
                }
            });
            for sleeper in sleepers {
                sleeper.thread().unpark();
                sleeper.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(woken.load(Ordering::Relaxed), 8 * rounds as usize);
    }
}

#[test]
fn the_thread_that_runs_and_a_stack_of_the_programs_own_are_left_alone() {
    use corosensei::{Coroutine, CoroutineResult};
    let runtime = runtime(1);
    let event = Arc::new(Event::new());
    let theirs = event.clone();
    let on_own_stack = runtime.spawn(move || {
        let before = deep(DEPTH);
        let mut coroutine = Coroutine::<(), (), u64>::new(move |_, ()| wait_at(7, &theirs));
        let CoroutineResult::Return(waited) = coroutine.resume(()) else {
            unreachable!("it does not suspend");
        };
        (before, waited)
    });
    until_parked(&runtime, 1);
    assert_eq!(trim(&runtime, Duration::ZERO), 0);
    runtime.run(|| {
        let trimmer = greenpatch_runtime::spawn(|| ());
        trimmer.join().unwrap();
        deep(DEPTH);
        time::sleep(Duration::from_millis(1));
        assert_eq!(trim(&runtime, Duration::ZERO), 0);
    });
    event.set();
    assert_eq!(on_own_stack.join().unwrap(), (sum(), 28));
}

#[test]
fn the_setting_has_the_monitor_do_it() {
    // SAFETY: nothing here makes stacks.
    let builder = unsafe { Runtime::builder().trim_after(Duration::from_millis(10)) };
    let runtime = builder.workers(1).build().unwrap();
    let parked = runtime.spawn(|| {
        deep(DEPTH);
        thread::park();
        deep(DEPTH)
    });
    until_parked(&runtime, 1);
    // It looks while the process does something.
    let pulse = runtime.spawn(|| {
        for _ in 0..300 {
            time::sleep(Duration::from_millis(10));
        }
    });
    let high = runtime.stack_high_water();
    assert!(high >= DEPTH as usize * 4096);
    let mut now = high;
    while now >= DEPTH as usize * 4096 {
        assert!(
            !pulse.is_finished(),
            "{now} bytes of stack are still in memory"
        );
        std::thread::sleep(Duration::from_millis(50));
        now = runtime.stack_high_water();
    }
    pulse.cancel();
    parked.thread().unpark();
    assert_eq!(parked.join().unwrap(), sum());
    let _ = pulse.join();
}
