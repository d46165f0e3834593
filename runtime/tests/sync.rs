//! The types of `sync`, between green threads, between OS threads, and between the two.
//!
//! Where a test runs `among` all crowds, a lost wake-up hangs it; a watchdog ends the process then.

use std::cmp;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use greenpatch_runtime::sync::{
    AsyncResult, Barrier, Condvar, Event, LazyLock, LifoQueue, Mutex, Once, OnceLock,
    PriorityQueue, Queue, RecvError, RwLock, RwLockWriteGuard, Semaphore, SendError, TryLockError,
    TryRecvError, TrySendError, WaitGroup, mpmc,
};
use greenpatch_runtime::time::timeout;
use greenpatch_runtime::{Interrupted, JoinHandle, Runtime, spawn, yield_now};

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

mod event {
    use super::*;

    #[test]
    fn lets_all_pass_while_it_is_set() {
        among_all_crowds(|crowd| {
            for _ in 0..50 {
                let it = Arc::new((Event::new(), AtomicBool::new(false)));
                let theirs = it.clone();
                crowd.run(6, move |number| {
                    if number == 3 {
                        theirs.1.store(true, Ordering::Relaxed);
                        theirs.0.set();
                    }
                    theirs.0.wait().unwrap();
                    assert!(theirs.1.load(Ordering::Relaxed));
                });
                it.0.clear();
                assert!(!it.0.is_set());
            }
        });
    }

    #[test]
    fn wakes_who_waits_though_it_is_cleared_at_once() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let event = Arc::new(Event::new());
            let waiting = Arc::new(AtomicU32::new(0));
            let waiters: Vec<_> = (0..5)
                .map(|_| {
                    let (event, waiting) = (event.clone(), waiting.clone());
                    spawn(move || {
                        waiting.fetch_add(1, Ordering::Relaxed);
                        event.wait()
                    })
                })
                .collect();
            while waiting.load(Ordering::Relaxed) < 5 {
                yield_now();
            }
            event.set();
            event.clear();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Ok(()));
            }
            let soon = Duration::from_millis(1);
            assert_eq!(event.wait_timeout(soon), Err(Interrupted::TimedOut));
        });
    }
}

mod async_result {
    use super::*;

    #[test]
    fn is_set_once_and_had_by_all() {
        among_all_crowds(|crowd| {
            for _ in 0..50 {
                let result = Arc::new(AsyncResult::new());
                assert_eq!(result.try_get(), None);
                let theirs = result.clone();
                let had = crowd.run(6, move |number| {
                    let set = number % 3 == 2 && theirs.set(number).is_ok();
                    (*theirs.get().unwrap(), set)
                });
                let value = *result.try_get().unwrap();
                assert!(had.iter().all(|(had, _)| *had == value));
                assert_eq!(had.iter().filter(|(_, set)| *set).count(), 1);
            }
        });
    }

    #[test]
    fn may_be_a_failure() {
        let result = AsyncResult::new();
        let soon = Duration::from_millis(1);
        assert_eq!(result.get_timeout(soon), Err(Interrupted::TimedOut));
        let failure: Result<(), &str> = Err("no answer");
        result.set(failure).unwrap();
        assert_eq!(result.get(), Ok(&Err("no answer")));
        assert_eq!(result.set(Ok(())), Err(Ok(())));
        assert_eq!(result.into_inner(), Some(failure));
    }
}

mod wait_group {
    use super::*;

    #[test]
    fn is_left_when_all_tasks_are_done() {
        among_all_crowds(|crowd| {
            for _ in 0..50 {
                let it = Arc::new((WaitGroup::new(), AtomicU32::new(0)));
                it.0.add(4);
                let theirs = it.clone();
                crowd.run(7, move |number| {
                    if number < 3 {
                        theirs.0.wait().unwrap();
                        assert_eq!(theirs.1.load(Ordering::Relaxed), 4);
                    } else {
                        theirs.1.fetch_add(1, Ordering::Relaxed);
                        theirs.0.done();
                    }
                });
                assert_eq!(it.0.count(), 0);
            }
        });
    }

