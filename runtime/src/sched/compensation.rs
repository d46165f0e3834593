//! Calling in workers, for the places of those that are blocked, and letting them go. Who decides it is the monitor
//! (`monitor.rs`); who serves and who retires, `crew.rs` counts.

use std::io;
use std::sync::Arc;

use crate::base::kernel_futex;
use crate::sched::crew::{Call, Post};
use crate::sched::scheduler::Shared;
use crate::sched::worker_thread;

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

/// Wakes the OS thread that waits at a post.
pub(super) fn wake_at(post: &Post) {
    kernel_futex::wake(post.word(), 1);
}
