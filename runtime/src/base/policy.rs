//! What a runtime does about its end and about deadlocks: the choices of two settings.

use std::fmt;
use std::str::FromStr;

use crate::base::error::BuildError;

/// What is done about a deadlock: all green threads of a runtime wait for each other, and nothing else in the process can
/// wake one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDeadlock {
    /// Nothing.
    Off,
    /// A warning, once, with a dump that shows where each green thread waits: as an event of the `tracing` crate, with
    /// the feature of that name and if the program listens to those, on standard error otherwise.
    #[default]
    Warn,
    /// The warning on standard error, then the process aborts.
    Abort,
}

impl fmt::Display for OnDeadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnDeadlock::Off => "off",
            OnDeadlock::Warn => "warn",
            OnDeadlock::Abort => "abort",
        })
    }
}

impl FromStr for OnDeadlock {
    type Err = BuildError;

    /// Reads `off`, `warn` or `abort`.
    fn from_str(word: &str) -> Result<OnDeadlock, BuildError> {
        match word {
            "off" => Ok(OnDeadlock::Off),
            "warn" => Ok(OnDeadlock::Warn),
            "abort" => Ok(OnDeadlock::Abort),
            _ => Err(BuildError::setting(
                "deadlock",
                word.to_owned(),
                "use off, warn or abort",
            )),
        }
    }
}

/// What becomes of a runtime's green threads when it is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDrop {
    /// They go on by themselves, as std's threads do when their handle is dropped.
    #[default]
    Detach,
    /// The drop waits until all have ended. After five seconds it warns, and waits on.
    Wait,
    /// All are [cancelled](crate::Runtime::cancel_all), and the drop waits as with `Wait`.
    Cancel,
}

impl fmt::Display for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnDrop::Detach => "detach",
            OnDrop::Wait => "wait",
            OnDrop::Cancel => "cancel",
        })
    }
}

impl FromStr for OnDrop {
    type Err = BuildError;

    /// Reads `detach`, `wait` or `cancel`.
    fn from_str(word: &str) -> Result<OnDrop, BuildError> {
        match word {
            "detach" => Ok(OnDrop::Detach),
            "wait" => Ok(OnDrop::Wait),
            "cancel" => Ok(OnDrop::Cancel),
            _ => Err(BuildError::setting(
                "on_drop",
                word.to_owned(),
                "use detach, wait or cancel",
            )),
        }
    }
}
