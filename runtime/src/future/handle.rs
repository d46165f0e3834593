//! A runtime's reactor and timers, to be taken along to threads that are not its own.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::async_fd::AsyncFd;
use super::sleep::Sleep;
use crate::base::deadline::Deadline;
use crate::sched::context;
use crate::sched::scheduler::Shared;

/// A runtime's reactor and timers: makes what futures wait for, on any thread. Clones are the same runtime's. It does not keep the
/// runtime from ending.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::future::{Handle, block_on};
///
/// greenpatch_runtime::run(|| {
///     let handle = Handle::current().unwrap();
///     // On an OS thread.
///     let tokio = tokio::runtime::Runtime::new().unwrap();
///     block_on(tokio.spawn(async move { handle.sleep(Duration::from_millis(1)).await })).unwrap();
/// });
/// ```
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// That of the runtime that the caller runs on.
    ///
    /// # Errors
    ///
    /// `Unsupported` on an OS thread, which runs on none.
    pub fn current() -> io::Result<Handle> {
        match context::worker() {
            Some(worker) => Ok(Handle(worker.shared.clone())),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an OS thread has no runtime whose reactor and timers futures could use; call this on a green thread, or take a \
                 greenpatch::future::Handle along from one",
            )),
        }
    }

    pub(super) fn of(shared: Arc<Shared>) -> Handle {
        Handle(shared)
    }

    pub(super) fn into_shared(self) -> Arc<Shared> {
        self.0
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// As [`AsyncFd::new`], for this runtime.
    ///
    /// # Errors
    ///
    /// As [`AsyncFd::new`].
    pub fn async_fd<T: AsFd>(&self, io: T) -> io::Result<AsyncFd<T>> {
        AsyncFd::on(self.clone(), io)
    }

    /// As [`sleep`](super::sleep()), for this runtime.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep::on(self.clone(), Deadline::after(time))
    }

    /// As [`sleep_until`](super::sleep_until), for this runtime.
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        self.sleep(until.saturating_duration_since(Instant::now()))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("runtime", &self.0.settings.name)
            .finish_non_exhaustive()
    }
}
