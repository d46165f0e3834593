//! How long somebody waits, and whether the wait can be cut short.

use crate::atomic::AtomicU32;
use crate::deadline::Deadline;
use crate::futex;

/// Why a wait was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The deadline has passed.
    TimedOut,
}

/// The limit of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// The wait has no way to say that it was cut short; so it is not.
    Endless,
    /// Until the deadline, that of the green thread's deadline scope, or its cancellation.
    Until(Option<Deadline>),
}

impl Patience {
    /// Waits while `word` is `expected`; may return `Ok` for no reason. An error has used up no wake-up.
    pub(crate) fn wait(self, word: &AtomicU32, expected: u32) -> Result<(), Interrupted> {
        match self {
            Patience::Endless => {
                futex::wait(word, expected, None);
                Ok(())
            }
            Patience::Until(deadline) => match futex::wait(word, expected, deadline) {
                futex::Wait::TimedOut => Err(Interrupted::TimedOut),
                _ => Ok(()),
            },
        }
    }
}
