//! The pthread condition variable, one implementation for green threads and OS threads.
//!
//! Replaced as a whole, on all threads, for the reason given in `pthread_mutex`. glibc's `init`
//! stays: the object is glibc's, of which its first word is used as the sequence number below, and
//! the word with the clock, the process-shared flag and the number of waiters means what it means
//! to glibc. Condition variables shared between processes are left to glibc.
//!
//! # Shared between processes
//!
//! glibc's wait takes two steps that no shim can part: it registers itself as a waiter, then unlocks the mutex and waits. A
//! green thread has the wait made by another OS thread (see `shared`), which must not lock the caller's mutex: that would make it
//! the owner. So that thread waits with a mutex of its own, the *gate*, which is locked from the beginning. Once glibc has
//! unlocked the gate, the waiter is registered, and only then the green thread unlocks the caller's mutex. It locks that again
//! when the wait has returned. What has been done under the mutex before a signal was so done before the wait, or the wait
//! is woken, as with the mutex itself; glibc's condition variable keeps nothing about the mutex.
//!
//! (Rejected: glibc's algorithm in this file. It has changed between versions, of which other processes may use any, and an error in it
//! loses their wake-ups.)
//!
//! # Algorithm
//!
//! A wait reads the sequence number while it holds the mutex, unlocks, waits while the number is
//! the same, and locks. A signal raises the number and wakes one waiter; a broadcast, all.
//!
//! **No wake-up is lost.** Take a waiter that has unlocked the mutex before a signal raised the
//! number. If it is queued already, the signal wakes it or one queued before it. If not, it will
//! compare the number, find it changed and return. A waiter that reads the number after it was
//! raised read it holding the mutex: what the signal is about, if it was changed under the mutex,
//! it has seen.
//!
//! **No signal is stolen**: it wakes only threads that were waiting before the signal returned.
//!
//! **Destruction.** A condition variable may be destroyed as soon as all its waiters are woken. One
//! of them may still be on its way from the unlocking to the comparison, which is a look at memory
//! that is about to be reused. So a waiter counts itself before it unlocks the mutex, and counts
//! itself out with its last touch; `destroy` waits until nobody is counted. A waiter does not wait
//! for the mutex while it is counted: whoever destroys may hold it.
//!
//! A waiter can miss 2^32 signals between its reading of the number and its waiting, and sleep on;
//! std's own condition variable accepts the same. Wake-ups without cause, which POSIX allows, come
//! from the comparison above and, on OS threads, from signal handlers.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use greenpatch_runtime::Patch;
use greenpatch_runtime::futex::{ANY, Wait};
use greenpatch_runtime::hook::{self, Section};
use libc::{clockid_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t, timespec};

use crate::pthread_mutex::{Limit, limit, lock_after_wait, unlock_original, unlock_to_wait};
use crate::shared::{handed_over, pause};
use crate::word::{self, Cancellation, Until};

originals! {
    fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_cond_timedwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        time: *const timespec,
    ) -> c_int;
    fn pthread_cond_clockwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or libc::ENOSYS;
    fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int;
    fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int;
    fn pthread_cond_destroy(cond: *mut pthread_cond_t) -> c_int;
}

/// Flags in the word that glibc calls `__wrefs`.
const SHARED: u32 = 1;
const MONOTONIC: u32 = 2;
/// `destroy` waits for the number of waiters to be 0.
const DESTROYED: u32 = 4;
/// One waiter, in the same word.
const WAITER: u32 = 8;

/// The condition variable as 32-bit words.
const WORDS: usize = size_of::<pthread_cond_t>() / size_of::<u32>();
type CondWords = [AtomicU32; WORDS];

/// Where `__wrefs` stands: it has moved between versions of glibc, so a condition variable that
/// runs by the monotonic clock is made, and searched for the flag.
fn flags_index() -> usize {
    static INDEX: AtomicUsize = AtomicUsize::new(usize::MAX);
    match INDEX.load(Ordering::Relaxed) {
        usize::MAX => {
            let index = find_flags();
            INDEX.store(index, Ordering::Relaxed);
            index
        }
        index => index,
    }
}

#[cold]
fn find_flags() -> usize {
    let mut attributes = MaybeUninit::<pthread_condattr_t>::uninit();
    let mut cond = MaybeUninit::<pthread_cond_t>::zeroed();
    // SAFETY: initialised in this order; zeros in what the calls leave alone are values of the words.
    let words = unsafe {
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        libc::pthread_condattr_setclock(attributes.as_mut_ptr(), libc::CLOCK_MONOTONIC);
        libc::pthread_cond_init(cond.as_mut_ptr(), attributes.as_ptr());
        libc::pthread_condattr_destroy(attributes.as_mut_ptr());
        cond.as_ptr().cast::<[u32; WORDS]>().read()
    };
    /// `__wrefs` in glibc 2.25 to 2.40.
    const USUAL: usize = 9;
    words
        .iter()
        .position(|&word| word == MONOTONIC)
        .unwrap_or(USUAL)
}

