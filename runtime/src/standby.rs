//! Standby, where a worker sleeps that would be in the way in the reactor; see `idle.rs`.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

/// The time from one look of the worker on watch to the next one. Each costs some ten microseconds.
const PERIOD: Duration = Duration::from_micros(250);

/// Nanoseconds that a wait takes which ends at once, at most.
const MOMENT: u64 = 5_000;

/// Nanoseconds between two waits in which a worker is not missed: to wake another one takes no less.
const SHORT: u64 = 30_000;

/// So many waits in a row have ended at once if a worker is enough.
const IN_A_ROW: u32 = 8;

/// Nanoseconds after which a worker is no longer enough, if it has not said so again.
const RECENT: u64 = 50_000;

/// The same for one that goes to sleep, once: it was woken to start or to end something, perhaps, and all is as before.
const REMEMBERED: u64 = 1_000_000;

/// Where workers stand by.
pub(crate) struct Standby {
    /// Counts the signals; workers wait on it as a futex.
    signals: AtomicU32,
    /// Whether one of them is on watch.
    watched: AtomicBool,
    /// When a worker was last enough.
    enough: AtomicU64,
}

impl Standby {
    pub(crate) fn new() -> Standby {
        Standby {
            signals: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            enough: AtomicU64::new(0),
        }
    }

    /// Signals so far; to be asked before the worker counts as one on standby.
    pub(crate) fn signals(&self) -> u32 {
        self.signals.load(Ordering::SeqCst)
    }

    /// Wakes one worker, or the next one to stand by.
    pub(crate) fn signal(&self) {
        self.signals.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.signals, futex::Flags::PRIVATE, 1);
    }

    /// True if the caller is on watch from now on.
    pub(crate) fn take_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::SeqCst)
    }

    /// The caller is no longer on watch.
    pub(crate) fn leave_watch(&self) {
        self.watched.swap(false, Ordering::SeqCst);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst)
    }

    /// Waits for a signal after those that were `seen`, or if on watch, until the next look is due.
    pub(crate) fn wait(&self, seen: u32, on_watch: bool) {
        let period = Timespec {
            tv_sec: 0,
            tv_nsec: PERIOD.subsec_nanos().into(),
        };
        let limit = on_watch.then_some(&period);
        let _ = futex::wait(&self.signals, futex::Flags::PRIVATE, seen, limit);
    }

    /// Whether a worker was enough just now.
    pub(crate) fn is_enough(&self, now: u64) -> bool {
        now < self.enough.load(Ordering::Relaxed) + RECENT
    }
}

/// A worker's experience of its waits. Times are in nanoseconds of the monotonic clock.
#[derive(Default)]
pub(crate) struct Waits {
    began: Cell<u64>,
    ended: Cell<u64>,
    /// How many in a row have ended at once, with one event, and soon after the one before.
    momentary: Cell<u32>,
    /// When the worker last told the others that it is enough.
    told: Cell<u64>,
    /// What another one has told that the worker last stood by for.
    heeded: Cell<u64>,
}

impl Waits {
    /// The worker goes to sleep. True if another one is enough.
    pub(crate) fn begin(&self, now: u64, standby: &Standby) -> bool {
        self.began.set(now);
        if now > self.ended.get() + SHORT {
            self.momentary.set(0);
        }
        let told = standby.enough.load(Ordering::Relaxed);
        let limit = if told == self.heeded.get() {
            RECENT
        } else {
            REMEMBERED
        };
        let is_surplus = told != self.told.get() && now < told + limit;
        if is_surplus {
            self.heeded.set(told);
        }
        is_surplus
    }

    /// The wait in the reactor ends, with so many events; `is_alone` tells whether all other workers sleep.
    pub(crate) fn end(&self, now: u64, events: usize, is_alone: bool, standby: &Standby) {
        let is_momentary = events == 1 && is_alone && now < self.began.get() + MOMENT;
        let momentary = if is_momentary {
            self.momentary.get() + 1
        } else {
            0
        };
        self.ended.set(now);
        self.momentary.set(momentary.min(IN_A_ROW));
        if momentary >= IN_A_ROW {
            self.told.set(now);
            standby.enough.store(now, Ordering::Relaxed);
        }
    }
}
