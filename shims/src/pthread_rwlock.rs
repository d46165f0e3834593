//! The pthread read-write lock, one implementation for green threads and OS threads.
//!
//! Replaced as a whole, on all threads, for the reason given in `pthread_mutex`. glibc's `init` and
//! `destroy` stay, which only write the fields or do nothing. Locks shared between processes are left to
//! glibc, in a blocking section.
//!
//! # Algorithm
//!
//! All is in one word: the number of readers, whether a writer has the lock, whether readers wait, whether
//! writers wait. Both wait on this word while it has the value in which they could not have the lock and which
//! says that one of their sort waits; a bit of the futex bitset tells the sorts apart. Readers are kept out
//! by a writer that has the lock; if the lock's kind prefers writers, also by one that waits while others read.
//!
//! Who makes the lock free clears both marks in the same exchange and wakes all readers, if they were
//! marked, and one writer, likewise. If the kind prefers writers and one waits, the mark of the readers stays and the
//! writer alone is woken.
//!
//! **Exclusion.** A writer comes in from "no reader, no writer" only, a reader from "no writer" only, by one
//! exchange.
//! **No wake-up is lost.** A mark is set before its waiter waits, and compared with queueing: whoever clears it
//! wakes. All readers are woken, so none is left without mark. Of the writers one is woken; from then on
//! it answers for the others: it sets the mark again when it acquires as well as before it waits again, and
//! if its time is over it passes the wake-up on. If nobody is there to take the wake-up that was meant for a
//! writer, the readers left waiting for it are woken.
//!
//! After the exchange that makes the lock free, the lock may be gone. Waking needs its address only.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use greenpatch_runtime::futex::Wait;
use greenpatch_runtime::hook;
use libc::{clockid_t, pthread_rwlock_t, timespec};

use crate::pthread_mutex::limit;
use crate::word::{self, Cancellation, Until, blocking};

originals! {
    fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
    fn pthread_rwlock_clockrdlock(
        lock: *mut pthread_rwlock_t,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or libc::ENOSYS;
    fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
    fn pthread_rwlock_clockwrlock(
        lock: *mut pthread_rwlock_t,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or libc::ENOSYS;
    fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int;
}

/// A writer has the lock.
const WRITER: u32 = 1 << 31;
/// Readers may wait.
const READERS_WAIT: u32 = 1 << 30;
/// Writers may wait.
const WRITERS_WAIT: u32 = 1 << 29;
/// The number of readers; glibc counts as far.
const READERS: u32 = WRITERS_WAIT - 1;

/// The bitsets of the two sorts of waiters.
const READER_BIT: u32 = 1;
const WRITER_BIT: u32 = 2;

/// `PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP`; with every other kind glibc, too, prefers readers.
const PREFERS_WRITERS: u32 = 2;

/// glibc's `struct __pthread_rwlock_arch_t` on x86-64.
#[repr(C)]
struct RwLock {
    state: AtomicU32,
    _unused: [u32; 5],
    /// The thread id of the writer that has the lock; 0 for none. Written by that writer alone.
    writer: AtomicI32,
    is_shared: AtomicI32,
    _elision: [u32; 4],
    kind: AtomicU32,
}

const _: () = assert!(size_of::<RwLock>() <= size_of::<pthread_rwlock_t>());
const _: () = assert!(align_of::<RwLock>() <= align_of::<pthread_rwlock_t>());

impl RwLock {
    /// The lock at this address, if it is ours: if only this process uses it.
    ///
    /// # Safety
    ///
    /// `lock` points to an initialised lock, which stays in place for `'a`.
    unsafe fn ours<'a>(lock: *mut pthread_rwlock_t) -> Option<&'a RwLock> {
        // SAFETY: the caller's promise; every field that anyone writes is an atomic.
        let lock = unsafe { &*lock.cast::<RwLock>() };
        (lock.is_shared.load(Ordering::Relaxed) == 0).then_some(lock)
    }

    fn prefers_writers(&self) -> bool {
        self.kind.load(Ordering::Relaxed) == PREFERS_WRITERS
    }

    fn is_mine(&self) -> bool {
        self.writer.load(Ordering::Relaxed) == hook::thread::id()
    }

    /// Whether a reader must wait.
    fn bars_readers(&self, state: u32) -> bool {
        let is_read = state & READERS != 0;
        state & WRITER != 0 || is_read && state & WRITERS_WAIT != 0 && self.prefers_writers()
    }

    /// Changes the word, or gives what it is by now.
    fn change(&self, state: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        self.state
            .compare_exchange_weak(state, new, order, Ordering::Relaxed)
    }

    fn try_read(&self) -> c_int {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if self.bars_readers(state) {
                return libc::EBUSY;
            }
            if state & READERS == READERS {
                return libc::EAGAIN;
            }
            match self.change(state, state + 1, Ordering::Acquire) {
                Ok(_) => return 0,
                Err(current) => state = current,
            }
        }
    }

    fn read(&self, until: Option<Until>) -> c_int {
        if self.is_mine() {
            return libc::EDEADLK;
        }
        loop {
            match self.try_read() {
                libc::EBUSY => {}
                outcome => return outcome,
            }
            let bars = |state| self.bars_readers(state);
            if self.wait(READERS_WAIT, READER_BIT, bars, until) == Wait::TimedOut {
                return libc::ETIMEDOUT;
            }
        }
    }

    /// `marks` are set on success, too.
    fn try_write(&self, marks: u32) -> c_int {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & (WRITER | READERS) != 0 {
                return libc::EBUSY;
            }
            match self.change(state, state | WRITER | marks, Ordering::Acquire) {
                Ok(_) => break,
                Err(current) => state = current,
            }
        }
        self.writer.store(hook::thread::id(), Ordering::Relaxed);
        0
    }

    fn write(&self, until: Option<Until>) -> c_int {
        if self.is_mine() {
            return libc::EDEADLK;
        }
        let mut marks = 0;
        while self.try_write(marks) != 0 {
            let bars = |state| state & (WRITER | READERS) != 0;
            if self.wait(WRITERS_WAIT, WRITER_BIT, bars, until) == Wait::TimedOut {
                self.give_up_writing();
                return libc::ETIMEDOUT;
            }
            // Others may wait, and this thread may have been woken in their place.
            marks = WRITERS_WAIT;
        }
        0
    }

    /// Sets the mark and waits, if the lock is still such that the caller has to.
    fn wait(&self, mark: u32, bit: u32, bars: impl Fn(u32) -> bool, until: Option<Until>) -> Wait {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if !bars(state) {
                return Wait::Changed;
            }
            match self.change(state, state | mark, Ordering::Relaxed) {
                Ok(_) => break,
                Err(current) => state = current,
            }
        }
        word::wait(&self.state, state | mark, bit, until, Cancellation::Ignored)
    }

    /// A writer's time is over. If no other waits, nobody is kept out for writers any more.
    fn give_up_writing(&self) {
        let address = self.state.as_ptr();
        if word::wake(address, 1, WRITER_BIT) != 0 {
            return;
        }
        let before = self
            .state
            .fetch_and(!(READERS_WAIT | WRITERS_WAIT), Ordering::Relaxed);
        if before & WRITERS_WAIT != 0 {
            // It may have come after the look above.
            word::wake(address, 1, WRITER_BIT);
        }
        if before & READERS_WAIT != 0 {
            word::wake(address, u32::MAX, READER_BIT);
        }
    }

    fn unlock(&self) -> c_int {
        let prefers_writers = self.prefers_writers();
        let address = self.state.as_ptr();
        let mut state = self.state.load(Ordering::Relaxed);
        if state & WRITER != 0 {
            if !self.is_mine() {
                return libc::EPERM;
            }
            self.writer.store(0, Ordering::Relaxed);
        } else if state & READERS == 0 {
            return libc::EPERM;
        }
        let wakes_writer_alone = loop {
            let held = if state & WRITER != 0 { WRITER } else { 1 };
            let mut left = state - held;
            let is_free = left & READERS == 0;
            let alone = prefers_writers && state & WRITERS_WAIT != 0;
            if is_free {
                left = if alone { state & READERS_WAIT } else { 0 };
            }
            match self.change(state, left, Ordering::Release) {
                Ok(_) if !is_free => return 0,
                Ok(_) => break alone,
                Err(current) => state = current,
            }
        };
        // From here on the lock may be gone.
        if wakes_writer_alone && word::wake(address, 1, WRITER_BIT) != 0 {
            return 0;
        }
        if state & READERS_WAIT != 0 {
            word::wake(address, u32::MAX, READER_BIT);
        }
        if state & WRITERS_WAIT != 0 && !wakes_writer_alone {
            word::wake(address, 1, WRITER_BIT);
        }
        0
    }
}

