//! How a green thread that has become ready comes to a worker: a new one, and one that an unpark has made ready.
//!
//! On a worker of its runtime it goes to that worker's queue, from anywhere else to the injector, and a pinned one to its own
//! worker. What is said here runs on any thread, and on a green thread in a native section of its own.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::sched::task::{TaskHeader, state};

impl GreenRef {
    /// Queues a new green thread.
    pub(crate) fn start(self) {
        let _native = NativeSection::enter();
        let shared = self.life().shared.clone();
        shared.green_started();
        match context::worker() {
            Some(worker) if Arc::ptr_eq(&worker.shared, &shared) => {
                worker.shard().counters.spawns.add();
                worker.push(self);
            }
            _ => {
                shared.counters.spawns.add_shared();
                shared.inject(self);
            }
        }
    }

    /// Makes the green thread's park return; from any thread, at any time.
    #[inline]
    pub(crate) fn unpark(self) {
        if self.park.unpark() {
            self.schedule();
        }
    }

    /// Lets go of a parked green thread that the caller has held.
    pub(super) fn let_go(self) {
        if self.park.let_go() {
            self.schedule();
        }
    }

    /// Queues a green thread that an unpark has made ready.
    fn schedule(self) {
        let _native = NativeSection::enter();
        let shared = &self.life().shared;
        // A forked child has the waker of a thread that its parent runs, and must not write to what it shares with that.
        if shared.is_inherited() {
            return;
        }
        match context::worker() {
            _ if self.pin().is_some() => {
                shared.counters.unparks.add_shared();
                self.wake_pinned();
            }
            Some(worker) if Arc::ptr_eq(&worker.shared, shared) => {
                worker.shard().counters.unparks.add();
                worker.push_next(self);
            }
            _ => {
                // Once injected, the green thread may run and end, and its runtime with it.
                let shared = shared.clone();
                shared.counters.unparks.add_shared();
                shared.inject(self);
            }
        }
    }
}

impl TaskHeader {
    pub(crate) fn set_green(&self, green: GreenRef) {
        self.control_block
            .store(green.as_ptr().cast(), Ordering::Release);
    }

    /// The green thread's waits are cut short from now on, and those of who was spawned in its scopes.
    pub(crate) fn cancel(&self) {
        let before = self.state.fetch_or(state::CANCELLED, Ordering::AcqRel);
        if before & (state::CANCELLED | state::ENDED) == 0 {
            self.end_wait();
            self.dependents().look_again();
        }
    }

    /// Lets the green thread look again whether the wait that it is in, if it is in one, is over.
    pub(crate) fn end_wait(&self) {
        let green = self.control_block.load(Ordering::Acquire);
        if let Some(green) = NonNull::new(green) {
            // SAFETY: `set_green` alone stores here, and control blocks stay. A later green thread in it allows for a wake-up
            // without reason.
            unsafe { GreenRef::new(green.cast()) }.unpark();
        }
    }
}
