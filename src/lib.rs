//! Makes blocking Rust run on green threads, unchanged.
//!
//! Link this crate, and inside [`run`] `std::thread::sleep`, `std::net`, `std::sync`, `std::thread::spawn`
//! and the C libraries below them park a green thread where they used to block an operating-system thread.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::thread;
//! use std::time::{Duration, Instant};
//!
//! let start = Instant::now();
//! let total = greenpatch::run(|| {
//!     let total = Arc::new(Mutex::new(0));
//!     let threads: Vec<_> = (0..1000)
//!         .map(|n| {
//!             let total = total.clone();
//!             thread::spawn(move || {
//!                 thread::sleep(Duration::from_millis(100));
//!                 *total.lock().unwrap() += n;
//!             })
//!         })
//!         .collect();
//!     threads.into_iter().for_each(|thread| thread.join().unwrap());
//!     *total.lock().unwrap()
//! });
//! assert_eq!(total, 499_500);
//! // A thousand sleeps of a tenth of a second, at the same time, on a few OS threads.
//! assert!(start.elapsed() < Duration::from_secs(50));
//! ```
//!
//! # What is patched
//!
//! Each family of libc functions has a Cargo feature of its name, all of them in `patch`, which is on by
//! default. A family that is compiled in can be left out for one runtime:
//!
//! ```
//! use greenpatch::{Patch, Runtime};
//!
//! let unpatched = Runtime::builder().patch(Patch::none()).build()?;
//! # Ok::<(), greenpatch::BuildError>(())
//! ```
//!
//! | feature | functions |
//! |---|---|
//! | `time` | the sleep family |
//! | `socket` | sockets; read, write, close and the like, as far as sockets need them |
//! | `select` | poll, ppoll, select, pselect, epoll_wait |
//! | `lock` | futex; the locks of pthread and C11, semaphores, barriers |
//! | `thread` | pthread_create, join, detach and what belongs to a thread's identity |
//! | `os` | files, pipes, FIFOs, terminals; locks on files; message queues |
//! | `dns` | getaddrinfo and its kin; users, groups, services |
//! | `process` | wait and its kin, system, popen |
//!
//! [`shims::SYMBOLS`] lists them one by one. What is decided by where a call runs: green threads of a
//! patched runtime yield; on OS threads functions do what libc's do, but that locks inherit no priorities.
//!
//! Two more features are off by default, as each brings a crate along that the runtime does without: `json` gives
//! [`Dump`] and [`Metrics`] a `to_json` and serde's `Serialize`, `tracing` a span of the `tracing` crate to each green
//! thread, and makes warnings its events.
//!
//! # Without the shims
//!
//! [`net`], [`sync`], [`thread`] and [`time`] hold yielding types with std's names and methods; they need no feature.
//! [`block_on`] awaits a future. [`guide::from_eventlet_and_gevent`] finds each name of those libraries here.

pub mod guide;

pub use greenpatch_runtime::{
    Blocked, BuildError, OnDrop, Patch, Runtime, RuntimeBuilder, ShutdownError,
};
pub use greenpatch_runtime::{Builder, GreenPile, GreenPool, JoinHandle};
pub use greenpatch_runtime::{Dump, DumpOptions, Metrics, SlotMetrics, WaitReason};
pub use greenpatch_runtime::{Interrupted, checkpoint, is_cancellation, shield};
pub use greenpatch_runtime::{OnDeadlock, dump, dump_all, dump_on_signal, metrics};
pub use greenpatch_runtime::{SETTINGS, Setting, UnknownFamily};
pub use greenpatch_runtime::{block_on, blocking, run, scope, spawn, spawn_after, yield_now};
pub use greenpatch_runtime::{interrupt, net, platform, sync, thread, time};
#[doc(inline)]
pub use greenpatch_shims as shims;
pub use shims::is_patched;
