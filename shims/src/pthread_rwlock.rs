//! The pthread read-write lock, one implementation for green threads and OS threads.
//!
//! Replaced as a whole, on all threads, for the reason given in `pthread_mutex`. glibc's `init` and
//! `destroy` stay, which only write the fields or do nothing. Locks shared between processes are left to
//! glibc.
//!
//! A green thread that finds a shared lock held has another OS thread lock it, and parks meanwhile (see `shared`). glibc
//! tells an unlock of a writer from that of a reader by the writer's thread id. So who has locked for writing puts its own id in the
//! place of the other thread's. Nobody else reads that id but to compare it with their own.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook;
use libc::{clockid_t, pthread_rwlock_t, timespec};

use crate::pthread_mutex::{Limit, limit};
use crate::read_write::ReadWrite;
use crate::shared::hand_over;
use crate::word::Until;

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
    unsafe fn ours<'a>(lock: *mut pthread_rwlock_t) -> Option<ReadWrite<'a>> {
        // SAFETY: the lock is initialised and stays in place, by this function's contract; every field that anyone
        // writes is an atomic.
        let lock = unsafe { &*lock.cast::<RwLock>() };
        (lock.is_shared.load(Ordering::Relaxed) == 0).then(|| ReadWrite {
            state: &lock.state,
            writer: &lock.writer,
            prefers_writers: lock.kind.load(Ordering::Relaxed) == PREFERS_WRITERS,
        })
    }
}

/// What a lock is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Reading,
    Writing,
}

/// Locks a lock that is glibc's: by `original` on an OS thread, by a try on a green thread, and if that fails by `original` on
/// another OS thread.
///
/// # Safety
///
/// The lock is initialised.
unsafe fn lock_shared(
    lock: *mut pthread_rwlock_t,
    access: Access,
    original: impl Fn() -> c_int,
    until: impl FnOnce() -> Limit,
) -> c_int {
    let Some(section) = hook::enter(Patch::LOCK) else {
        return original();
    };
    if let Err(error) = until() {
        return error;
    }
    // SAFETY: the lock is initialised, by this function's contract.
    let tried = unsafe {
        match access {
            Access::Reading => original::pthread_rwlock_tryrdlock(lock),
            Access::Writing => original::pthread_rwlock_trywrlock(lock),
        }
    };
    if tried != libc::EBUSY {
        return tried;
    }
    // SAFETY: the lock is initialised and stays in place while somebody locks it, by this function's contract; every field
    // that anyone writes is an atomic.
    let writer = unsafe { &(*lock.cast::<RwLock>()).writer };
    if writer.load(Ordering::Relaxed) == hook::thread::id() {
        return libc::EDEADLK;
    }
    let status = hand_over(section, lock, original);
    if status == 0 && access == Access::Writing {
        writer.store(hook::thread::id(), Ordering::Relaxed);
    }
    status
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
    // SAFETY: `time` is null or points to a time, by this function's contract.
    match unsafe { limit(clock, time) } {
        Ok(until) => lock(until),
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.read(None),
        // SAFETY: the lock is initialised, as POSIX asks of the caller.
        None => unsafe {
            let original = || original::pthread_rwlock_rdlock(lock);
            lock_shared(lock, Access::Reading, original, || Ok(None))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.try_read(),
        None => pass_on!(original::pthread_rwlock_tryrdlock(lock)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedrdlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: the caller gives null or a time.
        Some(lock) => unsafe { until(libc::CLOCK_REALTIME, time, |until| lock.read(until)) },
        // SAFETY: the lock is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            let original = || original::pthread_rwlock_timedrdlock(lock, time);
            lock_shared(lock, Access::Reading, original, || {
                limit(libc::CLOCK_REALTIME, time)
            })
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockrdlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: the caller gives null or a time.
        Some(lock) => unsafe { until(clock, time, |until| lock.read(until)) },
        // SAFETY: the lock is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            let original = || original::pthread_rwlock_clockrdlock(lock, clock, time);
            lock_shared(lock, Access::Reading, original, || limit(clock, time))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.write(None),
        // SAFETY: the lock is initialised, as POSIX asks of the caller.
        None => unsafe {
            let original = || original::pthread_rwlock_wrlock(lock);
            lock_shared(lock, Access::Writing, original, || Ok(None))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.try_write(0),
        None => pass_on!(original::pthread_rwlock_trywrlock(lock)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedwrlock(
    lock: *mut pthread_rwlock_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: the caller gives null or a time.
        Some(lock) => unsafe { until(libc::CLOCK_REALTIME, time, |until| lock.write(until)) },
        // SAFETY: the lock is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            let original = || original::pthread_rwlock_timedwrlock(lock, time);
            lock_shared(lock, Access::Writing, original, || {
                limit(libc::CLOCK_REALTIME, time)
            })
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockwrlock(
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        // SAFETY: the caller gives null or a time.
        Some(lock) => unsafe { until(clock, time, |until| lock.write(until)) },
        // SAFETY: the lock is initialised, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            let original = || original::pthread_rwlock_clockwrlock(lock, clock, time);
            lock_shared(lock, Access::Writing, original, || limit(clock, time))
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised lock, in place until it is destroyed.
    match unsafe { RwLock::ours(lock) } {
        Some(lock) => lock.unlock(),
        None => pass_on!(original::pthread_rwlock_unlock(lock)),
    }
}

aliases! {
    fn __pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int = pthread_rwlock_rdlock;
    fn __pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int = pthread_rwlock_tryrdlock;
    fn __pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int = pthread_rwlock_wrlock;
    fn __pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int = pthread_rwlock_trywrlock;
    fn __pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int = pthread_rwlock_unlock;
}
