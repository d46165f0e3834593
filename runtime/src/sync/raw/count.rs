//! The word of a count that waiters see come down to zero.
//!
//! A waiter sets AWAITED beside a count that is not zero, in the word on which it then waits; whoever takes the count to
//! zero clears the flag and wakes all waiters. Each step down releases what was done before it, and who sees zero has
//! acquired all of them, as they are links of one chain of exchanges.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

const AWAITED: u32 = 1;
const ONE: u32 = 2;

/// The highest count.
pub(crate) const MOST: u32 = u32::MAX / ONE;

/// The word; see the module's page.
pub(crate) struct RawCount(pub(crate) AtomicU32);

impl RawCount {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire) / ONE
    }

    /// Counts up; false if that would be more than [`MOST`].
    pub(crate) fn add(&self, count: u32) -> bool {
        self.update(|word| {
            let sum = (word / ONE).checked_add(count).filter(|sum| *sum <= MOST)?;
            Some((sum * ONE) | (word & AWAITED))
        })
        .is_some()
    }

    /// Counts down; false if that would be less than zero.
    pub(crate) fn subtract(&self, count: u32) -> bool {
        let before = self.update(|word| match (word / ONE).checked_sub(count)? {
            0 => Some(0),
            rest => Some((rest * ONE) | (word & AWAITED)),
        });
        if let Some(before) = before
            && before & AWAITED != 0
            && before / ONE == count
        {
            futex::wake(&self.0, u32::MAX);
        }
        before.is_some()
    }

    /// Waits until the count is zero.
    pub(crate) fn wait(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        limit.wait_until(&self.0, AWAITED, |word| (word / ONE == 0).then_some(()))
    }

    fn update(&self, change: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            match self
                .0
                .compare_exchange(word, change(word)?, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(before) => return Some(before),
                Err(changed) => word = changed,
            }
        }
    }
}
