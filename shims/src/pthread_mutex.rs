//! The pthread mutex, one implementation for green threads and OS threads.
//!
//! glibc's mutex waits by system calls that no shim sees, so its functions are replaced as a whole,
//! on all threads. The object stays glibc's: the same layout, static initialisers and `kind`, and
//! the same meaning of each field, so that glibc's own `pthread_mutex_init`, `destroy` and the
//! attribute functions go on working, as does a debugger's view.
//!
//! A mutex that inherits priorities, but only within the process, is one of ours, too, and inherits none: the
//! kernel, which would see to it, does not know green threads. Other kinds that involve the kernel or other processes
//! are left to glibc, and a green thread treats them so:
//!
//! - Robust and process-shared ones it locks by glibc's try, which makes it the owner. In between it marks the word as one that
//!   is waited for, as glibc does, and has another OS thread wait for the word (see `shared`).
//! - Those that inherit priorities and are robust or process-shared hold the id of an OS thread, which the kernel looks up.
//!   (glibc marks each robust mutex as process-shared, too.) One OS thread, kept for the green thread as long as it holds such
//!   mutexes, makes all calls with them. So that thread is the owner to glibc and to the kernel, and if the green
//!   thread ends, it ends, too, and the kernel marks the mutexes as abandoned. The worker inherits no priority.
//! - Those that protect a priority fail with `ENOTSUP`: the green thread would have to run at that priority.
//!
//! # Algorithm
//!
//! The lock word is 0 (free), 1 (held) or 2 (held, and somebody may wait). To lock is to change 0
//! to 1; who finds it held exchanges it for 2 until that gives 0, and waits in between while it is
//! 2. To unlock is to exchange it for 0, and to wake one waiter if it was 2.
//!
//! **Exclusion.** Only an exchange that finds 0 acquires, and only the owner makes it 0.
//! **No wake-up is lost.** A waiter waits while the word is 2, which is compared atomically with
//! queueing. Whoever changes the word from 2 either unlocks, and then wakes one waiter; or is
//! nobody: a waiter that acquires leaves 2 behind, so that the next unlock wakes the next.
//!
//! The owner's id, the number of users and the recursion count are written by the owner alone;
//! others read the owner's id only to compare it with their own.
//!
//! After the exchange that unlocks, the mutex may be gone: the next owner may have destroyed it.
//! Waking needs its address only.

use std::ffi::c_int;
use std::hint;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use greenpatch_runtime::Patch;
use greenpatch_runtime::futex::{ANY, Wait};
use greenpatch_runtime::hook::{self, Section};
use libc::{clockid_t, pthread_mutex_t, timespec};
use rustix::io::Errno;

use crate::kernel;
use crate::shared;
use crate::word::{self, Until};

