//! How a call waits: sections, wait queues by address, descriptors, deadline scopes. It uses `sched` and what is below.

pub(crate) mod accept;
pub(crate) mod blocking;
pub(crate) mod call;
pub(crate) mod descriptor;
pub mod futex;
pub mod interrupt;
pub(crate) mod poll;
pub(crate) mod retry;
pub(crate) mod section;
pub(crate) mod signal_wake;
pub(crate) mod sleep;

/// After a fork: the parent's registrations and waiters do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    signal_wake::reset_after_fork();
    // SAFETY: the caller's promise.
    unsafe { descriptor::reset_after_fork() };
}
