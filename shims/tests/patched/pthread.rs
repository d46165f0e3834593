//! Mutexes, condition variables and once keep the promises of POSIX on every kind of thread.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{ok, on_clock, timespec};
use harness::{Kind, SHORT, on_every_kind_of_thread};
use libc::{pthread_cond_t, pthread_mutex_t, pthread_once_t};

on_every_kind_of_thread! {
    a_mutex_excludes,
    a_recursive_mutex_counts,
    an_error_checking_mutex_knows_its_owner,
    trylock_says_busy,
    a_timed_lock_ends_at_its_time,
    a_mutex_in_use_is_not_destroyed,
    robust_and_inheriting_mutexes_work,
    every_kind_of_mutex_excludes,
    an_error_checking_mutex_of_any_sort_knows_its_owner,
    the_end_of_an_owner_is_told_to_who_locks_a_robust_mutex,
    an_inheriting_mutex_is_unlocked_by_its_owner_alone,
    a_mutex_that_protects_a_priority_is_refused_or_works,
    every_kind_of_mutex_goes_with_a_condition,
    a_signal_wakes_one_and_a_broadcast_all,
    a_timed_wait_ends_at_its_time_with_the_mutex_locked,
    a_condition_can_be_destroyed_once_all_are_woken,
    a_condition_is_made_anew_right_after_a_broadcast,
    the_memory_of_a_condition_is_given_back_right_after_a_broadcast,
    a_wait_needs_the_mutex,
    a_shared_condition_works,
    a_queue_between_many_threads_loses_nothing,
    once_runs_once,
    once_runs_again_after_a_panic,
}

unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut pthread_mutex_t,
        clock: libc::clockid_t,
        time: *const libc::timespec,
    ) -> c_int;
    fn pthread_cond_clockwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: libc::clockid_t,
        time: *const libc::timespec,
    ) -> c_int;
}

unsafe extern "C-unwind" {
    fn pthread_once(control: *mut pthread_once_t, routine: extern "C-unwind" fn()) -> c_int;
}

/// A pthread object that threads share.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: only pthread functions touch it.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: it stays where it is, in an `Arc` or a static.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0.get()
    }
}

type Mutex = Shared<pthread_mutex_t>;
type Cond = Shared<pthread_cond_t>;

const ADAPTIVE: c_int = 3;

fn mutex() -> Mutex {
    Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
}

fn cond() -> Cond {
    Shared(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER))
}

fn mutex_of(set: impl FnOnce(*mut libc::pthread_mutexattr_t) -> c_int) -> Mutex {
    let mut attributes = MaybeUninit::uninit();
    let mutex = mutex();
    // SAFETY: initialised in this order.
    unsafe {
        assert_eq!(libc::pthread_mutexattr_init(attributes.as_mut_ptr()), 0);
        assert_eq!(set(attributes.as_mut_ptr()), 0);
        assert_eq!(
            libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()),
            0
        );
        libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
    }
    mutex
}

fn mutex_of_kind(kind: c_int) -> Mutex {
    // SAFETY: initialised attributes.
    mutex_of(|attributes| unsafe { libc::pthread_mutexattr_settype(attributes, kind) })
}

fn robust() -> Mutex {
    // SAFETY: initialised attributes.
    mutex_of(|attributes| unsafe {
        libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
    })
}

fn inheriting() -> Mutex {
    // SAFETY: initialised attributes.
    mutex_of(|attributes| unsafe {
        libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_INHERIT)
    })
}

fn lock(mutex: &Mutex) -> c_int {
    // SAFETY: initialised.
    unsafe { libc::pthread_mutex_lock(mutex.get()) }
}

fn try_lock(mutex: &Mutex) -> c_int {
    // SAFETY: initialised.
    unsafe { libc::pthread_mutex_trylock(mutex.get()) }
}

fn unlock(mutex: &Mutex) -> c_int {
    // SAFETY: initialised.
    unsafe { libc::pthread_mutex_unlock(mutex.get()) }
}

fn destroy(mutex: &Mutex) -> c_int {
    // SAFETY: initialised.
    unsafe { libc::pthread_mutex_destroy(mutex.get()) }
}

fn wait(cond: &Cond, mutex: &Mutex) -> c_int {
    // SAFETY: initialised.
    unsafe { libc::pthread_cond_wait(cond.get(), mutex.get()) }
}

