//! Waits of the runtime's own locks, joins and futures that end with a deadline scope or a cancellation, and what they leave.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::sync::{Barrier, Condvar, LockError, Mutex, RwLock, Semaphore};
use greenpatch_runtime::time::{sleep, timeout};
use greenpatch_runtime::{
    Interrupted, block_on, block_on_interruptible, checkpoint, scope, spawn, thread, yield_now,
};
use harness::unpatched::{on_green_threads, on_workers};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

/// Runs `wait`, which would last for ever, within a time, on a green thread that is cancelled, and on a member of a scope that is.
fn is_cut_short(wait: impl Fn() -> Option<Interrupted> + Sync) {
    let late = timeout(SHORT, &wait).expect_err("its time has cut it short");
    assert_eq!(late.into_inner(), Some(Interrupted::TimedOut));
    for cancels_all in [false, true] {
        let begun = AtomicUsize::new(0);
        scope(|scope| {
            let waiter = scope.spawn(|| {
                begun.fetch_add(1, Ordering::SeqCst);
                // What need not wait goes through, so the waits begin anew.
                (wait(), wait())
            });
            while begun.load(Ordering::SeqCst) == 0 {
                yield_now();
            }
            sleep(SHORT);
            if cancels_all {
                scope.cancel();
            } else {
                waiter.cancel();
            }
            let cancelled = Some(Interrupted::Cancelled);
            assert_eq!(waiter.join().unwrap(), (cancelled, cancelled));
        });
    }
    assert_eq!(checkpoint(), Ok(()));
}

fn interrupted<G>(outcome: Result<G, LockError<G>>) -> Option<Interrupted> {
    match outcome {
        Err(LockError::Interrupted(interrupted)) => Some(interrupted),
        _ => None,
    }
}

#[test]
fn a_lock_that_is_held_is_not_waited_for_any_longer() {
    on_workers(|| {
        let mutex = Mutex::new(0);
        let held = mutex.lock().unwrap();
        is_cut_short(|| interrupted(mutex.lock_interruptible()));
        assert_eq!(
            interrupted(mutex.lock_timeout(SHORT)),
            Some(Interrupted::TimedOut)
        );
        drop(held);
        assert!(timeout(Duration::ZERO, || mutex.lock_interruptible().is_ok()).unwrap());
        *mutex.lock_timeout(Duration::ZERO).unwrap() += 1;
        assert_eq!(mutex.into_inner().unwrap(), 1);
    });
}

#[test]
fn a_readers_writer_lock_that_is_held_is_not_waited_for_any_longer() {
    on_workers(|| {
        let lock = RwLock::new(0);
        let read = lock.read().unwrap();
        is_cut_short(|| interrupted(lock.write_interruptible()));
        // No trace of the writer keeps readers out.
        drop(lock.try_read().unwrap());
        drop(read);
        let written = lock.write().unwrap();
        is_cut_short(|| interrupted(lock.read_interruptible()));
        is_cut_short(|| interrupted(lock.write_interruptible()));
        assert_eq!(
            interrupted(lock.read_timeout(SHORT)),
            Some(Interrupted::TimedOut)
        );
        drop(written);
        *lock.write_timeout(SHORT).unwrap() += 1;
        assert_eq!(*lock.read_interruptible().unwrap(), 1);
    });
}

#[test]
fn a_poisoned_lock_says_so_within_a_limit() {
    on_workers(|| {
        let (mutex, lock) = (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(1)));
        let (in_mutex, in_lock) = (mutex.clone(), lock.clone());
        let panicked = spawn(move || {
            let _guards = (in_mutex.lock().unwrap(), in_lock.write().unwrap());
            std::panic::resume_unwind(Box::new("poison"));
        });
        assert!(panicked.join().is_err());
        for poisoned in [
            mutex.lock_interruptible().map(|guard| *guard).is_err(),
            lock.read_interruptible().map(|guard| *guard).is_err(),
        ] {
            assert!(poisoned);
        }
        let Err(LockError::Poisoned(error)) = mutex.lock_interruptible() else {
            panic!("a holder has panicked");
        };
        assert_eq!(**error.get_ref(), 1);
    });
}

