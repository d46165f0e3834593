//! Which process this is: the one that built the runtimes, or a child that was forked from it.
//!
//! A forked child is *passive*: its tables are as some instant in the parent left them, locks included, and nothing may look
//! at them, until it builds a runtime of its own and puts them in order. A child after vfork, or one that `clone` made, shares
//! its parent's memory, and with it what this file says; it is told from the parent by its process id.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::kernel_futex;

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Whether this is a forked child whose tables are not in order.
static PASSIVE: AtomicU32 = AtomicU32::new(ACTIVE);

const ACTIVE: u32 = 0;
const CHILD: u32 = 1;
/// Some thread puts the tables in order.
const RESETTING: u32 = 2;

/// A number that differs between a process and the children forked from it.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Whether this is a forked child that has built no runtime of its own: all is left to the kernel.
#[inline]
pub(crate) fn is_passive() -> bool {
    PASSIVE.load(Ordering::Relaxed) != ACTIVE
}

/// The process that built the latest runtime.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// This process has a runtime.
pub(crate) fn set_process() {
    PROCESS.store(std::process::id(), Ordering::Relaxed);
}

/// Whether the caller's process is the one whose tables it sees: a child after vfork sees its parent's.
pub(crate) fn owns_tables() -> bool {
    PROCESS.load(Ordering::Relaxed) == std::process::id()
}

/// In the child after fork. Called by libc, on whatever thread forked: no allocation and no lock.
pub(crate) fn begin_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    PASSIVE.store(CHILD, Ordering::Relaxed);
}

/// Ends passiveness: the first of the threads that call this puts the tables in order by `reset`, the others
/// wait for it.
pub(crate) fn end_passiveness(reset: impl FnOnce()) {
    let mine = PASSIVE.compare_exchange(CHILD, RESETTING, Ordering::Acquire, Ordering::Acquire);
    if mine.is_ok() {
        reset();
        PASSIVE.store(ACTIVE, Ordering::Release);
        kernel_futex::wake(&PASSIVE, u32::MAX);
    }
    while PASSIVE.load(Ordering::Acquire) != ACTIVE {
        kernel_futex::wait(&PASSIVE, RESETTING);
    }
}