fn signal(cond: &Cond) {
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_cond_signal(cond.get()) }, 0);
}

fn broadcast(cond: &Cond) {
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_cond_broadcast(cond.get()) }, 0);
}

/// What another thread finds.
fn elsewhere<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(act).join().unwrap()
}

fn a_mutex_excludes() {
    const ROUNDS: usize = 2_000;
    let kinds = [
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ERRORCHECK,
        ADAPTIVE,
    ];
    for kind in kinds {
        let guarded = Arc::new((mutex_of_kind(kind), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let guarded = guarded.clone();
                thread::spawn(move || {
                    for round in 0..ROUNDS {
                        assert_eq!(lock(&guarded.0), 0);
                        let count = guarded.1.load(Ordering::Relaxed);
                        if round % 100 == 0 {
                            thread::yield_now();
                        }
                        guarded.1.store(count + 1, Ordering::Relaxed);
                        assert_eq!(unlock(&guarded.0), 0);
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(guarded.1.load(Ordering::Relaxed), 8 * ROUNDS);
        assert_eq!(destroy(&guarded.0), 0);
    }
}

fn a_recursive_mutex_counts() {
    let mutex = Arc::new(mutex_of_kind(libc::PTHREAD_MUTEX_RECURSIVE));
    assert_eq!((lock(&mutex), lock(&mutex), try_lock(&mutex)), (0, 0, 0));
    let other = mutex.clone();
    assert_eq!(
        elsewhere(move || (try_lock(&other), unlock(&other))),
        (libc::EBUSY, libc::EPERM)
    );
    assert_eq!((unlock(&mutex), unlock(&mutex)), (0, 0));
    let other = mutex.clone();
    assert_eq!(elsewhere(move || try_lock(&other)), libc::EBUSY);
    assert_eq!((unlock(&mutex), unlock(&mutex)), (0, libc::EPERM));
    assert_eq!(
        elsewhere(move || (try_lock(&mutex), unlock(&mutex))),
        (0, 0)
    );
}

fn an_error_checking_mutex_knows_its_owner() {
    let mutex = Arc::new(mutex_of_kind(libc::PTHREAD_MUTEX_ERRORCHECK));
    assert_eq!(unlock(&mutex), libc::EPERM);
    assert_eq!(
        (lock(&mutex), lock(&mutex), try_lock(&mutex)),
        (0, libc::EDEADLK, libc::EBUSY)
    );
    let other = mutex.clone();
    assert_eq!(elsewhere(move || unlock(&other)), libc::EPERM);
    assert_eq!(unlock(&mutex), 0);
}

fn trylock_says_busy() {
    for mutex in [mutex(), mutex_of_kind(ADAPTIVE)] {
        assert_eq!((try_lock(&mutex), try_lock(&mutex)), (0, libc::EBUSY));
        assert_eq!(unlock(&mutex), 0);
        assert_eq!((try_lock(&mutex), unlock(&mutex)), (0, 0));
    }
}

fn a_timed_lock_ends_at_its_time() {
    let mutex = mutex();
    assert_eq!(lock(&mutex), 0);
    let start = Instant::now();
    let real = on_clock(libc::CLOCK_REALTIME, SHORT);
    // SAFETY: initialised, and valid times.
    unsafe {
        assert_eq!(
            libc::pthread_mutex_timedlock(mutex.get(), &real),
            libc::ETIMEDOUT
        );
        assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
        let start = Instant::now();
        let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
        let clocklock = |clock, end| pthread_mutex_clocklock(mutex.get(), clock, end);
        assert_eq!(clocklock(libc::CLOCK_MONOTONIC, &end), libc::ETIMEDOUT);
        assert!(start.elapsed() >= SHORT);

        let nonsense = libc::timespec {
            tv_sec: 0,
            tv_nsec: -1,
        };
        let before = libc::timespec {
            tv_sec: -1,
            tv_nsec: 0,
        };
        assert_eq!(clocklock(libc::CLOCK_BOOTTIME, &end), libc::EINVAL);
        assert_eq!(clocklock(libc::CLOCK_MONOTONIC, &nonsense), libc::EINVAL);
        assert_eq!(clocklock(libc::CLOCK_REALTIME, &before), libc::ETIMEDOUT);
        assert_eq!(unlock(&mutex), 0);
        // The time counts only if there is something to wait for.
        assert_eq!(libc::pthread_mutex_timedlock(mutex.get(), &nonsense), 0);
    }
    assert_eq!(unlock(&mutex), 0);
}

fn a_mutex_in_use_is_not_destroyed() {
    let mutex = mutex();
    assert_eq!(lock(&mutex), 0);
    assert_eq!(destroy(&mutex), libc::EBUSY);
    assert_eq!(unlock(&mutex), 0);
    assert_eq!(destroy(&mutex), 0);
    assert_eq!(lock(&mutex), libc::EINVAL);
}

fn robust_and_inheriting_mutexes_work() {
    for mutex in [robust(), inheriting()] {
        assert_eq!((lock(&mutex), try_lock(&mutex)), (0, libc::EBUSY));
        assert_eq!((unlock(&mutex), destroy(&mutex)), (0, 0));
    }
}

fn shared() -> Mutex {
    // SAFETY: initialised attributes.
    mutex_of(|attributes| unsafe {
        libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
    })
}

/// Error-checking mutexes: plain, robust, inheriting and process-shared.
fn error_checking() -> [Mutex; 4] {
    type Set = unsafe extern "C" fn(*mut libc::pthread_mutexattr_t, c_int) -> c_int;
    let settings: [(Set, c_int); 4] = [
        (
            libc::pthread_mutexattr_setpshared,
            libc::PTHREAD_PROCESS_PRIVATE,
        ),
        (
            libc::pthread_mutexattr_setrobust,
            libc::PTHREAD_MUTEX_ROBUST,
        ),
        (
            libc::pthread_mutexattr_setprotocol,
            libc::PTHREAD_PRIO_INHERIT,
        ),
        (
            libc::pthread_mutexattr_setpshared,
            libc::PTHREAD_PROCESS_SHARED,
        ),
    ];
    settings.map(|(set, value)| {
        // SAFETY: initialised attributes.
        mutex_of(|attributes| unsafe {
            assert_eq!(set(attributes, value), 0);
            libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK)
        })
    })
}

fn every_kind_of_mutex_excludes() {
    const ROUNDS: usize = 400;
    for mutex in [robust(), inheriting(), shared()] {
        let guarded = Arc::new((mutex, AtomicUsize::new(0)));
        let work = || {
            let guarded = guarded.clone();
            move || {
                for round in 0..ROUNDS {
                    if round % 4 == 0 {
                        let soon = on_clock(libc::CLOCK_REALTIME, Duration::from_micros(200));
                        // SAFETY: initialised, and a time.
                        let outcome =
                            unsafe { libc::pthread_mutex_timedlock(guarded.0.get(), &soon) };
                        if outcome == libc::ETIMEDOUT {
                            continue;
                        }
                        assert_eq!(outcome, 0);
                    } else {
                        assert_eq!(lock(&guarded.0), 0);
                    }
                    let count = guarded.1.load(Ordering::Relaxed);
                    if round % 50 == 1 {
                        thread::yield_now();
                    }
                    guarded.1.store(count + 1, Ordering::Relaxed);
                    assert_eq!(unlock(&guarded.0), 0);
                }
            }
        };
        // Threads of both kinds meet at the mutex; more green threads than there may be workers.
        let runtime = greenpatch_runtime::Runtime::builder()
            .workers(2)
            .max_spare_workers(2)
            .build()
            .unwrap();
        let greens: Vec<_> = (0..10).map(|_| runtime.spawn(work())).collect();
        let threads: Vec<_> = (0..3).map(|_| thread::spawn(work())).collect();
        greens.into_iter().for_each(|green| green.join().unwrap());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let count = guarded.1.load(Ordering::Relaxed);
        assert!((13 * ROUNDS * 3 / 4..=13 * ROUNDS).contains(&count));
        assert_eq!(destroy(&guarded.0), 0);
    }
}

fn an_error_checking_mutex_of_any_sort_knows_its_owner() {
    for mutex in error_checking() {
        let mutex = Arc::new(mutex);
        assert_eq!(unlock(&mutex), libc::EPERM);
        assert_eq!((lock(&mutex), lock(&mutex)), (0, libc::EDEADLK));
        // glibc gives either, by the sort of the mutex.
        assert!([libc::EBUSY, libc::EDEADLK].contains(&try_lock(&mutex)));
        let other = mutex.clone();
        let outcome = elsewhere(move || {
            let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
            // SAFETY: initialised, and a time.
            let timed = unsafe { libc::pthread_mutex_timedlock(other.get(), &soon) };
            (unlock(&other), try_lock(&other), timed)
        });
        assert_eq!(outcome, (libc::EPERM, libc::EBUSY, libc::ETIMEDOUT));
        assert_eq!(unlock(&mutex), 0);
    }
}

fn the_end_of_an_owner_is_told_to_who_locks_a_robust_mutex() {
    let two = Arc::new([robust(), robust()]);
    let held = two.clone();
    elsewhere(move || assert_eq!((lock(&held[0]), lock(&held[1])), (0, 0)));
    for mutex in &*two {
        assert_eq!(lock(mutex), libc::EOWNERDEAD);
        // SAFETY: initialised and held.
        assert_eq!(unsafe { libc::pthread_mutex_consistent(mutex.get()) }, 0);
        assert_eq!((unlock(mutex), lock(mutex), unlock(mutex)), (0, 0, 0));
    }

    // One who waits already is told, too, and the next if the first does not put it in order.
    let held = two.clone();
    let is_held = Arc::new(AtomicU32::new(0));
    let holds = is_held.clone();
    let owner = thread::spawn(move || {
        assert_eq!(lock(&held[0]), 0);
        holds.store(1, Ordering::SeqCst);
        thread::sleep(SHORT);
    });
    while is_held.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(lock(&two[0]), libc::EOWNERDEAD);
    assert_eq!(unlock(&two[0]), 0);
    assert_eq!(lock(&two[0]), libc::ENOTRECOVERABLE);
    owner.join().unwrap();
}

fn an_inheriting_mutex_is_unlocked_by_its_owner_alone() {
    let mutex = Arc::new(inheriting());
    assert_eq!((unlock(&mutex), lock(&mutex)), (libc::EPERM, 0));
    let other = mutex.clone();
    assert_eq!(elsewhere(move || unlock(&other)), libc::EPERM);
    assert_eq!((unlock(&mutex), destroy(&mutex)), (0, 0));
}

fn a_mutex_that_protects_a_priority_is_refused_or_works() {
    // SAFETY: initialised attributes. The ceiling is of real-time priorities.
    let protecting = mutex_of(|attributes| unsafe {
        libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_PROTECT)
    });
    if greenpatch_runtime::thread::is_green() {
        assert_eq!(lock(&protecting), libc::ENOTSUP);
        assert_eq!(try_lock(&protecting), libc::ENOTSUP);
    } else if lock(&protecting) == 0 {
        // The system allows this user such a priority.
        assert_eq!(unlock(&protecting), 0);
    }
}

fn every_kind_of_mutex_goes_with_a_condition() {
    let mutexes = [
        mutex(),
        mutex_of_kind(libc::PTHREAD_MUTEX_RECURSIVE),
        mutex_of_kind(libc::PTHREAD_MUTEX_ERRORCHECK),
        mutex_of_kind(ADAPTIVE),
        robust(),
    ];
    for mutex in mutexes {
        let shared = Arc::new((mutex, cond(), AtomicU32::new(0)));
        let other = shared.clone();
        assert_eq!(lock(&shared.0), 0);
        let thread = thread::spawn(move || {
            assert_eq!(lock(&other.0), 0);
            other.2.store(1, Ordering::Relaxed);
            signal(&other.1);
            assert_eq!(unlock(&other.0), 0);
        });
        while shared.2.load(Ordering::Relaxed) == 0 {
            assert_eq!(wait(&shared.1, &shared.0), 0);
        }
        assert_eq!((unlock(&shared.0), destroy(&shared.0)), (0, 0));
        thread.join().unwrap();
    }
}

/// Threads that wait on a condition until they have taken one of the permits.
struct Gate {
    mutex: Mutex,
    cond: Cond,
    waiting: AtomicU32,
    permits: AtomicU32,
    passed: AtomicU32,
}

impl Gate {
    fn new() -> Arc<Gate> {
        Arc::new(Gate {
            mutex: mutex(),
            cond: cond(),
            waiting: AtomicU32::new(0),
            permits: AtomicU32::new(0),
            passed: AtomicU32::new(0),
        })
    }

    fn pass(&self) {
        assert_eq!(lock(&self.mutex), 0);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        while self.permits.load(Ordering::Relaxed) == 0 {
            assert_eq!(wait(&self.cond, &self.mutex), 0);
        }
        self.permits.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(unlock(&self.mutex), 0);
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts as many and returns when all of them wait.
    fn start(self: &Arc<Gate>, count: u32) -> Vec<thread::JoinHandle<()>> {
        let threads = (0..count)
            .map(|_| {
                let gate = self.clone();
                thread::spawn(move || gate.pass())
            })
            .collect();
        loop {
            assert_eq!(lock(&self.mutex), 0);
            let waiting = self.waiting.load(Ordering::Relaxed);
            assert_eq!(unlock(&self.mutex), 0);
            if waiting == count {
                return threads;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn permit(&self, count: u32) {
        assert_eq!(lock(&self.mutex), 0);
        self.permits.fetch_add(count, Ordering::Relaxed);
        assert_eq!(unlock(&self.mutex), 0);
    }
}

fn a_signal_wakes_one_and_a_broadcast_all() {
    let gate = Gate::new();
    let threads = gate.start(6);
    gate.permit(1);
    signal(&gate.cond);
    while gate.passed.load(Ordering::Relaxed) < 1 {
        thread::sleep(Duration::from_millis(1));
    }
    gate.permit(5);
    broadcast(&gate.cond);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn a_timed_wait_ends_at_its_time_with_the_mutex_locked() {
    let mutex = mutex_of_kind(libc::PTHREAD_MUTEX_ERRORCHECK);
    let monotonic = cond();
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised in this order.
    unsafe {
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        libc::pthread_condattr_setclock(attributes.as_mut_ptr(), libc::CLOCK_MONOTONIC);
        libc::pthread_cond_init(monotonic.get(), attributes.as_ptr());
    }
    assert_eq!(lock(&mutex), 0);
    for (cond, clock) in [
        (&cond(), libc::CLOCK_REALTIME),
        (&monotonic, libc::CLOCK_MONOTONIC),
    ] {
        let start = Instant::now();
        let end = on_clock(clock, SHORT);
        // SAFETY: initialised, and valid times.
        unsafe {
            let mutex = mutex.get();
            assert_eq!(
                libc::pthread_cond_timedwait(cond.get(), mutex, &end),
                libc::ETIMEDOUT
            );
            assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
            let past = timespec(Duration::ZERO);
            let clockwait = |clock, end| pthread_cond_clockwait(cond.get(), mutex, clock, end);
            assert_eq!(clockwait(libc::CLOCK_MONOTONIC, &past), libc::ETIMEDOUT);
            assert_eq!(clockwait(libc::CLOCK_TAI, &past), libc::EINVAL);
            let nonsense = libc::timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000_000,
            };
            assert_eq!(clockwait(libc::CLOCK_REALTIME, &nonsense), libc::EINVAL);
        }
    }
    assert_eq!(unlock(&mutex), 0);
}

fn a_condition_can_be_destroyed_once_all_are_woken() {
    for _ in 0..50 {
        let gate = Gate::new();
        let threads = gate.start(3);
        gate.permit(3);
        broadcast(&gate.cond);
        // SAFETY: initialised; nobody will wait on it again.
        assert_eq!(unsafe { libc::pthread_cond_destroy(gate.cond.get()) }, 0);
        // SAFETY: whoever still looked at it would find nonsense.
        unsafe { gate.cond.get().write_bytes(0xff, 1) };
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

/// One thread waits on a condition variable at `place`, round after round. The caller takes the mutex as soon as the other
/// has unlocked it to wait, wakes it, destroys the condition variable, and has it made anew before it unlocks.
fn destroy_right_after_broadcasts(place: *mut pthread_cond_t, remake: impl Fn()) {
    const ROUNDS: u32 = 30_000;

    struct Turns {
        mutex: Mutex,
        waiting: AtomicU32,
        permitted: AtomicU32,
    }
    let turns = Arc::new(Turns {
        mutex: mutex(),
        waiting: AtomicU32::new(0),
        permitted: AtomicU32::new(0),
    });
    remake();
    let (theirs, address) = (turns.clone(), place.expose_provenance());
    let waiter = thread::spawn(move || {
        let cond: *mut pthread_cond_t = std::ptr::with_exposed_provenance_mut(address);
        for round in 1..=ROUNDS {
            assert_eq!(lock(&theirs.mutex), 0);
            theirs.waiting.store(round, Ordering::Relaxed);
            while theirs.permitted.load(Ordering::Relaxed) < round {
                // SAFETY: made anew before the mutex was last unlocked, and not destroyed before this thread is woken.
                let error = unsafe { libc::pthread_cond_wait(cond, theirs.mutex.get()) };
                assert_eq!(error, 0);
            }
            assert_eq!(unlock(&theirs.mutex), 0);
        }
    });
    for round in 1..=ROUNDS {
        loop {
            // SAFETY: an initialised mutex.
            let error = unsafe { libc::pthread_mutex_trylock(turns.mutex.get()) };
            if error == 0 {
                if turns.waiting.load(Ordering::Relaxed) == round {
                    break;
                }
                assert_eq!(unlock(&turns.mutex), 0);
            }
            // With one worker the other has to run in between.
            thread::yield_now();
        }
        turns.permitted.store(round, Ordering::Relaxed);
        // SAFETY: initialised; whoever waits on it has been woken when it is destroyed.
        unsafe {
            assert_eq!(libc::pthread_cond_broadcast(place), 0);
            assert_eq!(libc::pthread_cond_destroy(place), 0);
        }
        remake();
        assert_eq!(unlock(&turns.mutex), 0);
    }
    waiter.join().unwrap();
}

fn a_condition_is_made_anew_right_after_a_broadcast() {
    let cond = cond();
    destroy_right_after_broadcasts(cond.get(), || {
        // SAFETY: destroyed, or never used.
        let error = unsafe { libc::pthread_cond_init(cond.get(), std::ptr::null()) };
        assert_eq!(error, 0);
    });
}

fn the_memory_of_a_condition_is_given_back_right_after_a_broadcast() {
    const PAGE: usize = 4096;
    let map = |place, fixed| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
        // SAFETY: new memory, or in place of a page that this test has mapped.
        let page = unsafe { libc::mmap(place, PAGE, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        page
    };
    let page = map(std::ptr::null_mut(), 0);
    let cond = page.cast::<pthread_cond_t>();
    destroy_right_after_broadcasts(cond, || {
        // SAFETY: the page holds nothing but a condition variable that is destroyed, or never was used. Nobody else maps
        // memory at this address while it has no access.
        unsafe {
            ok(libc::mprotect(page, PAGE, libc::PROT_NONE));
            map(page, libc::MAP_FIXED);
            assert_eq!(libc::pthread_cond_init(cond, std::ptr::null()), 0);
        }
    });
}

/// The moment between unlocking and waiting is short: with more workers than processors, the kernel takes the processor away
/// from some thread in the middle of it.
#[test]
fn conditions_are_destroyed_right_after_broadcasts_on_more_workers_than_processors() {
    Kind::Green { workers: 8 }.run(|| {
        let bodies: [fn(); 2] = [
            a_condition_is_made_anew_right_after_a_broadcast,
            the_memory_of_a_condition_is_given_back_right_after_a_broadcast,
        ];
        let threads: Vec<_> = bodies
            .iter()
            .cycle()
            .take(4)
            .map(|&body| thread::spawn(body))
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

fn a_wait_needs_the_mutex() {
    let mutex = mutex_of_kind(libc::PTHREAD_MUTEX_ERRORCHECK);
    assert_eq!(wait(&cond(), &mutex), libc::EPERM);
}

fn a_shared_condition_works() {
    let cond = cond();
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised in this order.
    unsafe {
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_cond_init(cond.get(), attributes.as_ptr());
    }
    // SAFETY: initialised attributes.
    let mutex = mutex_of(|attributes| unsafe {
        libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
    });
    assert_eq!(lock(&mutex), 0);
    let end = on_clock(libc::CLOCK_REALTIME, SHORT);
    // SAFETY: initialised.
    let error = unsafe { libc::pthread_cond_timedwait(cond.get(), mutex.get(), &end) };
    assert_eq!(error, libc::ETIMEDOUT);
    signal(&cond);
    assert_eq!(unlock(&mutex), 0);
}

/// A bounded queue of numbers.
struct Queue {
    mutex: Mutex,
    not_full: Cond,
    not_empty: Cond,
    items: UnsafeCell<Vec<usize>>,
}

// SAFETY: the items are touched under the mutex only.
unsafe impl Sync for Queue {}
// SAFETY: it stays where it is, in an `Arc`.
unsafe impl Send for Queue {}

impl Queue {
    fn push(&self, item: usize) {
        assert_eq!(lock(&self.mutex), 0);
        // SAFETY: under the mutex.
        let items = unsafe { &mut *self.items.get() };
        while items.len() == 4 {
            assert_eq!(wait(&self.not_full, &self.mutex), 0);
        }
        items.push(item);
        signal(&self.not_empty);
        assert_eq!(unlock(&self.mutex), 0);
    }

    fn pop(&self) -> usize {
        assert_eq!(lock(&self.mutex), 0);
        // SAFETY: under the mutex.
        let items = unsafe { &mut *self.items.get() };
        while items.is_empty() {
            assert_eq!(wait(&self.not_empty, &self.mutex), 0);
        }
        let item = items.remove(0);
        signal(&self.not_full);
        assert_eq!(unlock(&self.mutex), 0);
        item
    }
}

fn a_queue_between_many_threads_loses_nothing() {
    const EACH: usize = 1_000;
    let queue = Arc::new(Queue {
        mutex: mutex(),
        not_full: cond(),
        not_empty: cond(),
        items: UnsafeCell::new(Vec::new()),
    });
    let producer = |start: usize| {
        let queue = queue.clone();
        move || (start * EACH..(start + 1) * EACH).for_each(|item| queue.push(item))
    };
    let consumer = || {
        let queue = queue.clone();
        move || (0..EACH).map(|_| queue.pop()).sum::<usize>()
    };
    // Threads of both kinds meet at the queue.
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(1)
        .build()
        .unwrap();
    let green_producer = runtime.spawn(producer(0));
    let green_consumers = [runtime.spawn(consumer()), runtime.spawn(consumer())];
    let producers = [1, 2, 3].map(|start| thread::spawn(producer(start)));
    let consumers = [thread::spawn(consumer()), thread::spawn(consumer())];
    let mut sum = 0;
    green_producer.join().unwrap();
    producers
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    sum += green_consumers
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum::<usize>();
    sum += consumers
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum::<usize>();
    assert_eq!(sum, (0..4 * EACH).sum::<usize>());
}

static RUNS: AtomicU32 = AtomicU32::new(0);

extern "C-unwind" fn count_slowly() {
    thread::sleep(SHORT);
    RUNS.fetch_add(1, Ordering::SeqCst);
}

fn once_runs_once() {
    let control = Arc::new(Shared(UnsafeCell::new(libc::PTHREAD_ONCE_INIT)));
    let before = RUNS.load(Ordering::SeqCst);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let control = control.clone();
            thread::spawn(move || {
                // SAFETY: initialised.
                assert_eq!(unsafe { pthread_once(control.get(), count_slowly) }, 0);
                RUNS.load(Ordering::SeqCst)
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap() > before);
    }
    // SAFETY: nobody uses it any more; 2 is glibc's "done".
    assert_eq!(unsafe { *control.get() }, 2);
}

extern "C-unwind" fn panics() {
    panic!("in the routine");
}

fn once_runs_again_after_a_panic() {
    static AFTER: AtomicU32 = AtomicU32::new(0);
    extern "C-unwind" fn succeeds() {
        AFTER.fetch_add(1, Ordering::SeqCst);
    }
    let control = Shared(UnsafeCell::new(libc::PTHREAD_ONCE_INIT));
    let before = AFTER.load(Ordering::SeqCst);
    // SAFETY: initialised.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| unsafe {
        pthread_once(control.get(), panics);
    }));
    assert!(outcome.is_err());
    // SAFETY: initialised.
    assert_eq!(unsafe { pthread_once(control.get(), succeeds) }, 0);
    assert!(AFTER.load(Ordering::SeqCst) > before);
}
