//! Locks that yield.
pub use std::sync::{Condvar, Mutex, MutexGuard};
