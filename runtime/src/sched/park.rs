//! The state word of park and unpark.
//!
//! A green thread parks in two steps, because its stack is in use until the switch away from it
//! is complete: on its own stack it announces the wish ([`ParkState::begin`]), then the worker, back
//! on its own stack, commits it ([`ParkState::commit`]). An unpark may come at any point and from
//! any thread; none is lost, and exactly one caller is told to put the green thread into a run
//! queue.
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | RUNNING | begin | PARKING | the green thread switches to its worker |
//! | RUNNING+NOTIFIED | begin | RUNNING | the green thread goes on: the wake-up came first |
//! | PARKING | commit | PARKED | nobody: it is off every queue |
//! | PARKING+NOTIFIED | commit | unchanged | the worker queues it |
//! | PARKED | unpark | PARKED+NOTIFIED | the unparker queues it |
//! | PARKED | hold | PARKED+HELD | whoever holds it may use its stack; nobody queues it |
//! | PARKED+HELD | let go | PARKED | nobody |
//! | PARKED+HELD+NOTIFIED | let go | PARKED+NOTIFIED | whoever held it queues it |
//! | any other | unpark | +NOTIFIED | nobody: a turn or a look at the flag is still to come |
//! | not RUNNING | resume | RUNNING | the worker switches to it |
//! | RUNNING, RUNNING+NOTIFIED | resume | unchanged | the worker switches to it (after a yield) |
//!
//! `resume` must leave NOTIFIED alone after a yield: a green thread may have entered a wait queue,
//! yielded, and will look at the flag only when it parks.
//!
//! Somebody who works on the stack of a parked green thread *holds* it for the time. An unpark meanwhile leaves the flag, as ever,
//! and the queueing to the holder; so it is late by what the holder does, and not lost.
//!
//! Orders: `unpark` is a read-modify-write with release order, also where it changes nothing, and
//! `resume` and `begin` take the word with acquire order; so whatever the unparker wrote before is
//! seen by the green thread after its park returns. `commit` releases the stack: the worker that
//! resumes it next acquired the word through the unparker's, and through the holder's, and a holder acquires it.
//!
//! Spurious returns of park are allowed everywhere. A control block that is not in use stands in
//! RUNNING, so that a stale unpark (of a green thread that has ended) does nothing.
//!
//! Rejected: a lock around the word (three lock operations a switch), and a commit by the parking
//! green thread itself (another worker could resume a stack that is still in use).
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, Ordering};

const RUNNING: u32 = 0;
const PARKING: u32 = 1;
const PARKED: u32 = 2;
const NOTIFIED: u32 = 4;
const HELD: u32 = 8;

/// What somebody outside sees of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// It runs, or has yielded and stands in a run queue.
    Running,
    /// It is parked, or about to be.
    Parked,
    /// It stands in a run queue, or is about to.
    Ready,
}

/// The state word; see the module's page.
pub(crate) struct ParkState(AtomicU32);

impl ParkState {
    /// The word of a control block without a green thread.
    pub(crate) fn unused() -> ParkState {
        ParkState(AtomicU32::new(RUNNING))
    }

    /// Before the first turn: in a run queue, so further unparks have nothing to do.
    pub(crate) fn start(&self) {
        self.0.store(PARKED | NOTIFIED, Ordering::Release);
    }

    /// The green thread has ended; unparks do nothing from now on.
    pub(crate) fn retire(&self) {
        self.0.store(RUNNING, Ordering::Release);
    }

    /// On the green thread: true if it has to switch to its worker, which then calls `commit`;
    /// false if a wake-up has already come, which this call consumes.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        let began = self
            .0
            .compare_exchange(RUNNING, PARKING, Ordering::AcqRel, Ordering::Acquire);
        if began.is_err() {
            self.0.swap(RUNNING, Ordering::AcqRel);
        }
        began.is_ok()
    }

    /// On the worker, after the stack was left: true if the green thread is now parked, false if
    /// a wake-up came in between and the caller must queue it.
    #[inline]
    pub(crate) fn commit(&self) -> bool {
        self.0
            .compare_exchange(PARKING, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// On the worker, just before it switches to the green thread.
    #[inline]
    pub(crate) fn resume(&self) {
        if self.0.load(Ordering::Acquire) & (PARKING | PARKED) != 0 {
            self.0.swap(RUNNING, Ordering::AcqRel);
        }
    }

    /// From anywhere, for a look only: it may be outdated at once.
    pub(crate) fn look(&self) -> ThreadState {
        match self.0.load(Ordering::Acquire) & !HELD {
            PARKING | PARKED => ThreadState::Parked,
            word if word & !NOTIFIED == RUNNING => ThreadState::Running,
            _ => ThreadState::Ready,
        }
    }

    /// From anywhere: true if the caller must queue the green thread.
    #[inline]
    pub(crate) fn unpark(&self) -> bool {
        self.0.fetch_or(NOTIFIED, Ordering::AcqRel) == PARKED
    }

    /// From anywhere: true if it is parked, and stays so until [`let_go`](Self::let_go).
    pub(crate) fn hold(&self) -> bool {
        self.0
            .compare_exchange(PARKED, PARKED | HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// By its holder: true if the caller must queue the green thread.
    pub(crate) fn let_go(&self) -> bool {
        self.0.fetch_and(!HELD, Ordering::AcqRel) & NOTIFIED != 0
    }
}
