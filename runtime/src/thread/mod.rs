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
// and cancelling (`spawn`), scopes (`scoped`), pools (`pool`), futures in blocking code (`block_on`). It may use `time`,
// `sync` and what is below; `runtime` and `hook` use it, and users.

pub(crate) mod block_on;
pub(crate) mod pool;
pub(crate) mod scoped;
pub(crate) mod spawn;

use std::cell::OnceCell;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::sched::context;
use crate::sched::task::{Task, TaskHeader, permit};
use crate::wait::futex;

pub use crate::thread::pool::{GreenPile, GreenPool, Imap};
pub use crate::thread::scoped::{Scope, ScopedJoinHandle, scope};
pub use crate::thread::spawn::{Builder, JoinHandle, spawn, spawn_after};
pub use crate::time::{sleep, sleep_until};
pub use crate::wait::section::yield_now;
pub use std::thread::{Result, available_parallelism, panicking};

/// A thread, green or not; mirrors [`std::thread::Thread`]. Clones are the same thread.
#[derive(Clone)]
pub struct Thread(Arc<dyn Task>);

impl UnwindSafe for Thread {}
impl RefUnwindSafe for Thread {}

impl Thread {
    pub(crate) fn new(task: Arc<dyn Task>) -> Thread {
        Thread(task)
    }

    /// The id, which no other thread known to this crate has or will have in this process.
    pub fn id(&self) -> u64 {
        self.0.header().id
    }

    /// The name it was spawned with; an OS thread's is std's affair.
    pub fn name(&self) -> Option<&str> {
        self.0.header().name.as_deref()
    }

    /// Where in the source a green thread was spawned; `None` for an OS thread, and for a green thread that
    /// `pthread_create` made.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.0.header().spawned_at
    }

    /// From now on the green thread's calls that would have to wait fail with `ECANCELED` (see
    /// [`interrupt`](crate::interrupt)), the one it waits in among them. One that has not begun does not begin. It is
    /// not stopped and nothing is unwound: it ends as it handles those errors. Does not wait for that, and does nothing
    /// to an OS thread.
    pub fn cancel(&self) {
        self.0.header().cancel();
    }

    /// Makes the thread's present or next [`park`] return.
    pub fn unpark(&self) {
        let permit = &self.0.header().permit;
        if permit.swap(permit::NOTIFIED, Ordering::Release) == permit::PARKED {
            futex::wake(permit, 1);
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Thread {
    fn eq(&self, other: &Thread) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Thread {}

thread_local! {
    /// Of an OS thread.
    static FOREIGN: OnceCell<Thread> = const { OnceCell::new() };
}

/// The calling thread.
///
/// ```
/// use greenpatch_runtime::thread;
///
/// greenpatch_runtime::run(|| {
///     let main = thread::current();
///     let waker = thread::spawn(move || main.unpark());
///     thread::park();
///     waker.join().unwrap();
/// });
/// ```
pub fn current() -> Thread {
    if let Some(green) = context::green() {
        return Thread(green.life().task.clone());
    }
    let new = || Thread(Arc::new(TaskHeader::new(None, None)));
    // As the thread ends, when its values are gone, it gets another identity each time it asks.
    FOREIGN
        .try_with(|thread| thread.get_or_init(new).clone())
        .unwrap_or_else(|_| new())
}

/// Whether the caller is a green thread.
pub fn is_green() -> bool {
    context::green().is_some()
}

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
    let permit = &thread.0.header().permit;
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
