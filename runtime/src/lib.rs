//! Green threads.
#![allow(missing_docs, unused_variables, clippy::missing_safety_doc)]
mod patch;
pub mod deadline;
pub mod futex;
pub mod hook;
pub mod net;
pub mod sync;
pub mod time;
mod builder;
pub use builder::*;
pub use patch::Patch;
