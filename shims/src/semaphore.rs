//! POSIX semaphores, one implementation for green threads and OS threads.
//!
//! glibc's object and glibc's protocol, on the waiting that green threads and OS threads share: `sem_init`,
//! `sem_destroy` and `sem_getvalue` stay. Semaphores shared between processes, named ones among them, are left to
//! glibc, but for waits of green threads: these follow glibc's protocol, with waits in the kernel by another OS thread (see
//! `shared`).
//!
//! # Algorithm
//!
//! One 64-bit word holds the value and, above it, the number of threads that wait or are about to. To wait is to count
//! oneself, then to lower both as soon as the value is not 0, waiting on the value's half while it is. To post
//! is to raise the value, and to wake one waiter if any were counted in the same exchange.
//!
//! **No wake-up is lost.** A waiter is counted before it sees the value 0 that it waits for; so a post that raises it from there
//! sees the waiter. A waiter that is woken and finds that another thread has taken the unit waits again, as a post
//! of that unit's next owner wakes it.
//!
//! A post may come from a signal handler; so it wakes by `wake_one_from_signal`. After its exchange the semaphore may
//! be gone: waking needs its address only.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use greenpatch_runtime::Patch;
use greenpatch_runtime::futex::wake_one_from_signal;
use greenpatch_runtime::hook::{self, Section};
use libc::{clockid_t, sem_t, timespec};
use rustix::io::Errno;

use crate::kernel::{finish, keeping_errno, returned};
use crate::pthread_mutex::limit;
use crate::shared;
use crate::word::{self, Until, Wait};

originals! {
    fn sem_wait(semaphore: *mut sem_t) -> c_int;
    fn sem_trywait(semaphore: *mut sem_t) -> c_int;
    fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int;
    fn sem_clockwait(
        semaphore: *mut sem_t,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or returned(Err(Errno::NOSYS));
    fn sem_post(semaphore: *mut sem_t) -> c_int;
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
}

const VALUE: u64 = 0xffff_ffff;
const ONE_WAITER: u64 = 1 << 32;
/// `SEM_VALUE_MAX`.
const LARGEST_VALUE: u64 = c_int::MAX as u64;

/// glibc's `struct new_sem` on 64-bit machines.
#[repr(C)]
struct Semaphore {
    /// The value in the lower half, the number of waiters in the upper one.
    data: AtomicU64,
    /// 0 if only this process uses it.
    sharing: AtomicI32,
}

const _: () = assert!(size_of::<Semaphore>() <= size_of::<sem_t>());
const _: () = assert!(align_of::<Semaphore>() <= align_of::<sem_t>());

impl Semaphore {
    /// # Safety
    ///
    /// `semaphore` points to an initialised semaphore, which stays in place for `'a`.
    unsafe fn new<'a>(semaphore: *mut sem_t) -> &'a Semaphore {
        // SAFETY: the semaphore is initialised and stays in place, by this function's contract; every field is an
        // atomic.
        unsafe { &*semaphore.cast::<Semaphore>() }
    }

    /// The semaphore at this address if it is ours.
    ///
    /// # Safety
    ///
    /// As for `new`.
    unsafe fn ours<'a>(semaphore: *mut sem_t) -> Option<&'a Semaphore> {
        // SAFETY: the semaphore is initialised and stays in place, by this function's contract.
        let semaphore = unsafe { Semaphore::new(semaphore) };
        (semaphore.sharing.load(Ordering::Relaxed) == 0).then_some(semaphore)
    }

    /// The half of the word that is waited on: the first, on a little-endian machine.
    fn value(&self) -> &AtomicU32 {
        // SAFETY: within the word, and aligned. Nothing but the comparison of a wait reads it so.
        unsafe { AtomicU32::from_ptr(self.data.as_ptr().cast()) }
    }

    /// Takes `taken`, a unit and perhaps a waiter, if there is a unit.
    fn try_take(&self, taken: u64) -> bool {
        self.data
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |data| {
                (data & VALUE != 0).then(|| data - taken)
            })
            .is_ok()
    }

    fn wait(&self, until: Option<Until>) -> Result<(), Errno> {
        // SAFETY: nothing is held here that an unwinding would have to give back. POSIX has every wait act upon a
        // cancellation, not only one that blocks.
        unsafe { pthread_testcancel() };
        if self.try_take(1) {
            return Ok(());
        }
        self.data.fetch_add(ONE_WAITER, Ordering::SeqCst);
        let waiter = Waiting(self);
        while !self.try_take(ONE_WAITER + 1) {
            word::wait_for_signal(self.value(), 0, until)?;
        }
        std::mem::forget(waiter);
        Ok(())
    }

    /// Waits for a semaphore that processes share on a green thread, as glibc does.
    fn wait_shared(&self, section: &Section, until: Option<Until>) -> Result<(), Errno> {
        if self.try_take(1) {
            return Ok(());
        }
        self.data.fetch_add(ONE_WAITER, Ordering::SeqCst);
        while !self.try_take(ONE_WAITER + 1) {
            if shared::wait(section, self.value(), 0, until) == Wait::TimedOut {
                // No wake-up was spent on it.
                self.data.fetch_sub(ONE_WAITER, Ordering::SeqCst);
                return Err(Errno::TIMEDOUT);
            }
        }
        Ok(())
    }

    fn post(&self) -> Result<(), Errno> {
        let address = self.value().as_ptr();
        let before = self
            .data
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |data| {
                (data & VALUE < LARGEST_VALUE).then(|| data + 1)
            })
            .map_err(|_| Errno::OVERFLOW)?;
        if before >= ONE_WAITER {
            wake_one_from_signal(address);
        }
        Ok(())
    }
}

