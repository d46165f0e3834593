//! OS threads and green threads share locks, channels and park tokens, and neither kind is lost.

use std::cell::UnsafeCell;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::Duration;

// For its shims.
use greenpatch as _;
use harness::{patched_runtime, with_1_and_2_workers};

with_1_and_2_workers! {
    a_mutex_excludes_across_kinds,
    an_rwlock_excludes_across_kinds,
    a_condvar_hands_a_token_across_kinds,
    notify_all_wakes_both_kinds,
    a_barrier_gathers_both_kinds,
    channels_carry_messages_both_ways,
    park_and_unpark_work_across_kinds,
    an_os_thread_joins_a_green_thread,
    a_green_thread_joins_an_os_thread,
    a_pthread_mutex_excludes_across_kinds,
    a_pthread_condvar_hands_a_token_across_kinds,
    a_recursive_pthread_mutex_excludes_green_threads,
    pthread_cond_timedwait_ends_on_a_green_thread,
}

const SHORT: Duration = Duration::from_millis(50);

/// Runs `body` on `each` OS threads, started first, and on as many std threads inside a runtime,
/// and waits for all.
fn on_both_kinds(workers: usize, each: usize, body: impl Fn() + Clone + Send + 'static) {
    let os_threads: Vec<_> = (0..each).map(|_| thread::spawn(body.clone())).collect();
    patched_runtime(workers).run(move || {
        let green_threads: Vec<_> = (0..each).map(|_| thread::spawn(body.clone())).collect();
        for thread in green_threads {
            thread.join().unwrap();
        }
    });
    for thread in os_threads {
        thread.join().unwrap();
    }
}

fn a_mutex_excludes_across_kinds(workers: usize) {
    let total = Arc::new(Mutex::new(0u32));
    let shared = Arc::clone(&total);
    on_both_kinds(workers, 4, move || {
        for _ in 0..500 {
            let mut guard = shared.lock().unwrap();
            let before = *guard;
            thread::yield_now();
            *guard = before + 1;
        }
    });
    assert_eq!(*total.lock().unwrap(), 8 * 500);
}

fn an_rwlock_excludes_across_kinds(workers: usize) {
    let pair = Arc::new(RwLock::new((0u32, 0u32)));
    let shared = Arc::clone(&pair);
    on_both_kinds(workers, 4, move || {
        for _ in 0..200 {
            let mut guard = shared.write().unwrap();
            guard.0 += 1;
            thread::yield_now();
            guard.1 += 1;
            drop(guard);
            let guard = shared.read().unwrap();
            let first = guard.0;
            thread::yield_now();
            assert_eq!(first, guard.1);
        }
    });
    assert_eq!(*pair.read().unwrap(), (1_600, 1_600));
}

fn a_condvar_hands_a_token_across_kinds(workers: usize) {
    const ROUNDS: u32 = 1_000;
    let turn = Arc::new((Mutex::new(0u32), Condvar::new()));
    let play = |turn: Arc<(Mutex<u32>, Condvar)>, parity: u32| {
        let (count, changed) = &*turn;
        for _ in 0..ROUNDS {
            let mut guard = changed
                .wait_while(count.lock().unwrap(), |n| *n % 2 != parity)
                .unwrap();
            *guard += 1;
            changed.notify_one();
        }
    };
    let os_thread = {
        let turn = Arc::clone(&turn);
        thread::spawn(move || play(turn, 0))
    };
    let shared = Arc::clone(&turn);
    patched_runtime(workers).run(move || play(shared, 1));
    os_thread.join().unwrap();
    assert_eq!(*turn.0.lock().unwrap(), 2 * ROUNDS);
}

fn notify_all_wakes_both_kinds(workers: usize) {
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
    ));
    let opener = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            while shared.0.lock().unwrap().waiting < 20 {
                thread::sleep(Duration::from_millis(1));
            }
            shared.0.lock().unwrap().open = true;
            shared.1.notify_all();
        })
    };
    on_both_kinds(workers, 10, move || {
        let mut guard = shared.0.lock().unwrap();
        guard.waiting += 1;
        drop(shared.1.wait_while(guard, |room| !room.open).unwrap());
    });
    opener.join().unwrap();
}

fn a_barrier_gathers_both_kinds(workers: usize) {
    const ROUNDS: usize = 100;
    let barrier = Arc::new(Barrier::new(10));
    let leaders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&leaders);
    on_both_kinds(workers, 5, move || {
        for _ in 0..ROUNDS {
            counted.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::SeqCst);
        }
    });
    assert_eq!(leaders.load(Ordering::SeqCst), ROUNDS);
}

