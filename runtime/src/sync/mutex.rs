//! The mutex: a lock word under `lock_api`, with std's poisoning.

use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::Duration;

use super::error::LockError;
use super::guard::{guard_of_value, lock_of_value};
use super::poison::{PanicWatch, Poison};
use super::raw::lock::lock_within;
use super::raw::mutex::RawMutex;
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;

/// Mutual exclusion; mirrors [`std::sync::Mutex`], poisoning included.
pub struct Mutex<T: ?Sized> {
    poison: Poison,
    inner: lock_api::Mutex<RawMutex, T>,
}

lock_of_value!(Mutex, try_lock);

impl<T> Mutex<T> {
    /// A mutex that is not locked.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            poison: Poison::none(),
            inner: lock_api::Mutex::new(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// If a holder has panicked; the error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        self.poison.check(self.inner.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is free, and locks it.
    ///
    /// # Errors
    ///
    /// If a holder has panicked; the error holds the guard.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.guard(self.inner.lock())
    }

    /// As [`lock`](Self::lock), and cut short by deadline scopes and cancellation.
    ///
    /// `lock` cannot be: its result holds a guard either way, and one of a mutex that is not locked would be unsound.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the wait was cut short: then the mutex is not locked; `Poisoned` as `lock`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use greenpatch_runtime::{Interrupted, run, sync::{LockError, Mutex}, time};
    ///
    /// run(|| {
    ///     let mutex = Mutex::new(1);
    ///     let held = mutex.lock().unwrap();
    ///     let late = time::timeout(Duration::from_millis(5), || mutex.lock_interruptible().err());
    ///     let error = late.unwrap_err().into_inner().unwrap();
    ///     assert!(matches!(error, LockError::Interrupted(Interrupted::TimedOut)));
    ///     drop(held);
    ///     assert_eq!(*mutex.lock_interruptible().unwrap(), 1);
    /// });
    /// ```
    #[inline]
    pub fn lock_interruptible(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_within(WaitLimit::Until(None))
    }

    /// As [`lock_interruptible`](Self::lock_interruptible), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As `lock_interruptible`, and `Interrupted` if this time is over.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_within(WaitLimit::Until(Some(Deadline::after(timeout))))
    }

    #[inline]
    fn lock_within(
        &self,
        limit: WaitLimit,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        Ok(self.guard(lock_within(&self.inner, limit)?)?)
    }

    /// Locks the mutex if it is free.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not; `Poisoned` as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let guard = self.inner.try_lock().ok_or(TryLockError::WouldBlock)?;
        Ok(self.guard(guard)?)
    }

    #[inline]
    fn guard<'a>(
        &'a self,
        inner: lock_api::MutexGuard<'a, RawMutex, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.poison.check(MutexGuard {
            watch: self.poison.watch(),
            inner,
        })
    }

    /// Whether a holder has panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Forgets that a holder has panicked.
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

/// The right to use a mutex's value, until it is dropped.
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    // Ends before the lock does.
    pub(super) watch: PanicWatch<'a>,
    pub(super) inner: lock_api::MutexGuard<'a, RawMutex, T>,
}

guard_of_value!(mut MutexGuard);
