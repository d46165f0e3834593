//! How long somebody waits, and whether the wait can be cut short.

use crate::base::atomic::{AtomicU32, Ordering};
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

    /// Waits until `look` gives something for `word`. Who waits has set the flag `awaited` in the word: whoever changes that
    /// sees that there is somebody to be woken.
    pub(crate) fn wait_until<T>(
        self,
        word: &AtomicU32,
        awaited: u32,
        look: impl Fn(u32) -> Option<T>,
    ) -> Result<T, Interrupted> {
        let mut seen = word.load(Ordering::Acquire);
        let mut outcome = Ok(());
        loop {
            if let Some(found) = look(seen) {
                return Ok(found);
            }
            outcome?;
            if announce(word, &mut seen, awaited) {
                outcome = self.wait(word, seen);
                seen = word.load(Ordering::Acquire);
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

/// Sets the flag `awaited` in a word that was `seen`; false if it has changed.
pub(crate) fn announce(word: &AtomicU32, seen: &mut u32, awaited: u32) -> bool {
    let announced = *seen | awaited;
    if *seen == announced {
        return true;
    }
    let (success, failure) = (Ordering::Relaxed, Ordering::Acquire);
    match word.compare_exchange(*seen, announced, success, failure) {
        Ok(_) => {
            *seen = announced;
            true
        }
        Err(changed) => {
            *seen = changed;
            false
        }
    }
}