originals! {
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int;
    fn pthread_mutex_clocklock(
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or libc::ENOSYS;
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int;
    fn pthread_mutex_consistent(mutex: *mut pthread_mutex_t) -> c_int;
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// In the word of a robust mutex: its owner's id, and that somebody waits (`FUTEX_TID_MASK`, `FUTEX_WAITERS`).
const OWNER: u32 = 0x3fff_ffff;
const WAITERS: u32 = 1 << 31;

/// How often an adaptive mutex is looked at before the thread waits.
const SPINS: usize = 100;

/// The beginning of glibc's `struct __pthread_mutex_s`.
#[repr(C)]
pub(crate) struct Mutex {
    /// `FREE`, `HELD` or `CONTENDED`.
    lock: AtomicU32,
    /// How often the owner of a recursive mutex has locked it.
    count: AtomicU32,
    /// The owner's thread id; 0 for none.
    owner: AtomicI32,
    /// How many threads have it or wait on a condition with it; `destroy` looks at it.
    users: AtomicU32,
    kind: AtomicI32,
}

const _: () = assert!(size_of::<Mutex>() <= size_of::<pthread_mutex_t>());
const _: () = assert!(align_of::<Mutex>() <= align_of::<pthread_mutex_t>());

/// What `kind` says of a mutex that is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MutexKind {
    Normal,
    /// As normal, but only its owner may unlock it, as those that inherit priorities have it.
    Owned,
    Recursive,
    ErrorChecking,
    Adaptive,
}

/// The bits of `kind` that tell the four apart that C programs know.
const KIND_MASK: c_int = 3;
/// `PTHREAD_MUTEX_ADAPTIVE_NP`.
const ADAPTIVE: c_int = 3;
/// The bits of `kind` by which glibc elides locks on some machines; without elision they mean
/// nothing.
const ELISION_FLAGS: c_int = 0x100 | 0x200;
/// The bit of `kind` of a robust mutex.
const ROBUST: c_int = 0x10;
/// The bits of `kind` for priority inheritance and protection.
const INHERITS: c_int = 0x20;
const PROTECTS: c_int = 0x40;

impl Mutex {
    /// The mutex at this address if it is of a kind that is ours.
    ///
    /// # Safety
    ///
    /// `mutex` points to an initialised mutex, which stays in place for `'a`.
    unsafe fn ours<'a>(mutex: *mut pthread_mutex_t) -> Option<(&'a Mutex, MutexKind)> {
        // SAFETY: the mutex is initialised and stays in place, by this function's contract; every field is an atomic.
        let mutex = unsafe { &*mutex.cast::<Mutex>() };
        let kind = mutex.kind.load(Ordering::Relaxed);
        if kind & !(KIND_MASK | ELISION_FLAGS | INHERITS) != 0 {
            return None;
        }
        let kind = match kind & KIND_MASK {
            libc::PTHREAD_MUTEX_NORMAL | ADAPTIVE if kind & INHERITS != 0 => MutexKind::Owned,
            libc::PTHREAD_MUTEX_NORMAL => MutexKind::Normal,
            libc::PTHREAD_MUTEX_RECURSIVE => MutexKind::Recursive,
            libc::PTHREAD_MUTEX_ERRORCHECK => MutexKind::ErrorChecking,
            _ => MutexKind::Adaptive,
        };
        Some((mutex, kind))
    }

    fn is_mine(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == hook::thread::id()
    }

    fn try_acquire(&self) -> bool {
        self.lock
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn acquire(&self, kind: MutexKind, until: impl FnOnce() -> Limit) -> Result<(), c_int> {
        if self.try_acquire() {
            return Ok(());
        }
        if kind == MutexKind::Adaptive {
            for _ in 0..SPINS {
                hint::spin_loop();
                if self.lock.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                    return Ok(());
                }
            }
        }
        let until = until()?;
        while self.lock.swap(CONTENDED, Ordering::Acquire) != FREE {
            let wait = word::wait_for_mutex(&self.lock, CONTENDED, until, &self.owner);
            if wait == Wait::TimedOut {
                return Err(libc::ETIMEDOUT);
            }
        }
        Ok(())
    }

    /// Locks, waiting as `until` allows, which is asked only if there is something to wait for.
    fn lock(&self, kind: MutexKind, until: impl FnOnce() -> Limit, joins: Users) -> c_int {
        match kind {
            MutexKind::Recursive if self.is_mine() => return self.enter_again(),
            MutexKind::ErrorChecking if self.is_mine() => return libc::EDEADLK,
            _ => {}
        }
        match self.acquire(kind, until) {
            Ok(()) => self.own(kind, joins),
            Err(error) => return error,
        }
        0
    }

    fn enter_again(&self) -> c_int {
        let Some(count) = self.count.load(Ordering::Relaxed).checked_add(1) else {
            return libc::EAGAIN;
        };
        self.count.store(count, Ordering::Relaxed);
        0
    }

    fn own(&self, kind: MutexKind, joins: Users) {
        if kind == MutexKind::Recursive {
            self.count.store(1, Ordering::Relaxed);
        }
        self.owner.store(hook::thread::id(), Ordering::Relaxed);
        if joins == Users::Change {
            self.users.store(
                self.users.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
        }
    }

    fn try_lock(&self, kind: MutexKind) -> c_int {
        if kind == MutexKind::Recursive && self.is_mine() {
            return self.enter_again();
        }
        if !self.try_acquire() {
            return libc::EBUSY;
        }
        self.own(kind, Users::Change);
        0
    }

    fn unlock(&self, kind: MutexKind, leaves: Users) -> c_int {
        match kind {
            MutexKind::Normal | MutexKind::Adaptive => {}
            MutexKind::Recursive => {
                if !self.is_mine() {
                    return libc::EPERM;
                }
                let count = self.count.load(Ordering::Relaxed) - 1;
                self.count.store(count, Ordering::Relaxed);
                if count > 0 {
                    return 0;
                }
            }
            MutexKind::ErrorChecking | MutexKind::Owned => {
                if !self.is_mine() || self.lock.load(Ordering::Relaxed) == FREE {
                    return libc::EPERM;
                }
            }
        }
        self.owner.store(0, Ordering::Relaxed);
        if leaves == Users::Change {
            self.users.store(
                self.users.load(Ordering::Relaxed).wrapping_sub(1),
                Ordering::Relaxed,
            );
        }
        let address = self.lock.as_ptr();
        if self.lock.swap(FREE, Ordering::Release) == CONTENDED {
            word::wake(address, 1, ANY);
        }
        0
    }
}

/// How a green thread locks a mutex that is glibc's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreignness {
    /// Shared between processes.
    Shared,
    /// Tells of owners that have ended. The word holds the owner's id and flags.
    Robust,
    /// The kernel knows its owner.
    Inheriting,
    Protecting,
}