/// A condition variable that only this process uses.
#[derive(Clone, Copy)]
struct Cond<'a> {
    /// Raised by every signal. Waiters compare it when they queue themselves.
    sequence: &'a AtomicU32,
    /// The flags, and how many threads wait.
    users: &'a AtomicU32,
    /// Those flags as they were when it was made.
    flags: u32,
}

impl<'a> Cond<'a> {
    /// The condition variable at this address if it is ours.
    ///
    /// # Safety
    ///
    /// `cond` points to an initialised condition variable, which stays in place for `'a`.
    unsafe fn ours(cond: *mut pthread_cond_t) -> Option<Cond<'a>> {
        // SAFETY: the caller keeps it in place; all its users change it by atomic operations.
        let words = unsafe { &*cond.cast::<CondWords>() };
        let users = &words[flags_index()];
        let flags = users.load(Ordering::Relaxed);
        let is_ours = flags & SHARED == 0;
        is_ours.then_some(Cond {
            sequence: &words[0],
            users,
            flags,
        })
    }

    /// # Safety
    ///
    /// `mutex` points to a mutex, which the caller holds.
    unsafe fn wait(self, mutex: *mut pthread_mutex_t, until: Option<Until>) -> c_int {
        let before = self.sequence.load(Ordering::Relaxed);
        self.users.fetch_add(WAITER, Ordering::Relaxed);
        // SAFETY: the caller holds the mutex.
        let error = unsafe { unlock_to_wait(mutex, None) };
        if error != 0 {
            self.leave();
            return error;
        }
        let relock = Relock { cond: self, mutex };
        let wait = word::wait(self.sequence, before, ANY, until, Cancellation::Point);
        std::mem::forget(relock);
        self.leave();
        // SAFETY: this thread has just unlocked the mutex, and is still one of its users.
        match unsafe { lock_after_wait(mutex) } {
            0 if wait == Wait::TimedOut => libc::ETIMEDOUT,
            error => error,
        }
    }

    /// A waiter's last touch: from here on the condition variable may be gone.
    fn leave(self) {
        let address = word::address(self.users);
        let before = self.users.fetch_sub(WAITER, Ordering::Release);
        let is_last = before < 2 * WAITER;
        if is_last && before & DESTROYED != 0 {
            word::wake(address, 1, ANY);
        }
    }

    fn destroy(self) {
        let mut users = self.users.fetch_or(DESTROYED, Ordering::Acquire) | DESTROYED;
        while users >= WAITER {
            word::wait(self.users, users, ANY, None, Cancellation::Ignored);
            users = self.users.load(Ordering::Acquire);
        }
    }

    fn wake(self, count: u32) -> c_int {
        let address = self.sequence.as_ptr();
        // Ordered before the waking by the lock of the queue, and before the count of kernel
        // waiters by the fence there.
        self.sequence.fetch_add(1, Ordering::SeqCst);
        word::wake(address, count, ANY);
        0
    }
}

/// The clock by which a condition variable with these flags measures time.
fn clock_of(flags: u32) -> clockid_t {
    if flags & MONOTONIC != 0 {
        libc::CLOCK_MONOTONIC
    } else {
        libc::CLOCK_REALTIME
    }
}

/// A private mutex of glibc's that is locked, by nobody in particular, and will be unlocked by whoever waits with it.
struct Gate(UnsafeCell<pthread_mutex_t>);

impl Gate {
    /// The word of a mutex that is held, and on which somebody waits: who unlocks wakes.
    const LOCKED: u32 = 2;

