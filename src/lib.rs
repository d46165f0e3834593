//! Blocking Rust on green threads, unchanged.
pub use greenpatch_runtime::*;
use greenpatch_shims as _;