impl Foreignness {
    fn of(kind: c_int) -> Foreignness {
        match kind {
            // A destroyed one, which glibc refuses.
            ..0 => Foreignness::Shared,
            _ if kind & PROTECTS != 0 => Foreignness::Protecting,
            _ if kind & INHERITS != 0 => Foreignness::Inheriting,
            _ if kind & ROBUST != 0 => Foreignness::Robust,
            _ => Foreignness::Shared,
        }
    }
}

/// Whether a call of glibc's that locks has made the caller the owner.
fn acquires(status: &c_int) -> bool {
    matches!(*status, 0 | libc::EOWNERDEAD)
}

/// A mutex that is glibc's.
struct Foreign(*mut pthread_mutex_t);

impl Foreign {
    /// Its fields.
    ///
    /// # Safety
    ///
    /// The mutex is initialised, and stays in place as long as the fields are used.
    unsafe fn fields(&self) -> (&Mutex, c_int) {
        // SAFETY: the mutex is initialised, by this function's contract; every field is an atomic.
        let mutex = unsafe { &*self.0.cast::<Mutex>() };
        (mutex, mutex.kind.load(Ordering::Relaxed))
    }

    /// Locks: by `original` on an OS thread, by trying on a green thread.
    ///
    /// # Safety
    ///
    /// The mutex is initialised.
    unsafe fn lock(&self, original: impl Fn() -> c_int, until: impl FnOnce() -> Limit) -> c_int {
        let Some(section) = hook::enter(Patch::LOCK) else {
            return original();
        };
        // SAFETY: the mutex is initialised, by this function's contract, and stays in place while somebody locks it.
        let (mutex, kind) = unsafe { self.fields() };
        let foreignness = Foreignness::of(kind);
        match foreignness {
            Foreignness::Protecting => return libc::ENOTSUP,
            Foreignness::Inheriting => {
                return self.on_owners_thread(&section, original, Owner::Becomes);
            }
            Foreignness::Shared | Foreignness::Robust => {}
        }
        let mut until = Some(until);
        let mut limit = None;
        let mut has_waited = false;
        loop {
            // SAFETY: the mutex is initialised, by this function's contract.
            let tried = unsafe { original::pthread_mutex_trylock(self.0) };
            if tried != libc::EBUSY {
                if has_waited && acquires(&tried) {
                    // Others may wait: the unlock is to wake one.
                    mutex.mark_as_owner(foreignness);
                }
                if tried == libc::ENOTRECOVERABLE {
                    mutex.leave_lost();
                }
                return tried;
            }
            if kind & KIND_MASK == libc::PTHREAD_MUTEX_ERRORCHECK && mutex.is_mine() {
                return libc::EDEADLK;
            }
            if let Some(until) = until.take() {
                match until() {
                    Ok(given) => limit = given,
                    Err(error) => return error,
                }
            }
            // Also by one whose time is over: it may have been woken, and others have not.
            let Some(expected) = mutex.mark_as_waiter(foreignness) else {
                continue;
            };
            if limit.is_some_and(Until::has_passed) {
                return libc::ETIMEDOUT;
            }
            has_waited = true;
            shared::wait(&section, &mutex.lock, expected, limit);
        }
    }

    /// Makes a call with a mutex that inherits priorities on the OS thread that is kept for this green thread.
    fn on_owners_thread(&self, section: &Section, call: impl Fn() -> c_int, owner: Owner) -> c_int {
        // SAFETY: a call of glibc's, which neither panics nor knows of sections. What it is given stays in place as the
        // caller waits for its end.
        let outcome = unsafe {
            section.hand_over_to_kept(
                self.0.addr(),
                &call,
                |status| owner == Owner::Becomes && acquires(status),
                |&status| owner == Owner::Ends && status == 0,
            )
        };
        outcome.unwrap_or(libc::EAGAIN)
    }

