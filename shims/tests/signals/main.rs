//! Signals that reach more than the thread which sends them. All tests take turns: handlers, and what is sent to the process,
//! are for every thread.

mod handlers;
mod interruption;
mod signal;
mod uninterrupted;

// For its symbols.
use greenpatch_shims as _;
