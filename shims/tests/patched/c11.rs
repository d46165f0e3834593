//! C11's threads, mutexes and condition variables on every kind of thread.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use harness::c::on_clock;
use harness::{SHORT, on_every_kind_of_thread};
use libc::timespec;

on_every_kind_of_thread! {
    a_thread_gives_its_result,
    a_thread_can_exit_early_and_be_detached,
    a_mutex_is_as_it_was_asked_for,
    a_condition_is_waited_for,
}

const SUCCESS: c_int = 0;
const BUSY: c_int = 1;
const ERROR: c_int = 2;
const TIMED_OUT: c_int = 4;

const PLAIN: c_int = 0;
const RECURSIVE: c_int = 1;
const TIMED: c_int = 2;

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

unsafe extern "C-unwind" {
    fn thrd_create(thread: *mut usize, start: Start, argument: *mut c_void) -> c_int;
    fn thrd_join(thread: usize, result: *mut c_int) -> c_int;
    fn thrd_detach(thread: usize) -> c_int;
    fn thrd_exit(result: c_int) -> !;
    fn thrd_current() -> usize;
    fn thrd_equal(one: usize, other: usize) -> c_int;
    fn thrd_yield();
    fn mtx_init(mutex: *mut Object, kind: c_int) -> c_int;
    fn mtx_lock(mutex: *mut Object) -> c_int;
    fn mtx_trylock(mutex: *mut Object) -> c_int;
    fn mtx_timedlock(mutex: *mut Object, time: *const timespec) -> c_int;
    fn mtx_unlock(mutex: *mut Object) -> c_int;
    fn mtx_destroy(mutex: *mut Object);
    fn cnd_init(cond: *mut Object) -> c_int;
    fn cnd_wait(cond: *mut Object, mutex: *mut Object) -> c_int;
    fn cnd_timedwait(cond: *mut Object, mutex: *mut Object, time: *const timespec) -> c_int;
    fn cnd_signal(cond: *mut Object) -> c_int;
    fn cnd_broadcast(cond: *mut Object) -> c_int;
    fn cnd_destroy(cond: *mut Object);
}

/// Room for an `mtx_t` or a `cnd_t`.
type Object = [u64; 6];

#[derive(Default)]
struct Shared {
    mutex: UnsafeCell<Object>,
    cond: UnsafeCell<Object>,
    number: AtomicI32,
    waiting: AtomicU32,
}

impl Shared {
    fn new(kind: c_int) -> Shared {
        let shared = Shared::default();
        // SAFETY: room for both.
        unsafe {
            assert_eq!(mtx_init(shared.mutex(), kind), SUCCESS);
            assert_eq!(cnd_init(shared.cond.get()), SUCCESS);
        }
        shared
    }

    fn mutex(&self) -> *mut Object {
        self.mutex.get()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: initialised, and nobody uses them any more.
        unsafe {
            cnd_destroy(self.cond.get());
            mtx_destroy(self.mutex.get());
        }
    }
}

fn start(start: Start, shared: &Shared) -> usize {
    let mut thread = MaybeUninit::uninit();
    let argument = std::ptr::from_ref(shared).cast_mut().cast();
    // SAFETY: the start routines here take it, and are joined before it ends.
    unsafe {
        assert_eq!(thrd_create(thread.as_mut_ptr(), start, argument), SUCCESS);
        thread.assume_init()
    }
}

fn join(thread: usize) -> c_int {
    let mut result = 0;
    // SAFETY: joined once.
    unsafe { assert_eq!(thrd_join(thread, &mut result), SUCCESS) };
    result
}

/// # Safety
///
/// `argument` is a `Shared` that lives.
unsafe fn shared<'a>(argument: *mut c_void) -> &'a Shared {
    // SAFETY: `argument` is a `Shared` that lives, by this function's contract.
    unsafe { &*argument.cast::<Shared>() }
}

unsafe extern "C-unwind" fn negative(argument: *mut c_void) -> c_int {
    // SAFETY: see `start`.
    let shared = unsafe { shared(argument) };
    // SAFETY: always sound.
    unsafe {
        thrd_yield();
        shared.number.store(
            thrd_equal(thrd_current(), thrd_current()),
            Ordering::Relaxed,
        );
    }
    -7
}

fn a_thread_gives_its_result() {
    let shared = Shared::new(PLAIN);
    let thread = start(negative, &shared);
    // SAFETY: always sound.
    assert_eq!(unsafe { thrd_equal(thread, thrd_current()) }, 0);
    assert_eq!(join(thread), -7);
    assert_ne!(shared.number.load(Ordering::Relaxed), 0);
    // SAFETY: its result is not asked for.
    unsafe {
        assert_eq!(
            thrd_join(start(negative, &shared), std::ptr::null_mut()),
            SUCCESS
        );
        // A thread does not join itself.
        assert_eq!(thrd_join(thrd_current(), std::ptr::null_mut()), ERROR);
    }
}

