//! Green threads that are threads: each with its own stack, thread-local storage, `errno` and pthread
//! identity, run by a few workers that steal from each other.
//!
//! This crate is the runtime of `greenpatch`: the scheduler, the reactor, the timers, and yielding types
//! that mirror std ([`net`], [`sync`], [`time`]). Blocking code on a green thread parks it wherever it uses
//! those types; with `greenpatch-shims` linked as well, also where it uses std or libc.
//!
//! ```
//! use greenpatch_runtime::{run, spawn, time};
//! use std::time::Duration;
//!
//! run(|| {
//!     let sleepers: Vec<_> =
//!         (0..1000).map(|_| spawn(|| time::sleep(Duration::from_millis(10)))).collect();
//!     for sleeper in sleepers {
//!         sleeper.join().unwrap();
//!     }
//! });
//! ```
//!
//! # Inside
//!
//! Each room is a folder, whose page says what belongs there. A room uses only those below it; `tests/rooms.rs` keeps it so.
//!
//! | room | what |
//! |---|---|
//! | `hook` | the door for the shims |
//! | `runtime` | building, configuring and ending a runtime |
//! | `look` | what is said about it, asked or not |
//! | `future` | what futures use, and those who poll them |
//! | `thread`, `net`, `time`, `sync` | what blocking code uses |
//! | `wait` | how a call waits |
//! | `sched` | who runs what, when |
//! | `body` | what a green thread is made of |
//! | `base` | words that know nothing of green threads |

mod base;
mod body;
pub mod future;
pub mod hook;
mod look;
pub mod net;
mod runtime;
mod sched;
pub mod sync;
pub mod thread;
pub mod time;
mod wait;

pub use base::deadline;
pub use base::error::BuildError;
pub use base::patch::{Patch, UnknownFamily};
pub use base::policy::{OnDeadlock, OnDrop};
pub use base::reason::WaitReason;
pub use body::slot_pool::SlotMetrics;
pub use look::attach;
pub use look::blocked::Blocked;
pub use look::dump;
pub use look::dump::{Dump, DumpOptions, dump, dump_all};
pub use look::dump_signal::dump_on_signal;
pub use look::metrics::{Metrics, metrics};
pub use runtime::builder::RuntimeBuilder;
pub use runtime::ending::ShutdownError;
pub use runtime::handle::{Runtime, run};
pub use runtime::platform;
pub use runtime::settings::{SETTINGS, Setting};
pub use thread::block_on::{block_on, block_on_interruptible};
pub use thread::pool::{GreenPile, GreenPool, Imap};
pub use thread::scoped::scope;
pub use thread::spawn::{Builder, JoinHandle, spawn, spawn_after};
pub use thread::try_scope::try_scope;
pub use wait::blocking::blocking;
pub use wait::futex;
pub use wait::interrupt;
pub use wait::interrupt::{Inherited, Interrupted, checkpoint, is_cancellation, shield};
pub use wait::section::yield_now;
