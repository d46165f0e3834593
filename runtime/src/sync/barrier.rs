//! The barrier.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::AtomicU32;

use super::raw::barrier::RawBarrier;
use super::raw::lock::Lock;
use super::raw::wait_limit::{Interrupted, WaitLimit};

/// Lets threads go on when so many have come; mirrors [`std::sync::Barrier`].
pub struct Barrier {
    raw: RawBarrier,
    parties: usize,
}

/// Whether the caller was the last to come; mirrors [`std::sync::BarrierWaitResult`].
pub struct BarrierWaitResult(bool);

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

impl Barrier {
    /// A barrier for `parties` threads at a time; zero counts as one.
    pub const fn new(parties: usize) -> Barrier {
        Barrier {
            raw: RawBarrier {
                arrived: Lock::new(0),
                generation: AtomicU32::new(0),
            },
            parties,
        }
    }

    /// Waits until as many threads as the barrier is for have called this; the next ones wait for each other again.
    pub fn wait(&self) -> BarrierWaitResult {
        let leads = self.raw.wait(self.parties, WaitLimit::Endless);
        BarrierWaitResult(leads.expect("an endless wait is not cut short"))
    }

    /// As [`wait`](Self::wait), and cut short by deadline scopes and cancellation. Then the caller has not come: the others
    /// wait for one more.
    ///
    /// # Errors
    ///
    /// Why the wait was cut short, if the others have not come by then.
    pub fn wait_interruptible(&self) -> Result<BarrierWaitResult, Interrupted> {
        self.raw
            .wait(self.parties, WaitLimit::Until(None))
            .map(BarrierWaitResult)
    }
}

impl BarrierWaitResult {
    /// True for exactly one of the threads that have waited for each other.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
