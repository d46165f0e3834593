//! Threads as [`std::thread`] has them, for green threads.
//!
//! ```
//! use greenpatch_runtime::thread;
//!
//! greenpatch_runtime::run(|| {
//!     let mut words = vec!["green", "threads"];
//!     thread::scope(|scope| {
//!         for word in &mut words {
//!             scope.spawn(|| *word = &word[..1]);
//!         }
//!     });
//!     assert_eq!(words, ["g", "t"]);
//! });
//! ```
//!
//! # Thread-local values
//!
//! There is nothing of ours to use: a green thread has thread-local storage of its own, so [`std::thread_local!`]
//! values are its own, wherever it runs, and dropped when it ends.

// The room `thread`: what std::thread has, for green threads, and what eventlet and gevent have besides: spawning, joining
// and cancelling (`spawn`), who one is (`current`), scopes (`scoped`, `try_scope`), pools (`pool`), futures in blocking code (`block_on`). It may use `time`,
// `sync` and what is below; `runtime` and `hook` use it, and users.

pub(crate) mod block_on;
mod current;
pub(crate) mod pool;
pub(crate) mod scoped;
pub(crate) mod spawn;
pub(crate) mod try_scope;

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::sched::task::permit;
use crate::wait::futex;

pub use crate::thread::current::{Thread, current, is_green};
pub use crate::thread::pool::{GreenPile, GreenPool, Imap};
pub use crate::thread::scoped::{Scope, ScopedJoinHandle, scope};
pub use crate::thread::spawn::{Builder, JoinHandle, spawn, spawn_after};
pub use crate::thread::try_scope::{TryJoinHandle, TryScope, try_scope};
pub use crate::time::{sleep, sleep_until};
pub use crate::wait::section::yield_now;
pub use std::thread::{Result, available_parallelism, panicking};

/// Waits for an [`unpark`](Thread::unpark) of this thread, or consumes one that has come before. Not cut short by deadline
/// scopes or cancellation.
pub fn park() {
    park_until(None);
}

/// As [`park`], for at most `timeout`.
pub fn park_timeout(timeout: Duration) {
    park_until(Some(Deadline::after(timeout)));
}

fn park_until(deadline: Option<Deadline>) {
    let thread = current();
    let permit = thread.permit();
    if permit.fetch_sub(1, Ordering::Acquire) == permit::NOTIFIED {
        return;
    }
    loop {
        let ended = futex::wait_because(Packed::PARK, permit, permit::PARKED, deadline);
        let notified = permit.compare_exchange(
            permit::NOTIFIED,
            permit::EMPTY,
            Ordering::Acquire,
            Ordering::Acquire,
        );
        if notified.is_ok() {
            return;
        }
        if ended == futex::Wait::TimedOut {
            // A late unpark is consumed, as std does.
            permit.swap(permit::EMPTY, Ordering::Acquire);
            return;
        }
    }
}
