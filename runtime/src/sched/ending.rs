//! How a runtime ends: with its last green thread, once its handle is gone.
//!
//! `runtime/ending.rs` says what becomes of green threads that still live when the handle is dropped. This file has what the
//! workers and those who wait for the end have to do with each other.

use std::sync::atomic::{Ordering, fence};

use crate::base::deadline::Deadline;
use crate::base::kernel_futex;
use crate::sched::compensation;
use crate::sched::green::GreenRef;
use crate::sched::parking_lot;
use crate::sched::scheduler::Shared;

impl Shared {
    /// Called when the handle is dropped: the runtime ends with its last green thread.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        if self.is_over() {
            self.dismiss();
        }
    }

    /// Whether the handle is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Whether the workers are to leave.
    pub(crate) fn is_over(&self) -> bool {
        self.closing.load(Ordering::SeqCst) && self.live.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn green_ended(&self) {
        let left = self.live.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= 1 && self.awaited.load(Ordering::SeqCst) {
            self.ended.fetch_add(1, Ordering::SeqCst);
            parking_lot::wake(&self.ended, u32::MAX);
        }
        if left == 0 && self.is_over() {
            self.dismiss();
        }
    }

    /// Waits until no more than `left` green threads live, 0 or 1: the caller may be one. False if the deadline comes
    /// first.
    pub(crate) fn wait_for_all(&self, left: usize, deadline: Option<Deadline>) -> bool {
        self.awaited.store(true, Ordering::SeqCst);
        loop {
            let seen = self.ended.load(Ordering::SeqCst);
            if self.live() <= left {
                return true;
            }
            if deadline.is_some_and(Deadline::has_passed) {
                return false;
            }
            parking_lot::wait(&self.ended, seen, deadline);
        }
    }

    /// Cuts short the waits of all green threads, and of those still to start.
    pub(crate) fn cancel_all(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        // A green thread that is not listed yet, or is about to park, finds the flag by itself: it looks before each park.
        fence(Ordering::SeqCst);
        for green in GreenRef::all().filter(|green| green.is_of(self)) {
            green.unpark();
        }
    }

    /// Wakes the workers, retired ones too, and the monitor, because the runtime is over.
    fn dismiss(&self) {
        self.reactor.signal();
        kernel_futex::notify(&self.monitor_waits);
        for shard in self.shards.iter() {
            if shard.worker_state.dismiss() {
                compensation::wake_retired(&shard.worker_state);
            }
        }
    }
}
