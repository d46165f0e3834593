//! Cancellation of OS threads acts in the functions that take the place of libc's cancellation
//! points.
//!
//! What can be cancelled is declared here and not taken from the libc crate, which says that it
//! does not unwind; one such word in a program, and the compiler leaves the clean-up out.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use greenpatch_shims as _;
use libc::{pthread_attr_t, pthread_cond_t, pthread_mutex_t, pthread_t, timespec};

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_cancel(thread: pthread_t) -> c_int;
    fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int;
    fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int;
    fn read(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn pipe(ends: *mut c_int) -> c_int;
}

/// Starts an OS thread, cancels it once it is about to wait, and joins it.
fn cancel(start: extern "C-unwind" fn(*mut c_void) -> *mut c_void, waits: &AtomicU32) {
    let (mut thread, mut value) = (0, null_mut());
    // SAFETY: the start routines here need nothing.
    unsafe {
        assert_eq!(pthread_create(&mut thread, null(), start, null_mut()), 0);
        while waits.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(pthread_cancel(thread), 0);
        assert_eq!(pthread_join(thread, &mut value), 0);
    }
    assert_eq!(value as isize, -1, "PTHREAD_CANCELED");
}

struct Shared<T>(UnsafeCell<T>);

// SAFETY: only pthread functions touch it.
unsafe impl<T> Sync for Shared<T> {}

#[test]
fn a_cancelled_wait_on_a_condition_ends_with_the_mutex_locked() {
    static MUTEX: Shared<pthread_mutex_t> =
        Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    static COND: Shared<pthread_cond_t> = Shared(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER));
    static WAITS: AtomicU32 = AtomicU32::new(0);
    static TRIED: AtomicU32 = AtomicU32::new(0);

    struct Unwound;
    impl Drop for Unwound {
        fn drop(&mut self) {
            // SAFETY: initialised.
            let tried = unsafe { pthread_mutex_trylock(MUTEX.0.get()) };
            TRIED.store(tried as u32, Ordering::SeqCst);
            // SAFETY: initialised.
            unsafe { pthread_mutex_unlock(MUTEX.0.get()) };
        }
    }
    extern "C-unwind" fn start(_: *mut c_void) -> *mut c_void {
        let _unwound = Unwound;
        // SAFETY: initialised.
        unsafe { pthread_mutex_lock(MUTEX.0.get()) };
        WAITS.store(1, Ordering::SeqCst);
        loop {
            // SAFETY: initialised.
            unsafe { pthread_cond_wait(COND.0.get(), MUTEX.0.get()) };
        }
    }

    cancel(start, &WAITS);
    assert_eq!(TRIED.load(Ordering::SeqCst), libc::EBUSY as u32);
    // SAFETY: initialised.
    assert_eq!(unsafe { pthread_mutex_trylock(MUTEX.0.get()) }, 0);
}

#[test]
fn a_cancelled_sleep_and_a_cancelled_read_unwind() {
    static SLEEPS: AtomicU32 = AtomicU32::new(0);
    static READS: AtomicU32 = AtomicU32::new(0);
    static UNWOUND: AtomicU32 = AtomicU32::new(0);

    struct Count;
    impl Drop for Count {
        fn drop(&mut self) {
            UNWOUND.fetch_add(1, Ordering::SeqCst);
        }
    }
    extern "C-unwind" fn sleep_long(_: *mut c_void) -> *mut c_void {
        let _count = Count;
        let long = timespec {
            tv_sec: 1000,
            tv_nsec: 0,
        };
        SLEEPS.store(1, Ordering::SeqCst);
        // SAFETY: a valid time.
        unsafe { nanosleep(&long, null_mut()) };
        null_mut()
    }
    extern "C-unwind" fn read_nothing(_: *mut c_void) -> *mut c_void {
        let _count = Count;
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors and a byte.
        unsafe {
            pipe(ends.as_mut_ptr());
            READS.store(1, Ordering::SeqCst);
            read(ends[0], (&raw mut ends).cast(), 1);
        }
        null_mut()
    }

    cancel(sleep_long, &SLEEPS);
    cancel(read_nothing, &READS);
    assert_eq!(UNWOUND.load(Ordering::SeqCst), 2);
}
