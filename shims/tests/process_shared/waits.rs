//! Condition variables, read-write locks, barriers, semaphores and futexes.

use std::ffi::{c_int, c_long};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{self, fails, ok, on_clock};
use harness::{
    SHORT, eventually, on_every_kind_of_thread, patched_runtime, until_parked, with_1_and_2_workers,
};
use libc::{pthread_rwlock_t, timespec};

use crate::memory::{Shared, must};

unsafe extern "C" {
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
}

/// Enough for every interleaving of a few instructions to occur.
const ROUNDS: usize = 10_000;

on_every_kind_of_thread! {
    turns_are_taken_with_another_process,
    no_signal_of_another_process_is_lost,
    writers_exclude_those_of_another_process,
    a_barrier_brings_processes_together,
    semaphores_go_to_and_fro_between_processes,
    timed_waits_end_at_their_time,
    a_lock_that_another_process_holds_is_waited_for,
    a_forked_child_uses_what_is_shared,
    another_process_wakes_a_futex_wait,
    a_writer_knows_itself,
}

with_1_and_2_workers! {
    a_broadcast_of_another_process_wakes_a_thousand,
    a_thousand_wait_for_semaphores,
    memory_that_is_unmapped_disturbs_no_other_wait,
}

fn turns_are_taken_with_another_process() {
    let memory = Shared::new();
    let peer = memory.peer("turns", ROUNDS);
    let (mutex, condition) = (memory.mutex(), memory.condition());
    for _ in 0..ROUNDS {
        must!(libc::pthread_mutex_lock(mutex));
        memory.turn.store(1, Ordering::Relaxed);
        must!(libc::pthread_cond_signal(condition));
        while memory.turn.load(Ordering::Relaxed) != 0 {
            must!(libc::pthread_cond_wait(condition, mutex));
        }
        must!(libc::pthread_mutex_unlock(mutex));
    }
    peer.ends_well();
}

