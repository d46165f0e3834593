//! What a green thread is made of: the slot, thread-local storage, its stacks. It knows nothing of who runs it. It uses `base`.

pub(crate) mod executable;
pub(crate) mod native_stack;
pub(crate) mod robust;
pub(crate) mod rseq;
pub(crate) mod setxid;
pub(crate) mod slot;
pub(crate) mod tls;

/// After a fork: the parent's slots are given up, and its workers do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    setxid::reset_after_fork();
    // SAFETY: the caller's promise.
    unsafe {
        slot::reset_after_fork();
        native_stack::reset_after_fork();
    }
}
