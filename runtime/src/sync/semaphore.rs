//! The semaphore: a number of permits.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use super::raw::line::Line;
use super::raw::lock::Lock;
use super::raw::permits::{ONE, RawPermits};
use super::raw::wait_limit::{Interrupted, WaitLimit};
use crate::base::deadline::Deadline;

/// A number of permits, for so many users of something at once; those who wait are served in the order in which
/// they came.
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
    raw: RawPermits,
    limit: u32,
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    /// A semaphore with so many permits, to which [`release`](Self::release) may add more.
    pub const fn new(permits: u32) -> Semaphore {
        Semaphore::with_limit(permits, u32::MAX)
    }

    /// A semaphore that never has more than these permits: a release too many is an error, as with eventlet's and
    /// gevent's `BoundedSemaphore`.
    ///
    /// ```
    /// use greenpatch_runtime::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::bounded(1);
    /// semaphore.acquire().forget();
    /// assert_eq!(semaphore.try_release(1), Ok(()));
    /// let error = semaphore.try_release(1).unwrap_err();
    /// assert_eq!(error.to_string(), "the semaphore has no more than 1 permit");
    /// ```
    pub const fn bounded(permits: u32) -> Semaphore {
        Semaphore::with_limit(permits, permits)
    }

    const fn with_limit(permits: u32, limit: u32) -> Semaphore {
        Semaphore {
            raw: RawPermits {
                word: AtomicU64::new(permits as u64 * ONE),
                line: Lock::new(Line::new()),
            },
            limit,
        }
    }

    /// Waits for a permit. Nothing cuts the wait short; see [`acquire_interruptible`](Self::acquire_interruptible).
    #[inline]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.wait(WaitLimit::Endless)
            .expect("an endless wait is not cut short")
    }

    /// Waits for a permit; cut short by deadline scopes and cancellation.
    ///
    /// # Errors
    ///
    /// Why the wait was cut short, if there was no permit by then.
    #[inline]
    pub fn acquire_interruptible(&self) -> Result<SemaphorePermit<'_>, Interrupted> {
        self.wait(WaitLimit::Until(None))
    }

    /// Takes a permit if there is one.
    #[inline]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.raw
            .try_acquire()
            .then(|| SemaphorePermit { semaphore: self })
    }

    /// Waits for a permit for at most `timeout`; a deadline scope and cancellation cut the wait short too.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        match self.try_acquire() {
            None => self
                .wait(WaitLimit::Until(Some(Deadline::after(timeout))))
                .ok(),
            permit => permit,
        }
    }

    #[inline]
    fn wait(&self, limit: WaitLimit) -> Result<SemaphorePermit<'_>, Interrupted> {
        self.raw.acquire(limit)?;
        Ok(SemaphorePermit { semaphore: self })
    }

    /// As [`acquire`](Self::acquire), for a permit that can be moved to another thread.
    ///
    /// ```
    /// # greenpatch_runtime::run(|| {
    /// use std::sync::Arc;
    /// use greenpatch_runtime::{spawn, sync::Semaphore};
    ///
    /// let at_most_ten = Arc::new(Semaphore::new(10));
    /// for _ in 0..100 {
    ///     let permit = at_most_ten.clone().acquire_owned();
    ///     spawn(move || drop(permit));
    /// }
    /// # });
    /// ```
    pub fn acquire_owned(self: Arc<Self>) -> OwnedSemaphorePermit {
        self.acquire().forget();
        OwnedSemaphorePermit { semaphore: self }
    }

    /// As [`try_acquire`](Self::try_acquire), for a permit that can be moved to another thread.
    pub fn try_acquire_owned(self: Arc<Self>) -> Option<OwnedSemaphorePermit> {
        self.try_acquire()?.forget();
        Some(OwnedSemaphorePermit { semaphore: self })
    }

    /// Adds `permits` more.
    ///
    /// # Panics
    ///
    /// If there would be more than `u32::MAX`, or than a [`bounded`](Self::bounded) semaphore has.
    #[track_caller]
    #[inline]
    pub fn release(&self, permits: u32) {
        if let Err(error) = self.try_release(permits) {
            panic!("{error}");
        }
    }

    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// Where `release` panics. No permit is added then.
    #[inline]
    pub fn try_release(&self, permits: u32) -> Result<(), ReleaseError> {
        if self.raw.release(permits.into(), self.limit.into()) {
            Ok(())
        } else {
            Err(ReleaseError { limit: self.limit })
        }
    }

    /// Permits that are free now.
    pub fn available_permits(&self) -> u32 {
        u32::try_from(self.raw.free()).expect("a semaphore holds at most u32::MAX permits")
    }

    /// At the end of a permit.
    #[inline]
    fn give_back(&self) {
        let result = self.try_release(1);
        if let Err(error) = result
            && !thread::panicking()
        {
            panic!("{error}, but one was released that somebody still held");
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.available_permits())
            .finish()
    }
}

/// A release of more permits than a [`Semaphore`] can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseError {
    limit: u32,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.limit == 1 { "" } else { "s" };
        write!(
            f,
            "the semaphore has no more than {} permit{plural}",
            self.limit
        )
    }
}

impl std::error::Error for ReleaseError {}

/// A permit of a [`Semaphore`], given back when it is dropped.
///
/// # Panics
///
/// The drop panics if the semaphore is [`bounded`](Semaphore::bounded) and has all its permits, because somebody
/// released one too many.
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
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back();
    }
}

/// As [`SemaphorePermit`], with a share in the semaphore instead of a borrow.
#[derive(Debug)]
#[must_use = "the permit is given back as soon as it is dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
}

impl OwnedSemaphorePermit {
    /// Keeps the permit for good: the semaphore has one less.
    pub fn forget(self) {
        let permit = std::mem::ManuallyDrop::new(self);
        // SAFETY: the permit is neither used nor dropped afterwards.
        drop(unsafe { std::ptr::read(&permit.semaphore) });
    }
}

impl Drop for OwnedSemaphorePermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back();
    }
}
