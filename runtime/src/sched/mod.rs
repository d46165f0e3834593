//! Who runs what, when: the control block, the workers and their queues, timers, the reactor, the monitor. It uses `body` and
//! `base`.

pub(crate) mod blocking_section;
mod compensation;
pub(crate) mod context;
mod coroutine;
pub(crate) mod crew;
pub(crate) mod due_queue;
mod ending;
pub(crate) mod green;
pub(crate) mod idle;
mod join;
mod life_cycle;
pub(crate) mod monitor;
mod notifier;
pub(crate) mod overflow;
pub(crate) mod park;
pub(crate) mod parking_lot;
pub(crate) mod pinned;
pub(crate) mod probe;
pub(crate) mod progress;
pub(crate) mod reactor;
pub(crate) mod run_next;
pub(crate) mod run_queue;
pub(crate) mod scheduler;
pub(crate) mod settings;
pub(crate) mod shard;
pub(crate) mod sleep;
pub(crate) mod standby;
pub(crate) mod steal;
mod switch;
pub(crate) mod task;
pub(crate) mod vain_wakes;
pub(crate) mod wake;
pub(crate) mod wheel;
pub(crate) mod worker;
mod worker_thread;

/// After a fork: the parent's waiters do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { parking_lot::reset_after_fork() };
}
