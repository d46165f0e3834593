//! The condition variable: a counter of notifications.
//!
//! A waiter reads the counter while it holds the mutex, unlocks, and waits while the counter stands; a
//! notifier raises it first and wakes then. A notification between unlock and wait is seen by the
//! comparison. (2^32 of them in between would not be.)

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use super::mutex::MutexGuard;
use crate::deadline::Deadline;
use crate::futex;

/// A condition variable; mirrors [`std::sync::Condvar`].
#[derive(Default)]
pub struct Condvar {
    notifications: AtomicU32,
}

/// Whether a wait ended because its time was over; mirrors [`std::sync::WaitTimeoutResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True if the time was over.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition variable that nobody waits for.
    pub const fn new() -> Condvar {
        Condvar {
            notifications: AtomicU32::new(0),
        }
    }

    /// Unlocks the mutex, waits for a notification, and locks again; may return without one.
    ///
    /// # Errors
    ///
    /// If a holder of the mutex has panicked meanwhile; the error holds the guard.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        poisonable(self.wait_until(guard, None).0)
    }

    /// Waits until `condition` is false.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, outcome) = self.wait_until(guard, Some(Deadline::after(timeout)));
        match poisonable(guard) {
            Ok(guard) => Ok((guard, outcome)),
            Err(error) => Err(PoisonError::new((error.into_inner(), outcome))),
        }
    }

    /// As [`wait_while`](Self::wait_while), for at most `timeout`; the result tells whether the
    /// condition still held when the time was over.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = Deadline::after(timeout);
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if deadline.has_passed() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_timeout(guard, deadline.remaining())?.0;
        }
    }

    fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Option<Deadline>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let seen = self.notifications.load(Ordering::Acquire);
        let outcome = lock_api::MutexGuard::unlocked(&mut guard.inner, || {
            futex::wait(&self.notifications, seen, deadline)
        });
        (guard, WaitTimeoutResult(outcome == futex::Wait::TimedOut))
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.notifications.fetch_add(1, Ordering::Release);
        futex::wake(&self.notifications, 1);
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notifications.fetch_add(1, Ordering::Release);
        futex::wake(&self.notifications, u32::MAX);
    }
}

fn poisonable<T>(guard: MutexGuard<'_, T>) -> LockResult<MutexGuard<'_, T>> {
    if guard.poisoned.load(Ordering::Relaxed) {
        Err(PoisonError::new(guard))
    } else {
        Ok(guard)
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
