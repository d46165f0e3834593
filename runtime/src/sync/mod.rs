//! Locks that park the green thread where std's would block it.
//!
//! [`Mutex`] and [`Condvar`] bear std's names, methods and poisoning; [`Semaphore`] is what std lacks. They
//! need no shim, and serve green threads and OS threads at once: each waits in its own way.
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

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod once;
mod once_lock;
mod poison;
pub(crate) mod raw;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{OwnedSemaphorePermit, ReleaseError, Semaphore, SemaphorePermit};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
