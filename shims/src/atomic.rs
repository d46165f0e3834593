//! The atomics of protocols that are also compiled against a model of them.

pub(crate) use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
