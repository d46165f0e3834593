//! Standby, where a worker sleeps that would be in the way in the reactor; see `idle.rs`.
//!
//! A worker is *prompt* when it finds what it does next as soon as it looks: in its run-next slot, or, while all others
//! sleep, as the one event of the reactor. Each worker counts how often that was so, and one that goes to sleep, or is
//! the watcher, looks by how much the others' counts have grown ([`Pace`]).

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::deadline::Deadline;

/// The time from one look of the watcher to its next one. Each costs some ten microseconds of processor time.
const PERIOD: Duration = Duration::from_micros(250);

/// The time that a wait in the reactor takes, at most, if its event was there already or came at once.
const MOMENT: Duration = Duration::from_micros(5);

/// Nanoseconds from one prompt find to the next, at most, on average. To wake another worker takes about as long.
const PROMPT: u64 = 50_000;

/// So many prompt finds must have been seen, at least, before they tell anything.
const LEAST: u32 = 4;

/// Where workers stand by.
pub(crate) struct Standby {
    /// Counts the signals; workers wait on it as a futex.
    signals: AtomicU32,
    /// Whether one of them is the watcher.
    has_watcher: AtomicBool,
}

impl Standby {
    pub(crate) fn new() -> Standby {
        Standby {
            signals: AtomicU32::new(0),
            has_watcher: AtomicBool::new(false),
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

    /// Makes all workers on standby look around, or the next one to stand by.
    pub(crate) fn nudge(&self) {
        self.signals.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.signals, futex::Flags::PRIVATE, u32::MAX);
    }

    /// True if the caller is the watcher from now on.
    pub(crate) fn become_watcher(&self) -> bool {
        !self.has_watcher.swap(true, Ordering::SeqCst)
    }

    /// The caller is no longer the watcher.
    pub(crate) fn stop_watching(&self) {
        self.has_watcher.swap(false, Ordering::SeqCst);
    }

    pub(crate) fn has_watcher(&self) -> bool {
        self.has_watcher.load(Ordering::SeqCst)
    }

    /// Waits for a signal after those that were `seen`, or, as the watcher, until the next look is due.
    pub(crate) fn wait(&self, seen: u32, is_watcher: bool) {
        let period = Timespec {
            tv_sec: 0,
            tv_nsec: PERIOD.subsec_nanos().into(),
        };
        let limit = is_watcher.then_some(&period);
        let _ = futex::wait(&self.signals, futex::Flags::PRIVATE, seen, limit);
    }
}

/// What a worker has last seen of the others' prompt finds. Times are in nanoseconds of the monotonic clock.
#[derive(Default)]
pub(crate) struct Pace {
    finds: Cell<u32>,
    at: Cell<u64>,
}

impl Pace {
    /// Whether the others have been prompt since the last look that told something; `finds` is the sum of their counts.
    pub(crate) fn is_prompt(&self, finds: u32, now: u64) -> bool {
        let (new, time) = (finds.wrapping_sub(self.finds.get()), now - self.at.get());
        let is_prompt = new >= LEAST && u64::from(new) * PROMPT >= time;
        if is_prompt || time >= u64::from(LEAST) * PROMPT {
            self.finds.set(finds);
            self.at.set(now);
        }
        is_prompt
    }
}

/// Whether a wait in the reactor that began and ended so, with so many events, has found what to do next at once.
pub(crate) fn is_momentary(began: Deadline, ended: Deadline, events: usize) -> bool {
    events == 1 && ended < began.plus(MOMENT)
}
