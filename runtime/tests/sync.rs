//! The types of `sync`, between green threads, between OS threads, and between the two.
//!
//! Where a test runs `among` all crowds, a lost wake-up hangs it; a watchdog ends the process then.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenpatch_runtime::sync::{
    Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, RwLockWriteGuard, Semaphore,
    TryLockError,
};
use greenpatch_runtime::{JoinHandle, Runtime, spawn, yield_now};

/// Where the threads of a test come from.
struct Crowd {
    runtime: Option<Runtime>,
    /// Every so many-th thread is an OS thread.
    os_threads: Option<usize>,
    spawned: AtomicUsize,
}

enum Member<T> {
    Green(JoinHandle<T>),
    Os(thread::JoinHandle<T>),
}

impl<T> Member<T> {
    fn join(self) -> thread::Result<T> {
        match self {
            Member::Green(thread) => thread.join(),
            Member::Os(thread) => thread.join(),
        }
    }
}

impl Crowd {
    fn green(workers: usize) -> Crowd {
        Crowd {
            runtime: Some(Runtime::builder().workers(workers).build().unwrap()),
            os_threads: None,
            spawned: AtomicUsize::new(0),
        }
    }

    fn spawn<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> Member<T> {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed);
        match &self.runtime {
            Some(runtime)
                if self
                    .os_threads
                    .is_none_or(|every| !number.is_multiple_of(every)) =>
            {
                Member::Green(runtime.spawn(body))
            }
            _ => Member::Os(thread::spawn(body)),
        }
    }

    /// Runs `count` threads that are told their number, to their end.
    fn run<T: Send + 'static>(
        &self,
        count: usize,
        body: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let body = Arc::new(body);
        let members: Vec<_> = (0..count)
            .map(|number| {
                let body = body.clone();
                self.spawn(move || body(number))
            })
            .collect();
        members
            .into_iter()
            .map(|member| member.join().unwrap())
            .collect()
    }
}

/// Runs `test` with green threads on one worker and on two, with OS threads, and with both.
fn among_all_crowds(test: impl Fn(&Crowd)) {
    let _watchdog = Watchdog::new();
    test(&Crowd::green(1));
    test(&Crowd::green(2));
    test(&Crowd {
        runtime: None,
        ..Crowd::green(1)
    });
    test(&Crowd {
        os_threads: Some(2),
        ..Crowd::green(2)
    });
}

/// Ends the process if a test hangs.
struct Watchdog {
    /// Its end stops the watchdog.
    _stop: mpsc::Sender<()>,
}

impl Watchdog {
    fn new() -> Watchdog {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let (_stop, stopped) = mpsc::channel();
        thread::spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(120))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                eprintln!("{name} hangs");
                std::process::abort();
            }
        });
        Watchdog { _stop }
    }
}

mod mutex {
    use super::*;

    #[test]
    fn excludes_everybody_else_however_short_the_visit() {
        among_all_crowds(|crowd| {
            let counter = Arc::new(Mutex::new(0));
            let theirs = counter.clone();
            crowd.run(8, move |_| {
                for _ in 0..2000 {
                    *theirs.lock().unwrap() += 1;
                }
            });
            assert_eq!(*counter.lock().unwrap(), 16_000);
        });
    }

    #[test]
    fn does_not_let_a_greedy_holder_keep_others_out() {
        among_all_crowds(|crowd| {
            let it = Arc::new((Mutex::new(()), AtomicBool::new(false)));
            let theirs = it.clone();
            let greedy = crowd.spawn(move || {
                while !theirs.1.load(Ordering::Relaxed) {
                    let _held = theirs.0.lock().unwrap();
                    yield_now();
                }
            });
            let theirs = it.clone();
            crowd.run(3, move |_| {
                for _ in 0..3 {
                    drop(theirs.0.lock().unwrap());
                }
            });
            it.1.store(true, Ordering::Relaxed);
            greedy.join().unwrap();
        });
    }

    #[test]
    fn crosses_a_caught_panic() {
        let mutex = Mutex::new(1);
        let caught = panic::catch_unwind(|| {
            let _held = mutex.lock();
            panic!("while it holds the lock");
        });
        assert!(caught.is_err() && mutex.is_poisoned());
        assert_eq!(*mutex.lock().unwrap_err().into_inner(), 1);
        assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 1);
    }
}

