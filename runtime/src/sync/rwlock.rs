//! The readers-writer lock: a word and a gate under `lock_api`, with std's poisoning.

use std::mem;
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::Duration;

use lock_api::GuardNoSend;

use super::error::LockError;
use super::guard::{guard_of_value, lock_of_value};
use super::poison::{PanicWatch, Poison};
use super::raw::rwlock::RawRwLock;
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;

/// Many readers or one writer; mirrors [`std::sync::RwLock`], poisoning included.
///
/// Neither readers nor writers starve: no reader overtakes a writer that waits, and a writer that comes again
/// and again overtakes others for a millisecond at most. So a thread that holds a read guard must not ask for another.
///
/// ```
/// use greenpatch_runtime::sync::RwLock;
///
/// let routes = RwLock::new(vec!["/"]);
/// routes.write().unwrap().push("/health");
/// let (mine, theirs) = (routes.read().unwrap(), routes.read().unwrap());
/// assert_eq!(mine.len(), theirs.len());
/// assert!(routes.try_write().is_err());
/// ```
pub struct RwLock<T: ?Sized> {
    poison: Poison,
    inner: lock_api::RwLock<RawRwLock, T>,
}

lock_of_value!(RwLock, try_read);

impl<T> RwLock<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            poison: Poison::none(),
            inner: lock_api::RwLock::new(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// If a writer has panicked; the error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        self.poison.check(self.inner.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer holds the lock, and locks it for reading.
    ///
    /// # Errors
    ///
    /// If a writer has panicked; the error holds the guard.
    ///
    /// # Panics
    ///
    /// If half a thousand million readers hold it.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let inner = self.inner.read();
        self.poison.check(RwLockReadGuard { inner })
    }

    /// As [`read`](Self::read), and cut short by deadline scopes and cancellation.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the wait was cut short: then the lock is not locked; `Poisoned` as `read`.
    #[inline]
    pub fn read_interruptible(
        &self,
    ) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_within(WaitLimit::Until(None))
    }

    /// As [`read_interruptible`](Self::read_interruptible), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As `read_interruptible`, and `Interrupted` if this time is over.
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_within(WaitLimit::Until(Some(Deadline::after(timeout))))
    }

    #[inline]
    fn read_within(
        &self,
        limit: WaitLimit,
    ) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        // SAFETY: the guard below unlocks, and only if this locks.
        unsafe { self.inner.raw() }.read_within(limit)?;
        // SAFETY: locked for reading by the line above, and no other guard stands for that.
        let inner = unsafe { self.inner.make_read_guard_unchecked(GuardNoSend::new()) };
        Ok(self.poison.check(RwLockReadGuard { inner })?)
    }

    /// Locks for reading if that needs no wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it does; `Poisoned` as [`read`](Self::read).
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let inner = self.inner.try_read().ok_or(TryLockError::WouldBlock)?;
        Ok(self.poison.check(RwLockReadGuard { inner })?)
    }

    /// Waits until nobody holds the lock, and locks it for writing.
    ///
    /// # Errors
    ///
    /// If a writer has panicked; the error holds the guard.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_guard(self.inner.write())
    }

    /// As [`write`](Self::write), and cut short by deadline scopes and cancellation.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the wait was cut short: then the lock is not locked; `Poisoned` as `write`.
    #[inline]
    pub fn write_interruptible(
        &self,
    ) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_within(WaitLimit::Until(None))
    }

    /// As [`write_interruptible`](Self::write_interruptible), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As `write_interruptible`, and `Interrupted` if this time is over.
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_within(WaitLimit::Until(Some(Deadline::after(timeout))))
    }

    #[inline]
    fn write_within(
        &self,
        limit: WaitLimit,
    ) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        // SAFETY: the guard below unlocks, and only if this locks.
        unsafe { self.inner.raw() }.write_within(limit)?;
        // SAFETY: locked for writing by the line above, and no other guard stands for that.
        let inner = unsafe { self.inner.make_write_guard_unchecked(GuardNoSend::new()) };
        Ok(self.write_guard(inner)?)
    }

    /// Locks for writing if that needs no wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it does; `Poisoned` as [`write`](Self::write).
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let inner = self.inner.try_write().ok_or(TryLockError::WouldBlock)?;
        Ok(self.write_guard(inner)?)
    }

    #[inline]
    fn write_guard<'a>(
        &'a self,
        inner: lock_api::RwLockWriteGuard<'a, RawRwLock, T>,
    ) -> LockResult<RwLockWriteGuard<'a, T>> {
        self.poison.check(RwLockWriteGuard {
            watch: self.poison.watch(),
            inner,
        })
    }

    /// Whether a writer has panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Forgets that a writer has panicked.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value; the exclusive borrow stands for the lock.
    ///
    /// # Errors
    ///
    /// As [`into_inner`](Self::into_inner).
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.check(self.inner.get_mut())
    }
}

/// The right to read a lock's value, until it is dropped.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    inner: lock_api::RwLockReadGuard<'a, RawRwLock, T>,
}

guard_of_value!(RwLockReadGuard);

/// The right to change a lock's value, until it is dropped.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    // Ends before the lock does.
    watch: PanicWatch<'a>,
    inner: lock_api::RwLockWriteGuard<'a, RawRwLock, T>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the right to write into one to read, with no writer in between.
    pub fn downgrade(guard: RwLockWriteGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        let RwLockWriteGuard { watch, inner } = guard;
        mem::forget(watch);
        RwLockReadGuard {
            inner: lock_api::RwLockWriteGuard::downgrade(inner),
        }
    }
}

guard_of_value!(mut RwLockWriteGuard);
