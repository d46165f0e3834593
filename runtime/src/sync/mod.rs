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

mod condvar;
mod mutex;
mod semaphore;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use semaphore::{Semaphore, SemaphorePermit};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
