//! Read-write locks keep the promises of POSIX, and of glibc's manual, on every kind of thread.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::on_clock;
use harness::{SHORT, on_every_kind_of_thread};
use libc::{pthread_rwlock_t, timespec};

on_every_kind_of_thread! {
    readers_share_and_writers_exclude,
    a_writer_that_locks_again_is_told_so,
    a_timed_lock_ends_at_its_time,
    by_default_a_reader_passes_waiting_writers,
    a_waiting_writer_goes_first_if_so_preferred,
    a_writer_that_gave_up_keeps_no_reader_out,
    an_unlock_wakes_all_readers_and_writers_in_turn,
    a_lock_can_be_destroyed_once_it_is_unlocked,
    counters_under_stress_are_right,
    a_number_of_readers_is_limited;
    blocking:
    a_lock_shared_with_processes_works,
}

unsafe extern "C" {
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
    fn pthread_rwlock_clockrdlock(
        lock: *mut pthread_rwlock_t,
        clock: libc::clockid_t,
        time: *const timespec,
    ) -> c_int;
    fn pthread_rwlock_clockwrlock(
        lock: *mut pthread_rwlock_t,
        clock: libc::clockid_t,
        time: *const timespec,
    ) -> c_int;
    fn pthread_rwlockattr_setkind_np(
        attributes: *mut libc::pthread_rwlockattr_t,
        kind: c_int,
    ) -> c_int;
}

const PREFER_WRITER: c_int = 1;
const PREFER_WRITER_NONRECURSIVE: c_int = 2;

struct RwLock(UnsafeCell<pthread_rwlock_t>);

// SAFETY: only pthread functions touch it.
unsafe impl Sync for RwLock {}
// SAFETY: it stays where it is, in an `Arc`.
unsafe impl Send for RwLock {}

impl RwLock {
    fn new() -> RwLock {
        RwLock(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER))
    }

    fn with(set: impl FnOnce(*mut libc::pthread_rwlockattr_t) -> c_int) -> RwLock {
        let lock = RwLock::new();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialised in this order.
        unsafe {
            assert_eq!(libc::pthread_rwlockattr_init(attributes.as_mut_ptr()), 0);
            assert_eq!(set(attributes.as_mut_ptr()), 0);
            assert_eq!(
                libc::pthread_rwlock_init(lock.get(), attributes.as_ptr()),
                0
            );
            libc::pthread_rwlockattr_destroy(attributes.as_mut_ptr());
        }
        lock
    }

    fn of_kind(kind: c_int) -> RwLock {
        // SAFETY: initialised attributes.
        RwLock::with(|attributes| unsafe { pthread_rwlockattr_setkind_np(attributes, kind) })
    }

    fn shared() -> RwLock {
        // SAFETY: initialised attributes.
        RwLock::with(|attributes| unsafe {
            libc::pthread_rwlockattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
        })
    }

    fn get(&self) -> *mut pthread_rwlock_t {
        self.0.get()
    }

    fn read(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_rdlock(self.get()) }
    }

    fn try_read(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_tryrdlock(self.get()) }
    }

    fn read_until(&self, time: &timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { pthread_rwlock_timedrdlock(self.get(), time) }
    }

    fn write(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_wrlock(self.get()) }
    }

    fn try_write(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_trywrlock(self.get()) }
    }

    fn write_until(&self, time: &timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { pthread_rwlock_timedwrlock(self.get(), time) }
    }

    fn unlock(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_unlock(self.get()) }
    }

    fn destroy(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_rwlock_destroy(self.get()) }
    }
}

fn real(later: Duration) -> timespec {
    on_clock(libc::CLOCK_REALTIME, later)
}

const LONG: Duration = Duration::from_secs(1000);

/// What another thread finds.
fn elsewhere<T: Send + 'static>(
    lock: &Arc<RwLock>,
    act: impl FnOnce(&RwLock) -> T + Send + 'static,
) -> T {
    let lock = lock.clone();
    thread::spawn(move || act(&lock)).join().unwrap()
}

