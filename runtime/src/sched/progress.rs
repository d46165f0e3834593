//! What a worker tells of itself as it goes along: how far it has got, and what it does.
//!
//! The worker uses plain stores, because anything more would cost too much at each turn. Others load, and allow for values that
//! are a moment old.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::base::deadline::Deadline;

/// What a worker tells of itself as it goes along, by plain stores. Two cache lines, as processors fetch them in pairs.
#[repr(align(128))]
pub(crate) struct Progress {
    /// Turns taken, and sleeps: it changes as long as the worker gets on.
    turns: AtomicU32,
    /// The turn of the latest blocking section, times two, plus one until the section ends. It counts only
    /// during that very turn: a green thread that parks in its section leaves the mark behind.
    section: AtomicU64,
    /// The control block of the green thread of the latest turn, until the worker finds nothing more to run.
    running: AtomicPtr<()>,
    /// Whether the worker looks around between two green threads, the first of which stands in `running` still.
    looking_around: AtomicBool,
    /// Whether the worker sleeps, in the reactor or on standby.
    asleep: AtomicBool,
    /// The processor on which the worker went to sleep.
    processor: AtomicU32,
    /// The kernel's number for the OS thread that serves, or served last; 0 while one is being started.
    os_thread: AtomicI32,
    /// How often the worker has found what to do next as soon as it looked for it; see `standby.rs`.
    prompt: AtomicU32,
    /// Set by the monitor if the worker has taken turns for long without a look around.
    look_due: AtomicBool,
}

/// What the monitor sees of a worker at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgressSnapshot {
    pub(crate) turns: u32,
    pub(crate) section: u64,
    pub(crate) asleep: bool,
}

impl ProgressSnapshot {
    /// Whether the turn is in a blocking section.
    pub(crate) fn is_marked(&self) -> bool {
        self.section == u64::from(self.turns) * 2 + 1
    }
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            turns: AtomicU32::new(0),
            section: AtomicU64::new(0),
            running: AtomicPtr::new(ptr::null_mut()),
            looking_around: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            processor: AtomicU32::new(0),
            os_thread: AtomicI32::new(0),
            prompt: AtomicU32::new(0),
            look_due: AtomicBool::new(false),
        }
    }

    /// Counts that the worker has found what to do next at once. To be called by the worker itself.
    #[inline]
    pub(crate) fn count_prompt(&self) {
        let count = self.prompt.load(Ordering::Relaxed);
        self.prompt.store(count.wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether the monitor asks the worker to look around.
    #[inline]
    pub(crate) fn is_look_due(&self) -> bool {
        self.look_due.load(Ordering::Relaxed)
    }

    pub(crate) fn set_look_due(&self, is_due: bool) {
        self.look_due.store(is_due, Ordering::Relaxed);
    }

    /// How often the worker has found what to do next at once, modulo 2^32.
    pub(crate) fn prompt(&self) -> u32 {
        self.prompt.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn take_turn(&self, turn: u32) {
        self.turns.store(turn, Ordering::Relaxed);
    }

    /// The turn that the worker is in.
    #[inline]
    pub(crate) fn turn(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The worker is to run the green thread with this control block.
    #[inline]
    pub(super) fn run(&self, control_block: *mut ()) {
        self.running.store(control_block, Ordering::Relaxed);
    }

    /// The control block of the green thread that the worker runs, or ran last, or null.
    pub(super) fn running(&self) -> *mut () {
        self.running.load(Ordering::Relaxed)
    }

    /// The worker has nothing to run.
    pub(crate) fn rest(&self) {
        self.running.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// First thing on the worker's OS thread.
    pub(crate) fn begin(&self) {
        let os_thread = rustix::thread::gettid().as_raw_pid();
        self.os_thread.store(os_thread, Ordering::Relaxed);
        self.set_looking_around(false);
    }

    /// An OS thread is about to be started for the worker.
    pub(crate) fn expect_start(&self) {
        self.os_thread.store(0, Ordering::Relaxed);
    }

    /// The kernel's number for the OS thread that serves or did last; `None` if it has not begun yet.
    pub(crate) fn os_thread(&self) -> Option<i32> {
        let os_thread = self.os_thread.load(Ordering::Relaxed);
        (os_thread != 0).then_some(os_thread)
    }

    pub(crate) fn set_looking_around(&self, looking_around: bool) {
        self.looking_around.store(looking_around, Ordering::Relaxed);
    }

    pub(crate) fn is_looking_around(&self) -> bool {
        self.looking_around.load(Ordering::Relaxed)
    }

    /// The worker goes to sleep on this processor.
    pub(crate) fn falls_asleep(&self, processor: u32) {
        self.processor.store(processor, Ordering::Relaxed);
        self.asleep.store(true, Ordering::Relaxed);
    }

    /// The worker sleeps no longer.
    pub(crate) fn wakes(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the worker sleeps, and went to sleep on this processor.
    pub(crate) fn sleeps_on(&self, processor: u32) -> bool {
        self.asleep.load(Ordering::Relaxed) && self.processor.load(Ordering::Relaxed) == processor
    }

    fn open_mark(&self) -> u64 {
        u64::from(self.turn()) * 2 + 1
    }

    /// On the running green thread: marks this turn. False if it is marked already.
    #[inline]
    pub(crate) fn open_section(&self) -> bool {
        let mark = self.open_mark();
        let is_new = self.section.load(Ordering::Relaxed) != mark;
        self.section.store(mark, Ordering::Relaxed);
        is_new
    }

    /// On the running green thread: takes back this turn's mark, if it has one.
    #[inline]
    pub(crate) fn close_section(&self) {
        let mark = self.open_mark();
        if self.section.load(Ordering::Relaxed) == mark {
            self.section.store(mark - 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn look(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            turns: self.turn(),
            section: self.section.load(Ordering::Relaxed),
            asleep: self.asleep.load(Ordering::Relaxed),
        }
    }
}

/// Since when a worker has looked the same to the monitor, for those who look from outside. The monitor stores, others load;
/// what they see can be some milliseconds old.
pub(crate) struct Steady {
    turns: AtomicU32,
    since: AtomicU64,
}

impl Steady {
    pub(super) fn new() -> Steady {
        Steady {
            turns: AtomicU32::new(0),
            since: AtomicU64::new(u64::MAX),
        }
    }

    /// The worker was first seen in this turn at that time.
    pub(super) fn note(&self, turns: u32, since: Deadline) {
        self.since.store(u64::MAX, Ordering::Release);
        self.turns.store(turns, Ordering::Release);
        self.since.store(since.as_nanos(), Ordering::Release);
    }

    /// Since when the worker has been in this turn, if the monitor has seen it there.
    pub(crate) fn since(&self, turns: u32) -> Option<Deadline> {
        let since = self.since.load(Ordering::Acquire);
        let is_same = self.turns.load(Ordering::Acquire) == turns;
        // A time that was stored for another turn meanwhile is not that time.
        let is_settled = self.since.load(Ordering::Acquire) == since && since != u64::MAX;
        (is_same && is_settled).then(|| Deadline::from_nanos(since))
    }
}
