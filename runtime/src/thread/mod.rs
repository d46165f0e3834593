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

pub(crate) mod block_on;
pub(crate) mod pool;
pub(crate) mod scoped;
pub(crate) mod spawn;

use std::cell::OnceCell;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::hook::thread::Attributes;
use crate::sched::context;
use crate::sched::green::{Green, GreenRef};
use crate::thread::spawn::state;
use crate::wait::futex;

pub use crate::thread::pool::{GreenPile, GreenPool, Imap};
pub use crate::thread::scoped::{Scope, ScopedJoinHandle, scope};
pub use crate::thread::spawn::{Builder, JoinHandle, spawn, spawn_after, yield_now};
pub use crate::time::{sleep, sleep_until};
pub use std::thread::{Result, available_parallelism, panicking};

/// What of a thread may outlive it.
pub(crate) struct Head {
    /// The flags of `spawn::state`.
    pub(crate) state: AtomicU32,
    /// The token of park and unpark.
    permit: AtomicU32,
    /// The control block of a green thread that has begun to exist; it may be in use by a later one by now.
    green: AtomicPtr<Green>,
    pub(crate) id: u64,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) spawned_at: Option<&'static Location<'static>>,
}

impl Head {
    pub(crate) fn new(
        name: Option<Arc<str>>,
        spawned_at: Option<&'static Location<'static>>,
    ) -> Head {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Head {
            state: AtomicU32::new(0),
            permit: AtomicU32::new(EMPTY),
            green: AtomicPtr::new(ptr::null_mut()),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            spawned_at,
        }
    }

    pub(crate) fn set_green(&self, green: GreenRef) {
        self.green.store(green.as_ptr(), Ordering::Release);
    }

    /// The green thread's waits are cut short from now on.
    pub(crate) fn cancel(&self) {
        let before = self.state.fetch_or(state::CANCELLED, Ordering::AcqRel);
        let green = self.green.load(Ordering::Acquire);
        if before & (state::CANCELLED | state::ENDED) == 0
            && let Some(green) = NonNull::new(green)
        {
            // SAFETY: control blocks stay. A later green thread in it allows for a wake-up without reason.
            unsafe { GreenRef::new(green) }.unpark();
        }
    }
}

/// Whatever a [`Head`] is the head of.
pub(crate) trait Task: Send + Sync {
    fn head(&self) -> &Head;

    /// What `pthread_create` was asked for, if that made the thread.
    fn attributes(&self) -> Option<&Attributes> {
        None
    }
}

impl Task for Head {
    fn head(&self) -> &Head {
        self
    }
}

/// The permit's states, as std has them.
const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = u32::MAX;

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
        self.0.head().id
    }

    /// The name it was spawned with; an OS thread's is std's affair.
    pub fn name(&self) -> Option<&str> {
        self.0.head().name.as_deref()
    }

    /// Where in the source a green thread was spawned; `None` for an OS thread, and for a green thread that
    /// `pthread_create` made.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.0.head().spawned_at
    }

    /// From now on the green thread's calls that would have to wait fail with `ECANCELED` (see
    /// [`interrupt`](crate::interrupt)), the one it waits in among them. One that has not begun does not begin. It is
    /// not stopped and nothing is unwound: it ends as it handles those errors. Does not wait for that, and does nothing
    /// to an OS thread.
    pub fn cancel(&self) {
        self.0.head().cancel();
    }

    /// Makes the thread's present or next [`park`] return.
    pub fn unpark(&self) {
        let permit = &self.0.head().permit;
        if permit.swap(NOTIFIED, Ordering::Release) == PARKED {
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
    let new = || Thread(Arc::new(Head::new(None, None)));
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
    let permit = &thread.0.head().permit;
    if permit.fetch_sub(1, Ordering::Acquire) == NOTIFIED {
        return;
    }
    loop {
        let ended = futex::wait_because(Packed::PARK, permit, PARKED, deadline);
        let notified =
            permit.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Acquire);
        if notified.is_ok() {
            return;
        }
        if ended == futex::Wait::TimedOut {
            // A late unpark is consumed, as std does.
            permit.swap(EMPTY, Ordering::Acquire);
            return;
        }
    }
}
