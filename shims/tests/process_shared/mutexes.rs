//! Mutexes: process-shared, robust, and those that inherit priorities and are robust as well.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use harness::c::on_clock;
use harness::{
    SHORT, on_every_kind_of_thread, on_green_threads, patched_runtime, until_parked,
    with_1_and_2_workers,
};
use libc::pthread_mutex_t;

use crate::memory::{Shared, must};

const ROUNDS: usize = 10_000;

on_every_kind_of_thread! {
    mutexes_exclude_another_process,
    robust_mutexes_exclude_another_process,
    inheriting_mutexes_exclude_another_process,
    the_death_of_another_process_is_told,
    the_death_is_told_to_one_who_waits,
    an_inheriting_mutex_knows_its_owner,
    the_end_of_an_owner_is_told,
    the_end_of_an_owner_is_told_to_another_process,
    what_was_not_put_in_order_is_lost,
    a_timed_lock_of_what_another_process_holds_ends,
    an_inheriting_mutex_goes_with_a_shared_condition,
}

// On OS threads glibc's own mutexes leave some of them waiting.
on_green_threads! {
    all_who_wait_are_told_that_it_is_lost,
}

with_1_and_2_workers! {
    a_thousand_wait_for_a_mutex_of_another_process,
}

type Mutex = fn(&Shared) -> *mut pthread_mutex_t;

/// Those that tell of dead owners.
const ROBUST: [Mutex; 2] = [Shared::robust, Shared::inheriting];

/// Has the C program and two threads raise the count under the mutex.
fn exclude(what: &str, mutex: Mutex) {
    const THREADS: usize = 2;
    let memory = Arc::new(Shared::new());
    let peer = memory.peer(what, ROUNDS);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let memory = memory.clone();
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    must!(libc::pthread_mutex_lock(mutex(&memory)));
                    let count = memory.count.load(Ordering::Relaxed);
                    if round % 64 == 0 {
                        thread::yield_now();
                    }
                    memory.count.store(count + 1, Ordering::Relaxed);
                    must!(libc::pthread_mutex_unlock(mutex(&memory)));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    peer.ends_well();
    let expected = ((THREADS + 1) * ROUNDS) as u64;
    assert_eq!(memory.count.load(Ordering::Relaxed), expected);
}

fn mutexes_exclude_another_process() {
    exclude("mutex", Shared::mutex);
}

fn robust_mutexes_exclude_another_process() {
    exclude("robust", Shared::robust);
}

fn inheriting_mutexes_exclude_another_process() {
    exclude("inheriting", Shared::inheriting);
}

/// Locks what a dead owner has left, and puts it in order.
fn take_over(mutex: *mut pthread_mutex_t) {
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_mutex_lock(mutex) }, libc::EOWNERDEAD);
    must!(
        libc::pthread_mutex_consistent(mutex),
        libc::pthread_mutex_unlock(mutex),
        libc::pthread_mutex_lock(mutex),
        libc::pthread_mutex_unlock(mutex),
    );
}

fn the_death_of_another_process_is_told() {
    let memory = Shared::new();
    let mut peer = memory.peer("hold", 0);
    peer.heard();
    peer.kill();
    for mutex in ROBUST {
        take_over(mutex(&memory));
    }
}

fn the_death_is_told_to_one_who_waits() {
    for mutex in ROBUST {
        let memory = Shared::new();
        let mut peer = memory.peer("hold", 0);
        peer.heard();
        let kills = thread::spawn(move || {
            thread::sleep(SHORT);
            peer.kill();
        });
        take_over(mutex(&memory));
        kills.join().unwrap();
    }
}

/// What another thread gets from `call`.
fn elsewhere(memory: &Arc<Shared>, call: impl FnOnce(&Shared) -> c_int + Send + 'static) -> c_int {
    let memory = memory.clone();
    thread::spawn(move || call(&memory)).join().unwrap()
}

fn an_inheriting_mutex_knows_its_owner() {
    let memory = Arc::new(Shared::new());
    let mutex = memory.inheriting();
    // SAFETY: initialised.
    unsafe {
        assert_eq!(libc::pthread_mutex_unlock(mutex), libc::EPERM);
        assert_eq!(libc::pthread_mutex_lock(mutex), 0);
        assert_eq!(libc::pthread_mutex_trylock(mutex), libc::EBUSY);
        let unlocks = |memory: &Shared| libc::pthread_mutex_unlock(memory.inheriting());
        assert_eq!(elsewhere(&memory, unlocks), libc::EPERM);
        let tries = |memory: &Shared| libc::pthread_mutex_trylock(memory.inheriting());
        assert_eq!(elsewhere(&memory, tries), libc::EBUSY);
        let waits = |memory: &Shared| {
            let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
            libc::pthread_mutex_timedlock(memory.inheriting(), &soon)
        };
        assert_eq!(elsewhere(&memory, waits), libc::ETIMEDOUT);
        assert_eq!(libc::pthread_mutex_consistent(mutex), libc::EINVAL);
    }
    must!(libc::pthread_mutex_unlock(mutex));
    must!(libc::pthread_mutex_trylock(mutex));
    must!(libc::pthread_mutex_unlock(mutex));
    must!(libc::pthread_mutex_destroy(mutex));
}

