//! Runs futures on green threads that may block while they poll.
//!
//! A future that is spawned here is a *task* (crate `async-task`). What is ready stands in one queue, and *drivers*, green
//! threads of one runtime, poll it. A driver runs what it polls on its own stack as any code of a green thread, so what is polled may
//! call whatever blocks: the driver parks in there, and another one goes on with the queue. So a task costs no stack
//! while it waits as futures do, and one while it waits as threads do; a handler that does neither costs no switch.
//!
//! There is always a driver left that takes the next task. Who that is and whom a new task wakes is the protocol of
//! [`roster`], which has its page there and a loom model in `tests/loom.rs`. Drivers that are not needed rest, a
//! few of them; the others end.
//!
//! **Where wakers run.** A task's waker pushes to the queue and unparks a driver. It may be used on any thread and on a worker's own
//! stack, between two green threads: it takes one lock, for a few instructions, under which nothing waits and
//! nothing of the application's is called.
//!
//! **Order.** Tasks are polled in the order in which they became ready, but for those that go early ([`queue`]). Between two of them a driver lets other green
//! threads run if it has had its share, the reactor's events among what then comes in.

mod atomic;
mod queue;
mod roster;

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_task::{Runnable, ScheduleInfo, WithInfo};
use greenpatch::Builder;
use greenpatch::interrupt::Cancellable;
use greenpatch::thread::{self, Thread};

use crate::log;
use queue::{Queue, Turns};
use roster::Roster;

/// Drivers that may rest. More than that end: a new one costs about as much as a task, and one that rests keeps its stack.
const MOST_RESTING: usize = 32;

/// What each driver holds for its life; see [`Executor::new`].
pub(crate) type Context = Box<dyn Any>;

/// A handle to the queue and its drivers; clones are the same executor.
#[derive(Clone)]
pub(crate) struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    ready: Queue,
    roster: Roster<Arc<Driver>>,
    /// No driver looks at the queue any more.
    closed: AtomicBool,
    /// Drivers that were made; for their names.
    made: AtomicUsize,
    /// Drivers that have not ended.
    drivers: AtomicUsize,
    stack_size: Option<usize>,
    enter: Box<dyn Fn() -> Context + Send + Sync>,
}

/// A green thread that polls.
struct Driver {
    thread: Thread,
    /// It was called out of its rest.
    called: AtomicBool,
}

impl PartialEq for Driver {
    fn eq(&self, other: &Driver) -> bool {
        self.thread == other.thread
    }
}

thread_local! {
    /// A driver's work; see [`with_work`].
    static WORK: RefCell<Option<Arc<Cancellable>>> = const { RefCell::new(None) };
}

/// Shows the work of the calling driver, if it is one. What a task does while it is polled may be made a piece of it, which can
/// then be cancelled.
pub(crate) fn with_work<R>(see: impl FnOnce(Option<&Arc<Cancellable>>) -> R) -> R {
    WORK.with_borrow(|work| see(work.as_ref()))
}

impl Executor {
    /// An executor with its first driver, on the caller's runtime. Each driver calls `enter` when it begins, and drops what that
    /// gives when it ends.
    ///
    /// # Errors
    /// If the caller is no green thread, or there is no memory for a stack.
    pub(crate) fn new(
        stack_size: Option<usize>,
        enter: impl Fn() -> Context + Send + Sync + 'static,
    ) -> io::Result<Executor> {
        let shared = Shared {
            ready: Queue::new(),
            roster: Roster::new(1),
            closed: AtomicBool::new(false),
            made: AtomicUsize::new(0),
            drivers: AtomicUsize::new(0),
            stack_size,
            enter: Box::new(enter),
        };
        let executor = Executor {
            shared: Arc::new(shared),
        };
        executor.make_driver()?;
        Ok(executor)
    }

