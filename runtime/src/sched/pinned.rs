//! Green threads that stay on one worker, and so on one OS thread.
//!
//! A green thread spawned so is *pinned* to the worker that first runs it. Whenever it is ready it stands in that worker's
//! pinned queue, from which nobody steals. A worker that has pinned green threads does not retire. Before its first turn a
//! green thread is like any other; green threads that are not pinned pay for this with a look at one word a turn.
//!
//! **Order.** A pinned green thread that becomes ready takes its place behind what stands in the worker's other queue
//! at that moment: it is given the turn in which it would be run there, and goes first once that has come.
//!
//! **Waking.** Who makes a pinned green thread ready wakes its worker and no other one; see `notifier.rs`.

use std::sync::atomic::Ordering;

use crate::sched::context::NativeSection;
use crate::sched::green::GreenRef;
use crate::sched::shard::Shard;

impl Shard {
    /// Whether pinned green threads live here.
    #[inline]
    pub(crate) fn has_pinned(&self) -> bool {
        self.pinned_count.load(Ordering::Relaxed) != 0
    }

    /// The worker is about to wait; afterwards it must look at the pinned queue once more.
    pub(super) fn prepare_wait_for_pinned(&self) {
        if self.has_pinned() {
            self.notifier.prepare_wait();
        }
    }

    /// The worker does not wait after all.
    pub(super) fn cancel_wait_for_pinned(&self) {
        if self.has_pinned() {
            self.notifier.cancel_wait();
        }
    }

    /// Queues a pinned green thread behind what is ready to run on the worker now.
    pub(super) fn push_pinned(&self, green: GreenRef) {
        let ahead = self.queued();
        let turns = u32::try_from(ahead + 1).unwrap_or(u32::MAX / 2);
        let due = self.progress.turn().wrapping_add(turns);
        self.pinned_queue.push(green, due);
    }
}

impl GreenRef {
    /// Pins the green thread, which is the caller, to the worker that runs it. In its first turn.
    pub(crate) fn stay_here(self) {
        let _native = NativeSection::enter();
        let shard = self.worker().shard();
        shard.notifier.prepare();
        shard.pinned_count.fetch_add(1, Ordering::Relaxed);
        self.set_pin(shard);
    }

    /// Queues a pinned green thread that an unpark has made ready, and wakes its worker.
    pub(super) fn wake_pinned(self) {
        // Once queued, the green thread may run and end, and its runtime with it.
        let shared = self.life().shared.clone();
        let shard = self.pin().expect("the caller has asked");
        shard.push_pinned(self);
        shard.notifier.notify(&shared.standby);
    }

    /// On the worker, after the green thread's last turn, whether or not it was pinned.
    pub(super) fn leave_worker(self) {
        if let Some(shard) = self.pin() {
            shard.pinned_count.fetch_sub(1, Ordering::Relaxed);
            self.set_pin(std::ptr::null());
        }
    }
}
