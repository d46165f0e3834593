//! The atomics under the hand-written protocols, named once so that the loom models can compile
//! the very same files against loom's.

pub(crate) use std::cell::Cell;
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
