//! The word of something that is done once.
//!
//! | state | meaning | goes to |
//! |---|---|---|
//! | INCOMPLETE | not begun | RUNNING by the first caller |
//! | POISONED | whoever did it panicked | RUNNING by a caller that does not mind |
//! | RUNNING | somebody does it | COMPLETE or POISONED by that one |
//! | COMPLETE | done | nothing |
//!
//! The AWAITED flag beside it is set by whoever waits, and cleared by the end of RUNNING, which wakes all of them. The
//! end releases what was done, and who sees COMPLETE has acquired it.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit, announce};
use crate::wait::futex;

pub(crate) const INCOMPLETE: u32 = 0;
const POISONED: u32 = 1;
const RUNNING: u32 = 2;
const COMPLETE: u32 = 3;
const STATE: u32 = 3;
const AWAITED: u32 = 4;

/// The word; see the module's page.
pub(crate) struct RawOnce(pub(crate) AtomicU32);

/// What a caller finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is done.
    Complete,
    /// The caller does it, and calls [`RawOnce::end`]; whether somebody has panicked over it before.
    Mine { poisoned: bool },
    /// Somebody has panicked over it, and the caller minds.
    Poisoned,
}

impl RawOnce {
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.0.load(Ordering::Acquire) & STATE == COMPLETE
    }

    /// Waits while somebody does it; then tells whether the caller has to.
    pub(crate) fn begin(&self, forgive: bool) -> Claim {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let poisoned = word & STATE == POISONED;
            match word & STATE {
                COMPLETE => return Claim::Complete,
                POISONED if !forgive => return Claim::Poisoned,
                RUNNING => {
                    if announce(&self.0, &mut word, AWAITED) {
                        futex::wait(&self.0, word, None);
                        word = self.0.load(Ordering::Acquire);
                    }
                }
                _ => {
                    let running = RUNNING | word & AWAITED;
                    match self.0.compare_exchange(
                        word,
                        running,
                        Ordering::Acquire,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => return Claim::Mine { poisoned },
                        Err(changed) => word = changed,
                    }
                }
            }
        }
    }

    /// By the caller that had to do it.
    pub(crate) fn end(&self, panicked: bool) {
        let state = if panicked { POISONED } else { COMPLETE };
        if self.0.swap(state, Ordering::AcqRel) & AWAITED != 0 {
            futex::wake(&self.0, u32::MAX);
        }
    }

    /// Waits until it is done, by whomever: true; or, if the caller minds, until somebody has panicked over it: false.
    pub(crate) fn wait(&self, forgive: bool, limit: WaitLimit) -> Result<bool, Interrupted> {
        limit.wait_until(&self.0, AWAITED, |word| match word & STATE {
            COMPLETE => Some(true),
            POISONED if !forgive => Some(false),
            _ => None,
        })
    }
}