fn no_signal_of_another_process_is_lost() {
    const WAITERS: usize = 8;
    let memory = Arc::new(Shared::new());
    let peer = memory.peer("permits", ROUNDS / WAITERS * WAITERS);
    let threads: Vec<_> = (0..WAITERS)
        .map(|_| {
            let memory = memory.clone();
            thread::spawn(move || {
                for _ in 0..ROUNDS / WAITERS {
                    must!(libc::pthread_mutex_lock(memory.mutex()));
                    while memory.permits.load(Ordering::Relaxed) == 0 {
                        must!(libc::pthread_cond_wait(memory.condition(), memory.mutex()));
                    }
                    memory.permits.fetch_sub(1, Ordering::Relaxed);
                    must!(libc::pthread_mutex_unlock(memory.mutex()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    peer.ends_well();
    must!(libc::pthread_cond_destroy(memory.condition()));
}

fn writers_exclude_those_of_another_process() {
    let memory = Shared::new();
    let peer = memory.peer("writing", ROUNDS);
    for round in 0..ROUNDS {
        must!(libc::pthread_rwlock_wrlock(memory.lock()));
        let count = memory.count.load(Ordering::Relaxed);
        if round % 64 == 0 {
            thread::yield_now();
        }
        memory.count.store(count + 1, Ordering::Relaxed);
        must!(
            libc::pthread_rwlock_unlock(memory.lock()),
            libc::pthread_rwlock_rdlock(memory.lock()),
        );
        let count = memory.count.load(Ordering::Relaxed);
        assert_eq!(count, memory.count.load(Ordering::Relaxed));
        must!(libc::pthread_rwlock_unlock(memory.lock()));
    }
    peer.ends_well();
    assert_eq!(memory.count.load(Ordering::Relaxed), 2 * ROUNDS as u64);
}

fn a_barrier_brings_processes_together() {
    let memory = Shared::new();
    let peer = memory.peer("barrier", ROUNDS);
    for _ in 0..ROUNDS {
        // SAFETY: initialised.
        let status = unsafe { libc::pthread_barrier_wait(memory.barrier()) };
        assert!([0, libc::PTHREAD_BARRIER_SERIAL_THREAD].contains(&status));
    }
    peer.ends_well();
    must!(libc::pthread_barrier_destroy(memory.barrier()));
}

fn semaphores_go_to_and_fro_between_processes() {
    let memory = Shared::new();
    let peer = memory.peer("semaphores", ROUNDS);
    for _ in 0..ROUNDS {
        must!(libc::sem_post(memory.ping()), libc::sem_wait(memory.pong()));
    }
    peer.ends_well();
    // Nobody is counted as a waiter any more.
    // SAFETY: initialised; glibc's object is this word and a flag.
    assert_eq!(unsafe { *memory.pong().cast::<u64>() }, 0);
}

fn timed_waits_end_at_their_time() {
    let memory = Arc::new(Shared::new());
    let start = Instant::now();
    let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
    must!(libc::pthread_mutex_lock(memory.mutex()));
    // SAFETY: initialised, the mutex is held; times.
    unsafe {
        let timed = libc::pthread_cond_timedwait(memory.condition(), memory.mutex(), &soon);
        assert_eq!(timed, libc::ETIMEDOUT);
        assert!(start.elapsed() >= SHORT);
        // The mutex is this thread's again.
        let tried = memory.clone();
        let tried = thread::spawn(move || libc::pthread_mutex_trylock(tried.mutex()));
        assert_eq!(tried.join().unwrap(), libc::EBUSY);
        fails(libc::sem_timedwait(memory.ping(), &soon), libc::ETIMEDOUT);
        let wrong = c::timespec(Duration::ZERO);
        let wrong = timespec {
            tv_nsec: -1,
            ..wrong
        };
        fails(libc::sem_timedwait(memory.ping(), &wrong), libc::EINVAL);
        let timed = libc::pthread_cond_timedwait(memory.condition(), memory.mutex(), &wrong);
        assert_eq!(timed, libc::EINVAL);
    }
    must!(
        libc::pthread_mutex_unlock(memory.mutex()),
        libc::pthread_rwlock_wrlock(memory.lock()),
    );
    let other = memory.clone();
    let outcomes = thread::spawn(move || {
        let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
        // SAFETY: initialised, and times.
        unsafe {
            [
                pthread_rwlock_timedrdlock(other.lock(), &soon),
                pthread_rwlock_timedwrlock(other.lock(), &soon),
                libc::pthread_rwlock_tryrdlock(other.lock()),
            ]
        }
    });
    let expected = [libc::ETIMEDOUT, libc::ETIMEDOUT, libc::EBUSY];
    assert_eq!(outcomes.join().unwrap(), expected);
    must!(libc::pthread_rwlock_unlock(memory.lock()));
}

fn a_lock_that_another_process_holds_is_waited_for() {
    let memory = Shared::new();
    let mut peer = memory.peer("hold", 0);
    peer.heard();
    // SAFETY: initialised.
    unsafe {
        assert_eq!(libc::pthread_rwlock_tryrdlock(memory.lock()), libc::EBUSY);
    }
    let ends = thread::spawn(move || {
        thread::sleep(SHORT);
        peer.ends_well();
    });
    must!(
        libc::pthread_rwlock_wrlock(memory.lock()),
        libc::pthread_rwlock_unlock(memory.lock()),
        libc::pthread_rwlock_rdlock(memory.lock()),
        libc::pthread_rwlock_unlock(memory.lock()),
    );
    ends.join().unwrap();
}

fn a_forked_child_uses_what_is_shared() {
    let memory = Arc::new(Shared::new());
    let waiting = memory.clone();
    let waiter = thread::spawn(move || must!(libc::sem_wait(waiting.ping())));
    // The child has no other thread, and none that waits in its place.
    // SAFETY: the child only uses what is shared.
    unsafe {
        let child = ok(libc::fork());
        if child == 0 {
            libc::usleep(20_000);
            let mut status = libc::sem_post(memory.ping());
            status |= libc::sem_wait(memory.pong());
            status |= libc::pthread_rwlock_wrlock(memory.lock());
            status |= libc::pthread_rwlock_unlock(memory.lock());
            libc::_exit(status);
        }
        waiter.join().unwrap();
        ok(libc::sem_post(memory.pong()));
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

fn another_process_wakes_a_futex_wait() {
    const FUTEX_WAITV: c_long = 449;
    const SHARED_32: u64 = 2;
    let memory = Shared::new();
    let peer = memory.peer("wake", 0);
    let word = memory.word.as_ptr();
    let no_time = std::ptr::null::<timespec>();
    // SAFETY: a word, without a time-out.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, no_time) };
    assert_eq!(woken, 0);
    peer.ends_well();

    let peer = memory.peer("wake", 1);
    let entries = [
        [0, memory.word.as_ptr() as u64, SHARED_32],
        [0, memory.other_word.as_ptr() as u64, SHARED_32],
    ];
    // SAFETY: two entries, without a time-out.
    let index = unsafe { libc::syscall(FUTEX_WAITV, entries.as_ptr(), 2, 0, no_time, 0) };
    assert_eq!(index, 1);
    peer.ends_well();

    // SAFETY: a word, without a time-out.
    let changed = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 1, no_time) };
    fails(changed, libc::EAGAIN);
}

fn a_writer_knows_itself() {
    let memory = Shared::new();
    must!(libc::pthread_rwlock_wrlock(memory.lock()));
    // SAFETY: initialised.
    unsafe {
        assert_eq!(libc::pthread_rwlock_wrlock(memory.lock()), libc::EDEADLK);
        assert_eq!(libc::pthread_rwlock_rdlock(memory.lock()), libc::EDEADLK);
    }
    must!(libc::pthread_rwlock_unlock(memory.lock()));
}

/// Others run meanwhile on the workers, of which none can be called in.
fn a_broadcast_of_another_process_wakes_a_thousand(workers: usize) {
    const WAITERS: usize = 1000;
    let memory = Arc::new(Shared::new());
    let runtime = patched_runtime(workers);
    let woken = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (memory, woken) = (memory.clone(), woken.clone());
            runtime.spawn(move || {
                must!(libc::pthread_mutex_lock(memory.mutex()));
                memory.waiting.fetch_add(1, Ordering::Relaxed);
                while memory.turn.load(Ordering::Relaxed) == 0 {
                    must!(libc::pthread_cond_wait(memory.condition(), memory.mutex()));
                }
                woken.fetch_add(1, Ordering::Relaxed);
                must!(libc::pthread_mutex_unlock(memory.mutex()));
            })
        })
        .collect();
    eventually(|| memory.waiting.load(Ordering::Relaxed) == WAITERS as u64);
    until_parked(&runtime, WAITERS);
    let ends = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicUsize::new(0));
    let busy = {
        let (ends, turns) = (ends.clone(), turns.clone());
        runtime.spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let before = turns.load(Ordering::Relaxed);
    eventually(|| turns.load(Ordering::Relaxed) > before + 10);
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    memory.peer("broadcast", 0).ends_well();
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(woken.load(Ordering::Relaxed), WAITERS);
    ends.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    must!(libc::pthread_cond_destroy(memory.condition()));
}

fn a_thousand_wait_for_semaphores(workers: usize) {
    const WAITERS: usize = 1000;
    let memory = Arc::new(Shared::new());
    let runtime = patched_runtime(workers);
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let memory = memory.clone();
            runtime.spawn(move || must!(libc::sem_wait(memory.pong())))
        })
        .collect();
    until_parked(&runtime, WAITERS);
    let peer = memory.peer("semaphores", WAITERS);
    for _ in 0..WAITERS {
        must!(libc::sem_post(memory.ping()));
    }
    for waiter in waiters {
        waiter.join().unwrap();
    }
    peer.ends_well();
}

fn memory_that_is_unmapped_disturbs_no_other_wait(workers: usize) {
    const SIZE: usize = 4096;
    let memory = Arc::new(Shared::new());
    let runtime = patched_runtime(workers);
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a mapping of its own.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, access, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    let word = page as usize;
    let doomed = runtime.spawn(move || {
        let time = c::timespec(4 * SHORT);
        // SAFETY: a word, which the kernel does not need again once it waits, and a time-out.
        let status = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, &time) };
        fails(status, libc::ETIMEDOUT);
        let at_once = c::timespec(Duration::ZERO);
        // SAFETY: the kernel refuses the address.
        let status = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, &at_once) };
        fails(status, libc::EFAULT);
    });
    let other = memory.clone();
    let waiter = runtime.spawn(move || must!(libc::sem_wait(other.ping())));
    until_parked(&runtime, 2);
    // The wait has begun, or begins in a moment: a call that comes too late would fail with EFAULT.
    thread::sleep(SHORT);
    // Something else is mapped there, which cannot be read, so that no other test gets the address.
    let fixed = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: ours, and nobody reads it.
    let gone = unsafe { libc::mmap(page, SIZE, libc::PROT_NONE, fixed, -1, 0) };
    assert_eq!(gone, page);
    doomed.join().unwrap();
    must!(libc::sem_post(memory.ping()));
    waiter.join().unwrap();
    // SAFETY: ours.
    ok(unsafe { libc::munmap(page, SIZE) });
}
