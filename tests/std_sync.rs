//! std::sync, unmodified: the same bodies on OS threads and on green threads.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    a_contended_mutex_loses_no_update,
    a_mutex_held_across_a_sleep_excludes_others,
    a_panic_in_the_critical_section_poisons_the_mutex,
    try_lock_of_a_held_mutex_would_block,
    readers_hold_an_rwlock_together,
    a_writer_excludes_readers_and_writers,
    a_panicking_writer_poisons_the_rwlock,
    a_condvar_hands_a_token_back_and_forth,
    notify_all_wakes_every_waiter,
    notify_one_per_waiter_wakes_every_waiter,
    wait_timeout_ends_without_a_notification,
    wait_timeout_ends_early_on_a_notification,
    a_barrier_releases_all_and_names_one_leader,
    once_runs_once_and_the_others_wait_for_it,
    a_panicking_once_is_poisoned_and_can_be_forced,
    a_once_lock_is_initialized_by_one,
    a_lazy_lock_is_computed_once,
    a_channel_delivers_everything_in_each_senders_order,
    receiving_ends_when_the_last_sender_is_gone,
    sending_fails_when_the_receiver_is_gone,
    recv_timeout_ends_without_a_message,
    recv_timeout_ends_early_on_a_message,
    a_full_sync_channel_blocks_the_sender,
    a_rendezvous_channel_hands_over_each_message,
}

const SHORT: Duration = Duration::from_millis(50);
const FAR: Duration = Duration::from_secs(40);

fn a_contended_mutex_loses_no_update() {
    let total = Arc::new(Mutex::new(0u64));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let total = Arc::clone(&total);
            thread::spawn(move || {
                for round in 0..500 {
                    let mut guard = total.lock().unwrap();
                    let before = *guard;
                    if round % 8 == 0 {
                        thread::yield_now();
                    }
                    *guard = before + 1;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*total.lock().unwrap(), 16 * 500);
}

fn a_mutex_held_across_a_sleep_excludes_others() {
    let inside = Arc::new(Mutex::new(()));
    let occupants = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (inside, occupants) = (Arc::clone(&inside), Arc::clone(&occupants));
            thread::spawn(move || {
                let _guard = inside.lock().unwrap();
                assert_eq!(occupants.fetch_add(1, Ordering::SeqCst), 0);
                thread::sleep(Duration::from_millis(5));
                assert_eq!(occupants.fetch_sub(1, Ordering::SeqCst), 1);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn a_panic_in_the_critical_section_poisons_the_mutex() {
    let mutex = Arc::new(Mutex::new(7));
    let outcome = {
        let mutex = Arc::clone(&mutex);
        thread::spawn(move || {
            let mut guard = mutex.lock().unwrap();
            *guard = 8;
            panic!("in the critical section");
        })
        .join()
    };
    assert!(outcome.is_err());
    assert!(mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 8);
    mutex.clear_poison();
    assert_eq!(*mutex.lock().unwrap(), 8);
}

fn try_lock_of_a_held_mutex_would_block() {
    let mutex = Mutex::new(());
    let guard = mutex.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock))));
    });
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

fn readers_hold_an_rwlock_together() {
    let lock = Arc::new(RwLock::new(5));
    let all_reading = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (lock, all_reading) = (Arc::clone(&lock), Arc::clone(&all_reading));
            thread::spawn(move || {
                let guard = lock.read().unwrap();
                // Passes only if all eight hold the lock at once.
                all_reading.wait();
                *guard
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 5);
    }
}

fn a_writer_excludes_readers_and_writers() {
    let pair = Arc::new(RwLock::new((0u64, 0u64)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                for _ in 0..100 {
                    let mut guard = pair.write().unwrap();
                    guard.0 += 1;
                    thread::yield_now();
                    guard.1 += 1;
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                for _ in 0..100 {
                    let guard = pair.read().unwrap();
                    let first = guard.0;
                    thread::yield_now();
                    assert_eq!(first, guard.1);
                }
            })
        })
        .collect();
    for thread in writers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
    assert_eq!(*pair.read().unwrap(), (400, 400));
}