fn channels_carry_messages_both_ways(workers: usize) {
    const ROUNDS: u32 = 1_000;
    let (to_green, from_os) = mpsc::channel::<u32>();
    let (to_os, from_green) = mpsc::sync_channel::<u32>(1);
    let os_thread = thread::spawn(move || {
        for round in 0..ROUNDS {
            to_green.send(round).unwrap();
            assert_eq!(from_green.recv(), Ok(round + 1));
        }
    });
    patched_runtime(workers).run(move || {
        for number in from_os {
            to_os.send(number + 1).unwrap();
        }
    });
    os_thread.join().unwrap();
}

fn park_and_unpark_work_across_kinds(workers: usize) {
    const ROUNDS: usize = 1_000;
    let turn = Arc::new(AtomicUsize::new(0));
    let (announce, announced) = mpsc::channel::<thread::Thread>();
    let os_thread = {
        let turn = Arc::clone(&turn);
        thread::spawn(move || {
            let green = announced.recv().unwrap();
            for round in 0..ROUNDS {
                while turn.load(Ordering::SeqCst) != 2 * round {
                    thread::park();
                }
                turn.fetch_add(1, Ordering::SeqCst);
                green.unpark();
            }
        })
    };
    let os = os_thread.thread().clone();
    let shared = Arc::clone(&turn);
    patched_runtime(workers).run(move || {
        announce.send(thread::current()).unwrap();
        for round in 0..ROUNDS {
            while shared.load(Ordering::SeqCst) != 2 * round + 1 {
                thread::park();
            }
            shared.fetch_add(1, Ordering::SeqCst);
            os.unpark();
        }
    });
    os_thread.join().unwrap();
    assert_eq!(turn.load(Ordering::SeqCst), 2 * ROUNDS);
}

fn an_os_thread_joins_a_green_thread(workers: usize) {
    let (hand_over, handed_over) = mpsc::channel::<thread::JoinHandle<u32>>();
    let os_thread = thread::spawn(move || handed_over.recv().unwrap().join().unwrap());
    let runtime = patched_runtime(workers);
    let green = runtime.spawn(move || {
        let slow = thread::spawn(|| {
            thread::sleep(SHORT);
            17
        });
        hand_over.send(slow).unwrap();
    });
    assert_eq!(os_thread.join().unwrap(), 17);
    green.join().unwrap();
    assert_eq!(runtime.spawn(|| 18).join().unwrap(), 18);
}

fn a_green_thread_joins_an_os_thread(workers: usize) {
    let os_thread = thread::spawn(|| {
        thread::sleep(4 * SHORT);
        19
    });
    patched_runtime(workers).run(move || {
        let ran_meanwhile = Arc::new(AtomicBool::new(false));
        let other = {
            let ran_meanwhile = Arc::clone(&ran_meanwhile);
            thread::spawn(move || ran_meanwhile.store(true, Ordering::SeqCst))
        };
        assert_eq!(os_thread.join().unwrap(), 19);
        other.join().unwrap();
        assert!(ran_meanwhile.load(Ordering::SeqCst));
    });
}

/// A pthread mutex and condition variable with a number between them.
struct Pthread {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    cond: UnsafeCell<libc::pthread_cond_t>,
    number: UnsafeCell<u32>,
}

// SAFETY: the mutex and the condition variable are made for sharing, and `number` is only touched
// between `lock` and `unlock`.
unsafe impl Send for Pthread {}
// SAFETY: as above.
unsafe impl Sync for Pthread {}

impl Pthread {
    fn new() -> Arc<Pthread> {
        Arc::new(Pthread {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            cond: UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER),
            number: UnsafeCell::new(0),
        })
    }

    fn recursive() -> Arc<Pthread> {
        let this = Pthread::new();
        // SAFETY: the attribute object is initialized before its use and destroyed after it; nobody
        // else knows the mutex yet.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = mem::zeroed();
            assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
            let kind = libc::PTHREAD_MUTEX_RECURSIVE;
            assert_eq!(libc::pthread_mutexattr_settype(&mut attributes, kind), 0);
            assert_eq!(libc::pthread_mutex_init(this.mutex.get(), &attributes), 0);
            assert_eq!(libc::pthread_mutexattr_destroy(&mut attributes), 0);
        }
        this
    }

    fn lock(&self) {
        // SAFETY: the mutex is initialized and does not move, being in an `Arc`.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.mutex.get()) }, 0);
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_trylock(self.mutex.get()) }
    }

    fn unlock(&self) {
        // SAFETY: as in `lock`; the callers hold the mutex.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.mutex.get()) }, 0);
    }

    /// The caller holds the mutex, here and in the methods below.
    fn wait(&self) {
        // SAFETY: both are initialized, and the mutex is held.
        let result = unsafe { libc::pthread_cond_wait(self.cond.get(), self.mutex.get()) };
        assert_eq!(result, 0);
    }

    fn signal(&self) {
        // SAFETY: the condition variable is initialized.
        assert_eq!(unsafe { libc::pthread_cond_signal(self.cond.get()) }, 0);
    }

    fn number(&self) -> u32 {
        // SAFETY: the mutex is held, so nobody writes.
        unsafe { *self.number.get() }
    }

    fn set_number(&self, number: u32) {
        // SAFETY: the mutex is held, so nobody else reads or writes.
        unsafe { *self.number.get() = number }
    }
}