fn readers_share_and_writers_exclude() {
    for kind in [0, PREFER_WRITER, PREFER_WRITER_NONRECURSIVE] {
        let lock = Arc::new(RwLock::of_kind(kind));
        assert_eq!((lock.read(), lock.read(), lock.try_read()), (0, 0, 0));
        assert_eq!(lock.try_write(), libc::EBUSY);
        assert_eq!(
            elsewhere(&lock, |lock| (lock.try_write(), lock.read(), lock.unlock())),
            (libc::EBUSY, 0, 0)
        );
        assert_eq!((lock.unlock(), lock.unlock(), lock.unlock()), (0, 0, 0));
        assert_eq!(lock.write(), 0);
        assert_eq!(
            (lock.try_read(), lock.try_write()),
            (libc::EBUSY, libc::EBUSY)
        );
        assert_eq!(
            elsewhere(&lock, |lock| (lock.try_read(), lock.try_write())),
            (libc::EBUSY, libc::EBUSY)
        );
        assert_eq!(lock.unlock(), 0);
        assert_eq!((lock.try_write(), lock.unlock()), (0, 0));
        assert_eq!(lock.destroy(), 0);
    }
}

fn a_writer_that_locks_again_is_told_so() {
    let lock = RwLock::new();
    assert_eq!(lock.write(), 0);
    assert_eq!((lock.read(), lock.write()), (libc::EDEADLK, libc::EDEADLK));
    let later = real(LONG);
    assert_eq!(
        (lock.read_until(&later), lock.write_until(&later)),
        (libc::EDEADLK, libc::EDEADLK)
    );
    assert_eq!(lock.unlock(), 0);
}

fn a_timed_lock_ends_at_its_time() {
    let lock = Arc::new(RwLock::new());
    assert_eq!(lock.read(), 0);
    let start = Instant::now();
    assert_eq!(lock.write_until(&real(SHORT)), libc::ETIMEDOUT);
    assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
    let nonsense = timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    let past = timespec {
        tv_sec: -1,
        tv_nsec: 0,
    };
    assert_eq!(lock.write_until(&past), libc::ETIMEDOUT);
    // glibc looks at the time first.
    assert_eq!(lock.write_until(&nonsense), libc::EINVAL);
    assert_eq!(lock.read_until(&nonsense), libc::EINVAL);
    assert_eq!((lock.read_until(&past), lock.unlock()), (0, 0));
    // SAFETY: initialised, and times.
    unsafe {
        let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
        let clockwrite = |clock| pthread_rwlock_clockwrlock(lock.get(), clock, &end);
        let start = Instant::now();
        assert_eq!(clockwrite(libc::CLOCK_MONOTONIC), libc::ETIMEDOUT);
        assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
        assert_eq!(clockwrite(libc::CLOCK_BOOTTIME), libc::EINVAL);
        assert_eq!(lock.unlock(), 0);
        assert_eq!((clockwrite(libc::CLOCK_MONOTONIC), lock.unlock()), (0, 0));
    }
    assert_eq!(lock.write(), 0);
    let outcome = elsewhere(&lock, |lock| {
        let start = Instant::now();
        let timed = lock.read_until(&real(SHORT));
        let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
        // SAFETY: initialised, and a time.
        let clocked =
            unsafe { pthread_rwlock_clockrdlock(lock.get(), libc::CLOCK_MONOTONIC, &end) };
        (timed, clocked, start.elapsed() >= SHORT)
    });
    assert_eq!(outcome, (libc::ETIMEDOUT, libc::ETIMEDOUT, true));
    assert_eq!(lock.unlock(), 0);
}

/// A thread that waits for the lock as a writer until `until`, is given it for a moment, and gives what came of it.
fn waiting_writer(lock: &Arc<RwLock>, until: timespec) -> thread::JoinHandle<c_int> {
    let about = Arc::new(AtomicU32::new(0));
    let writer = {
        let (lock, about) = (lock.clone(), about.clone());
        thread::spawn(move || {
            about.store(1, Ordering::SeqCst);
            let outcome = lock.write_until(&until);
            if outcome == 0 {
                lock.unlock();
            }
            outcome
        })
    };
    while about.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    writer
}

