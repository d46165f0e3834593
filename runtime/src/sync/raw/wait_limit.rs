//! How long somebody waits, and whether the wait can be cut short.

use crate::base::atomic::AtomicU32;
use crate::base::deadline::Deadline;
use crate::wait::futex;
use crate::wait::interrupt::cuts_every_wait;
use crate::wait::section::yield_now;

pub(crate) use crate::wait::interrupt::Interrupted;

/// The limit of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitLimit {
    /// The wait has no way to say that it was cut short; so it is not.
    Endless,
    /// Until the deadline, that of a time-out around the caller, or its cancellation.
    Until(Option<Deadline>),
}

impl WaitLimit {
    /// Waits while `word` is `expected`; may return `Ok` for no reason. An error has used up no wake-up.
    pub(crate) fn wait(self, word: &AtomicU32, expected: u32) -> Result<(), Interrupted> {
        match self {
            WaitLimit::Endless => {
                futex::wait(word, expected, None);
                Ok(())
            }
            WaitLimit::Until(deadline) => {
                WaitLimit::give_way(futex::wait_interruptible(word, expected, deadline))
            }
        }
    }

    /// What cuts all of the caller's waits short from now on leaves a loop around this one turning on its worker:
    /// others must have their turn, or what it waits for never comes.
    pub(crate) fn give_way(outcome: Result<(), Interrupted>) -> Result<(), Interrupted> {
        if outcome.is_err() && cuts_every_wait() {
            yield_now();
        }
        outcome
    }
}
