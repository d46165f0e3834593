//! The signal between the wakers of a future and the green thread that awaits it in `block_on`. It stands in the control block,
//! which stays for the rest of the process: so a waker is a pointer to that, may outlive the call and the green thread, and
//! then does no more than have a later future polled once in vain.
//!
//! | state | meaning | set by |
//! |---|---|---|
//! | `QUIET` | nobody has woken since the last poll began | the thread, before it polls |
//! | `PARKED` | the same, and the green thread is to be unparked | the thread, from `QUIET` |
//! | `ON_FUTEX` | the same, and somebody waits on the word | another thread on which the call goes on, from `QUIET` |
//! | `NOTIFIED` | there is something to poll for | a waker, from any state |
//!
//! No wake-up is lost: `NOTIFIED` stays until the thread takes it, and the thread polls after that. What was written before a wake
//! is seen by that poll, because the waker's swap releases and the thread's acquires. Only the waker that finds
//! `PARKED` or `ON_FUTEX` has somebody to wake.
//!
//! `ON_FUTEX` is for what the control block's green thread does not do itself: a child that was forked inside of a poll goes on
//! without a scheduler, and a coroutine may go on on another thread.
//!
//! One call at a time has it: one inside of a poll of another has a signal of its own, so that neither takes the other's wake-ups.
//!
//! The wakers are counted for the deadlock report: without any, the wait does not end.
//!
//! The loom model is `tests/loom.rs`.

use std::ptr;

use crate::base::atomic::{AtomicU32, Ordering};

const QUIET: u32 = 0;
const PARKED: u32 = 1;
pub(crate) const ON_FUTEX: u32 = 2;
const NOTIFIED: u32 = 3;

/// See the module's page.
pub(crate) struct FutureSignal {
    state: AtomicU32,
    wakers: AtomicU32,
    /// 1 while a call has it.
    claimed: AtomicU32,
}

/// Whom a waker has to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaiting {
    Nobody,
    Parked,
    OnFutex,
}

impl FutureSignal {
    pub(crate) fn new() -> FutureSignal {
        FutureSignal {
            state: AtomicU32::new(QUIET),
            wakers: AtomicU32::new(0),
            claimed: AtomicU32::new(0),
        }
    }

    /// The word that one waits on in the state `ON_FUTEX`.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.state
    }

    /// What names a wait, for those who look from outside.
    pub(crate) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Whether the caller has it now, until it [releases](Self::release) it.
    pub(crate) fn claim(&self) -> bool {
        self.claimed.swap(1, Ordering::Acquire) == 0
    }

    pub(crate) fn release(&self) {
        self.claimed.store(0, Ordering::Release);
    }

    /// Before the green thread parks, or somebody waits on the word. False if there is something to poll for.
    pub(crate) fn prepare_wait(&self, on_futex: bool) -> bool {
        let waiting = if on_futex { ON_FUTEX } else { PARKED };
        self.state
            .compare_exchange(QUIET, waiting, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether nobody has woken since the wait was prepared.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state.load(Ordering::Relaxed), PARKED | ON_FUTEX)
    }

    /// Before the next poll.
    pub(crate) fn take(&self) {
        self.state.swap(QUIET, Ordering::Acquire);
    }

    /// By a waker.
    pub(crate) fn notify(&self) -> Awaiting {
        match self.state.swap(NOTIFIED, Ordering::Release) {
            PARKED => Awaiting::Parked,
            ON_FUTEX => Awaiting::OnFutex,
            _ => Awaiting::Nobody,
        }
    }

    /// A waker was cloned.
    pub(crate) fn add_waker(&self) {
        self.wakers.fetch_add(1, Ordering::Relaxed);
    }

    /// A clone was dropped.
    pub(crate) fn remove_waker(&self) {
        self.wakers.fetch_sub(1, Ordering::Release);
    }

    /// Whether anybody has a waker besides the call itself.
    pub(crate) fn has_wakers(&self) -> bool {
        self.wakers.load(Ordering::SeqCst) != 0
    }
}
