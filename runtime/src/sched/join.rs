//! Joining and detaching a green thread that `pthread_create` made, or that was adopted: by the control block itself.
//!
//! The life word (`ending` in `task.rs`) says who releases the slot. A handle's join is another: it waits on a word of its
//! own, and the slot goes by itself.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::sched::green::GreenRef;
use crate::sched::parking_lot;
use crate::sched::task::ending;

impl GreenRef {
    /// The value that `pthread_join` hands out.
    pub(crate) fn set_value(self, value: *mut c_void) {
        self.value.set(value);
    }

    /// Claims the right to join: false if somebody else joins it or it is detached.
    pub(crate) fn claim_join(self) -> bool {
        self.ending
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !ending::ENDED == ending::JOINABLE).then_some(word | ending::CLAIMED)
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
        let reason = Packed::join(self.life().task.head().id);
        while self.ending.load(Ordering::Acquire) & ending::ENDED == 0 {
            let waited = parking_lot::wait_because(reason, &self.ending, ending::CLAIMED, deadline);
            if waited == parking_lot::Wait::TimedOut {
                // Given back only while it has not ended: afterwards the claim is the right to release.
                let given_back = self.ending.compare_exchange(
                    ending::CLAIMED,
                    ending::JOINABLE,
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
            .ending
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !ending::ENDED == ending::JOINABLE).then_some(word | ending::DETACHED)
            });
        if detached == Ok(ending::JOINABLE | ending::ENDED) {
            self.recycle();
        }
        detached.is_ok()
    }
}
