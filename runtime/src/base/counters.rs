//! Counters of what workers do.
//!
//! Each worker counts what it does itself, by plain loads and stores of words that only it writes. What others do is counted by
//! atomic additions, in places where a queue shared by all is touched anyway.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that one thread adds to and any thread reads.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// To be called by the counter's one writer.
    #[inline]
    pub(crate) fn add(&self) {
        let count = self.0.load(Ordering::Relaxed);
        self.0.store(count + 1, Ordering::Relaxed);
    }

    /// As [`add`](Self::add), from any thread; then nobody may use `add`.
    pub(crate) fn add_shared(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker has done at its place; written by the OS thread that serves there. Two cache lines (see `shard.rs`).
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) switches: Counter,
    pub(crate) unparks: Counter,
    pub(crate) spawns: Counter,
    pub(crate) blocking_sections: Counter,
    pub(crate) steals: Counter,
    pub(crate) reactor_polls: Counter,
}

/// What was done to a runtime from outside its workers.
#[derive(Default)]
pub(crate) struct OutsideCounters {
    pub(crate) unparks: Counter,
    pub(crate) spawns: Counter,
    pub(crate) workers_called: Counter,
    pub(crate) hogs: Counter,
}