    fn locked() -> Gate {
        let gate = Gate(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        gate.word().store(Gate::LOCKED, Ordering::Relaxed);
        gate
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mutex begins with its word, which is only used by atomic operations.
        unsafe { AtomicU32::from_ptr(self.0.get().cast()) }
    }

    /// Waits for the other thread to unlock it. That takes as long as a switch to that thread, no more: so the worker
    /// waits.
    fn wait(&self, section: &Section) {
        const OPERATION: c_int = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;

        let word = self.word();
        section.blocking_in_place(|| {
            while word.load(Ordering::Acquire) == Gate::LOCKED {
                // SAFETY: the borrow keeps the word in place; null is no time-out.
                let _ = unsafe {
                    kernel_call!(libc::SYS_futex, word.as_ptr(), OPERATION, Gate::LOCKED, 0)
                };
            }
        });
    }
}

/// Waits for a condition variable that is glibc's: by `original`, with the caller's mutex, on an OS thread. `until` gives the
/// time limit from the flags.
///
/// # Safety
///
/// The condition variable is initialised, and the caller holds the mutex.
unsafe fn wait_for_shared(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    original: impl Fn(*mut pthread_mutex_t) -> c_int,
    until: impl FnOnce(u32) -> Limit,
) -> c_int {
    let Some(section) = hook::enter(Patch::LOCK) else {
        return original(mutex);
    };
    // SAFETY: the condition variable is initialised, by this function's contract; all its users change it by atomic
    // operations.
    let flags = unsafe { &(&*cond.cast::<CondWords>())[flags_index()] };
    let until = match until(flags.load(Ordering::Relaxed)) {
        Ok(until) => until,
        Err(error) => return error,
    };
    let gate = Gate::locked();
    let call = || {
        let error = original(gate.0.get());
        // SAFETY: the wait has locked it again, or has never unlocked it.
        unsafe { unlock_original(gate.0.get()) };
        error
    };
    let mut unlocked = 0;
    let unlock = || {
        gate.wait(&section);
        // SAFETY: the caller holds the mutex.
        unlocked = unsafe { unlock_to_wait(mutex, Some(&section)) };
        if unlocked != 0 {
            // The wait is to return. To others that is a wake-up without cause.
            // SAFETY: the condition variable is initialised, by this function's contract.
            unsafe { original::pthread_cond_broadcast(cond) };
        }
    };
    // SAFETY: glibc's wait with a mutex that is not the caller's is the same on any thread, does not panic and knows nothing of
    // sections.
    let waited = unsafe { section.hand_over(cond.addr(), &call, unlock) };
    if unlocked != 0 {
        return unlocked;
    }
    let waited = match waited {
        Some(waited) => waited,
        // No OS thread: a wake-up without cause, after a while.
        None => {
            // SAFETY: the caller holds the mutex.
            match unsafe { unlock_to_wait(mutex, Some(&section)) } {
                0 => {}
                error => return error,
            }
            match pause(&section, until) {
                Wait::TimedOut => libc::ETIMEDOUT,
                _ => 0,
            }
        }
    };
    drop(section);
    // SAFETY: this thread has just unlocked the mutex, and is still one of its users.
    match unsafe { lock_after_wait(mutex) } {
        0 => waited,
        error => error,
    }
}

/// Dropped when cancellation unwinds a wait: cleanup handlers expect the mutex locked, and a signal
/// that this waiter may have taken goes to another.
struct Relock<'a> {
    cond: Cond<'a>,
    mutex: *mut pthread_mutex_t,
}

impl Drop for Relock<'_> {
    fn drop(&mut self) {
        word::wake(self.cond.sequence.as_ptr(), 1, ANY);
        self.cond.leave();
        // SAFETY: the wait has unlocked the mutex, and this thread is still one of its users.
        unsafe { lock_after_wait(self.mutex) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_wait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        // SAFETY: POSIX asks the caller for a mutex that it holds, and for a valid time if it gives one.
        Some(cond) => unsafe { cond.wait(mutex, None) },
        // SAFETY: as above, of a condition variable shared between processes.
        None => unsafe {
            let original = |mutex| original::pthread_cond_wait(cond, mutex);
            wait_for_shared(cond, mutex, original, |_| Ok(None))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_timedwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        // SAFETY: POSIX asks the caller for a mutex that it holds, and for a valid time if it gives one.
        Some(cond) => unsafe { wait_until(cond, mutex, clock_of(cond.flags), time) },
        // SAFETY: as above, of a condition variable shared between processes.
        None => unsafe {
            let original = |mutex| original::pthread_cond_timedwait(cond, mutex, time);
            wait_for_shared(cond, mutex, original, |flags| limit(clock_of(flags), time))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_clockwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        // SAFETY: POSIX asks the caller for a mutex that it holds, and for a valid time if it gives one.
        Some(cond) => unsafe { wait_until(cond, mutex, clock, time) },
        // SAFETY: as above, of a condition variable shared between processes.
        None => unsafe {
            let original = |mutex| original::pthread_cond_clockwait(cond, mutex, clock, time);
            wait_for_shared(cond, mutex, original, |_| limit(clock, time))
        },
    }
}

/// # Safety
///
/// As for `pthread_cond_clockwait`.
unsafe fn wait_until(
    cond: Cond<'_>,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller gives null or a time to read.
    match unsafe { limit(clock, time) } {
        // SAFETY: the caller holds the mutex.
        Ok(until) => unsafe { cond.wait(mutex, until) },
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        Some(cond) => cond.wake(1),
        // A condition variable shared between processes.
        None => pass_on!(original::pthread_cond_signal(cond)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        Some(cond) => cond.wake(c_uint::MAX),
        // A condition variable shared between processes.
        None => pass_on!(original::pthread_cond_broadcast(cond)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_destroy(cond: *mut pthread_cond_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised condition variable, in place until it is destroyed.
    match unsafe { Cond::ours(cond) } {
        Some(cond) => {
            cond.destroy();
            0
        }
        // SAFETY: a condition variable shared between processes, which is glibc's.
        None => handed_over(cond, || unsafe { original::pthread_cond_destroy(cond) }),
    }
}
