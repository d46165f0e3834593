//! What [`roster`](super::roster) is built of, named once so that the loom model can compile it against loom's.

pub(crate) use std::sync::atomic::{AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};

/// A sequentially consistent fence that follows upon an atomic read-modify-write: of x86's instructions that is a fence already.
#[inline]
pub(crate) fn fence_after_update() {
    if cfg!(target_arch = "x86_64") {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
