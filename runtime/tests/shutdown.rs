//! The end of runtimes, and several of them side by side.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_runtime::sync::{Mutex, Semaphore};
use greenpatch_runtime::{
    Builder, JoinHandle, OnDrop, Runtime, is_cancellation, net, shield, spawn, time,
};
use harness::eventually;
use harness::process::os_threads;

/// Far longer than anything here should take.
const WATCHDOG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Starts green threads that sleep for a while, each one followed by another one that it spawns.
fn start_pairs(runtime: &Runtime, done: &Arc<AtomicUsize>) {
    for _ in 0..20 {
        let done = done.clone();
        drop(runtime.spawn(move || {
            time::sleep(Duration::from_millis(20));
            drop(spawn(move || {
                time::sleep(Duration::from_millis(20));
                done.fetch_add(1, Ordering::SeqCst);
            }));
        }));
    }
}

#[test]
fn shutdown_waits_for_all_green_threads_and_those_they_spawn() {
    for workers in [1, 2, 4] {
        let (runtime, done) = (runtime(workers), Arc::default());
        start_pairs(&runtime, &done);
        runtime.shutdown(WATCHDOG).unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 20);
    }
}

#[test]
fn shutdown_tells_how_many_are_left_and_lets_them_go_on() {
    let runtime = runtime(2);
    let go_on = Arc::new(Semaphore::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let go_on = go_on.clone();
            runtime.spawn(move || go_on.acquire().forget())
        })
        .collect();
    let error = runtime.shutdown(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.left(), 3);
    assert!(error.to_string().contains("cancel_all"), "{error}");
    go_on.release(3);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn shutdown_on_an_own_green_thread_waits_for_the_others() {
    let runtime = runtime(1);
    let done = Arc::new(AtomicUsize::new(0));
    start_pairs(&runtime, &done);
    let (give, take) = mpsc::channel::<Runtime>();
    let ender = runtime.spawn(move || {
        // The channel's wait blocks the worker for a moment.
        take.recv().unwrap().shutdown(WATCHDOG).unwrap();
        done.load(Ordering::SeqCst)
    });
    give.send(runtime).unwrap();
    assert_eq!(ender.join().unwrap(), 20);
}

#[test]
fn shutdown_on_a_green_thread_of_another_runtime_parks_it() {
    let (first, second) = (runtime(1), runtime(1));
    let done = Arc::new(AtomicUsize::new(0));
    start_pairs(&first, &done);
    let ticks = second.run(move || {
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let ticker = spawn(move || {
            let mut ticks = 0;
            while !theirs.load(Ordering::Relaxed) {
                time::sleep(Duration::from_millis(1));
                ticks += 1;
            }
            ticks
        });
        first.shutdown(WATCHDOG).unwrap();
        over.store(true, Ordering::Relaxed);
        ticker.join().unwrap()
    });
    assert_eq!(done.load(Ordering::SeqCst), 20);
    assert!(ticks > 1, "the other green thread ran {ticks} times");
}

#[test]
fn after_cancel_all_every_wait_fails_and_nothing_new_begins() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let waiters: Vec<JoinHandle<bool>> = (0..20)
            .map(|_| {
                runtime.spawn(|| {
                    let listener = shield(|| net::TcpListener::bind("127.0.0.1:0").unwrap());
                    is_cancellation(&listener.accept().unwrap_err())
                })
            })
            .collect();
        let sleepers: Vec<_> = (0..20)
            .map(|_| runtime.spawn(|| time::sleep(HOUR)))
            .collect();
        thread::sleep(Duration::from_millis(20));
        runtime.cancel_all();
        for waiter in waiters {
            // Those that had not begun never do.
            assert!(waiter.join().unwrap_or(true));
        }
        sleepers
            .into_iter()
            .for_each(|sleeper| drop(sleeper.join()));
        let late = runtime.spawn(|| unreachable!("it was cancelled before it began"));
        assert!(late.join().is_err());
        runtime.shutdown(WATCHDOG).unwrap();
    }
}

#[test]
#[should_panic(expected = "no green thread begins any more")]
fn after_cancel_all_run_says_that_nothing_begins() {
    let runtime = runtime(1);
    runtime.cancel_all();
    runtime.run(|| ());
}