fn the_end_of_an_owner_is_told() {
    for mutex in ROBUST {
        let memory = Arc::new(Shared::new());
        // SAFETY: initialised.
        let locks = move |memory: &Shared| unsafe { libc::pthread_mutex_lock(mutex(memory)) };
        assert_eq!(elsewhere(&memory, locks), 0);
        take_over(mutex(&memory));
    }
}

fn the_end_of_an_owner_is_told_to_another_process() {
    let memory = Arc::new(Shared::new());
    let held = memory.clone();
    let owner = thread::spawn(move || {
        must!(libc::pthread_mutex_lock(held.inheriting()));
        must!(libc::pthread_mutex_lock(held.robust()));
        let mut peer = held.peer("inherit from the dead", 0);
        peer.heard();
        thread::sleep(SHORT);
        peer
    });
    owner.join().unwrap().ends_well();
}

fn what_was_not_put_in_order_is_lost() {
    for mutex in ROBUST {
        let memory = Arc::new(Shared::new());
        // SAFETY: initialised.
        let locks = move |memory: &Shared| unsafe { libc::pthread_mutex_lock(mutex(memory)) };
        assert_eq!(elsewhere(&memory, locks), 0);
        // SAFETY: initialised.
        unsafe {
            let tried = libc::pthread_mutex_trylock(mutex(&memory));
            assert_eq!(tried, libc::EOWNERDEAD);
            assert_eq!(libc::pthread_mutex_unlock(mutex(&memory)), 0);
            let locked = libc::pthread_mutex_lock(mutex(&memory));
            assert_eq!(locked, libc::ENOTRECOVERABLE);
        }
    }
}

/// Those that wait already, and those that come later, locking or trying.
fn all_who_wait_are_told_that_it_is_lost() {
    const WAITERS: usize = 4;
    for mutex in ROBUST {
        let memory = Arc::new(Shared::new());
        // SAFETY: initialised.
        let locks = move |memory: &Shared| unsafe { libc::pthread_mutex_lock(mutex(memory)) };
        assert_eq!(elsewhere(&memory, locks), 0);
        assert_eq!(locks(&memory), libc::EOWNERDEAD);
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let memory = memory.clone();
                thread::spawn(move || locks(&memory))
            })
            .collect();
        thread::sleep(SHORT);
        must!(libc::pthread_mutex_unlock(mutex(&memory)));
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), libc::ENOTRECOVERABLE);
        }
        // SAFETY: initialised.
        let tries = move |memory: &Shared| unsafe { libc::pthread_mutex_trylock(mutex(memory)) };
        for _ in 0..2 {
            assert_eq!(elsewhere(&memory, locks), libc::ENOTRECOVERABLE);
        }
        for _ in 0..2 {
            assert_eq!(elsewhere(&memory, tries), libc::ENOTRECOVERABLE);
        }
    }
}

fn a_timed_lock_of_what_another_process_holds_ends() {
    let memory = Shared::new();
    let mut peer = memory.peer("hold", 0);
    peer.heard();
    for mutex in ROBUST {
        let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
        // SAFETY: initialised, and a time.
        let status = unsafe { libc::pthread_mutex_timedlock(mutex(&memory), &soon) };
        assert_eq!(status, libc::ETIMEDOUT);
    }
    peer.ends_well();
    for mutex in ROBUST {
        must!(
            libc::pthread_mutex_lock(mutex(&memory)),
            libc::pthread_mutex_unlock(mutex(&memory)),
        );
    }
}

fn an_inheriting_mutex_goes_with_a_shared_condition() {
    for mutex in ROBUST {
        let memory = Arc::new(Shared::new());
        let other = memory.clone();
        must!(libc::pthread_mutex_lock(mutex(&memory)));
        let signals = thread::spawn(move || {
            must!(libc::pthread_mutex_lock(mutex(&other)));
            other.turn.store(1, Ordering::Relaxed);
            must!(
                libc::pthread_cond_signal(other.condition()),
                libc::pthread_mutex_unlock(mutex(&other)),
            );
        });
        while memory.turn.load(Ordering::Relaxed) == 0 {
            must!(libc::pthread_cond_wait(memory.condition(), mutex(&memory)));
        }
        must!(libc::pthread_mutex_unlock(mutex(&memory)));
        signals.join().unwrap();
    }
}

fn a_thousand_wait_for_a_mutex_of_another_process(workers: usize) {
    const WAITERS: usize = 1000;
    for mutex in ROBUST {
        let memory = Arc::new(Shared::new());
        let mut peer = memory.peer("hold", 0);
        peer.heard();
        let runtime = patched_runtime(workers);
        let locked = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (memory, locked) = (memory.clone(), locked.clone());
                runtime.spawn(move || {
                    must!(libc::pthread_mutex_lock(mutex(&memory)));
                    locked.fetch_add(1, Ordering::Relaxed);
                    must!(libc::pthread_mutex_unlock(mutex(&memory)));
                })
            })
            .collect();
        until_parked(&runtime, WAITERS);
        assert_eq!(locked.load(Ordering::Relaxed), 0);
        peer.ends_well();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(locked.load(Ordering::Relaxed), WAITERS);
    }
}