fn a_pthread_mutex_excludes_across_kinds(workers: usize) {
    let pthread = Pthread::new();
    let shared = Arc::clone(&pthread);
    on_both_kinds(workers, 4, move || {
        for _ in 0..500 {
            shared.lock();
            let before = shared.number();
            thread::yield_now();
            shared.set_number(before + 1);
            shared.unlock();
        }
    });
    pthread.lock();
    assert_eq!(pthread.number(), 8 * 500);
    pthread.unlock();
}

fn a_pthread_condvar_hands_a_token_across_kinds(workers: usize) {
    const ROUNDS: u32 = 1_000;
    let play = |turn: Arc<Pthread>, parity: u32| {
        for _ in 0..ROUNDS {
            turn.lock();
            while turn.number() % 2 != parity {
                turn.wait();
            }
            turn.set_number(turn.number() + 1);
            turn.signal();
            turn.unlock();
        }
    };
    let turn = Pthread::new();
    let os_thread = {
        let turn = Arc::clone(&turn);
        thread::spawn(move || play(turn, 0))
    };
    let shared = Arc::clone(&turn);
    patched_runtime(workers).run(move || play(shared, 1));
    os_thread.join().unwrap();
    turn.lock();
    assert_eq!(turn.number(), 2 * ROUNDS);
    turn.unlock();
}

fn a_recursive_pthread_mutex_excludes_green_threads(workers: usize) {
    patched_runtime(workers).run(|| {
        let pthread = Pthread::recursive();
        let held = Arc::new(Barrier::new(2));
        let tried = Arc::new(Barrier::new(2));
        let holder = {
            let (pthread, held, tried) =
                (Arc::clone(&pthread), Arc::clone(&held), Arc::clone(&tried));
            thread::spawn(move || {
                pthread.lock();
                pthread.lock();
                assert_eq!(pthread.try_lock(), 0);
                held.wait();
                tried.wait();
                pthread.unlock();
                thread::yield_now();
                pthread.unlock();
                thread::sleep(SHORT);
                pthread.set_number(1);
                pthread.unlock();
            })
        };
        held.wait();
        assert_eq!(pthread.try_lock(), libc::EBUSY);
        tried.wait();
        pthread.lock();
        assert_eq!(
            pthread.number(),
            1,
            "the mutex was free before its last unlock"
        );
        pthread.unlock();
        holder.join().unwrap();
    });
}

fn pthread_cond_timedwait_ends_on_a_green_thread(workers: usize) {
    patched_runtime(workers).run(|| {
        let pthread = Pthread::new();
        // SAFETY: timespec is plain data, for which zero is a value.
        let mut deadline: libc::timespec = unsafe { mem::zeroed() };
        // SAFETY: `deadline` is writable.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut deadline) };
        assert_eq!(result, 0);
        deadline.tv_nsec += SHORT.as_nanos() as i64;
        if deadline.tv_nsec >= 1_000_000_000 {
            deadline.tv_nsec -= 1_000_000_000;
            deadline.tv_sec += 1;
        }
        let other_ran = Arc::new(AtomicBool::new(false));
        let other = {
            let other_ran = Arc::clone(&other_ran);
            thread::spawn(move || other_ran.store(true, Ordering::SeqCst))
        };
        pthread.lock();
        let outcome = loop {
            // SAFETY: both are initialized, and the mutex is held.
            let outcome = unsafe {
                libc::pthread_cond_timedwait(pthread.cond.get(), pthread.mutex.get(), &deadline)
            };
            if outcome != 0 {
                break outcome;
            }
        };
        pthread.unlock();
        assert_eq!(outcome, libc::ETIMEDOUT);
        assert!(
            other_ran.load(Ordering::SeqCst),
            "the wait held up the worker"
        );
        other.join().unwrap();
    });
}