    /// # Safety
    ///
    /// As for `pthread_mutex_trylock`.
    unsafe fn try_lock(&self) -> c_int {
        // SAFETY: the mutex is initialised, by this function's contract.
        let (_, kind) = unsafe { self.fields() };
        // SAFETY: the mutex is initialised, by this function's contract.
        let original = || unsafe { original::pthread_mutex_trylock(self.0) };
        match Foreignness::of(kind) {
            Foreignness::Shared => original(),
            Foreignness::Robust => {
                let tried = original();
                if tried == libc::ENOTRECOVERABLE && hook::enter(Patch::LOCK).is_some() {
                    // SAFETY: the mutex is initialised, by this function's contract.
                    unsafe { self.fields() }.0.leave_lost();
                }
                tried
            }
            foreignness => match hook::enter(Patch::LOCK) {
                None => original(),
                Some(_) if foreignness == Foreignness::Protecting => libc::ENOTSUP,
                Some(section) => self.on_owners_thread(&section, original, Owner::Becomes),
            },
        }
    }

    /// On a green thread that has entered, within `section`.
    ///
    /// # Safety
    ///
    /// As for `pthread_mutex_unlock`.
    unsafe fn unlock(&self, section: Option<&Section>) -> c_int {
        // SAFETY: the mutex is initialised and the caller's to unlock, by this function's contract.
        let original = || unsafe { original::pthread_mutex_unlock(self.0) };
        self.as_owner(section, original, Owner::Ends)
    }

    /// Makes a call that the owner makes.
    fn as_owner(
        &self,
        section: Option<&Section>,
        original: impl Fn() -> c_int,
        owner: Owner,
    ) -> c_int {
        // SAFETY: the mutex is initialised, as the callers' contracts say.
        let (_, kind) = unsafe { self.fields() };
        match section {
            Some(section)
                if Foreignness::of(kind) == Foreignness::Inheriting && section.keeps_stand_in() =>
            {
                self.on_owners_thread(section, original, owner)
            }
            _ => original(),
        }
    }
}

/// What a call does to a mutex's owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The caller becomes the owner, if the call says so.
    Becomes,
    Stays,
    /// The caller is the owner no more.
    Ends,
}

impl Mutex {
    /// Marks a held mutex that is glibc's as one that is waited for; the word to wait for, or `None` if it was free.
    fn mark_as_waiter(&self, foreignness: Foreignness) -> Option<u32> {
        let outcome =
            self.lock.fetch_update(
                Ordering::Relaxed,
                Ordering::Relaxed,
                |word| match foreignness {
                    Foreignness::Robust => (word & OWNER != 0).then_some(word | WAITERS),
                    _ => (word != FREE).then_some(CONTENDED),
                },
            );
        let before = outcome.ok()?;
        Some(match foreignness {
            Foreignness::Robust => before | WAITERS,
            _ => CONTENDED,
        })
    }

    /// Undoes a try that has found a robust mutex not to be recoverable, and wakes all who wait, so that they find the same.
    /// glibc's try leaves the caller's id in the word, and the last owner's unlock has woken one waiter only.
    fn leave_lost(&self) {
        const OPERATION: c_int = libc::FUTEX_WAKE;

        let id = hook::thread::id() as u32;
        let _ = self
            .lock
            .fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
                (word & OWNER == id).then_some(FREE)
            });
        // SAFETY: the kernel only compares the address with those of its waiters.
        let _ = unsafe { kernel_call!(libc::SYS_futex, self.lock.as_ptr(), OPERATION, c_int::MAX) };
    }

    /// Marks a mutex that is glibc's, and the caller's, as one that is waited for.
    fn mark_as_owner(&self, foreignness: Foreignness) {
        match foreignness {
            Foreignness::Robust => {
                self.lock.fetch_or(WAITERS, Ordering::Relaxed);
            }
            _ => self.lock.store(CONTENDED, Ordering::Relaxed),
        }
    }
}

/// Until when to wait, or the error to return if it comes to that.
pub(crate) type Limit = Result<Option<Until>, c_int>;

/// Whether a thread that locks or unlocks changes the number of users. It does not while it waits
/// on a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    Change,
    Stay,
}

