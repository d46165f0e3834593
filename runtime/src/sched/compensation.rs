//! Calling in workers in place of those that are blocked, and retiring those that are too many then.
//!
//! The monitor decides whom to call (`monitor.rs`), each worker for itself whether it retires; how many serve and should, and
//! the protocol between the two, is `crew.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::kernel_futex;
use crate::sched::crew::{Call, Post};
use crate::sched::scheduler::Shared;
use crate::sched::worker::{Leave, Worker};
use crate::sched::worker_thread;

/// How long a retired worker waits to be called again, before its OS thread ends.
const PATIENCE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

impl Shared {
    /// Calls in one more worker; false if every place is taken. Only the monitor calls this, and who builds the
    /// runtime.
    ///
    /// # Errors
    ///
    /// If no OS thread can be started.
    pub(crate) fn add_worker(self: &Arc<Shared>) -> io::Result<bool> {
        let find = |is_fit: fn(&Post) -> bool| self.shards.iter().position(|s| is_fit(&s.post));
        let place = find(Post::is_retired)
            .or_else(|| find(Post::is_vacant))
            .or_else(|| self.shards.add());
        let Some(index) = place else {
            return Ok(false);
        };
        let shard = self.shards.get(index);
        let post = &shard.post;
        self.crew.join();
        self.counters.workers_called.add_shared();
        match post.call() {
            Some(Call::Start) => {
                shard.progress.expect_start();
                worker_thread::start(self, index).inspect_err(|_| {
                    post.cancel();
                    self.worker_leaves();
                })?;
            }
            Some(Call::Wake) => wake_at(post),
            None => self.worker_leaves(),
        }
        Ok(true)
    }

    /// A worker leaves. The next one is told; the last one gives up the registered descriptors, which green
    /// threads of other runtimes may wait on.
    pub(crate) fn worker_leaves(&self) {
        self.reactor.signal();
        if self.crew.leave() {
            self.reactor.abandon();
        }
    }
}

impl Worker {
    /// Whether more workers serve than should, and no green thread depends on this one.
    pub(crate) fn may_retire(&self) -> bool {
        self.shared.crew.has_surplus() && !self.shard.has_pinned()
    }

    /// Leaves the work to the others if they are enough, and waits to be called again; see `crew.rs`.
    #[cold]
    pub(super) fn retire(&self) -> Result<(), Leave> {
        let (shared, post) = (&*self.shared, &self.shard.post);
        if !shared.crew.retire() {
            return Ok(());
        }
        self.hand_over();
        self.shard.progress.rest();
        let retired = post.retire();
        while !shared.is_over() && post.word().load(Ordering::SeqCst) == retired {
            let waited = futex::wait(post.word(), futex::Flags::PRIVATE, retired, Some(&PATIENCE));
            if waited == Err(Errno::TIMEDOUT) {
                break;
            }
        }
        if post.give_up() {
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

/// Wakes the OS thread that waits at a post.
pub(super) fn wake_at(post: &Post) {
    kernel_futex::wake(post.word(), 1);
}
