//! The semaphore: a number of permits.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::futex;

/// A number of permits, for so many users of something at once.
///
/// ```
/// use greenpatch_runtime::sync::Semaphore;
///
/// let connections = Semaphore::new(2);
/// let first = connections.acquire();
/// let second = connections.acquire();
/// assert!(connections.try_acquire().is_none());
/// drop(first);
/// assert!(connections.try_acquire().is_some());
/// # drop(second);
/// ```
pub struct Semaphore {
    permits: AtomicU32,
    waiters: AtomicU32,
}

impl Semaphore {
    /// A semaphore with so many permits.
    pub const fn new(permits: u32) -> Semaphore {
        Semaphore {
            permits: AtomicU32::new(permits),
            waiters: AtomicU32::new(0),
        }
    }

    /// Waits for a permit.
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_until(None)
            .expect("a wait without deadline ends with a permit")
    }

    /// Takes a permit if there is one.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.permits
            .try_update(Ordering::Acquire, Ordering::Relaxed, |permits| {
                permits.checked_sub(1)
            })
            .ok()
            .map(|_| SemaphorePermit { semaphore: self })
    }

    /// Waits for a permit for at most `timeout`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_until(Some(Deadline::after(timeout)))
    }

    fn acquire_until(&self, deadline: Option<Deadline>) -> Option<SemaphorePermit<'_>> {
        if let Some(permit) = self.try_acquire() {
            return Some(permit);
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let permit = loop {
            let outcome = futex::wait(&self.permits, 0, deadline);
            let permit = self.try_acquire();
            if permit.is_some() || outcome == futex::Wait::TimedOut {
                break permit;
            }
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        permit
    }

    /// Adds `permits` more.
    ///
    /// # Panics
    ///
    /// If there would be more than `u32::MAX`.
    pub fn release(&self, permits: u32) {
        let before = self
            .permits
            .try_update(Ordering::SeqCst, Ordering::Relaxed, |count| {
                count.checked_add(permits)
            });
        assert!(before.is_ok(), "a semaphore holds at most u32::MAX permits");
        // Ordered against `acquire_until`, which counts itself before it looks at the permits.
        if self.waiters.load(Ordering::SeqCst) != 0 {
            futex::wake(&self.permits, permits);
        }
    }

    /// Permits that are free now.
    pub fn available_permits(&self) -> u32 {
        self.permits.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.available_permits())
            .finish()
    }
}

/// A permit of a [`Semaphore`], given back when it is dropped.
#[derive(Debug)]
#[must_use = "the permit is given back as soon as it is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl SemaphorePermit<'_> {
    /// Keeps the permit for good: the semaphore has one less.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.semaphore.release(1);
    }
}
