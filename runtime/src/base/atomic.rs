//! The atomics under the hand-written protocols, named once so that the loom models can compile
//! the very same files against loom's.

pub(crate) use std::cell::Cell;
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Between a sequentially consistent exchange and a sequentially consistent load of another word: the two are in one order with
/// all others as they are. loom knows that order from fences alone, so this is a fence in the models.
#[inline]
pub(crate) fn order_after_exchange() {}