fn a_panicking_writer_poisons_the_rwlock() {
    let lock = Arc::new(RwLock::new(1));
    let outcome = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || {
            let _guard = lock.write().unwrap();
            panic!("while writing");
        })
        .join()
    };
    assert!(outcome.is_err());
    assert!(lock.read().is_err());
    assert!(lock.write().is_err());
}

fn a_condvar_hands_a_token_back_and_forth() {
    const ROUNDS: u32 = 1_000;
    let turn = Arc::new((Mutex::new(0u32), Condvar::new()));
    let player = |parity: u32| {
        let turn = Arc::clone(&turn);
        thread::spawn(move || {
            let (count, changed) = &*turn;
            for _ in 0..ROUNDS {
                let mut guard = changed
                    .wait_while(count.lock().unwrap(), |n| *n % 2 != parity)
                    .unwrap();
                *guard += 1;
                changed.notify_one();
            }
        })
    };
    let (even, odd) = (player(0), player(1));
    even.join().unwrap();
    odd.join().unwrap();
    assert_eq!(*turn.0.lock().unwrap(), 2 * ROUNDS);
}

/// Starts `count` threads that wait on one condition variable, calls `notify` when all of them
/// wait, and joins them.
fn wake_waiters(count: usize, notify: impl Fn(&Condvar)) {
    struct Room {
        waiting: usize,
        open: bool,
    }
    let shared = Arc::new((
        Mutex::new(Room {
            waiting: 0,
            open: false,
        }),
        Condvar::new(),
        Condvar::new(),
    ));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (room, entered, opened) = &*shared;
                let mut guard = room.lock().unwrap();
                guard.waiting += 1;
                entered.notify_one();
                drop(opened.wait_while(guard, |room| !room.open).unwrap());
            })
        })
        .collect();
    let (room, entered, opened) = &*shared;
    let mut guard = entered
        .wait_while(room.lock().unwrap(), |room| room.waiting < count)
        .unwrap();
    guard.open = true;
    drop(guard);
    notify(opened);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn notify_all_wakes_every_waiter() {
    wake_waiters(20, |opened| opened.notify_all());
}

fn notify_one_per_waiter_wakes_every_waiter() {
    wake_waiters(20, |opened| (0..20).for_each(|_| opened.notify_one()));
}

fn wait_timeout_ends_without_a_notification() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let started = Instant::now();
    let (_guard, outcome) = condvar
        .wait_timeout_while(mutex.lock().unwrap(), SHORT, |()| true)
        .unwrap();
    assert!(outcome.timed_out());
    assert!(started.elapsed() >= SHORT);
}

fn wait_timeout_ends_early_on_a_notification() {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let started = Instant::now();
    let notifier = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            *shared.0.lock().unwrap() = true;
            shared.1.notify_one();
        })
    };
    let (guard, outcome) = shared
        .1
        .wait_timeout_while(shared.0.lock().unwrap(), FAR, |set| !*set)
        .unwrap();
    assert!(!outcome.timed_out());
    assert!(*guard);
    assert!(started.elapsed() < FAR / 2);
    drop(guard);
    notifier.join().unwrap();
}

fn a_barrier_releases_all_and_names_one_leader() {
    const THREADS: usize = 10;
    const ROUNDS: usize = 50;
    let barrier = Arc::new(Barrier::new(THREADS));
    let arrived = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (barrier, arrived) = (Arc::clone(&barrier), Arc::clone(&arrived));
            thread::spawn(move || {
                let mut led = 0;
                for round in 1..=ROUNDS {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    led += usize::from(barrier.wait().is_leader());
                    assert!(arrived.load(Ordering::SeqCst) >= round * THREADS);
                }
                led
            })
        })
        .collect();
    let led: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(led, ROUNDS);
}

