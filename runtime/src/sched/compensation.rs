//! Calling in workers in place of those that are blocked, and retiring those that are too many afterwards.
//!
//! The monitor decides when a worker is called in (`monitor.rs`), and each worker decides for itself whether it retires. Both
//! keep to the protocol of `spare_workers.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::kernel_futex;
use crate::sched::scheduler::Shared;
use crate::sched::spare_workers::{Start, WorkerState};
use crate::sched::worker::{Leave, Worker};
use crate::sched::worker_thread;

/// How long a retired worker waits to be called in again, before its OS thread ends.
const RETIRED_FOR: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

impl Shared {
    /// Calls in one more worker; false if every place is taken. Only the monitor calls this, and whoever builds
    /// the runtime.
    ///
    /// # Errors
    ///
    /// If no OS thread can be started.
    pub(crate) fn add_worker(self: &Arc<Shared>) -> io::Result<bool> {
        let find = |is_fit: fn(&WorkerState) -> bool| {
            self.shards.iter().position(|s| is_fit(&s.worker_state))
        };
        let place = find(WorkerState::is_retired)
            .or_else(|| find(WorkerState::is_vacant))
            .or_else(|| self.shards.add());
        let Some(index) = place else {
            return Ok(false);
        };
        let shard = self.shards.get(index);
        let state = &shard.worker_state;
        self.worker_count.add();
        self.counters.workers_called.add_shared();
        match state.start() {
            Some(Start::NewThread) => {
                shard.progress.expect_start();
                worker_thread::start(self, index).inspect_err(|_| {
                    state.cancel_start();
                    self.worker_leaves();
                })?;
            }
            Some(Start::Wake) => wake_retired(state),
            None => self.worker_leaves(),
        }
        Ok(true)
    }

    /// A worker leaves for good, and wakes the next one in the reactor. The last one gives up the registered descriptors, which
    /// green threads of other runtimes may wait on, and wakes the futures that wait for timers.
    pub(crate) fn worker_leaves(&self) {
        self.reactor.signal();
        if self.worker_count.leave() {
            self.reactor.abandon();
            self.shards.iter().for_each(|shard| shard.abandon_timers());
        }
    }
}

impl Worker {
    /// Whether more workers serve than should, and no green thread depends on this one.
    pub(crate) fn may_retire(&self) -> bool {
        self.shared.worker_count.has_surplus() && !self.shard.has_pinned()
    }

    /// Leaves the work to the others if they are enough, and waits to be called in again; see `spare_workers.rs`.
    #[cold]
    pub(super) fn retire(&self) -> Result<(), Leave> {
        let (shared, state) = (&*self.shared, &self.shard.worker_state);
        if !shared.worker_count.retire() {
            return Ok(());
        }
        self.hand_over();
        self.shard.progress.rest();
        let retired = state.retire();
        while !shared.is_over() && state.word().load(Ordering::SeqCst) == retired {
            let waited = futex::wait(
                state.word(),
                futex::Flags::PRIVATE,
                retired,
                Some(&RETIRED_FOR),
            );
            if waited == Err(Errno::TIMEDOUT) {
                break;
            }
        }
        if state.give_up() {
            return Err(Leave::Retired);
        }
        self.count_turn();
        Ok(())
    }

    /// Gives up all that stands in the queues and the run-next slot, in order.
    fn hand_over(&self) {
        let shard = &self.shard;
        let take = || {
            (shard.take_next())
                .or_else(|| shard.early.take())
                .or_else(|| self.queue().pop())
        };
        while let Some(green) = take() {
            self.shared.injector.push(green);
        }
        self.shared.notify();
    }
}

/// Wakes the OS thread of a retired worker.
pub(super) fn wake_retired(state: &WorkerState) {
    kernel_futex::wake(state.word(), 1);
}