fn by_default_a_reader_passes_waiting_writers() {
    for kind in [0, PREFER_WRITER] {
        let lock = Arc::new(RwLock::of_kind(kind));
        assert_eq!(lock.read(), 0);
        let writer = waiting_writer(&lock, real(LONG));
        thread::sleep(SHORT);
        assert_eq!(lock.read(), 0);
        assert_eq!(lock.try_read(), 0);
        assert_eq!((lock.unlock(), lock.unlock(), lock.unlock()), (0, 0, 0));
        assert_eq!(writer.join().unwrap(), 0);
    }
}

/// Waits until the lock keeps readers out.
fn until_barred(lock: &RwLock) {
    while lock.try_read() == 0 {
        assert_eq!(lock.unlock(), 0);
        thread::yield_now();
    }
}

fn a_waiting_writer_goes_first_if_so_preferred() {
    let lock = Arc::new(RwLock::of_kind(PREFER_WRITER_NONRECURSIVE));
    let order = Arc::new(AtomicU32::new(0));
    assert_eq!(lock.read(), 0);
    let writer = {
        let (lock, order) = (lock.clone(), order.clone());
        thread::spawn(move || {
            assert_eq!(lock.write(), 0);
            let mine = order.fetch_add(1, Ordering::SeqCst);
            assert_eq!(lock.unlock(), 0);
            mine
        })
    };
    until_barred(&lock);
    let reader = {
        let (lock, order) = (lock.clone(), order.clone());
        thread::spawn(move || {
            assert_eq!(lock.read(), 0);
            let mine = order.fetch_add(1, Ordering::SeqCst);
            assert_eq!(lock.unlock(), 0);
            mine
        })
    };
    thread::sleep(SHORT);
    assert_eq!(order.load(Ordering::SeqCst), 0);
    assert_eq!(lock.unlock(), 0);
    assert_eq!((writer.join().unwrap(), reader.join().unwrap()), (0, 1));
}

fn a_writer_that_gave_up_keeps_no_reader_out() {
    let lock = Arc::new(RwLock::of_kind(PREFER_WRITER_NONRECURSIVE));
    assert_eq!(lock.read(), 0);
    let writer = waiting_writer(&lock, real(SHORT * 5));
    // Waits behind the writer, or comes after it.
    let reader = {
        let lock = lock.clone();
        thread::spawn(move || (lock.read(), lock.unlock()))
    };
    assert_eq!(writer.join().unwrap(), libc::ETIMEDOUT);
    assert_eq!(reader.join().unwrap(), (0, 0));
    assert_eq!((lock.unlock(), lock.try_write(), lock.unlock()), (0, 0, 0));
}

fn an_unlock_wakes_all_readers_and_writers_in_turn() {
    for kind in [0, PREFER_WRITER_NONRECURSIVE] {
        let lock = Arc::new(RwLock::of_kind(kind));
        assert_eq!(lock.write(), 0);
        let threads: Vec<_> = (0..12)
            .map(|index| {
                let lock = lock.clone();
                thread::spawn(move || {
                    let locked = if index % 3 == 0 {
                        lock.write()
                    } else {
                        lock.read()
                    };
                    thread::yield_now();
                    (locked, lock.unlock())
                })
            })
            .collect();
        thread::sleep(SHORT);
        assert_eq!(lock.unlock(), 0);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (0, 0));
        }
    }
}

fn a_lock_shared_with_processes_works() {
    let lock = Arc::new(RwLock::shared());
    assert_eq!((lock.read(), lock.try_read(), lock.unlock()), (0, 0, 0));
    let writer = waiting_writer(&lock, real(LONG));
    thread::sleep(SHORT);
    assert_eq!(lock.unlock(), 0);
    assert_eq!(writer.join().unwrap(), 0);
    assert_eq!(lock.destroy(), 0);
}