unsafe extern "C-unwind" fn exits(argument: *mut c_void) -> c_int {
    struct Unwound<'a>(&'a Shared);
    impl Drop for Unwound<'_> {
        fn drop(&mut self) {
            self.0.number.fetch_add(1, Ordering::SeqCst);
        }
    }
    // SAFETY: see `start`.
    let _unwound = Unwound(unsafe { shared(argument) });
    // SAFETY: the frames above may be unwound.
    unsafe { thrd_exit(5) }
}

fn a_thread_can_exit_early_and_be_detached() {
    // Detached threads may use it for ever.
    let shared: &'static Shared = Box::leak(Box::new(Shared::new(PLAIN)));
    assert_eq!(join(start(exits, shared)), 5);
    assert_eq!(shared.number.load(Ordering::SeqCst), 1);
    let thread = start(exits, shared);
    // SAFETY: not joined.
    assert_eq!(unsafe { thrd_detach(thread) }, SUCCESS);
    while shared.number.load(Ordering::SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Tries the mutex, twice if it can, and for a while.
unsafe extern "C-unwind" fn tries(argument: *mut c_void) -> c_int {
    // SAFETY: see `start`.
    let shared = unsafe { shared(argument) };
    let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
    // SAFETY: initialised.
    unsafe {
        assert_eq!(mtx_trylock(shared.mutex()), BUSY);
        mtx_timedlock(shared.mutex(), &soon)
    }
}

fn a_mutex_is_as_it_was_asked_for() {
    for kind in [PLAIN, TIMED, TIMED | RECURSIVE] {
        let shared = Shared::new(kind);
        let again = if kind & RECURSIVE == 0 { BUSY } else { SUCCESS };
        // SAFETY: initialised.
        unsafe {
            assert_eq!(mtx_lock(shared.mutex()), SUCCESS);
            assert_eq!(mtx_trylock(shared.mutex()), again);
            assert_eq!(join(start(tries, &shared)), TIMED_OUT);
            if again == SUCCESS {
                assert_eq!(mtx_unlock(shared.mutex()), SUCCESS);
                assert_eq!(join(start(tries, &shared)), TIMED_OUT);
            }
            assert_eq!(mtx_unlock(shared.mutex()), SUCCESS);
            assert_eq!(mtx_trylock(shared.mutex()), SUCCESS);
            assert_eq!(mtx_unlock(shared.mutex()), SUCCESS);
        }
    }
}

unsafe extern "C-unwind" fn waits(argument: *mut c_void) -> c_int {
    // SAFETY: see `start`.
    let shared = unsafe { shared(argument) };
    // SAFETY: initialised.
    unsafe {
        assert_eq!(mtx_lock(shared.mutex()), SUCCESS);
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        while shared.number.load(Ordering::Relaxed) == 0 {
            assert_eq!(cnd_wait(shared.cond.get(), shared.mutex()), SUCCESS);
        }
        let number = shared.number.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(mtx_unlock(shared.mutex()), SUCCESS);
        number
    }
}

fn a_condition_is_waited_for() {
    let shared = Shared::new(PLAIN);
    let threads = [0; 3].map(|_| start(waits, &shared));
    let mutex = shared.mutex();
    let cond = shared.cond.get();
    // SAFETY: initialised.
    unsafe {
        loop {
            assert_eq!(mtx_lock(mutex), SUCCESS);
            if shared.waiting.load(Ordering::Relaxed) == 3 {
                break;
            }
            assert_eq!(mtx_unlock(mutex), SUCCESS);
            thrd_yield();
        }
        let soon = on_clock(libc::CLOCK_REALTIME, SHORT);
        while cnd_timedwait(cond, mutex, &soon) != TIMED_OUT {}
        shared.number.store(1, Ordering::Relaxed);
        assert_eq!(cnd_signal(cond), SUCCESS);
        assert_eq!(mtx_unlock(mutex), SUCCESS);
        assert_eq!(mtx_lock(mutex), SUCCESS);
        shared.number.fetch_add(2, Ordering::Relaxed);
        assert_eq!(cnd_broadcast(cond), SUCCESS);
        assert_eq!(mtx_unlock(mutex), SUCCESS);
    }
    let sum: c_int = threads.into_iter().map(join).sum();
    assert!((3..=6).contains(&sum));
}
