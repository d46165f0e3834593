//! Who a thread is.

use std::cell::OnceCell;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sched::context;
use crate::sched::task::{Task, TaskHeader, permit};
use crate::wait::futex;

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

    /// The token of park and unpark.
    pub(super) fn permit(&self) -> &AtomicU32 {
        &self.0.header().permit
    }

    /// Makes the thread's present or next [`park`](crate::thread::park) return.
    pub fn unpark(&self) {
        let permit = self.permit();
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