    #[test]
    fn counts_a_task_that_panicked_as_done() {
        let group = Arc::new(WaitGroup::new());
        let task = WaitGroup::task(&group);
        let soon = Duration::from_millis(1);
        assert_eq!(group.wait_timeout(soon), Err(Interrupted::TimedOut));
        let task = thread::spawn(move || {
            let _task = task;
            panic!("in the middle of its work");
        });
        group.wait().unwrap();
        assert!(task.join().is_err());
        assert!(panic::catch_unwind(AssertUnwindSafe(|| group.done())).is_err());
    }
}

mod channel {
    use super::*;

    /// Every item is received once, by somebody, and each sender's in order.
    #[test]
    fn passes_every_item_on_once_whatever_its_capacity() {
        among_all_crowds(|crowd| {
            for capacity in [0, 1, 7, usize::MAX] {
                const ITEMS: usize = 500;
                let (sender, receiver) = mpmc::sync_channel(capacity);
                let receivers: Vec<_> = (0..3)
                    .map(|_| {
                        let receiver = receiver.clone();
                        crowd.spawn(move || receiver.iter().collect::<Vec<_>>())
                    })
                    .collect();
                drop(receiver);
                crowd.run(4, move |from| {
                    for number in 0..ITEMS {
                        sender.send((from, number)).unwrap();
                    }
                });
                let mut all = Vec::new();
                for receiver in receivers {
                    let received = receiver.join().unwrap();
                    for from in 0..4 {
                        let numbers = received.iter().filter(|item| item.0 == from);
                        assert!(numbers.is_sorted());
                    }
                    all.extend(received);
                }
                all.sort_unstable();
                let sent = (0..4).flat_map(|from| (0..ITEMS).map(move |number| (from, number)));
                assert!(all.into_iter().eq(sent));
            }
        });
    }

    #[test]
    fn loses_nothing_to_waits_that_are_cut_short() {
        among_all_crowds(|crowd| {
            for capacity in [0, 1, 7] {
                const ITEMS: u64 = 300;
                let (sender, receiver) = mpmc::sync_channel(capacity);
                let receivers: Vec<_> = (0..3)
                    .map(|number| {
                        let receiver = receiver.clone();
                        crowd.spawn(move || {
                            let mut sum = 0;
                            loop {
                                let wait = Duration::from_micros(10 * number);
                                let received = match number {
                                    0 => receiver.recv(),
                                    _ => receiver.recv_timeout(wait),
                                };
                                match received {
                                    Ok(item) => sum += item,
                                    Err(RecvError::TimedOut) => yield_now(),
                                    Err(RecvError::Disconnected) => return sum,
                                    Err(RecvError::Cancelled) => unreachable!(),
                                }
                            }
                        })
                    })
                    .collect();
                drop(receiver);
                crowd.run(4, move |from| {
                    for mut item in 1..=ITEMS {
                        while let Err(error) =
                            sender.send_timeout(item, Duration::from_micros(10 * from as u64))
                        {
                            assert!(matches!(error, SendError::TimedOut(_)));
                            item = error.into_inner();
                            yield_now();
                        }
                    }
                });
                let sum: u64 = receivers
                    .into_iter()
                    .map(|receiver| receiver.join().unwrap())
                    .sum();
                assert_eq!(sum, 4 * ITEMS * (ITEMS + 1) / 2);
            }
        });
    }

    #[test]
    fn plays_a_long_game_of_ping_pong() {
        among_all_crowds(|crowd| {
            for capacity in [0, 1, usize::MAX] {
                let (serve, served) = mpmc::sync_channel(capacity);
                let (give_back, given_back) = mpmc::sync_channel(capacity);
                let partner = crowd.spawn(move || {
                    for ball in served {
                        give_back.send(ball + 1).unwrap();
                    }
                });
                let player = crowd.spawn(move || {
                    let mut ball = 0;
                    for _ in 0..1000 {
                        serve.send(ball).unwrap();
                        ball = given_back.recv().unwrap();
                    }
                    ball
                });
                assert_eq!(player.join().unwrap(), 1000);
                partner.join().unwrap();
            }
        });
    }

