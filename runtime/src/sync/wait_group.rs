//! The wait group.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::raw::count::RawCount;
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;
use crate::wait::interrupt::Interrupted;

/// A number of tasks whose end others wait for, as Go's `sync.WaitGroup`.
///
/// A group may be used again once all who waited have seen the number at zero.
///
/// ```
/// # greenpatch_runtime::run(|| {
/// use std::sync::Arc;
/// use greenpatch_runtime::{spawn, sync::WaitGroup};
///
/// let group = Arc::new(WaitGroup::new());
/// for _ in 0..10 {
///     let task = WaitGroup::task(&group);
///     spawn(move || {
///         // Ends as it is dropped, even if the work panics.
///         let _task = task;
///     });
/// }
/// group.wait()
/// # }).unwrap();
/// ```
pub struct WaitGroup(RawCount);

impl WaitGroup {
    /// A group without tasks.
    pub const fn new() -> WaitGroup {
        WaitGroup(RawCount(AtomicU32::new(0)))
    }

    /// Counts `tasks` more; each is to be followed by one [`done`](Self::done).
    ///
    /// # Panics
    ///
    /// If there would be more than 2,147,483,647.
    #[track_caller]
    pub fn add(&self, tasks: u32) {
        assert!(
            self.0.add(tasks),
            "a wait group counts at most 2147483647 tasks"
        );
    }

    /// Counts one task less, and wakes all who wait if it was the last.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn done(&self) {
        assert!(
            self.0.subtract(1),
            "more tasks of a wait group are done than were added"
        );
    }

    /// Counts one more task, until the value is dropped.
    ///
    /// # Panics
    ///
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn task(this: &Arc<WaitGroup>) -> WaitGroupTask {
        this.add(1);
        WaitGroupTask {
            group: this.clone(),
        }
    }

    /// Tasks that are not done.
    pub fn count(&self) -> u32 {
        self.0.get()
    }

    /// Waits until all tasks are done.
    ///
    /// # Errors
    ///
    /// If they are not, and a [`timeout`](crate::time::timeout) around the call is over, or the green thread is
    /// cancelled.
    pub fn wait(&self) -> Result<(), Interrupted> {
        self.0.wait(WaitLimit::Until(None))
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and `TimedOut` if this time is over.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), Interrupted> {
        if self.count() == 0 {
            return Ok(());
        }
        self.0
            .wait(WaitLimit::Until(Some(Deadline::after(timeout))))
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("count", &self.count())
            .finish()
    }
}

/// One task of a [`WaitGroup`], which is done when this is dropped.
#[derive(Debug)]
#[must_use = "the task is done as soon as this is dropped"]
pub struct WaitGroupTask {
    group: Arc<WaitGroup>,
}

impl Drop for WaitGroupTask {
    fn drop(&mut self) {
        self.group.done();
    }
}
