//! How many workers serve, who retires, and who is called in.
//!
//! A runtime is promised `workers` OS threads that make progress. While one of them is *stuck* (in a blocking section, or in a
//! turn that does not end), the monitor calls in a spare one. When the stuck one makes progress again, one worker too many
//! serves, and whichever first comes to a point where it holds no green thread *retires*: no worker is a spare one from the
//! beginning. A retired worker waits for a while to be called in again, and then its OS thread ends.
//!
//! Two kinds of words carry the protocol.
//!
//! **[`WorkerCount`]**, one word for each runtime: how many workers serve, and how many should (the target: `workers`, and one
//! more for each stuck one).
//!
//! - Only the monitor moves the target, and it never sets it below `workers`.
//! - Only the monitor adds a worker, and only up to the target, so what it adds is not surplus at once.
//! - A worker retires by one exchange of the word, which succeeds only while more workers serve than should: however many try
//!   at once, no fewer than the target remain.
//!
//! What the monitor knows of stuck workers is a few milliseconds old. If a worker retires while another one gets stuck, too few
//! remain until the monitor looks again. No work is lost meanwhile, because a retiring worker has put its queue into the
//! injector, where a worker that is called in looks first.
//!
//! **[`WorkerState`]**, one word for each place that a worker can have:
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | VACANT | start | SERVING | the monitor starts an OS thread |
//! | RETIRED | start | SERVING | the monitor wakes the OS thread, which serves again |
//! | SERVING, DISMISSED | start | unchanged | nobody |
//! | SERVING | retire | RETIRED | the worker waits until the word changes, or for a limited time |
//! | RETIRED | give up | VACANT | the OS thread, which has waited long enough, ends |
//! | SERVING | give up | unchanged | nobody: the worker was started meanwhile, and serves |
//! | DISMISSED | give up | unchanged | the OS thread ends |
//! | RETIRED | dismiss | DISMISSED | whoever ends the runtime wakes the OS thread, which ends |
//!
//! What belongs to the place (the run queue) is its worker's from its start to its retirement: the start acquires what the last
//! worker released as it retired or gave up. No worker misses the end of its runtime: the worker first retires and then asks
//! whether the runtime is over, while whoever ends it first says so and then dismisses, each with a fence between the two steps.
//!
//! Rejected: a fixed set of workers beside spare ones that alone retire (a worker of the fixed set that comes back from its
//! blocking section would have to wait, or share with the spare one); to retire at the end of the section (the green thread
//! that was blocked for long would pay for the hand-over).
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, AtomicU64, Ordering, fence};

const SERVES: u64 = 1;
const WANTED: u64 = 1 << 32;

/// How many workers serve, and how many should; see the module's page.
pub(crate) struct WorkerCount(AtomicU64);

fn serving(word: u64) -> usize {
    (word % WANTED) as usize
}

fn target(word: u64) -> usize {
    (word / WANTED) as usize
}

impl WorkerCount {
    /// Nobody serves yet.
    pub(crate) fn new(target: usize) -> WorkerCount {
        WorkerCount(AtomicU64::new(target as u64 * WANTED))
    }

    /// How many workers serve.
    #[inline]
    pub(crate) fn serving(&self) -> usize {
        serving(self.0.load(Ordering::SeqCst))
    }

    /// Whether a worker may retire.
    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        serving(word) > target(word)
    }

    /// Sets how many should serve. Only the monitor does.
    pub(crate) fn set_target(&self, target: usize) {
        self.update(|word| Some(word % WANTED + target as u64 * WANTED));
    }

    /// Counts one more, before it is started.
    pub(crate) fn add(&self) {
        self.0.fetch_add(SERVES, Ordering::SeqCst);
    }

    /// A worker retires: false if no more serve than should.
    pub(crate) fn retire(&self) -> bool {
        self.update(|word| (serving(word) > target(word)).then(|| word - SERVES))
    }

    /// A worker leaves for good, as the runtime is over: true if it is the last one.
    pub(crate) fn leave(&self) -> bool {
        serving(self.0.fetch_sub(SERVES, Ordering::SeqCst)) == 1
    }

    fn update(&self, change: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.0.load(Ordering::SeqCst);
        loop {
            let Some(next) = change(word) else {
                return false;
            };
            match self
                .0
                .compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
    }
}

const VACANT: u32 = 0;
const SERVING: u32 = 1;
const RETIRED: u32 = 2;
const DISMISSED: u32 = 3;

/// What whoever has started a worker must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The place has no OS thread: start one.
    NewThread,
    /// The place's OS thread waits on the word: wake it.
    Wake,
}

/// The word of a worker's place; see the module's page.
pub(crate) struct WorkerState(AtomicU32);

impl WorkerState {
    pub(crate) fn vacant() -> WorkerState {
        WorkerState(AtomicU32::new(VACANT))
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.0.load(Ordering::SeqCst) == SERVING
    }

    /// Whether an OS thread waits here to be called in.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.load(Ordering::SeqCst) == RETIRED
    }

    /// Whether the place has no OS thread.
    pub(crate) fn is_vacant(&self) -> bool {
        self.0.load(Ordering::SeqCst) == VACANT
    }

    /// Puts a worker here, unless one serves here or the runtime is over. Only the monitor does this, and whoever builds the
    /// runtime.
    pub(crate) fn start(&self) -> Option<Start> {
        if self.change(VACANT, SERVING) {
            Some(Start::NewThread)
        } else if self.change(RETIRED, SERVING) {
            Some(Start::Wake)
        } else if self.change(VACANT, SERVING) {
            // It has given up between the two attempts.
            Some(Start::NewThread)
        } else {
            None
        }
    }

    /// The OS thread could not be started.
    pub(crate) fn cancel_start(&self) {
        self.0.store(VACANT, Ordering::SeqCst);
    }

    /// The worker waits from now on while the word has the value that this returns. After this call it asks whether the
    /// runtime is over, and does not wait if it is.
    pub(crate) fn retire(&self) -> u32 {
        self.0.store(RETIRED, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        RETIRED
    }

    /// A retired worker waits no longer: true if its OS thread ends, false if it was started and serves.
    pub(crate) fn give_up(&self) -> bool {
        self.change(RETIRED, VACANT) || self.0.load(Ordering::SeqCst) == DISMISSED
    }

    /// After it was said that the runtime is over: true if an OS thread waits here, which the caller wakes.
    pub(crate) fn dismiss(&self) -> bool {
        fence(Ordering::SeqCst);
        self.change(RETIRED, DISMISSED)
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The word, to wait on.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }
}