fn a_lock_can_be_destroyed_once_it_is_unlocked() {
    for _ in 0..300 {
        let lock = Arc::new(RwLock::new());
        assert_eq!(lock.write(), 0);
        let other = lock.clone();
        let thread = thread::spawn(move || {
            assert_eq!(other.write(), 0);
            // The other one's unlock may not have returned yet.
            assert_eq!((other.unlock(), other.destroy()), (0, 0));
            // SAFETY: nobody uses it as a lock any more.
            unsafe {
                other
                    .get()
                    .cast::<u8>()
                    .write_bytes(0xff, size_of::<pthread_rwlock_t>())
            };
        });
        assert_eq!(lock.unlock(), 0);
        thread.join().unwrap();
    }
}

struct Counters {
    lock: RwLock,
    one: AtomicUsize,
    two: AtomicUsize,
    timeouts: AtomicUsize,
}

impl Counters {
    fn read(&self) {
        let (one, two) = (&self.one, &self.two);
        assert_eq!(one.load(Ordering::Relaxed), two.load(Ordering::Relaxed));
        assert_eq!(self.lock.unlock(), 0);
    }

    fn write(&self, round: usize) {
        let count = self.one.load(Ordering::Relaxed);
        self.one.store(count + 1, Ordering::Relaxed);
        if round.is_multiple_of(64) {
            thread::yield_now();
        }
        self.two.store(count + 1, Ordering::Relaxed);
        assert_eq!(self.lock.unlock(), 0);
    }

    /// One of `number` threads; some of the times are over soon.
    fn work(&self, number: usize, rounds: usize) {
        for round in 0..rounds {
            let soon = || real(Duration::from_micros((number * 7 + round) as u64 % 50));
            let outcome = match (number + round) % 8 {
                0 => self.lock.write(),
                1 | 2 => self.lock.write_until(&soon()),
                3 | 4 => self.lock.read_until(&soon()),
                5 => self.lock.try_write(),
                _ => self.lock.read(),
            };
            match outcome {
                0 if matches!((number + round) % 8, 0 | 1 | 2 | 5) => self.write(round),
                0 => self.read(),
                libc::ETIMEDOUT | libc::EBUSY => {
                    self.timeouts.fetch_add(1, Ordering::Relaxed);
                }
                error => panic!("error {error}"),
            }
        }
    }
}

fn counters_under_stress_are_right() {
    const ROUNDS: usize = 3_000;
    for kind in [0, PREFER_WRITER_NONRECURSIVE] {
        let counters = Arc::new(Counters {
            lock: RwLock::of_kind(kind),
            one: AtomicUsize::new(0),
            two: AtomicUsize::new(0),
            timeouts: AtomicUsize::new(0),
        });
        // Threads of both kinds meet at the lock.
        let runtime = greenpatch_runtime::Runtime::builder()
            .workers(2)
            .build()
            .unwrap();
        let work = |number| {
            let counters = counters.clone();
            move || counters.work(number, ROUNDS)
        };
        let greens: Vec<_> = (0..6).map(|number| runtime.spawn(work(number))).collect();
        let threads: Vec<_> = (6..12).map(|number| thread::spawn(work(number))).collect();
        greens.into_iter().for_each(|green| green.join().unwrap());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!((counters.lock.try_write(), counters.lock.unlock()), (0, 0));
        let (one, two) = (&counters.one, &counters.two);
        assert_eq!(one.load(Ordering::Relaxed), two.load(Ordering::Relaxed));
        assert!(one.load(Ordering::Relaxed) >= 12 * ROUNDS / 8);
    }
}

fn a_number_of_readers_is_limited() {
    let lock = RwLock::new();
    // glibc's word counts from bit 3, ours from bit 0, up to the same number; so ours is written.
    // SAFETY: nobody else uses it.
    unsafe { lock.get().cast::<u32>().write((1 << 29) - 2) };
    assert_eq!(
        (lock.read(), lock.read(), lock.try_read()),
        (0, libc::EAGAIN, libc::EAGAIN)
    );
}