mod condvar {
    use super::*;

    #[test]
    fn wakes_as_many_as_it_is_told_to() {
        among_all_crowds(|crowd| {
            let it = Arc::new((Mutex::new((0_u32, 0_u32)), Condvar::new(), Condvar::new()));
            let theirs = it.clone();
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    let it = it.clone();
                    crowd.spawn(move || {
                        for _ in 0..500 {
                            let mut state = it.0.lock().unwrap();
                            while state.0 == 0 {
                                state = it.1.wait(state).unwrap();
                            }
                            state.0 -= 1;
                            state.1 += 1;
                            it.2.notify_one();
                        }
                    })
                })
                .collect();
            let giver = crowd.spawn(move || {
                for _ in 0..500 {
                    let state = theirs.0.lock().unwrap();
                    let mut state = theirs.2.wait_while(state, |state| state.0 > 0).unwrap();
                    state.0 += 4;
                    drop(state);
                    theirs.1.notify_all();
                }
            });
            giver.join().unwrap();
            takers.into_iter().for_each(|taker| taker.join().unwrap());
            assert_eq!(*it.0.lock().unwrap(), (0, 2000));
        });
    }

    #[test]
    fn tells_whether_a_wait_was_too_long() {
        among_all_crowds(|crowd| {
            crowd.run(1, |_| {
                let (mutex, changed) = (Mutex::new(0), Condvar::new());
                let soon = Duration::from_millis(5);
                let (guard, outcome) = changed
                    .wait_timeout_while(mutex.lock().unwrap(), soon, |_| true)
                    .unwrap();
                assert!(outcome.timed_out());
                let (guard, outcome) = changed.wait_timeout_while(guard, soon, |_| false).unwrap();
                assert!(!outcome.timed_out());
                let late = Duration::from_millis(1);
                assert!(changed.wait_timeout(guard, late).unwrap().1.timed_out());
            });
        });
    }
}

mod rwlock {
    use super::*;

    #[test]
    fn admits_readers_together_and_writers_alone() {
        among_all_crowds(|crowd| {
            let lock = Arc::new(RwLock::new((0_u64, 0_u64)));
            let theirs = lock.clone();
            crowd.run(8, move |number| {
                for round in 0..1000 {
                    if (round + number) % 4 == 0 {
                        let mut both = theirs.write().unwrap();
                        both.0 += 1;
                        if round % 64 == 0 {
                            yield_now();
                        }
                        both.1 += 1;
                    } else {
                        let both = theirs.read().unwrap();
                        assert_eq!(both.0, both.1);
                        if round % 64 == 0 {
                            yield_now();
                        }
                    }
                }
            });
            assert_eq!(*lock.read().unwrap(), (2000, 2000));
        });
    }

    #[test]
    fn does_not_starve_a_writer_among_readers() {
        among_all_crowds(|crowd| {
            let it = Arc::new((RwLock::new(false), AtomicUsize::new(0)));
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let it = it.clone();
                    crowd.spawn(move || {
                        // At any time some of them hold the lock, until a writer has had it.
                        loop {
                            let written = it.0.read().unwrap();
                            it.1.fetch_add(1, Ordering::Relaxed);
                            yield_now();
                            if *written {
                                break;
                            }
                        }
                    })
                })
                .collect();
            let theirs = it.clone();
            crowd.run(1, move |_| {
                while theirs.1.load(Ordering::Relaxed) < 4 {
                    yield_now();
                }
                *theirs.0.write().unwrap() = true;
            });
            readers
                .into_iter()
                .for_each(|reader| reader.join().unwrap());
        });
    }

    #[test]
    fn does_not_let_a_greedy_writer_keep_others_out() {
        among_all_crowds(|crowd| {
            let it = Arc::new((RwLock::new(0), AtomicBool::new(false)));
            let theirs = it.clone();
            let greedy = crowd.spawn(move || {
                while !theirs.1.load(Ordering::Relaxed) {
                    let _held = theirs.0.write().unwrap();
                    yield_now();
                }
            });
            let theirs = it.clone();
            crowd.run(4, move |number| {
                if number % 2 == 0 {
                    drop(theirs.0.read().unwrap());
                } else {
                    *theirs.0.write().unwrap() += 1;
                }
            });
            it.1.store(true, Ordering::Relaxed);
            greedy.join().unwrap();
            assert_eq!(*it.0.read().unwrap(), 2);
        });
    }

    #[test]
    fn lets_a_writer_go_on_as_a_reader() {
        among_all_crowds(|crowd| {
            let lock = Arc::new(RwLock::new(0));
            crowd.run(4, move |_| {
                for _ in 0..200 {
                    let mut writer = lock.write().unwrap();
                    *writer += 1;
                    let mine = *writer;
                    let reader = RwLockWriteGuard::downgrade(writer);
                    yield_now();
                    assert_eq!(*reader, mine);
                }
            });
        });
    }

    #[test]
    fn is_poisoned_by_writers_and_not_by_readers() {
        let lock = RwLock::new(1);
        let caught = panic::catch_unwind(|| {
            let _reader = lock.read();
            panic!("while it reads");
        });
        assert!(caught.is_err() && !lock.is_poisoned());
        let caught = panic::catch_unwind(|| {
            let _writer = lock.write();
            panic!("while it writes");
        });
        assert!(caught.is_err() && lock.is_poisoned());
        assert!(lock.read().is_err());
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
        lock.clear_poison();
        let reader = lock.read().unwrap();
        assert!(lock.try_read().is_ok());
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(reader);
        let writer = lock.write().unwrap();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        drop(writer);
        assert_eq!(lock.into_inner().unwrap(), 1);
    }
}