#[test]
fn a_condition_that_does_not_come_is_not_waited_for_any_longer_and_its_mutex_is_locked() {
    on_workers(|| {
        let (mutex, changed) = (Mutex::new(0), Condvar::new());
        is_cut_short(|| {
            let guard = mutex.lock().unwrap();
            let (mut guard, outcome) = changed.wait_interruptible(guard).unwrap();
            *guard += 1;
            assert!(mutex.try_lock().is_err());
            outcome.err()
        });
        assert_eq!(*mutex.lock().unwrap(), 5);
        scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut guard = mutex.lock().unwrap();
                while *guard != 0 {
                    let (again, outcome) = changed.wait_interruptible(guard).unwrap();
                    (guard, _) = (again, outcome.unwrap());
                }
            });
            sleep(SHORT);
            *mutex.lock().unwrap() = 0;
            changed.notify_one();
            waiter.join().unwrap();
        });
    });
}

#[test]
fn a_permit_that_does_not_come_is_not_waited_for_any_longer_and_goes_to_the_next() {
    on_workers(|| {
        let permits = Semaphore::new(0);
        is_cut_short(|| permits.acquire_interruptible().err());
        permits.release(1);
        permits.acquire_interruptible().unwrap().forget();
        assert_eq!(permits.available_permits(), 0);
    });
}

#[test]
fn who_gives_up_at_a_barrier_has_not_come() {
    on_workers(|| {
        let barrier = Barrier::new(2);
        is_cut_short(|| barrier.wait_interruptible().err());
        scope(|scope| {
            let partner = scope.spawn(|| barrier.wait_interruptible().unwrap().is_leader());
            let leads = barrier.wait().is_leader();
            assert_ne!(partner.join().unwrap(), leads);
        });
    });
}

#[test]
fn a_join_ends_and_leaves_the_green_thread_alone() {
    on_workers(|| {
        let sleeper = spawn(thread::park);
        is_cut_short(|| sleeper.wait_interruptible().err());
        let thread = sleeper.thread();
        let late = timeout(SHORT, || sleeper.join_interruptible().map(drop));
        assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
        thread.unpark();

        let ended = spawn(|| 7);
        ended.wait_interruptible().unwrap();
        let value = timeout(Duration::ZERO, || ended.join_interruptible().unwrap());
        assert_eq!(value.unwrap().unwrap(), 7);
    });
}

#[test]
fn a_future_that_is_not_ready_is_dropped() {
    struct Dropped<'a>(&'a AtomicUsize);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = AtomicUsize::new(0);
    let test = || {
        is_cut_short(|| {
            let dropped = Dropped(&drops);
            let never = async move {
                let _dropped = dropped;
                pending::<()>().await
            };
            block_on_interruptible(never).err()
        });
        // Inside of a poll of another call, with a signal of its own.
        block_on(async {
            is_cut_short(|| block_on_interruptible(pending::<()>()).err());
        });
        assert_eq!(block_on_interruptible(async { 7 }), Ok(7));
    };
    on_green_threads(1, test);
    on_green_threads(2, test);
    assert_eq!(drops.into_inner(), 2 * 5);
}

#[test]
fn on_an_os_thread_deadline_scopes_end_these_waits_too() {
    let mutex = Mutex::new(());
    let held = mutex.lock().unwrap();
    let late = timeout(SHORT, || interrupted(mutex.lock_interruptible()));
    assert_eq!(late.unwrap_err().into_inner(), Some(Interrupted::TimedOut));
    let late = timeout(SHORT, || block_on_interruptible(pending::<()>()));
    assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
    drop(held);
}

#[test]
fn those_who_give_up_keep_nobody_from_a_lock_that_many_want() {
    on_workers(|| {
        let (mutex, lock) = (Mutex::new(0), RwLock::new(0));
        let got = AtomicUsize::new(0);
        let until = Instant::now() + Duration::from_millis(200);
        scope(|scope| {
            for worker in 0..8_u32 {
                let (mutex, lock, got) = (&mutex, &lock, &got);
                scope.spawn(move || {
                    while Instant::now() < until {
                        let time = Duration::from_micros(u64::from(worker) * 300);
                        let hold = || sleep(Duration::from_micros(400));
                        match worker % 4 {
                            0 => {
                                *mutex.lock().unwrap() += 1;
                                *lock.write().unwrap() += 1;
                                got.fetch_add(1, Ordering::Relaxed);
                            }
                            1 => drop(mutex.lock_timeout(time).map(|guard| (hold(), guard))),
                            2 => drop(lock.write_timeout(time).map(|guard| (hold(), guard))),
                            _ => drop(lock.read_timeout(time).map(|guard| (hold(), guard))),
                        }
                    }
                });
            }
        });
        let got = got.into_inner();
        assert!(got > 0);
        assert_eq!(
            (*mutex.try_lock().unwrap(), *lock.try_write().unwrap()),
            (got, got)
        );
        assert!(timeout(LONG, || mutex.lock_interruptible().is_ok()).unwrap());
    });
}
