//! Joining and detaching a green thread that `pthread_create` made, or that was adopted: by the control block itself.
//!
//! The word `join_state` says who releases the slot (see `task.rs`). A `JoinHandle` joins in another way: it waits on a word of
//! the task, and the slot is released by the worker.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::sched::green::GreenRef;
use crate::sched::parking_lot;
use crate::sched::task::join_state;

impl GreenRef {
    /// The value that `pthread_join` hands out.
    pub(crate) fn set_value(self, value: *mut c_void) {
        self.value.set(value);
    }

    /// Claims the right to join: false if somebody else joins it or it is detached.
    pub(crate) fn claim_join(self) -> bool {
        self.join_state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !join_state::LEFT == join_state::JOINABLE)
                    .then_some(word | join_state::CLAIMED)
            })
            .is_ok()
    }

    /// Waits for the end; the caller has claimed the join. `None` if the deadline came first, and
    /// the claim is given back.
    pub(crate) fn join(self, deadline: Option<Deadline>) -> Option<*mut c_void> {
        if !self.wait_for_end(deadline) {
            return None;
        }
        let value = self.value();
        self.recycle();
        Some(value)
    }

    /// Waits for the end; the caller has claimed the join. False if the deadline came first, and the claim is given back.
    pub(crate) fn wait_for_end(self, deadline: Option<Deadline>) -> bool {
        // It lives, or is still to be joined.
        let reason = Packed::join(self.life().task.header().id);
        while self.join_state.load(Ordering::Acquire) & join_state::LEFT == 0 {
            let waited =
                parking_lot::wait_because(reason, &self.join_state, join_state::CLAIMED, deadline);
            if waited == parking_lot::Wait::TimedOut {
                // Given back only while it has not ended: afterwards the claim is the right to release.
                let given_back = self.join_state.compare_exchange(
                    join_state::CLAIMED,
                    join_state::JOINABLE,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if given_back.is_ok() {
                    return false;
                }
            }
        }
        true
    }

    /// Lets the slot go as soon as the green thread ends; false if it is joined or detached already.
    pub(crate) fn detach(self) -> bool {
        let detached = self
            .join_state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !join_state::LEFT == join_state::JOINABLE)
                    .then_some(word | join_state::DETACHED)
            });
        if detached == Ok(join_state::JOINABLE | join_state::LEFT) {
            self.recycle();
        }
        detached.is_ok()
    }
}
