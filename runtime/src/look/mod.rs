//! What is said about a runtime, asked or not.
//!
//! **Belongs here** what people or programs read: figures, dumps, reports. Nothing that a green thread's way depends on.
//! **May use** `sync` and what is below `net`. **Used by** `runtime` and `hook`; `sched` calls it through
//! `monitor::Observer`, and by answers to probes.
//!
//! | what | files |
//! |---|---|
//! | figures, added up | `metrics` |
//! | dumps: what they hold, how they are taken, who owns what is waited for, on a signal | `dump`, `dump_signal` |
//! | call stacks with names, of parked and of running green threads | `trace`, `sample` |
//! | green threads that keep their worker to themselves | `blocked` |
//! | deadlocks | `deadlock` |
//! | who looks in from outside: `greenpatch top` and `greenpatch dump` | `attach` |
//! | what the monitor tells, and how a green thread is named in a sentence | `observer`, `label` |

pub mod attach;
pub(crate) mod blocked;
pub(crate) mod deadlock;
pub mod dump;
pub(crate) mod dump_signal;
mod label;
pub(crate) mod metrics;
pub(crate) mod observer;
pub(crate) mod sample;
pub(crate) mod trace;

/// After a fork: nobody asks, and nobody waits for a signal.
///
/// # Safety
///
/// The process has one thread.
pub(crate) unsafe fn reset_after_fork() {
    // SAFETY: by this function's contract.
    unsafe { attach::reset_after_fork() };
    dump::reset_after_fork();
    sample::reset_after_fork();
    dump_signal::reset_after_fork();
}
