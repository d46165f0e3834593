//! Futures on green threads: readiness of descriptors, timers, and waiting for a future in blocking code.
//!
//! The runtime has no executor of its own. [`block_on`] awaits one future on the calling thread, and any executor can be run
//! by it. What futures wait for here is the runtime's own reactor and its own timers: an [`AsyncFd`] and a [`Sleep`] belong to
//! the runtime of the green thread that has made them, or of a [`Handle`], and may then be polled on any thread: green threads
//! of any runtime, OS threads, the threads of another executor.
//!
//! ```
//! use std::time::Duration;
//!
//! use greenpatch_runtime::future::{self, AsyncFd, block_on};
//! use greenpatch_runtime::net::UnixStream;
//! use greenpatch_runtime::{run, spawn, time};
//!
//! run(|| -> std::io::Result<()> {
//!     let (ours, theirs) = UnixStream::pair()?;
//!     let ours = AsyncFd::new(ours)?;
//!     let answer = spawn(move || {
//!         time::sleep(Duration::from_millis(5));
//!         std::io::Write::write_all(&mut &theirs, b"hello")
//!     });
//!     let mut buffer = [0; 100];
//!     let read = block_on(future::timeout(Duration::from_secs(60), ours.read(&mut buffer)))??;
//!     assert_eq!(&buffer[..read], b"hello");
//!     answer.join().unwrap()
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Wakers
//!
//! A task is woken by the worker that handles the event or the timer, on that worker's own stack: there the waker is on no green
//! thread. It may push to queues, take locks for a moment, allocate, unpark green threads. If it waits, the worker does, and
//! whatever the worker should run: so let it take no lock that somebody holds while they wait for something else. A waker that
//! panics does no harm.
//!
//! # Fairness
//!
//! A poll never parks its green thread. A future whose input and output never have to wait is pending now and then all the
//! same, with its task woken, so that the executor can poll others. For other green threads [`block_on`] gives way; an executor
//! that a green thread runs in a loop of its own calls [`give_way`] between two tasks.
//!
//! # The end of the runtime
//!
//! When a runtime ends, the tasks that wait for it are woken. An `AsyncFd` then gives an error in place of waiting, and a `Sleep`
//! panics, both with the runtime's name.

// The room `future`: what futures and those who poll them need (`block_on` itself is in `thread`). It may use `net`, `thread` and
// what is below; users use it.

mod async_fd;
mod handle;
mod sleep;
#[cfg(feature = "tokio")]
mod tokio_io;

pub use crate::base::interest::Interest;
pub use crate::net::accept::Accept;
pub use crate::thread::block_on::block_on;
pub use crate::wait::readiness::Hangup;
pub use async_fd::AsyncFd;
pub use handle::Handle;
pub use sleep::{Elapsed, Sleep, sleep, sleep_until, timeout};

/// For who polls the tasks of an executor on a green thread, between two of them: lets other green threads run if the tasks
/// have made use of the worker for long enough. It costs next to nothing otherwise, and on an OS thread.
///
/// ```
/// use std::collections::VecDeque;
/// use std::task::{Context, Poll, Waker};
/// use greenpatch_runtime::future::give_way;
///
/// greenpatch_runtime::run(|| {
///     let mut tasks: VecDeque<_> = (0..1000).map(|n| Box::pin(async move { n })).collect();
///     let mut context = Context::from_waker(Waker::noop());
///     while let Some(mut task) = tasks.pop_front() {
///         assert!(task.as_mut().poll(&mut context).is_ready());
///         give_way();
///     }
/// });
/// ```
pub fn give_way() {
    crate::wait::section::give_way();
}
