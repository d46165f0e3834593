//! Words that know nothing of green threads: the machine, the kernel, locks, time, values. It uses no other room, and every
//! room may use it.

pub(crate) mod arch;
pub(crate) mod atomic;
pub(crate) mod bell;
pub(crate) mod call_stack;
pub(crate) mod counters;
pub mod deadline;
pub(crate) mod error;
pub(crate) mod glibc;
pub(crate) mod interest;
pub(crate) mod kernel_futex;
pub(crate) mod os_thread;
pub(crate) mod own_descriptor;
pub(crate) mod patch;
pub(crate) mod policy;
pub(crate) mod process;
pub(crate) mod reason;
pub(crate) mod report;
pub(crate) mod signal;
pub(crate) mod span;
pub(crate) mod spin;
pub(crate) mod thread_counts;

/// After a fork: the parent's threads do not exist, and its descriptors are of no use.
pub(crate) fn reset_after_fork() {
    thread_counts::reset_after_fork();
    own_descriptor::reset_after_fork();
}