/// A counted waiter, who has got nothing when this is dropped: the time is over, or cancellation unwinds. A
/// wake-up that it may have taken goes to another.
struct Waiting<'a>(&'a Semaphore);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let before = self.0.data.fetch_sub(ONE_WAITER, Ordering::SeqCst);
        if before & VALUE != 0 && before >= 2 * ONE_WAITER {
            wake_one_from_signal(self.0.value().as_ptr());
        }
    }
}

/// Waits for a semaphore that processes share: by `original` on an OS thread.
///
/// # Safety
///
/// It is initialised.
unsafe fn wait_for_shared(
    semaphore: *mut sem_t,
    original: impl FnOnce() -> c_int,
    until: impl FnOnce() -> Result<Option<Until>, c_int>,
) -> c_int {
    let Some(section) = hook::enter(Patch::LOCK) else {
        return original();
    };
    let outcome = until().map_err(Errno::from_raw_os_error).and_then(|until| {
        // SAFETY: the semaphore is initialised, by this function's contract, and stays in place while somebody waits
        // for it.
        let semaphore = unsafe { Semaphore::new(semaphore) };
        semaphore.wait_shared(&section, until)
    });
    finish(section, outcome.map(|()| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised semaphore, in place until it is destroyed.
    match unsafe { Semaphore::ours(semaphore) } {
        Some(semaphore) => status(semaphore.wait(None)),
        // SAFETY: the semaphore is initialised, as POSIX asks of the caller.
        None => unsafe {
            wait_for_shared(semaphore, || original::sem_wait(semaphore), || Ok(None))
        },
    }
}

fn status(outcome: Result<(), Errno>) -> c_int {
    returned(outcome.map(|()| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_trywait(semaphore: *mut sem_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised semaphore, in place until it is destroyed.
    match unsafe { Semaphore::ours(semaphore) } {
        Some(semaphore) if semaphore.try_take(1) => 0,
        Some(_) => status(Err(Errno::AGAIN)),
        None => pass_on!(original::sem_trywait(semaphore)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised semaphore, in place until it is destroyed.
    match unsafe { Semaphore::ours(semaphore) } {
        // SAFETY: the caller gives null or a time.
        Some(semaphore) => unsafe { wait_until(semaphore, libc::CLOCK_REALTIME, time) },
        // SAFETY: the semaphore is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            wait_for_shared(
                semaphore,
                || original::sem_timedwait(semaphore, time),
                || limit(libc::CLOCK_REALTIME, time),
            )
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_clockwait(
    semaphore: *mut sem_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised semaphore, in place until it is destroyed.
    match unsafe { Semaphore::ours(semaphore) } {
        // SAFETY: the caller gives null or a time.
        Some(semaphore) => unsafe { wait_until(semaphore, clock, time) },
        // SAFETY: the semaphore is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            wait_for_shared(
                semaphore,
                || original::sem_clockwait(semaphore, clock, time),
                || limit(clock, time),
            )
        },
    }
}

/// As in glibc, the time must be right even if there is nothing to wait for.
///
/// # Safety
///
/// As for `sem_clockwait`.
unsafe fn wait_until(semaphore: &Semaphore, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: `time` is null or points to a time, by this function's contract.
    let until = unsafe { limit(clock, time) }.map_err(Errno::from_raw_os_error);
    status(until.and_then(|until| semaphore.wait(until)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_post(semaphore: *mut sem_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised semaphore, in place until it is destroyed.
    match unsafe { Semaphore::ours(semaphore) } {
        Some(semaphore) => status(keeping_errno(|| semaphore.post())),
        None => pass_on!(original::sem_post(semaphore)),
    }
}
