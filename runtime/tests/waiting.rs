//! Locks and wait queues between green threads, and between green threads and OS threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::futex::{self, Wait};
use greenpatch_runtime::sync::{Condvar, Mutex, Semaphore, TryLockError};
use greenpatch_runtime::{JoinHandle, Runtime, spawn, time, yield_now};

fn on_each_number_of_workers(test: impl Fn(&Runtime)) {
    for workers in [1, 2, 4] {
        test(&Runtime::builder().workers(workers).build().unwrap());
    }
}

fn join_all<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) {
    threads
        .into_iter()
        .for_each(|thread| drop(thread.join().unwrap()));
}

#[test]
fn a_mutex_excludes_green_threads_and_os_threads() {
    on_each_number_of_workers(|runtime| {
        let counter = Arc::new(Mutex::new(0_u64));
        let add = |counter: Arc<Mutex<u64>>, pause: fn()| {
            move || {
                for _ in 0..1000 {
                    let mut held = counter.lock().unwrap();
                    let seen = *held;
                    pause();
                    *held = seen + 1;
                }
            }
        };
        let os: Vec<_> = (0..2)
            .map(|_| thread::spawn(add(counter.clone(), std::thread::yield_now)))
            .collect();
        let green: Vec<_> = (0..8)
            .map(|_| runtime.spawn(add(counter.clone(), yield_now)))
            .collect();
        join_all(green);
        os.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*counter.lock().unwrap(), 10_000);
    });
}

#[test]
fn a_panic_poisons_the_mutex_it_holds_and_no_other() {
    on_each_number_of_workers(|runtime| {
        runtime.run(|| {
            let (held, free) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
            let theirs = held.clone();
            let other = free.clone();
            let watcher = spawn(move || {
                for _ in 0..100 {
                    let _guard = other.lock().unwrap();
                    yield_now();
                }
            });
            let panicking = spawn(move || {
                let _guard = theirs.lock().unwrap();
                yield_now();
                panic!("while it holds the lock");
            });
            assert!(panicking.join().is_err());
            watcher.join().unwrap();
            assert!(held.is_poisoned() && !free.is_poisoned());
            assert!(matches!(held.try_lock(), Err(TryLockError::Poisoned(_))));
            held.clear_poison();
            assert_eq!(*held.lock().unwrap(), 1);
        });
    });
}

#[test]
fn a_condition_variable_passes_items_from_os_threads_to_green_threads() {
    on_each_number_of_workers(|runtime| {
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let received = Arc::new(AtomicUsize::new(0));
        let consumers: Vec<_> = (0..4)
            .map(|_| {
                let (queue, received) = (queue.clone(), received.clone());
                runtime.spawn(move || {
                    let (items, changed) = &*queue;
                    loop {
                        let mut items = changed
                            .wait_while(items.lock().unwrap(), |items| items.is_empty())
                            .unwrap();
                        match items.pop() {
                            Some(0) => return,
                            Some(item) => received.fetch_add(item, Ordering::Relaxed),
                            None => unreachable!(),
                        };
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            queue.0.lock().unwrap().push(1);
            queue.1.notify_one();
        }
        while received.load(Ordering::Relaxed) < 1000 {
            thread::sleep(Duration::from_millis(1));
        }
        queue.0.lock().unwrap().extend([0; 4]);
        queue.1.notify_all();
        join_all(consumers);
        assert_eq!(received.load(Ordering::Relaxed), 1000);
    });
}

#[test]
fn a_timed_wait_ends_at_its_deadline_and_not_before() {
    on_each_number_of_workers(|runtime| {
        runtime.run(|| {
            let (mutex, changed) = (Mutex::new(()), Condvar::new());
            let start = Instant::now();
            let wait = Duration::from_millis(20);
            let (guard, outcome) = changed
                .wait_timeout_while(mutex.lock().unwrap(), wait, |()| true)
                .unwrap();
            assert!(outcome.timed_out() && start.elapsed() >= wait);
            drop(guard);
            let semaphore = Semaphore::new(0);
            assert!(semaphore.acquire_timeout(wait).is_none());
            semaphore.release(1);
            assert!(semaphore.acquire_timeout(wait).is_some());
        });
    });
}

#[test]
fn a_semaphore_admits_as_many_as_it_has_permits() {
    on_each_number_of_workers(|runtime| {
        let semaphore = Arc::new(Semaphore::new(5));
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        runtime.run(|| {
            let users: Vec<_> = (0..50)
                .map(|_| {
                    let (semaphore, inside, most) =
                        (semaphore.clone(), inside.clone(), most.clone());
                    spawn(move || {
                        let _permit = semaphore.acquire();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        time::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::SeqCst);
                    })
                })
                .collect();
            join_all(users);
        });
        assert_eq!(most.load(Ordering::SeqCst), 5);
        assert_eq!(semaphore.available_permits(), 5);
    });
}

#[test]
fn a_wait_on_a_word_that_has_changed_returns_at_once() {
    on_each_number_of_workers(|runtime| {
        runtime.run(|| {
            let word = AtomicU32::new(1);
            assert_eq!(futex::wait(&word, 0, None), Wait::Changed);
            let soon = Some(Deadline::after(Duration::from_millis(5)));
            assert_eq!(futex::wait(&word, 1, soon), Wait::TimedOut);
        });
    });
}

#[test]
fn requeued_waiters_are_woken_at_their_new_address() {
    on_each_number_of_workers(|runtime| {
        runtime.run(|| {
            let words = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
            let waiting = Arc::new(AtomicU32::new(0));
            let waiters: Vec<_> = (0..10)
                .map(|_| {
                    let (words, waiting) = (words.clone(), waiting.clone());
                    spawn(move || {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        while words.1.load(Ordering::SeqCst) == 0 {
                            futex::wait(&words.0, 0, None);
                        }
                    })
                })
                .collect();
            while waiting.load(Ordering::SeqCst) < 10 {
                yield_now();
            }
            // They count themselves just before they wait: let them.
            let mut moved = 0;
            while moved < 10 {
                time::sleep(Duration::from_millis(1));
                moved += futex::requeue_green(words.0.as_ptr(), words.1.as_ptr(), 0, 100).1;
            }
            assert_eq!(
                futex::wake(&words.0, u32::MAX),
                0,
                "nobody waits at the old address"
            );
            words.1.store(1, Ordering::SeqCst);
            assert_eq!(futex::wake(&words.1, u32::MAX), 10);
            join_all(waiters);
        });
    });
}

/// Two partners pass a word to and fro, each waiting for the other: a lost wake-up hangs the test.
#[test]
fn no_wake_up_is_lost_in_a_hundred_thousand_exchanges() {
    on_each_number_of_workers(|runtime| {
        for partners in ["green and green", "green and OS"] {
            let word = Arc::new(AtomicU32::new(0));
            let play = |word: Arc<AtomicU32>, mine: u32| {
                move || {
                    for _ in 0..50_000 {
                        while word.load(Ordering::Acquire) != mine {
                            futex::wait(&word, 1 - mine, None);
                        }
                        word.store(1 - mine, Ordering::Release);
                        futex::wake(&word, 1);
                    }
                }
            };
            let first = runtime.spawn(play(word.clone(), 0));
            if partners == "green and green" {
                runtime.spawn(play(word.clone(), 1)).join().unwrap();
            } else {
                play(word.clone(), 1)();
            }
            first.join().unwrap();
        }
    });
}