#[test]
fn another_runtime_is_not_cancelled() {
    let (cancelled, other) = (runtime(1), runtime(1));
    let start = Instant::now();
    let sleeper = other.spawn(|| time::sleep(Duration::from_millis(100)));
    thread::sleep(Duration::from_millis(10));
    cancelled.cancel_all();
    sleeper.join().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_runtime_told_to_wait_waits_when_it_is_dropped() {
    let runtime = Runtime::builder()
        .workers(2)
        .on_drop(OnDrop::Wait)
        .build()
        .unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    start_pairs(&runtime, &done);
    drop(runtime);
    assert_eq!(done.load(Ordering::SeqCst), 20);
}

#[test]
fn a_runtime_told_to_cancel_ends_what_would_wait_for_ever() {
    let runtime = Runtime::builder()
        .workers(2)
        .on_drop(OnDrop::Cancel)
        .build()
        .unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let done = done.clone();
        drop(runtime.spawn(move || {
            time::sleep(HOUR);
            done.fetch_add(1, Ordering::SeqCst);
        }));
    }
    runtime.run(|| ());
    drop(runtime);
    assert!(done.load(Ordering::SeqCst) <= 10);
}

#[test]
fn a_runtime_told_to_wait_does_not_wait_for_the_green_thread_that_drops_it() {
    let runtime = Runtime::builder()
        .workers(1)
        .on_drop(OnDrop::Wait)
        .build()
        .unwrap();
    let (give, take) = mpsc::channel::<Runtime>();
    let dropper = runtime.spawn(move || drop(take.recv().unwrap()));
    give.send(runtime).unwrap();
    dropper.join().unwrap();
}

#[test]
fn no_os_thread_is_left_of_a_runtime_that_has_ended() {
    for on_drop in [OnDrop::Detach, OnDrop::Wait, OnDrop::Cancel] {
        let name = format!("end-{on_drop}");
        for _ in 0..5 {
            let runtime = Runtime::builder()
                .workers(3)
                .on_drop(on_drop)
                .name(&name)
                .build()
                .unwrap();
            runtime.run(|| {
                spawn(|| time::sleep(Duration::from_millis(1)))
                    .join()
                    .unwrap()
            });
        }
        eventually(|| os_threads(&name) == 0);
    }
}

#[test]
fn runtimes_spawn_on_join_and_lock_each_other() {
    const ROUNDS: usize = 200;
    let runtimes: Vec<_> = [1, 2, 1].map(runtime).into_iter().map(Arc::new).collect();
    let total = Arc::new(Mutex::new(0));
    let players: Vec<_> = (0..runtimes.len())
        .map(|player| {
            let (runtimes, total) = (runtimes.clone(), total.clone());
            runtimes.clone()[player].spawn(move || {
                for round in 0..ROUNDS {
                    let total = total.clone();
                    // Spawned on another runtime, joined on this one; the lock's holder waits on its own.
                    let elsewhere = &runtimes[(player + round) % runtimes.len()];
                    let added = elsewhere.spawn(move || {
                        let mut total = total.lock().unwrap();
                        time::sleep(Duration::from_micros(10));
                        *total += 1;
                        1
                    });
                    assert_eq!(added.join().unwrap(), 1);
                }
            })
        })
        .collect();
    players
        .into_iter()
        .for_each(|player| player.join().unwrap());
    assert_eq!(*total.lock().unwrap(), 3 * ROUNDS);
}

#[test]
fn a_forked_child_may_drop_its_parents_runtime() {
    let runtime = Runtime::builder()
        .workers(1)
        .on_drop(OnDrop::Wait)
        .build()
        .unwrap();
    let go_on = Arc::new(Semaphore::new(0));
    let theirs = go_on.clone();
    let waiter = runtime.spawn(move || theirs.acquire().forget());
    // SAFETY: the child drops the runtime and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Nobody would run it.
        let refused = runtime.spawn_with(Builder::new(), || ()).is_err();
        drop(runtime);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: a valid place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    go_on.release(3);
    waiter.join().unwrap();
}
