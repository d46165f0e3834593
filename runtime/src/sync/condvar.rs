//! The condition variable.

use std::fmt;
use std::sync::LockResult;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::mutex::MutexGuard;
use super::raw::condvar::RawCondvar;
use super::raw::wait_limit::{Interrupted, WaitLimit};
use crate::base::deadline::Deadline;
use crate::wait::section;

/// A condition variable; mirrors [`std::sync::Condvar`].
///
/// The timed waits are cut short by a deadline scope and by cancellation, and report the time to be over then;
/// [`wait_interruptible`](Self::wait_interruptible) tells which it was; the others are not cut short.
pub struct Condvar(RawCondvar);

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
        Condvar(RawCondvar {
            notifications: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
        })
    }

    /// Unlocks the mutex, waits for a notification, and locks again; may return without one.
    ///
    /// # Errors
    ///
    /// If a holder of the mutex has panicked meanwhile; the error holds the guard.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (guard, _) = self.wait_until(guard, WaitLimit::Endless);
        guard.watch.poison.check(guard)
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

    /// As [`wait`](Self::wait), and cut short by deadline scopes and cancellation. The result beside the guard tells why, if it
    /// was. The mutex is locked again in any case, and that is not cut short.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_interruptible<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> LockResult<(MutexGuard<'a, T>, Result<(), Interrupted>)> {
        let (guard, outcome) = self.wait_within(guard, WaitLimit::Until(None));
        guard.watch.poison.check((guard, outcome))
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
        let limit = WaitLimit::Until(Some(Deadline::after(timeout)));
        let (guard, outcome) = self.wait_until(guard, limit);
        guard.watch.poison.check((guard, outcome))
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
        let mut timed_out = false;
        while condition(&mut *guard) {
            if timed_out || deadline.has_passed() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let outcome;
            (guard, outcome) = self.wait_timeout(guard, deadline.remaining())?;
            timed_out = outcome.timed_out();
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: WaitLimit,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let (guard, outcome) = self.wait_within(guard, limit);
        (guard, WaitTimeoutResult(outcome.is_err()))
    }

    fn wait_within<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: WaitLimit,
    ) -> (MutexGuard<'a, T>, Result<(), Interrupted>) {
        let seen = self.0.begin();
        let outcome = lock_api::MutexGuard::unlocked(&mut guard.inner, || self.0.wait(seen, limit));
        (guard, outcome)
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify(1);
        section::yield_if_owed_own();
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify(u32::MAX);
        section::yield_if_owed_own();
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
