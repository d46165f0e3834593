//! A worker's coarse time: read from a word, and moved on by the sweep.
//!
//! Time-outs of seconds need no better clock than the sweep that looks after them, and a request that asks the real one
//! several times would pay for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the module's page.
pub(crate) struct Clock {
    origin: Instant,
    /// Milliseconds since the origin, and one; so zero is no moment. A figure alone: nothing is published with it.
    now: AtomicU64,
}

/// Milliseconds of a [`Clock`]. The default is before every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Clock {
    /// A clock that begins now.
    pub(crate) fn new() -> Clock {
        Clock {
            origin: Instant::now(),
            now: AtomicU64::new(1),
        }
    }

    /// The moment of the last [`turn`](Self::turn).
    pub(crate) fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::Relaxed))
    }

    /// Asks the real clock.
    pub(crate) fn turn(&self) -> Moment {
        let now = self.origin.elapsed().as_millis() as u64 + 1;
        self.now.store(now, Ordering::Relaxed);
        Moment(now)
    }
}

impl Moment {
    /// The time from then to this moment.
    pub(crate) fn since(self, then: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(then.0))
    }
}

/// A moment that several threads read and write, or none. A figure alone: nothing is published with it.
#[derive(Debug, Default)]
pub(crate) struct AtomicMoment(AtomicU64);

impl AtomicMoment {
    /// Holds this moment.
    pub(crate) fn new(moment: Moment) -> AtomicMoment {
        AtomicMoment(AtomicU64::new(moment.0))
    }

    pub(crate) fn get(&self) -> Option<Moment> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            moment => Some(Moment(moment)),
        }
    }

    pub(crate) fn set(&self, moment: Moment) {
        self.0.store(moment.0, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The moment that it holds; this one from now on if it held none.
    pub(crate) fn get_or_set(&self, moment: Moment) -> Moment {
        self.get().unwrap_or_else(|| {
            self.set(moment);
            moment
        })
    }
}
