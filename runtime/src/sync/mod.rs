//! Locks that yield.
pub use std::sync::{Mutex, Condvar, MutexGuard};