mod once {
    use super::*;

    #[test]
    fn is_done_by_one_and_awaited_by_all() {
        among_all_crowds(|crowd| {
            for _ in 0..50 {
                let it = Arc::new((Once::new(), AtomicU32::new(0)));
                crowd.run(6, move |number| {
                    if number == 0 {
                        it.0.wait();
                    } else {
                        it.0.call_once(|| {
                            yield_now();
                            it.1.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                    assert_eq!(it.1.load(Ordering::Relaxed), 1);
                });
            }
        });
    }

    #[test]
    fn is_poisoned_until_somebody_forgives() {
        let once = Once::new();
        let panics = |f: &dyn Fn()| panic::catch_unwind(AssertUnwindSafe(f)).is_err();
        assert!(panics(&|| once.call_once(|| panic!("over it"))));
        assert!(!once.is_completed());
        assert!(panics(&|| once.call_once(|| unreachable!("it is poisoned"))));
        assert!(panics(&|| once.wait()));
        once.call_once_force(|state| assert!(state.is_poisoned()));
        assert!(once.is_completed());
        once.wait();
        once.call_once(|| unreachable!("it is done"));
    }

    #[test]
    fn a_lock_gets_one_of_the_values_that_several_want_to_set() {
        among_all_crowds(|crowd| {
            for _ in 0..50 {
                let lock = Arc::new(OnceLock::new());
                let theirs = lock.clone();
                let set = crowd.run(6, move |number| {
                    if number % 2 == 0 {
                        theirs.wait();
                        false
                    } else {
                        let set = theirs.set(number.to_string()).is_ok();
                        assert!(theirs.get().is_some());
                        set
                    }
                });
                assert_eq!(set.iter().filter(|set| **set).count(), 1);
                let mut lock = Arc::into_inner(lock).unwrap();
                assert!(lock.take().is_some() && lock.get().is_none());
            }
        });
    }

    #[test]
    fn a_lock_drops_its_value_once() {
        let value = Arc::new(());
        let lock = OnceLock::from(value.clone());
        let copy = lock.clone();
        assert!(lock == copy && Arc::strong_count(&value) == 3);
        assert!(lock.into_inner().is_some());
        drop(copy);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_panic_of_its_closure_leaves_a_lock_unset() {
        let lock = OnceLock::new();
        let panic = || lock.get_or_init(|| panic!("no value"));
        assert!(panic::catch_unwind(AssertUnwindSafe(panic)).is_err());
        assert_eq!(lock.get(), None);
        assert_eq!(*lock.get_or_init(|| 3), 3);
    }

    #[test]
    fn a_lazy_value_is_made_once_and_never_after_a_panic() {
        among_all_crowds(|crowd| {
            let made = Arc::new(AtomicU32::new(0));
            let counter = made.clone();
            let lazy = Arc::new(LazyLock::new(move || {
                yield_now();
                counter.fetch_add(1, Ordering::Relaxed)
            }));
            crowd.run(6, move |_| assert_eq!(**lazy, 0));
            assert_eq!(made.load(Ordering::Relaxed), 1);
        });
        let mut lazy = LazyLock::new(|| 1);
        *lazy += 1;
        assert_eq!(LazyLock::get(&lazy), Some(&2));
        let failing: LazyLock<u32> = LazyLock::new(|| panic!("no value"));
        for _ in 0..2 {
            assert!(panic::catch_unwind(AssertUnwindSafe(|| *failing)).is_err());
        }
        assert_eq!(LazyLock::get(&failing), None);
    }
}

mod barrier {
    use super::*;

    #[test]
    fn keeps_rounds_apart_and_has_one_leader_in_each() {
        among_all_crowds(|crowd| {
            const PARTIES: usize = 5;
            let it = Arc::new((Barrier::new(PARTIES), AtomicUsize::new(0)));
            let led: usize = crowd
                .run(PARTIES, move |_| {
                    let mut led = 0;
                    for round in 1..=200 {
                        it.1.fetch_add(1, Ordering::Relaxed);
                        led += usize::from(it.0.wait().is_leader());
                        assert_eq!(it.1.load(Ordering::Relaxed), PARTIES * round);
                        it.0.wait();
                    }
                    led
                })
                .into_iter()
                .sum();
            assert_eq!(led, 200);
        });
    }

    #[test]
    fn of_one_or_none_lets_everybody_pass() {
        assert!(Barrier::new(0).wait().is_leader());
        assert!(Barrier::new(1).wait().is_leader());
    }
}

mod semaphore {
    use super::*;

    #[test]
    fn never_has_more_users_than_permits() {
        among_all_crowds(|crowd| {
            let it = Arc::new((Semaphore::bounded(3), AtomicUsize::new(0)));
            let theirs = it.clone();
            crowd.run(10, move |number| {
                for round in 0..300 {
                    let permit = if number % 5 == 4 {
                        let wait = Duration::from_micros(20);
                        match theirs.0.acquire_timeout(wait) {
                            Some(permit) => permit,
                            None => continue,
                        }
                    } else {
                        theirs.0.acquire()
                    };
                    assert!(theirs.1.fetch_add(1, Ordering::Relaxed) < 3);
                    if round % 16 == 0 {
                        yield_now();
                    }
                    theirs.1.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                }
            });
            assert_eq!(it.0.available_permits(), 3);
        });
    }

    #[test]
    fn serves_those_who_wait_in_the_order_in_which_they_came() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let it = Arc::new((Semaphore::new(1), Mutex::new((Vec::new(), Vec::new()))));
            let first = it.0.acquire();
            let waiters: Vec<_> = (0..5)
                .map(|number| {
                    let it = it.clone();
                    spawn(move || {
                        it.1.lock().unwrap().0.push(number);
                        let permit = it.0.acquire();
                        it.1.lock().unwrap().1.push(number);
                        drop(permit);
                    })
                })
                .collect();
            while it.1.lock().unwrap().0.len() < 5 {
                yield_now();
            }
            drop(first);
            // Whoever comes now does not overtake them.
            drop(it.0.acquire());
            let (came, served) = &*it.1.lock().unwrap();
            assert_eq!(came, served);
            waiters
                .into_iter()
                .for_each(|waiter| waiter.join().unwrap());
        });
    }

    #[test]
    fn refuses_a_permit_more_than_it_is_bounded_to() {
        let semaphore = Semaphore::bounded(2);
        assert!(semaphore.try_release(1).is_err());
        let permit = semaphore.acquire();
        assert!(semaphore.try_release(2).is_err());
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.release(1);
        let surplus = panic::catch_unwind(AssertUnwindSafe(|| drop(permit)));
        assert!(surplus.is_err());
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    fn gives_a_permit_to_the_next_if_a_waiter_has_gone() {
        among_all_crowds(|crowd| {
            let semaphore = Arc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            let gone = crowd.run(4, move |_| {
                theirs
                    .acquire_timeout(Duration::from_millis(1))
                    .map(|permit| permit.forget())
            });
            assert_eq!(gone, [None; 4]);
            let theirs = semaphore.clone();
            let patient = crowd.spawn(move || theirs.acquire_owned().forget());
            semaphore.release(2);
            patient.join().unwrap();
            assert_eq!(semaphore.available_permits(), 1);
        });
    }
}
