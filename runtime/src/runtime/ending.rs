//! The end of a runtime: who waits for its green threads, and for how long.
//!
//! A runtime is over when its handle is gone and its last green thread has ended; then its workers leave, the retired
//! ones and the monitor too. Whoever gives up the handle decides only whether to wait for that. Nobody waits silently:
//! [`Runtime::shutdown`] has a deadline, and a drop that waits long says so.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::base::policy::OnDrop;
use crate::base::report;
use crate::runtime::handle::Runtime;
use crate::sched::context::{self, NativeSection};

/// How long a drop waits before it says what it waits for.
const WARN_AFTER: Duration = Duration::from_secs(5);

/// Green threads had not ended when the time of a [`Runtime::shutdown`] was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownError {
    left: usize,
    time: Duration,
}

impl ShutdownError {
    /// How many had not ended.
    pub fn left(&self) -> usize {
        self.left
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShutdownError { left, time } = self;
        write!(
            f,
            "{left} green threads had not ended after {time:?} and go on by themselves; give them more time, or cut \
             their waits short with Runtime::cancel_all before the shutdown"
        )
    }
}

impl Error for ShutdownError {}

impl Runtime {
    /// Ends the runtime: waits until all its green threads have ended, for at most `time`. Those that are left then go
    /// on by themselves, as after a drop.
    ///
    /// The handle is gone at once, so nothing new comes from outside; green threads may still start others to finish
    /// their work. On one of the runtime's own green threads this waits for all others. In a forked child,
    /// where the parent's green threads do not exist, it waits for nothing.
    ///
    /// # Errors
    ///
    /// If green threads are left; the error tells how many.
    ///
    /// ```
    /// use std::time::Duration;
    /// use greenpatch_runtime::{Runtime, net::TcpListener};
    ///
    /// let runtime = Runtime::builder().build()?;
    /// let server = runtime.spawn(|| TcpListener::bind("127.0.0.1:0")?.accept().map(drop));
    /// runtime.cancel_all();
    /// runtime.shutdown(Duration::from_secs(10)).expect("the accept has failed, so the green thread ends");
    /// # Ok::<(), greenpatch_runtime::BuildError>(())
    /// ```
    pub fn shutdown(self, time: Duration) -> Result<(), ShutdownError> {
        let deadline = Some(Deadline::after(time));
        let others = usize::from(self.is_here());
        let ended = self.shared.is_inherited() || self.shared.wait_for_all(others, deadline);
        let left = self.live().saturating_sub(others);
        self.detach();
        if ended || left == 0 {
            Ok(())
        } else {
            Err(ShutdownError { left, time })
        }
    }

    /// [Cancels](crate::JoinHandle::cancel) all green threads of this runtime: their calls that have to wait fail from
    /// now on, as far as those can say so. Those that have not begun, and those that are spawned from now on, do
    /// not begin; but what `pthread_create` starts does, as it must. Does not wait for their end.
    pub fn cancel_all(&self) {
        let _native = NativeSection::enter();
        if !self.shared.is_inherited() {
            self.shared.cancel_all();
        }
    }

    /// Lets go of the green threads: the runtime ends with the last one.
    fn detach(&self) {
        let _native = NativeSection::enter();
        // A child's copy shares descriptors with its parent's runtime.
        if !self.shared.is_inherited() {
            self.shared.close();
        }
    }

    /// Whether the caller runs on this runtime.
    fn is_here(&self) -> bool {
        context::worker().is_some_and(|worker| Arc::ptr_eq(&worker.shared, &self.shared))
    }

    /// Waits for the end of all green threads, and warns once if that takes long. A green thread cannot wait for itself,
    /// and does not wait for the others either, which may wait for it.
    fn wait_or_say_why_not(&self) {
        let (name, on_drop) = (&self.shared.settings.name, self.shared.settings.on_drop);
        if self.is_here() {
            let others = self.live().saturating_sub(1);
            if others > 0 {
                report::warn(format_args!(
                    "the runtime '{name}' was dropped on one of its own green threads; instead of on_drop = {on_drop}, \
                     {others} others go on by themselves. Drop it elsewhere, or call Runtime::shutdown there",
                ));
            }
            return;
        }
        let start = Instant::now();
        if self
            .shared
            .wait_for_all(0, Some(Deadline::after(WARN_AFTER)))
        {
            return;
        }
        report::warn(format_args!(
            "the runtime '{name}' was dropped with on_drop = {on_drop} and has waited {} s for the end of its green \
             threads; {} are left. Use Runtime::shutdown to wait for a limited time",
            start.elapsed().as_secs(),
            self.live(),
        ));
        self.shared.wait_for_all(0, None);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.shared.is_closed() && !self.shared.is_inherited() {
            match self.shared.settings.on_drop {
                OnDrop::Detach => {}
                OnDrop::Wait => self.wait_or_say_why_not(),
                OnDrop::Cancel => {
                    self.cancel_all();
                    self.wait_or_say_why_not();
                }
            }
        }
        self.detach();
    }
}