    #[test]
    fn without_senders_gives_what_is_left_and_ends() {
        let (sender, receiver) = mpmc::channel();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        let other = sender.clone();
        assert!(sender.same_channel(&other));
        sender.send(1).unwrap();
        other.send(2).unwrap();
        drop((sender, other));
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2]);
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        let long = Duration::from_secs(1000);
        assert_eq!(receiver.recv_timeout(long), Err(RecvError::Disconnected));
        assert_eq!(receiver.into_iter().next(), None);
    }

    #[test]
    fn without_receivers_drops_what_is_left_and_gives_items_back() {
        let item = Arc::new(());
        let (sender, receiver) = mpmc::sync_channel(1);
        sender.send(item.clone()).unwrap();
        assert!(sender.is_full() && sender.len() == 1);
        let other = receiver.clone();
        drop(receiver);
        assert!(matches!(
            sender.try_send(item.clone()),
            Err(TrySendError::Full(_))
        ));
        drop(other);
        assert_eq!(Arc::strong_count(&item), 1);
        let refused = sender.send(item.clone()).unwrap_err();
        assert!(matches!(refused, SendError::Disconnected(_)));
        assert!(matches!(
            sender.try_send(refused.into_inner()),
            Err(TrySendError::Disconnected(_))
        ));
    }

    #[test]
    fn gives_notice_to_those_who_wait_when_the_other_side_goes() {
        among_all_crowds(|crowd| {
            let (sender, receiver) = mpmc::sync_channel(0);
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let sender = sender.clone();
                    crowd.spawn(move || sender.send(1))
                })
                .collect();
            assert_eq!(receiver.recv(), Ok(1));
            drop(receiver);
            let refused = senders
                .into_iter()
                .map(|sender| sender.join().unwrap())
                .filter(|sent| *sent == Err(SendError::Disconnected(1)))
                .count();
            assert_eq!(refused, 2);

            let (sender, receiver) = mpmc::channel::<()>();
            let receivers: Vec<_> = (0..3)
                .map(|_| {
                    let receiver = receiver.clone();
                    crowd.spawn(move || receiver.recv())
                })
                .collect();
            drop(sender);
            for receiver in receivers {
                assert_eq!(receiver.join().unwrap(), Err(RecvError::Disconnected));
            }
        });
    }

    #[test]
    fn of_no_capacity_is_empty_and_full() {
        let (sender, receiver) = mpmc::sync_channel(0);
        assert!(sender.is_empty() && receiver.is_full() && sender.capacity() == Some(0));
        assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
        let soon = Duration::from_millis(1);
        assert!(matches!(
            sender.send_timeout(1, soon),
            Err(SendError::TimedOut(1))
        ));
        assert_eq!(receiver.recv_timeout(soon), Err(RecvError::TimedOut));
        let (sender, _receiver) = mpmc::channel::<u32>();
        assert!(!sender.is_full() && sender.capacity().is_none());
    }
}

mod queue {
    use super::*;
    use std::cmp::Reverse;

