//! What is said about a runtime, asked or not: figures, dumps, hogs, deadlocks. It uses `sync` and what is below `net`.

pub(crate) mod deadlock;
pub mod dump;
pub(crate) mod dump_signal;
pub(crate) mod hog;
mod label;
pub(crate) mod metrics;
pub(crate) mod observer;
pub(crate) mod sample;
pub(crate) mod trace;

/// After a fork: nobody asks, and nobody waits for a signal.
pub(crate) fn reset_after_fork() {
    dump::reset_after_fork();
    sample::reset_after_fork();
    dump_signal::reset_after_fork();
}
