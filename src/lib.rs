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
//! [`block_on`] awaits a future, and [`future`] has what futures wait for: descriptors, hang-ups, and times. [`guide::from_eventlet_and_gevent`] finds each name of those libraries here.

pub mod guide;

/// Makes the program's main thread a green thread while it runs the body of `main`.
///
/// `#[greenpatch::main]` before `fn main` is [`run`] around its body. So it may return whatever `main` may: nothing, a
/// `Result`, an [`ExitCode`](std::process::ExitCode). Arguments are the settings of [`RuntimeBuilder`] with these names:
/// `workers`, `stack_size` (of the green threads that the body starts; it has the main thread's own stack) and `patch`. What
/// is not given comes from the environment, see [`SETTINGS`].
///
/// ```
/// use std::error::Error;
/// use greenpatch::Patch;
///
/// #[greenpatch::main(workers = 2, stack_size = 128 * 1024, patch = Patch::TIME | Patch::LOCK | Patch::THREAD)]
/// fn main() -> Result<(), Box<dyn Error>> {
///     let number: i32 = "42".parse()?;
///     assert_eq!(std::thread::spawn(move || number + 1).join().unwrap(), 43);
///     Ok(())
/// }
/// ```
///
/// What it does not know it refuses:
///
/// ```compile_fail
/// #[greenpatch::main(threads = 2)]
/// fn main() {}
/// ```
pub use greenpatch_macros::main;

/// Makes a test of a function, whose body runs on a green thread of a runtime of its own.
///
/// `#[greenpatch::test]` stands in the place of `#[test]`, takes the arguments of [`main`](macro@main), and goes together
/// with `#[should_panic]` and `#[ignore]`. To run all tests of a package so, also those that know nothing of it, see
/// [`guide::testing`].
///
/// ```
/// # fn main() {}
/// #[greenpatch::test(workers = 1)]
/// fn a_thousand_sleeps_take_as_long_as_one() {
///     let sleep = || std::thread::sleep(std::time::Duration::from_millis(100));
///     let threads: Vec<_> = (0..1000).map(|_| std::thread::spawn(sleep)).collect();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
/// }
///
/// #[greenpatch::test]
/// #[should_panic(expected = "odd")]
/// fn odd_numbers_are_refused() {
///     panic!("3 is odd");
/// }
/// ```
///
/// ```compile_fail
/// #[greenpatch::test]
/// async fn not_blocking() {}
/// ```
pub use greenpatch_macros::test;

pub use greenpatch_runtime::{
    Blocked, BuildError, OnDrop, Patch, Runtime, RuntimeBuilder, ShutdownError,
};
pub use greenpatch_runtime::{Builder, GreenPile, GreenPool, JoinHandle};
pub use greenpatch_runtime::{Dump, DumpOptions, Metrics, SlotMetrics, WaitReason};
pub use greenpatch_runtime::{Inherited, Interrupted, checkpoint, is_cancellation, shield};
pub use greenpatch_runtime::{OnDeadlock, dump, dump_all, dump_on_signal, metrics};
pub use greenpatch_runtime::{SETTINGS, Setting, UnknownFamily};
pub use greenpatch_runtime::{attach, future, interrupt, net, platform, sync, thread, time};
pub use greenpatch_runtime::{
    block_on, block_on_interruptible, blocking, run, spawn, spawn_after, yield_now,
};
pub use greenpatch_runtime::{scope, try_scope};
#[doc(inline)]
pub use greenpatch_shims as shims;
pub use shims::is_patched;
