//! Words that know nothing of green threads: the machine, the kernel, locks, time, and plain values.
//!
//! **Belongs here** what a program without green threads could use as it is. **May use**: no other room. **Used by** all.
//!
//! | what | files |
//! |---|---|
//! | the processor: registers, thread pointer, stack switch, system calls | `arch` |
//! | the kernel: futex on our own words, OS threads in `/proc`, signals of ours, descriptors of ours | `kernel_futex`, `os_thread`, `signal`, `own_descriptor` |
//! | glibc: its version, its symbols | `glibc` |
//! | which process this is, and whether it was forked (what a child resets: `reset_after_fork` in each room's page) | `process` |
//! | locks and words that threads share; under loom, loom's | `spin`, `wait_flag`, `atomic` |
//! | the clock, and points in time on it; the timer of `sched/reactor` goes by the same | `deadline` |
//! | what a green thread can wait for, by name (whether such a wait can be part of a deadlock: `look/deadlock`); which way it waits on a descriptor | `reason`, `interest` |
//! | what the place of each worker counts, steals among it (added up and shown by `look/metrics`) | `counters` |
//! | choices of settings, and the families of shims | `policy`, `patch` |
//! | what is said to people: errors, warnings, spans, bare call stacks | `error`, `report`, `span`, `call_stack` |
//! | waking futures' tasks, whose wakers are user code | `task_waker` |
//! | OS threads and signals that can wake nobody, for the deadlock report | `thread_counts` |

pub(crate) mod arch;
pub(crate) mod atomic;
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
pub(crate) mod task_waker;
pub(crate) mod thread_counts;
pub(crate) mod wait_flag;

/// After a fork: the parent's threads do not exist, and its descriptors are of no use.
pub(crate) fn reset_after_fork() {
    thread_counts::reset_after_fork();
    own_descriptor::reset_after_fork();
}