/// An absolute time as the timed functions take it, before the clock's start as well.
///
/// # Safety
///
/// `time` is null or points to a `timespec`.
pub(crate) unsafe fn limit(clock: clockid_t, time: *const timespec) -> Limit {
    // SAFETY: `time` is null or points to a time, by this function's contract.
    let mut time = *unsafe { time.as_ref() }.ok_or(libc::EINVAL)?;
    time.tv_sec = time.tv_sec.max(0);
    kernel::checked(time)
        .and_then(|_| Until::new(clock, time))
        .map(Some)
        .map_err(Errno::raw_os_error)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised mutex, in place until it is destroyed.
    match unsafe { Mutex::ours(mutex) } {
        Some((mutex, kind)) => mutex.lock(kind, || Ok(None), Users::Change),
        // SAFETY: the mutex is initialised and stays in place, as POSIX asks of the caller.
        None => unsafe { Foreign(mutex).lock(|| original::pthread_mutex_lock(mutex), || Ok(None)) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised mutex, in place until it is destroyed.
    match unsafe { Mutex::ours(mutex) } {
        Some((mutex, kind)) => mutex.try_lock(kind),
        // SAFETY: the mutex is initialised and stays in place, as POSIX asks of the caller.
        None => unsafe { Foreign(mutex).try_lock() },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_timedlock(
    mutex: *mut pthread_mutex_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised mutex, in place until it is destroyed.
    match unsafe { Mutex::ours(mutex) } {
        // SAFETY: the caller gives null or a time.
        Some((mutex, kind)) => mutex.lock(
            kind,
            || unsafe { limit(libc::CLOCK_REALTIME, time) },
            Users::Change,
        ),
        // SAFETY: the mutex is initialised and stays in place, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            Foreign(mutex).lock(
                || original::pthread_mutex_timedlock(mutex, time),
                || limit(libc::CLOCK_REALTIME, time),
            )
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised mutex, in place until it is destroyed.
    match unsafe { Mutex::ours(mutex) } {
        Some(_) if clock != libc::CLOCK_REALTIME && clock != libc::CLOCK_MONOTONIC => libc::EINVAL,
        // SAFETY: the caller gives null or a time.
        Some((mutex, kind)) => mutex.lock(kind, || unsafe { limit(clock, time) }, Users::Change),
        // SAFETY: the mutex is initialised and stays in place, as POSIX asks of the caller, who gives null or a time.
        None => unsafe {
            Foreign(mutex).lock(
                || original::pthread_mutex_clocklock(mutex, clock, time),
                || limit(clock, time),
            )
        },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised mutex, in place until it is destroyed.
    match unsafe { Mutex::ours(mutex) } {
        Some((mutex, kind)) => mutex.unlock(kind, Users::Change),
        // SAFETY: the mutex is initialised and the caller's to unlock, as POSIX asks of the caller.
        None => unsafe { Foreign(mutex).unlock(hook::enter(Patch::LOCK).as_ref()) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_consistent(mutex: *mut pthread_mutex_t) -> c_int {
    let original = || pass_on!(original::pthread_mutex_consistent(mutex));
    Foreign(mutex).as_owner(hook::enter(Patch::LOCK).as_ref(), original, Owner::Stays)
}

/// Unlocks for the time of a wait on a condition: the thread remains one of the mutex's users. A green thread that has entered
/// gives its section.
///
/// # Safety
///
/// As for `pthread_mutex_unlock`.
pub(crate) unsafe fn unlock_to_wait(
    mutex: *mut pthread_mutex_t,
    section: Option<&Section>,
) -> c_int {
    // SAFETY: the mutex is initialised and stays in place, by this function's contract.
    match unsafe { Mutex::ours(mutex) } {
        Some((mutex, kind)) => mutex.unlock(kind, Users::Stay),
        // SAFETY: the mutex is initialised and the caller's to unlock, by this function's contract.
        None => unsafe {
            match section {
                Some(section) => Foreign(mutex).unlock(Some(section)),
                None => Foreign(mutex).unlock(hook::enter(Patch::LOCK).as_ref()),
            }
        },
    }
}

/// Unlocks by glibc's function.
///
/// # Safety
///
/// As for `pthread_mutex_unlock`.
pub(crate) unsafe fn unlock_original(mutex: *mut pthread_mutex_t) {
    // SAFETY: the mutex is initialised and the caller's to unlock, by this function's contract.
    unsafe { original::pthread_mutex_unlock(mutex) };
}

/// Locks again after [`unlock_to_wait`].
///
/// # Safety
///
/// As for `pthread_mutex_lock`.
pub(crate) unsafe fn lock_after_wait(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the mutex is initialised and stays in place, by this function's contract.
    match unsafe { Mutex::ours(mutex) } {
        Some((mutex, kind)) => mutex.lock(kind, || Ok(None), Users::Stay),
        // SAFETY: the mutex is initialised and stays in place, by this function's contract.
        None => unsafe { Foreign(mutex).lock(|| original::pthread_mutex_lock(mutex), || Ok(None)) },
    }
}

aliases! {
    fn __pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int = pthread_mutex_lock;
    fn __pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int = pthread_mutex_trylock;
    fn __pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int = pthread_mutex_unlock;
}