    #[test]
    fn has_the_order_of_its_kind() {
        let items = [2, 3, 1];
        let fifo = Queue::unbounded();
        let lifo = LifoQueue::unbounded();
        let greatest = PriorityQueue::unbounded();
        let least = PriorityQueue::unbounded();
        for item in items {
            fifo.put(item).unwrap();
            lifo.put(item).unwrap();
            greatest.put(item).unwrap();
            least.put(Reverse(item)).unwrap();
        }
        fifo.close();
        lifo.close();
        greatest.close();
        least.close();
        assert_eq!(fifo.iter().collect::<Vec<_>>(), [2, 3, 1]);
        assert_eq!(lifo.iter().collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!(greatest.iter().collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(
            least.iter().map(|item| item.0).collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }

    #[test]
    fn is_joined_when_all_items_are_done() {
        among_all_crowds(|crowd| {
            let it = Arc::new((Queue::bounded(4), AtomicUsize::new(0)));
            let workers: Vec<_> = (0..3)
                .map(|_| {
                    let it = it.clone();
                    crowd.spawn(move || {
                        for item in &it.0 {
                            it.1.fetch_add(item, Ordering::Relaxed);
                            it.0.task_done();
                        }
                    })
                })
                .collect();
            let theirs = it.clone();
            crowd.run(1, move |_| {
                for round in 1..=20 {
                    (0..50).for_each(|_| theirs.0.put(1).unwrap());
                    theirs.0.join().unwrap();
                    assert_eq!(theirs.1.load(Ordering::Relaxed), 50 * round);
                }
            });
            it.0.close();
            workers
                .into_iter()
                .for_each(|worker| worker.join().unwrap());
            assert!(panic::catch_unwind(AssertUnwindSafe(|| it.0.task_done())).is_err());
        });
    }

    #[test]
    fn once_closed_takes_nothing_in() {
        among_all_crowds(|crowd| {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(0).unwrap();
            let theirs = queue.clone();
            let waiting = crowd.spawn(move || theirs.put(1));
            assert_eq!(queue.get(), Ok(0));
            assert_eq!(waiting.join().unwrap(), Ok(()));
            let theirs = queue.clone();
            let waiting = crowd.spawn(move || theirs.put(2));
            queue.close();
            assert_eq!(waiting.join().unwrap(), Err(SendError::Disconnected(2)));
            assert!(queue.is_closed());
            assert_eq!(queue.try_put(3), Err(TrySendError::Disconnected(3)));
            assert_eq!(queue.get(), Ok(1));
            assert_eq!(queue.get(), Err(RecvError::Disconnected));
            assert_eq!(queue.unfinished(), 2);
        });
    }

    #[test]
    fn closed_at_once_counts_what_was_left_as_done() {
        let queue = PriorityQueue::bounded(3);
        (1..=3).for_each(|item| queue.put(item).unwrap());
        assert_eq!(queue.try_put(4), Err(TrySendError::Full(4)));
        assert_eq!(queue.get(), Ok(3));
        let soon = Duration::from_millis(1);
        assert_eq!(queue.join_timeout(soon), Err(Interrupted::TimedOut));
        assert_eq!(queue.close_now().into_sorted_vec(), [1, 2]);
        queue.task_done();
        queue.join().unwrap();
    }

    #[test]
    fn passes_items_from_hand_to_hand_without_room_for_any() {
        among_all_crowds(|crowd| {
            let queue = Arc::new(LifoQueue::bounded(0));
            let theirs = queue.clone();
            let putter = crowd.spawn(move || (0..200).for_each(|item| theirs.put(item).unwrap()));
            for item in 0..200 {
                assert_eq!(queue.get(), Ok(item));
            }
            putter.join().unwrap();
        });
    }

    #[test]
    fn survives_items_whose_comparison_panics() {
        struct Moody(u32);
        impl Ord for Moody {
            fn cmp(&self, other: &Moody) -> std::cmp::Ordering {
                assert!(self.0 + other.0 != 3, "not these two");
                self.0.cmp(&other.0)
            }
        }
        impl PartialOrd for Moody {
            fn partial_cmp(&self, other: &Moody) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl PartialEq for Moody {
            fn eq(&self, other: &Moody) -> bool {
                self.0 == other.0
            }
        }
        impl Eq for Moody {}

        let queue = PriorityQueue::unbounded();
        queue.put(Moody(1)).unwrap();
        assert!(panic::catch_unwind(AssertUnwindSafe(|| queue.put(Moody(2)))).is_err());
        assert!(queue.try_get().is_ok());
        queue.put(Moody(5)).unwrap();
        assert!(queue.try_get().is_ok());
    }
}

mod interruption {
    use super::*;

    const SOON: Duration = Duration::from_millis(2);

    type Wait = fn() -> Result<(), Interrupted>;

    /// Every wait that can say so, each for what never comes.
    fn waits() -> Vec<(&'static str, Wait)> {
        fn received<T>(result: Result<T, RecvError>) -> Result<(), Interrupted> {
            match result {
                Err(RecvError::TimedOut) => Err(Interrupted::TimedOut),
                Err(RecvError::Cancelled) => Err(Interrupted::Cancelled),
                _ => Ok(()),
            }
        }
        fn sent<T>(result: Result<(), SendError<T>>) -> Result<(), Interrupted> {
            match result {
                Err(SendError::TimedOut(_)) => Err(Interrupted::TimedOut),
                Err(SendError::Cancelled(_)) => Err(Interrupted::Cancelled),
                _ => Ok(()),
            }
        }
        const LONG: Duration = Duration::from_secs(1000);
        vec![
            ("Event::wait", || Event::new().wait()),
            ("Event::wait_timeout", || Event::new().wait_timeout(LONG)),
            ("AsyncResult::get", || {
                AsyncResult::<()>::new().get().map(|_| ())
            }),
            ("AsyncResult::get_timeout", || {
                AsyncResult::<()>::new().get_timeout(LONG).map(|_| ())
            }),
            ("WaitGroup::wait", || {
                let group = WaitGroup::new();
                group.add(1);
                group.wait()
            }),
            ("WaitGroup::wait_timeout", || {
                let group = WaitGroup::new();
                group.add(1);
                group.wait_timeout(LONG)
            }),
            ("recv", || {
                let (_sender, receiver) = mpmc::channel::<()>();
                received(receiver.recv())
            }),
            ("recv_timeout", || {
                let (_sender, receiver) = mpmc::channel::<()>();
                received(receiver.recv_timeout(LONG))
            }),
            ("send", || {
                let (sender, _receiver) = mpmc::sync_channel(0);
                sent(sender.send(()))
            }),
            ("send_timeout", || {
                let (sender, _receiver) = mpmc::sync_channel(0);
                sent(sender.send_timeout((), LONG))
            }),
            ("Queue::get", || received(Queue::<()>::unbounded().get())),
            ("Queue::put", || sent(Queue::bounded(0).put(()))),
            ("Queue::join", || {
                let queue = Queue::unbounded();
                queue.put(()).unwrap();
                queue.join()
            }),
        ]
    }

    #[test]
    fn ends_a_wait_with_the_time_around_it() {
        let _watchdog = Watchdog::new();
        for (name, wait) in waits() {
            let alone = timeout(SOON, wait).unwrap_err().into_inner();
            assert_eq!(alone, Err(Interrupted::TimedOut), "{name}");
        }
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            for (name, wait) in waits() {
                let late = timeout(SOON, wait).unwrap_err().into_inner();
                assert_eq!(late, Err(Interrupted::TimedOut), "{name}");
            }
        });
    }

    #[test]
    fn ends_a_wait_of_a_cancelled_green_thread() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            for (name, wait) in waits() {
                let waiter = spawn(wait);
                yield_now();
                waiter.cancel();
                assert_eq!(
                    waiter.join().unwrap(),
                    Err(Interrupted::Cancelled),
                    "{name}"
                );
            }
        });
    }

    #[test]
    fn ends_a_timed_wait_that_has_no_word_for_it_as_a_time_out() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let long = Duration::from_secs(1000);
            let waiter = spawn(move || {
                let (mutex, never) = (Mutex::new(()), Condvar::new());
                let guard = mutex.lock().unwrap();
                let (guard, first) = never.wait_timeout(guard, long).unwrap();
                let (_, second) = never.wait_timeout_while(guard, long, |()| true).unwrap();
                let third = Semaphore::new(0).acquire_timeout(long).is_none();
                first.timed_out() && second.timed_out() && third
            });
            yield_now();
            waiter.cancel();
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn leaves_what_can_be_had_at_once() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let waiter = spawn(|| {
                while greenpatch_runtime::checkpoint().is_ok() {
                    yield_now();
                }
                let (sender, receiver) = mpmc::sync_channel(1);
                sender.send(1).unwrap();
                assert_eq!(sender.send(2), Err(SendError::Cancelled(2)));
                assert_eq!(receiver.recv(), Ok(1));
                assert_eq!(receiver.recv(), Err(RecvError::Cancelled));
                let event = Event::new();
                event.set();
                event.wait().unwrap();
                WaitGroup::new().wait().unwrap();
                assert!(Semaphore::new(1).acquire_timeout(SOON).is_some());
            });
            yield_now();
            waiter.cancel();
            waiter.join().unwrap();
        });
    }

    #[test]
    fn does_not_touch_waits_that_cannot_say_so() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let it = Arc::new((Mutex::new(()), RwLock::new(()), Semaphore::new(0)));
            let held = (it.0.lock().unwrap(), it.1.write().unwrap());
            let theirs = it.clone();
            let waiter = spawn(move || {
                drop(theirs.0.lock().unwrap());
                drop(theirs.1.read().unwrap());
                theirs.2.acquire().forget();
            });
            yield_now();
            waiter.cancel();
            yield_now();
            drop(held);
            yield_now();
            assert!(!waiter.is_finished());
            it.2.release(1);
            waiter.join().unwrap();
        });
    }

    #[test]
    fn leaves_room_for_others_in_a_loop_of_waits_that_all_end_at_once() {
        let _watchdog = Watchdog::new();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let (sender, receiver) = mpmc::channel();
            let stubborn = spawn(move || {
                loop {
                    match receiver.recv() {
                        Err(RecvError::Cancelled) => {}
                        received => return received,
                    }
                }
            });
            yield_now();
            stubborn.cancel();
            yield_now();
            sender.send(7).unwrap();
            assert_eq!(stubborn.join().unwrap(), Ok(7));
        });
    }
}

