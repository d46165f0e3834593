//! Building, configuring and ending a runtime.
//!
//! **Belongs here** what `Runtime` and `RuntimeBuilder` offer. **May use** all rooms but `hook`, `net` and `sync`. **Used
//! by** `hook`.
//!
//! | what | files |
//! |---|---|
//! | the settings: name, environment variable, default and meaning of each, in one table, and how they are resolved (the values go to `sched/settings`) | `settings` |
//! | building one: a method for each setting; what a process needs once, and the order of resets after a fork | `builder` |
//! | the handle: run, spawn; what it says of itself; how it is ended | `handle`, `inspect`, `ending` |
//! | how the thread that calls `run` becomes a green thread | `adoption` |
//! | what the machine must have | `platform` |

pub(crate) mod adoption;
pub(crate) mod builder;
pub(crate) mod ending;
pub(crate) mod handle;
mod inspect;
pub mod platform;
pub(crate) mod settings;
