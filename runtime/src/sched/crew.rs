//! How many workers serve, who retires, and who is called in.
//!
//! A runtime is promised `workers` OS threads that get on. While one of them is *stuck* (in a blocking section,
//! or in a turn that does not end), the monitor calls in a spare one; when it gets on again, one worker too many
//! serves, and whichever comes first to a point where it holds no green thread *retires*: no worker is a spare
//! by birth. A retired worker waits for a while to be called again, and then its OS thread ends.
//!
//! Two kinds of words carry the protocol.
//!
//! **The crew**, one word a runtime: how many workers serve, and how many should (the target, `workers` and one
//! more for each stuck one).
//!
//! - Only the monitor moves the target, and it never sets it below `workers`.
//! - Only the monitor adds a worker, and only up to the target: what it adds is never surplus by itself.
//! - A worker retires by one exchange of the word, which succeeds only while more serve than should: however
//!   many try at once, no fewer than the target remain.
//!
//! The monitor's knowledge of who is stuck is a few milliseconds old. A worker that retires while another one
//! gets stuck leaves too few behind, until the monitor's next looks; no work is lost meanwhile, for a retiring
//! worker has put its queue into the injector, which is looked into whenever a worker is called in.
//!
//! **The post**, one word for each place that a worker can have:
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | VACANT | call | SERVING | the monitor starts an OS thread |
//! | RETIRED | call | SERVING | the monitor wakes the OS thread, which serves again |
//! | SERVING, DISMISSED | call | unchanged | nobody |
//! | SERVING | retire | RETIRED | the worker waits until the word changes, or for a limited time |
//! | RETIRED | give up | VACANT | the OS thread, which has waited long enough, ends |
//! | SERVING | give up | unchanged | nobody: it was called meanwhile, and serves |
//! | DISMISSED | give up | unchanged | the OS thread ends |
//! | RETIRED | dismiss | DISMISSED | who ends the runtime wakes the OS thread, which ends |
//!
//! What belongs to the place (the run queue) is its worker's from call to retirement: the call acquires what the
//! last owner released as it retired or gave up. A runtime's end is not missed: the worker first retires, then
//! asks whether the runtime is over; who ends it first says so, then dismisses; with a fence between the two.
//!
//! Rejected: a fixed base crew beside spare workers that alone retire (the base worker that comes back from its
//! section would have to wait, or take turns with the spare one); retiring at the end of the section (the green
//! thread that was blocked for long would pay for the hand-over).
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, AtomicU64, Ordering, fence};

const SERVES: u64 = 1;
const WANTED: u64 = 1 << 32;

/// Workers that serve, and should; see the module's page.
pub(crate) struct Crew(AtomicU64);

fn serving(word: u64) -> usize {
    (word % WANTED) as usize
}

fn target(word: u64) -> usize {
    (word / WANTED) as usize
}

impl Crew {
    /// Nobody serves yet.
    pub(crate) fn new(target: usize) -> Crew {
        Crew(AtomicU64::new(target as u64 * WANTED))
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

    /// The monitor's word on how many should serve.
    pub(crate) fn set_target(&self, target: usize) {
        self.update(|word| Some(word % WANTED + target as u64 * WANTED));
    }

    /// One more serves, counted before it is called.
    pub(crate) fn join(&self) {
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

/// What a call asks of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The place has no OS thread: start one.
    Start,
    /// Its OS thread waits on the word: wake it.
    Wake,
}

/// The word of a worker's place; see the module's page.
pub(crate) struct Post(AtomicU32);

impl Post {
    pub(crate) fn vacant() -> Post {
        Post(AtomicU32::new(VACANT))
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.0.load(Ordering::SeqCst) == SERVING
    }

    /// Whether an OS thread waits here for a call.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.load(Ordering::SeqCst) == RETIRED
    }

    /// Whether a call would start an OS thread.
    pub(crate) fn is_vacant(&self) -> bool {
        self.0.load(Ordering::SeqCst) == VACANT
    }

    /// Puts a worker here, unless one serves here or the runtime is over. Only the monitor calls, and who builds the
    /// runtime.
    pub(crate) fn call(&self) -> Option<Call> {
        if self.change(VACANT, SERVING) {
            Some(Call::Start)
        } else if self.change(RETIRED, SERVING) {
            Some(Call::Wake)
        } else if self.change(VACANT, SERVING) {
            // It has given up between the two attempts.
            Some(Call::Start)
        } else {
            None
        }
    }

    /// The OS thread for a call could not be started.
    pub(crate) fn cancel(&self) {
        self.0.store(VACANT, Ordering::SeqCst);
    }

    /// The worker waits from now on while the word is what this gives, unless the runtime is over, for which it
    /// looks after this.
    pub(crate) fn retire(&self) -> u32 {
        self.0.store(RETIRED, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        RETIRED
    }

    /// A retired worker waits no longer: true if its OS thread ends, false if it was called and serves.
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