/// An item whose comparison can be made to panic, and whose drop looks at its queue.
struct Touchy {
    number: u32,
    queue: Weak<PriorityQueue<Touchy>>,
    panics: Arc<AtomicBool>,
}

impl Ord for Touchy {
    fn cmp(&self, other: &Touchy) -> cmp::Ordering {
        if self.panics.load(Ordering::SeqCst) {
            panic::resume_unwind(Box::new("a comparison"));
        }
        self.number.cmp(&other.number)
    }
}

impl PartialOrd for Touchy {
    fn partial_cmp(&self, other: &Touchy) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Touchy) -> bool {
        self.number == other.number
    }
}

impl Eq for Touchy {}

impl Drop for Touchy {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.len();
        }
    }
}

#[test]
fn a_comparison_that_panics_leaves_neither_lock_nor_sender_behind() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        let queue = Arc::new(PriorityQueue::bounded(2));
        let panics = Arc::new(AtomicBool::new(false));
        let item = |number| Touchy {
            number,
            queue: Arc::downgrade(&queue),
            panics: panics.clone(),
        };
        assert!(queue.put(item(1)).is_ok() && queue.put(item(2)).is_ok());
        let (theirs, third) = (queue.clone(), item(3));
        let sender = spawn(move || theirs.put(third).is_ok());
        yield_now();
        // One item is taken, and the sender's is to come in its place.
        panics.store(true, Ordering::SeqCst);
        let taken = panic::catch_unwind(AssertUnwindSafe(|| queue.get().is_ok()));
        panics.store(false, Ordering::SeqCst);
        assert!(taken.is_err());
        assert!(sender.join().unwrap());
        assert_eq!(queue.len(), 2);
    });
}
