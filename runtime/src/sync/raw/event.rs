//! The event's word: whether it is set, whether somebody waits, and how often it was set.
//!
//! A waiter leaves when the event is set, or was set since it came: whoever waits at the moment of a `set` goes on
//! even if a `clear` follows before it has looked. (It would overlook 2^30 sets, the last of them cleared.) It sets
//! AWAITED in the word on which it then waits, so a `set` sees the flag in what it replaces, or changes the word before
//! the wait compares it.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

const SET: u32 = 1;
const AWAITED: u32 = 2;
/// One in the count of sets, which fills the rest of the word.
const ONCE: u32 = 4;

/// The word; see the module's page.
pub(crate) struct RawEvent(pub(crate) AtomicU32);

impl RawEvent {
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) & SET != 0
    }

    pub(crate) fn set(&self) {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            // An event that is set is set again all the same: who sees it so sees what came before this call.
            let next = if word & SET == 0 {
                (word & !AWAITED).wrapping_add(ONCE) | SET
            } else {
                word
            };
            match self
                .0
                .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        if word & AWAITED != 0 {
            futex::wake(&self.0, u32::MAX);
        }
    }

    pub(crate) fn clear(&self) {
        self.0.fetch_and(!SET, Ordering::AcqRel);
    }

    /// Waits until the event is set.
    pub(crate) fn wait(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        let came = self.0.load(Ordering::Acquire);
        limit.wait_until(&self.0, AWAITED, |word| {
            (word & SET != 0 || word / ONCE != came / ONCE).then_some(())
        })
    }
}
