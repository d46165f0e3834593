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