/// A lock until a time. As in glibc, the time must be right even if there is nothing to wait for.
///
/// # Safety
///
/// `time` is null or points to a `timespec`.
unsafe fn until(
    clock: clockid_t,
    time: *const timespec,
    lock: impl FnOnce(Option<Until>) -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { limit(clock, time) } {
        Ok(until) => lock(until),
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.read(None),
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_rdlock(lock) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { pthread_rwlock_rdlock(lock) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.try_read(),
        // SAFETY: passed on as it came.
        None => unsafe { original::pthread_rwlock_tryrdlock(lock) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { pthread_rwlock_tryrdlock(lock) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedrdlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: as above.
        Some(lock) => unsafe { until(libc::CLOCK_REALTIME, time, |until| lock.read(until)) },
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_timedrdlock(lock, time) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockrdlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: as above.
        Some(lock) => unsafe { until(clock, time, |until| lock.read(until)) },
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_clockrdlock(lock, clock, time) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.write(None),
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_wrlock(lock) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { pthread_rwlock_wrlock(lock) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.try_write(0),
        // SAFETY: passed on as it came.
        None => unsafe { original::pthread_rwlock_trywrlock(lock) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { pthread_rwlock_trywrlock(lock) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedwrlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: as above.
        Some(lock) => unsafe { until(libc::CLOCK_REALTIME, time, |until| lock.write(until)) },
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_timedwrlock(lock, time) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockwrlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: as above.
        Some(lock) => unsafe { until(clock, time, |until| lock.write(until)) },
        // SAFETY: passed on as it came.
        None => blocking(|| unsafe { original::pthread_rwlock_clockwrlock(lock, clock, time) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: what the function asks of its caller.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.unlock(),
        // SAFETY: passed on as it came.
        None => unsafe { original::pthread_rwlock_unlock(lock) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { pthread_rwlock_unlock(lock) }
}