fn once_runs_once_and_the_others_wait_for_it() {
    let once = Arc::new(Once::new());
    let runs = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (once, runs, done) = (Arc::clone(&once), Arc::clone(&runs), Arc::clone(&done));
            thread::spawn(move || {
                once.call_once(|| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(SHORT);
                    done.store(true, Ordering::SeqCst);
                });
                assert!(done.load(Ordering::SeqCst));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

fn a_panicking_once_is_poisoned_and_can_be_forced() {
    let once = Once::new();
    let call = || once.call_once(|| panic!("first try"));
    assert!(panic::catch_unwind(AssertUnwindSafe(call)).is_err());
    assert!(panic::catch_unwind(AssertUnwindSafe(|| once.call_once(|| {}))).is_err());
    once.call_once_force(|state| assert!(state.is_poisoned()));
    assert!(once.is_completed());
}

fn a_once_lock_is_initialized_by_one() {
    let cell = Arc::new(OnceLock::new());
    let runs = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..10)
        .map(|index| {
            let (cell, runs) = (Arc::clone(&cell), Arc::clone(&runs));
            thread::spawn(move || {
                *cell.get_or_init(|| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(SHORT);
                    index
                })
            })
        })
        .collect();
    let seen: Vec<i32> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(seen.iter().all(|value| value == cell.get().unwrap()));
}

fn a_lazy_lock_is_computed_once() {
    let runs = Arc::new(AtomicUsize::new(0));
    let lazy = {
        let runs = Arc::clone(&runs);
        Arc::new(LazyLock::new(move || {
            thread::sleep(SHORT);
            runs.fetch_add(1, Ordering::SeqCst) + 41
        }))
    };
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let lazy = Arc::clone(&lazy);
            thread::spawn(move || **lazy)
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 41);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

fn a_channel_delivers_everything_in_each_senders_order() {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 500;
    let (sender, receiver) = mpsc::channel();
    for index in 0..SENDERS {
        let sender = sender.clone();
        thread::spawn(move || {
            for number in 0..MESSAGES {
                sender.send((index, number)).unwrap();
                if number % 16 == 0 {
                    thread::yield_now();
                }
            }
        });
    }
    drop(sender);
    let mut next = [0; SENDERS];
    for (index, number) in receiver {
        assert_eq!(number, next[index]);
        next[index] += 1;
    }
    assert_eq!(next, [MESSAGES; SENDERS]);
}

fn receiving_ends_when_the_last_sender_is_gone() {
    let (sender, receiver) = mpsc::channel::<()>();
    let waiter = thread::spawn(move || {
        let outcome = receiver.recv();
        (outcome.is_err(), receiver.try_recv())
    });
    thread::sleep(SHORT);
    drop(sender);
    assert_eq!(
        waiter.join().unwrap(),
        (true, Err(TryRecvError::Disconnected))
    );
}

fn sending_fails_when_the_receiver_is_gone() {
    let (sender, receiver) = mpsc::sync_channel(0);
    let blocked = thread::spawn(move || sender.send(9));
    thread::sleep(SHORT);
    drop(receiver);
    assert_eq!(blocked.join().unwrap().unwrap_err().0, 9);
}

fn recv_timeout_ends_without_a_message() {
    let (_sender, receiver) = mpsc::channel::<()>();
    let started = Instant::now();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    assert!(started.elapsed() >= SHORT);
}

fn recv_timeout_ends_early_on_a_message() {
    let (sender, receiver) = mpsc::channel();
    let started = Instant::now();
    thread::spawn(move || sender.send(3).unwrap());
    assert_eq!(receiver.recv_timeout(FAR), Ok(3));
    assert!(started.elapsed() < FAR / 2);
}

fn a_full_sync_channel_blocks_the_sender() {
    let (sender, receiver) = mpsc::sync_channel(2);
    sender.send(0).unwrap();
    sender.send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    let sent = Arc::new(AtomicBool::new(false));
    let blocked = {
        let sent = Arc::clone(&sent);
        thread::spawn(move || {
            sender.send(2).unwrap();
            sent.store(true, Ordering::SeqCst);
        })
    };
    thread::sleep(SHORT);
    assert!(!sent.load(Ordering::SeqCst));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    blocked.join().unwrap();
    assert!(sent.load(Ordering::SeqCst));
}

fn a_rendezvous_channel_hands_over_each_message() {
    let (sender, receiver) = mpsc::sync_channel(0);
    let producer = thread::spawn(move || (0..200).for_each(|n| sender.send(n).unwrap()));
    assert!(receiver.iter().eq(0..200));
    producer.join().unwrap();
}