    /// Runs a future; from any thread.
    pub(crate) fn spawn<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_in_line::<false, F>(future);
    }

    /// Runs a future that waits for its turn shortly only, however many are ready.
    pub(crate) fn spawn_early<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_in_line::<true, F>(future);
    }

    /// The line is part of the type, so that no task has to remember it.
    fn spawn_in_line<const EARLY: bool, F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let schedule = move |task: Runnable, info: ScheduleInfo| {
            let pushed = shared.ready.push::<EARLY>(task);
            // A task that was woken while it was polled is queued by its driver, which looks at the queue next.
            if pushed
                && !info.woken_while_running
                && let Some(driver) = shared.roster.call()
            {
                driver.call();
            }
        };
        let (task, handle) = async_task::spawn(future, WithInfo(schedule));
        handle.detach();
        task.schedule();
    }

    /// Ends the drivers, each after the poll that it is in, and drops the tasks that are ready.
    pub(crate) fn close(&self) {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::SeqCst);
        shared.ready.close();
        for driver in shared.roster.call_all() {
            driver.call();
        }
    }

    /// Drivers there are, and how many of them rest.
    pub(crate) fn drivers(&self) -> (usize, usize) {
        let drivers = self.shared.drivers.load(Ordering::Relaxed);
        (drivers, self.shared.roster.resting())
    }

    /// Makes one more driver, which the roster counts as searching already.
    fn make_driver(&self) -> io::Result<()> {
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let mut builder = Builder::new().name(format!("driver-{number}"));
        if let Some(bytes) = self.shared.stack_size {
            builder = builder.stack_size(bytes);
        }
        let executor = self.clone();
        self.shared.drivers.fetch_add(1, Ordering::Relaxed);
        let made = builder.spawn(move || Cancellable::scope(|work| executor.drive(work)));
        if made.is_err() {
            self.shared.drivers.fetch_sub(1, Ordering::Relaxed);
        }
        made.map(drop)
    }

    /// A driver's life.
    fn drive(self, work: &Arc<Cancellable>) {
        let shared = Arc::clone(&self.shared);
        let context = (shared.enter)();
        let driver = Arc::new(Driver {
            thread: thread::current(),
            called: AtomicBool::new(false),
        });
        WORK.set(Some(Arc::clone(work)));
        // The other half of a push that counted on this driver before it ran.
        std::sync::atomic::fence(Ordering::SeqCst);
        let mut turns = Turns::default();
        while !shared.closed.load(Ordering::SeqCst) {
            match shared.ready.pop(&mut turns) {
                Some(task) => {
                    self.before_poll();
                    poll(task);
                    shared.roster.join();
                    greenpatch::future::give_way();
                }
                None if self.rest(&driver) => {}
                None => break,
            }
        }
        drop(context);
        shared.drivers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Leaves the search to another driver.
    fn before_poll(&self) {
        let Shared { ready, roster, .. } = &*self.shared;
        if roster.leave()
            && !ready.is_empty()
            && let Some(driver) = roster.call()
        {
            driver.call();
        }
        if roster.needs_spare()
            && let Err(error) = self.make_driver()
        {
            let _ = roster.leave();
            log::error(format_args!(
                "no green thread can be had to go on while handlers block: {error}; lower --worker-connections or --stack-size"
            ));
        }
    }

    /// Rests until it is called. False if the driver is to end, as enough others rest.
    fn rest(&self, driver: &Arc<Driver>) -> bool {
        let Shared {
            ready,
            roster,
            closed,
            ..
        } = &*self.shared;
        let rest = roster.rest(driver, MOST_RESTING);
        let is_needed = rest.is_last && !ready.is_empty() || closed.load(Ordering::SeqCst);
        if !rest.stays {
            if is_needed && let Some(other) = roster.call() {
                other.call();
            }
            return false;
        }
        if !is_needed || !roster.call_off(driver) {
            driver.wait_for_call();
        }
        true
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (drivers, resting) = self.drivers();
        f.debug_struct("Executor")
            .field("drivers", &drivers)
            .field("resting", &resting)
            .finish_non_exhaustive()
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

impl Driver {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }

    fn wait_for_call(&self) {
        while !self.called.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Polls a task once. A panic ends that task alone.
fn poll(task: Runnable) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task.run())) {
        log::error(format_args!(
            "a task of the server panicked: {}; its connection is closed",
            panic_text(&*panic)
        ));
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

#[cfg(test)]
mod tests;
