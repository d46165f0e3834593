//! A result that others wait for.

use std::fmt;
use std::time::Duration;

use super::once_lock::OnceLock;
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;
use crate::wait::interrupt::Interrupted;

/// A value that is set once and that many may wait for, as gevent's `AsyncResult` and eventlet's one-shot `Event`.
///
/// Where the work can fail, the value is a [`Result`]: what those set with `set_exception` or `send_exception` is an
/// `Err` here. Unlike [`OnceLock::wait`], [`get`](Self::get) is cut short by a time-out around it and by cancellation.
///
/// ```
/// # greenpatch_runtime::run(|| {
/// use std::sync::Arc;
/// use greenpatch_runtime::{spawn, sync::AsyncResult};
///
/// let answer: Arc<AsyncResult<Result<u32, String>>> = Arc::default();
/// let theirs = answer.clone();
/// spawn(move || theirs.set(Ok(42)));
/// assert_eq!(answer.get(), Ok(&Ok(42)));
/// assert!(answer.set(Err("too late".to_owned())).is_err());
/// # });
/// ```
pub struct AsyncResult<T> {
    value: OnceLock<T>,
}

impl<T> AsyncResult<T> {
    /// One without a value.
    pub const fn new() -> AsyncResult<T> {
        AsyncResult {
            value: OnceLock::new(),
        }
    }

    /// Sets the value and wakes all who wait for it.
    ///
    /// # Errors
    ///
    /// If it was set before; the error is `value`.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)
    }

    /// Waits for the value.
    ///
    /// # Errors
    ///
    /// If there is none, and a [`timeout`](crate::time::timeout) around the call is over, or the green thread is
    /// cancelled.
    pub fn get(&self) -> Result<&T, Interrupted> {
        self.value.wait_until(WaitLimit::Until(None))
    }

    /// As [`get`](Self::get), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and `TimedOut` if this time is over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<&T, Interrupted> {
        match self.try_get() {
            Some(value) => Ok(value),
            None => {
                let deadline = Deadline::after(timeout);
                self.value.wait_until(WaitLimit::Until(Some(deadline)))
            }
        }
    }

    /// The value, if it is set.
    pub fn try_get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Whether the value is set.
    pub fn is_ready(&self) -> bool {
        self.try_get().is_some()
    }

    /// The value, if it is set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for AsyncResult<T> {
    fn default() -> AsyncResult<T> {
        AsyncResult::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("value", &self.try_get())
            .finish()
    }
}
