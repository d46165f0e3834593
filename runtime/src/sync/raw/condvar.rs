//! The condition variable: a counter of notifications, and one of waiters.
//!
//! A waiter counts itself and reads the counter of notifications while it holds the mutex, unlocks, and waits while
//! the counter stands; a notifier raises it first and wakes then. A notification between unlock and wait is seen by the
//! comparison. (2^32 of them in between would not be.)
//!
//! The counters need no order of their own. A notification that counts is one whose sender has held the mutex after
//! the waiter gave it up; by then it sees the waiter counted.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

/// The counters; see the module's page.
pub(crate) struct RawCondvar {
    pub(crate) notifications: AtomicU32,
    pub(crate) waiters: AtomicU32,
}

impl RawCondvar {
    /// By a waiter that holds the mutex; it has to wait then, after it gave up the mutex.
    pub(crate) fn begin(&self) -> u32 {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        self.notifications.load(Ordering::Relaxed)
    }

    /// Waits for a notification since `seen` was read.
    pub(crate) fn wait(&self, seen: u32, limit: WaitLimit) -> Result<(), Interrupted> {
        let outcome = limit.wait(&self.notifications, seen);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Wakes up to `count` waiters.
    pub(crate) fn notify(&self, count: u32) {
        if self.waiters.load(Ordering::Relaxed) != 0 {
            self.notifications.fetch_add(1, Ordering::Relaxed);
            futex::wake(&self.notifications, count);
        }
    }
}
