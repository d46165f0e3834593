//! What [`roster`](super::roster) is built of, named once so that the loom model can compile it against loom's.

pub(crate) use std::sync::atomic::{AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
