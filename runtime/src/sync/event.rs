//! The event.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::raw::event::RawEvent;
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;
use crate::wait::interrupt::Interrupted;

/// A flag to wait for, as Python's `threading.Event` and gevent's `Event`.
///
/// ```
/// # greenpatch_runtime::run(|| {
/// use std::sync::Arc;
/// use greenpatch_runtime::{spawn, sync::Event};
///
/// let ready = Arc::new(Event::new());
/// let theirs = ready.clone();
/// let waiter = spawn(move || theirs.wait());
/// ready.set();
/// assert_eq!(waiter.join().unwrap(), Ok(()));
/// # });
/// ```
pub struct Event(RawEvent);

impl Event {
    /// An event that is not set.
    pub const fn new() -> Event {
        Event(RawEvent(AtomicU32::new(0)))
    }

    /// Sets the event and wakes all who wait for it. They go on even if it is cleared before they have looked.
    pub fn set(&self) {
        self.0.set();
    }

    /// Makes waiters wait again.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Whether the event is set.
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    ///
    /// If it is not set, and a [`timeout`](crate::time::timeout) around the call is over, or the green thread is
    /// cancelled.
    pub fn wait(&self) -> Result<(), Interrupted> {
        self.0.wait(WaitLimit::Until(None))
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and `TimedOut` if this time is over.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), Interrupted> {
        if self.is_set() {
            return Ok(());
        }
        self.0
            .wait(WaitLimit::Until(Some(Deadline::after(timeout))))
    }
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}
