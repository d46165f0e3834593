//! Data behind a [`RawMutex`], without poisoning: what the types of this module keep their lists in.

use lock_api::GuardNoSend;

use super::mutex::{FREE, RawMutex};
use super::rwlock::RawRwLock;
use super::wait_limit::{Interrupted, WaitLimit};
use crate::base::atomic::AtomicU32;

// SAFETY: the protocol lets one holder in at a time, with acquire order after the release of the one before.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawMutex = RawMutex(AtomicU32::new(FREE));

    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        RawMutex::lock(self);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        RawMutex::try_lock(self).then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardNoSend) {
        RawMutex::unlock(self);
    }

    fn is_locked(&self) -> bool {
        RawMutex::is_locked(self)
    }
}

// SAFETY: the protocol lets in readers, or one writer, with acquire order after the release of those before.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawRwLock = RawRwLock {
        word: AtomicU32::new(0),
        gate: Lock::new(()),
    };

    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    #[inline]
    fn lock_shared(&self) -> GuardNoSend {
        self.read();
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        self.try_read().then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock_shared(&self, _guard: GuardNoSend) {
        RawRwLock::unlock_shared(self);
    }

    #[inline]
    fn lock_exclusive(&self) -> GuardNoSend {
        self.write();
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        self.try_write().then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _guard: GuardNoSend) {
        RawRwLock::unlock_exclusive(self);
    }

    fn is_locked(&self) -> bool {
        RawRwLock::is_locked(self)
    }

    fn is_locked_exclusive(&self) -> bool {
        RawRwLock::is_locked_exclusive(self)
    }
}

// SAFETY: the writer's flag turns into one reader by one operation.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self, _guard: GuardNoSend) -> GuardNoSend {
        RawRwLock::downgrade(self);
        GuardNoSend::new()
    }
}

/// Data behind a [`RawMutex`]. Holders may allocate, and call user code that does not come back here.
pub(crate) type Lock<T> = lock_api::Mutex<RawMutex, T>;

/// As `lock.lock()`, for as long as `limit` says.
pub(crate) fn lock_within<T: ?Sized>(
    lock: &Lock<T>,
    limit: WaitLimit,
) -> Result<Guard<'_, T>, Interrupted> {
    // SAFETY: the guard below unlocks, and only if this locks.
    unsafe { lock.raw() }.lock_within(limit)?;
    // SAFETY: locked by the line above, and no other guard stands for that.
    Ok(unsafe { lock.make_guard_unchecked(GuardNoSend::new()) })
}

/// The right to use the data.
pub(crate) type Guard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
