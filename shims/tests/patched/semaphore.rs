//! Semaphores keep the promises of POSIX on every kind of thread.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{Semaphore, fails, ok, on_clock};
use harness::{Kind, SHORT, on_every_kind_of_thread};
use libc::{sem_t, timespec};

on_every_kind_of_thread! {
    units_are_taken_and_given,
    a_wait_ends_at_its_time,
    a_value_has_a_limit,
    units_under_stress_are_neither_lost_nor_made,
    a_semaphore_can_be_destroyed_once_it_was_waited_for,
    shared_and_named_semaphores_work,
}

fn units_are_taken_and_given() {
    let semaphore = Semaphore::new(2);
    assert_eq!((ok(semaphore.wait()), semaphore.value()), (0, 1));
    assert_eq!((ok(semaphore.try_wait()), semaphore.value()), (0, 0));
    fails(semaphore.try_wait(), libc::EAGAIN);
    assert_eq!((ok(semaphore.post()), semaphore.value()), (0, 1));
    assert_eq!(ok(semaphore.wait()), 0);
    let other = semaphore.clone();
    let waiter = thread::spawn(move || (other.wait(), other.value()));
    thread::sleep(SHORT);
    ok(semaphore.post());
    assert_eq!(waiter.join().unwrap(), (0, 0));
    // SAFETY: nobody uses it any more.
    ok(unsafe { libc::sem_destroy(semaphore.get()) });
}

fn a_wait_ends_at_its_time() {
    let semaphore = Semaphore::new(0);
    let start = Instant::now();
    let end = on_clock(libc::CLOCK_REALTIME, SHORT);
    fails(semaphore.wait_until(&end), libc::ETIMEDOUT);
    assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
    let start = Instant::now();
    let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
    fails(
        semaphore.wait_by_clock(libc::CLOCK_MONOTONIC, &end),
        libc::ETIMEDOUT,
    );
    assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
    fails(
        semaphore.wait_by_clock(libc::CLOCK_BOOTTIME, &end),
        libc::EINVAL,
    );
    let past = timespec {
        tv_sec: -1,
        tv_nsec: 0,
    };
    fails(semaphore.wait_until(&past), libc::ETIMEDOUT);
    let nonsense = timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    ok(semaphore.post());
    // glibc looks at the time first.
    fails(semaphore.wait_until(&nonsense), libc::EINVAL);
    assert_eq!((ok(semaphore.wait_until(&past)), semaphore.value()), (0, 0));
}

fn a_value_has_a_limit() {
    let semaphore = Semaphore::new(c_int::MAX as u32);
    fails(semaphore.post(), libc::EOVERFLOW);
    assert_eq!((ok(semaphore.wait()), ok(semaphore.post())), (0, 0));
}

fn units_under_stress_are_neither_lost_nor_made() {
    const EACH: usize = 2_000;
    let semaphore = Semaphore::new(0);
    let taken = Arc::new(AtomicUsize::new(0));
    let poster = || {
        let semaphore = semaphore.clone();
        move || {
            for round in 0..EACH {
                ok(semaphore.post());
                if round % 50 == 0 {
                    thread::yield_now();
                }
            }
        }
    };
    let taker = |number: usize| {
        let (semaphore, taken) = (semaphore.clone(), taken.clone());
        move || {
            let mut left = EACH;
            let mut round = 0;
            while left > 0 {
                round += 1;
                let soon = Duration::from_micros((number * 7 + round) as u64 % 40);
                let outcome = match round % 3 {
                    0 => semaphore.wait_until(&on_clock(libc::CLOCK_REALTIME, soon)),
                    1 => semaphore.try_wait(),
                    _ => semaphore.wait(),
                };
                if outcome == 0 {
                    left -= 1;
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    // Threads of both kinds meet at the semaphore.
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(2)
        .build()
        .unwrap();
    let mut greens: Vec<_> = (0..3).map(|number| runtime.spawn(taker(number))).collect();
    let mut threads: Vec<_> = (3..6).map(|number| thread::spawn(taker(number))).collect();
    greens.extend((0..3).map(|_| runtime.spawn(poster())));
    threads.extend((0..3).map(|_| thread::spawn(poster())));
    greens.into_iter().for_each(|green| green.join().unwrap());
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(
        (taken.load(Ordering::Relaxed), semaphore.value()),
        (6 * EACH, 0)
    );
    // What waits was counted in the word, and has left.
    // SAFETY: nobody uses it any more; glibc's word.
    assert_eq!(unsafe { semaphore.get().cast::<u64>().read() }, 0);
}

fn a_semaphore_can_be_destroyed_once_it_was_waited_for() {
    for _ in 0..300 {
        let semaphore = Semaphore::new(0);
        let other = semaphore.clone();
        let waiter = thread::spawn(move || {
            ok(other.wait());
            // SAFETY: the post may not have returned yet, but nobody uses it as a semaphore any more.
            unsafe {
                ok(libc::sem_destroy(other.get()));
                other
                    .get()
                    .cast::<u8>()
                    .write_bytes(0xff, size_of::<sem_t>());
            }
        });
        ok(semaphore.post());
        waiter.join().unwrap();
    }
}

fn shared_and_named_semaphores_work() {
    let shared = Semaphore::with(0, 1);
    let other = shared.clone();
    let waiter = thread::spawn(move || other.wait());
    thread::sleep(SHORT);
    ok(shared.post());
    assert_eq!(waiter.join().unwrap(), 0);
    let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
    fails(shared.wait_until(&soon), libc::ETIMEDOUT);
    fails(shared.try_wait(), libc::EAGAIN);

    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "/greenpatch-{}-{}\0",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    // SAFETY: a C string, and what it opened.
    unsafe {
        let named = libc::sem_open(name.as_ptr().cast(), libc::O_CREAT, 0o600, 1);
        if named == libc::SEM_FAILED {
            // No /dev/shm here.
            return;
        }
        ok(libc::sem_wait(named));
        fails(libc::sem_trywait(named), libc::EAGAIN);
        assert_eq!(
            (ok(libc::sem_post(named)), ok(libc::sem_wait(named))),
            (0, 0)
        );
        ok(libc::sem_close(named));
        ok(libc::sem_unlink(name.as_ptr().cast()));
    }
}

/// The waiters are more than there may be workers, and who posts is a green thread as well.
#[test]
fn any_number_of_green_threads_waits_for_a_shared_semaphore() {
    Kind::Green { workers: 1 }.run(|| {
        const COUNT: usize = 100;
        let semaphore = Semaphore::with(0, 1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..COUNT)
            .map(|_| {
                let (semaphore, waiting) = (semaphore.clone(), waiting.clone());
                thread::spawn(move || {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    semaphore.wait()
                })
            })
            .collect();
        while waiting.load(Ordering::SeqCst) < COUNT {
            thread::yield_now();
        }
        for _ in 0..COUNT {
            ok(semaphore.post());
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 0);
        }
        assert_eq!(semaphore.value(), 0);
    });
}
