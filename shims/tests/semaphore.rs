//! Semaphores keep the promises of POSIX on every kind of thread.

#[macro_use]
mod threads;

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libc::{sem_t, timespec};
use threads::{SHORT, fails, ok, on_clock};

on_every_kind_of_thread! {
    units_are_taken_and_given,
    a_wait_ends_at_its_time,
    a_value_has_a_limit,
    units_under_stress_are_neither_lost_nor_made,
    a_semaphore_can_be_destroyed_once_it_was_waited_for,
    shared_and_named_semaphores_work,
    a_post_of_another_process_is_noticed,
    a_signal_handler_may_post,
}

unsafe extern "C" {
    fn sem_clockwait(semaphore: *mut sem_t, clock: libc::clockid_t, time: *const timespec)
    -> c_int;
}

struct Semaphore(UnsafeCell<MaybeUninit<sem_t>>);

// SAFETY: only semaphore functions touch it.
unsafe impl Sync for Semaphore {}
// SAFETY: it stays where it is, in an `Arc` or a static.
unsafe impl Send for Semaphore {}

impl Semaphore {
    fn new(value: u32) -> Arc<Semaphore> {
        Semaphore::with(value, 0)
    }

    fn with(value: u32, shared: c_int) -> Arc<Semaphore> {
        let semaphore = Arc::new(Semaphore(UnsafeCell::new(MaybeUninit::uninit())));
        // SAFETY: room for one.
        ok(unsafe { libc::sem_init(semaphore.get(), shared, value) });
        semaphore
    }

    fn get(&self) -> *mut sem_t {
        self.0.get().cast()
    }

    fn wait(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_wait(self.get()) }
    }

    fn try_wait(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_trywait(self.get()) }
    }

    fn wait_until(&self, time: &timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { libc::sem_timedwait(self.get(), time) }
    }

    fn wait_by_clock(&self, clock: libc::clockid_t, time: &timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { sem_clockwait(self.get(), clock, time) }
    }

    fn post(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_post(self.get()) }
    }

    fn value(&self) -> c_int {
        let mut value = -1;
        // SAFETY: initialised, and room for the value.
        ok(unsafe { libc::sem_getvalue(self.get(), &mut value) });
        value
    }
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
    threads::Kind::Green { workers: 1 }.run("shared semaphore", || {
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

fn a_post_of_another_process_is_noticed() {
    // SAFETY: memory of its own, which the child shares; the child makes system calls only.
    unsafe {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let place = libc::mmap(ptr::null_mut(), size_of::<sem_t>(), access, flags, -1, 0);
        assert_ne!(place, libc::MAP_FAILED);
        let semaphore = place.cast::<sem_t>();
        ok(libc::sem_init(semaphore, 1, 0));
        let child = ok(libc::fork());
        if child == 0 {
            libc::usleep(20_000);
            libc::_exit(libc::sem_post(semaphore));
        }
        ok(libc::sem_wait(semaphore));
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
        fails(libc::sem_trywait(semaphore), libc::EAGAIN);
        ok(libc::munmap(place, size_of::<sem_t>()));
    }
}

/// What the handler posts to.
static HANDLED: [Semaphore; 2] = [const { Semaphore(UnsafeCell::new(MaybeUninit::zeroed())) }; 2];
static POSTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn post_from_handler(_: c_int) {
    HANDLED[0].post();
    HANDLED[1].post();
    POSTS.fetch_add(1, Ordering::SeqCst);
}

/// Signals strike threads of both kinds, in the midst of their own posts, waits and switches.
fn a_signal_handler_may_post() {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|error| error.into_inner());
    const TIMES: u32 = 300;
    POSTS.store(0, Ordering::SeqCst);
    // SAFETY: the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = post_from_handler as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        ok(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()));
    }
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(2)
        .build()
        .unwrap();
    let taken = Arc::new(AtomicU32::new(0));
    let taker = |semaphore: &'static Semaphore, taken: Arc<AtomicU32>| {
        move || {
            loop {
                if semaphore.wait() == 0 && taken.fetch_add(1, Ordering::SeqCst) + 2 > 2 * TIMES {
                    return;
                }
                if taken.load(Ordering::SeqCst) >= 2 * TIMES {
                    return;
                }
            }
        }
    };
    // A green thread and an OS thread wait for what the handler posts to each of the two.
    let greens: Vec<_> = HANDLED
        .iter()
        .map(|semaphore| runtime.spawn(taker(semaphore, taken.clone())))
        .collect();
    let threads: Vec<_> = HANDLED
        .iter()
        .map(|semaphore| thread::spawn(taker(semaphore, taken.clone())))
        .collect();
    // Others keep the runtime's locks busy.
    let busy = Semaphore::new(0);
    let stop = Arc::new(AtomicU32::new(0));
    let churn = || {
        let (busy, stop) = (busy.clone(), stop.clone());
        move || {
            while stop.load(Ordering::SeqCst) == 0 {
                ok(busy.post());
                ok(busy.wait());
                thread::yield_now();
            }
        }
    };
    let churning: Vec<_> = (0..4).map(|_| runtime.spawn(churn())).collect();
    let churning_too = thread::spawn(churn());
    // SAFETY: an own signal, handled.
    let shoot = || ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    for shot in 1..=TIMES {
        shoot();
        while POSTS.load(Ordering::SeqCst) < shot {
            thread::sleep(Duration::from_micros(100));
        }
    }
    while taken.load(Ordering::SeqCst) < 2 * TIMES {
        thread::sleep(Duration::from_millis(1));
    }
    stop.store(1, Ordering::SeqCst);
    // Whoever still waits gets a unit to leave with.
    for _ in 0..8 {
        HANDLED.iter().for_each(|semaphore| {
            semaphore.post();
        });
    }
    greens.into_iter().for_each(|green| green.join().unwrap());
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    churning.into_iter().for_each(|green| green.join().unwrap());
    churning_too.join().unwrap();
    HANDLED
        .iter()
        .for_each(|semaphore| while semaphore.try_wait() == 0 {});
}
