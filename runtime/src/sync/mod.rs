//! Locks, channels and other meeting points that park the green thread where std's would block it.
//!
//! They need no shim, and serve green threads and OS threads at once: each waits in its own way. Where std has the type, it
//! has std's name, methods and errors here, poisoning included.
//!
//! | type | mirrors |
//! |---|---|
//! | [`Mutex`], [`RwLock`], [`Condvar`], [`Barrier`] | [`std::sync`]; gevent's `RLock` has no counterpart |
//! | [`Once`], [`OnceLock`], [`LazyLock`] | [`std::sync`] |
//! | [`mpmc`], [`Select`] | std's unstable `std::sync::mpmc`; Go's channels and `select` |
//! | [`Queue`], [`LifoQueue`], [`PriorityQueue`] | eventlet's and gevent's queues, `JoinableQueue` and `Channel` among them |
//! | [`Semaphore::new`], [`Semaphore::bounded`] | their `Semaphore`, `BoundedSemaphore` |
//! | [`Event`] | Python's `threading.Event`, gevent's `Event` |
//! | [`AsyncResult`] | gevent's `AsyncResult`, eventlet's `Event` |
//! | [`WaitGroup`] | Go's `sync.WaitGroup` |
//!
//! **What cuts a wait short.** A wait whose result can say so ends early when a [`timeout`](crate::time::timeout) around it
//! is over or its green thread is [cancelled](crate::JoinHandle::cancel): those of channels, queues, `Event`,
//! `AsyncResult`, `WaitGroup`, and all that take a time-out. Nothing is lost by it: what was meant for the one who has gone
//! goes to the next. Where std's signature cannot say so, there is a second method: [`Mutex::lock_interruptible`],
//! [`RwLock::read_interruptible`] and [`write_interruptible`](RwLock::write_interruptible), [`Condvar::wait_interruptible`],
//! [`Barrier::wait_interruptible`], [`Semaphore::acquire_interruptible`]. The first ones wait to the end, as std's do, and so does
//! whoever waits for an initialisation (`Once` and its kin): that has the limits of whoever carries it out.
//!
//! **Who is served first.** Channels, queues and semaphores serve those who wait in the order in which they came, and hand
//! over directly: one wake-up for one item. A mutex or lock may be taken by a newcomer while others wait, as with std, but
//! not for longer than a millisecond: a thread that takes it again and again does not starve the others.
//!
//! ```
//! use std::sync::Arc;
//! use greenpatch_runtime::sync::Mutex;
//!
//! let total = Arc::new(Mutex::new(0));
//! let theirs = total.clone();
//! greenpatch_runtime::run(move || {
//!     let threads: Vec<_> = (0..10)
//!         .map(|n| {
//!             let total = theirs.clone();
//!             greenpatch_runtime::spawn(move || *total.lock().unwrap() += n)
//!         })
//!         .collect();
//!     threads.into_iter().for_each(|thread| thread.join().unwrap());
//! });
//! assert_eq!(*total.lock().unwrap(), 45);
//! ```

// The room `sync`: std's types stand here, with poisoning, guards and errors; below them, in `raw`, what waits, without
// values. It may use `wait` and what is below; `thread` and `look` use it, and users.

mod async_result;
mod barrier;
mod condvar;
mod error;
mod event;
mod guard;
mod lazy_lock;
pub mod mpmc;
mod mutex;
mod once;
mod once_lock;
mod poison;
mod queue;
pub(crate) mod raw;
mod rwlock;
mod select;
mod semaphore;
mod wait_group;

pub use async_result::AsyncResult;
pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use error::{LockError, RecvError, SendError, TryRecvError, TrySendError};
pub use event::Event;
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use queue::{Buffer, BufferedQueue, LifoQueue, PriorityQueue, Queue, QueueIter};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use select::Select;
pub use semaphore::{OwnedSemaphorePermit, ReleaseError, Semaphore, SemaphorePermit};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use wait_group::{WaitGroup, WaitGroupTask};
