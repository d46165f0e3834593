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
//! | file | what |
//! |---|---|
//! | `arch`, `tls`, `slot`, `green` | what a green thread is made of |
//! | `park`, `idle`, `standby`, `bell`, `wheel`, `futex`, `descriptor` | the protocols and data structures of waiting |
//! | `worker`, `sleep`, `steal`, `shard`, `run_next`, `run_queue`, `due_queue`, `pinned`, `scheduler`, `reactor` | who runs what, when |
//! | `blocking`, `monitor`, `crew`, `hog`, `sample` | what does not yield, the workers in its place, and who is told |
//! | `runtime`, `adoption`, `ending`, `spawn`, `settings` | building, using and ending it |
//! | `metrics`, `dump`, `reason`, `probe`, `trace` | what is said when somebody asks |
//! | `deadlock`, `dump_signal`, `span`, `report` | what is said without being asked |
//! | `net`, `sync`, `time`, `block_on` | what blocking code uses |
//! | `platform` | what a machine must have |
//! | `context`, `hook` | where the shims come in |

mod adoption;
mod arch;
mod atomic;
mod bell;
mod block_on;
mod blocking;
mod context;
mod crew;
pub mod deadline;
mod deadlock;
mod descriptor;
mod due_queue;
pub mod dump;
mod dump_signal;
mod ending;
mod error;
mod executable;
pub mod futex;
mod green;
mod hog;
pub mod hook;
mod idle;
pub mod interrupt;
mod kernel_futex;
mod metrics;
mod monitor;
mod native_stack;
pub mod net;
mod os_thread;
mod overflow;
mod own_descriptor;
mod park;
mod patch;
mod pinned;
pub mod platform;
mod pool;
mod probe;
mod reactor;
mod reason;
mod report;
mod robust;
mod rseq;
mod run_next;
mod run_queue;
mod runtime;
mod sample;
mod scheduler;
mod scoped;
mod settings;
mod setxid;
mod shard;
mod signal_wake;
mod sleep;
mod slot;
mod span;
mod spawn;
mod spin;
mod standby;
mod steal;
pub mod sync;
pub mod thread;
pub mod time;
mod tls;
mod trace;
mod wheel;
mod worker;

pub use block_on::block_on;
pub use blocking::blocking;
pub use deadlock::OnDeadlock;
pub use dump::{Dump, DumpOptions, dump, dump_all};
pub use dump_signal::dump_on_signal;
pub use ending::{OnDrop, ShutdownError};
pub use error::BuildError;
pub use hog::Blocked;
pub use interrupt::{Interrupted, checkpoint, is_cancellation, shield};
pub use metrics::{Metrics, SlotMetrics, metrics};
pub use patch::{Patch, UnknownFamily};
pub use pool::{GreenPile, GreenPool, Imap};
pub use reason::WaitReason;
pub use runtime::{Runtime, RuntimeBuilder, run};
pub use scoped::scope;
pub use settings::{SETTINGS, Setting};
pub use spawn::{Builder, JoinHandle, spawn, spawn_after, yield_now};
