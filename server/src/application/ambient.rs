//! What a handler finds around it: with the feature `tokio`, a Tokio runtime, so that `tokio::time`, `tokio::fs`,
//! `tokio::spawn`, and the crates that need those, work in every worker class.
//!
//! A worker builds one [`Ambient`], and each of its threads that runs handlers [enters](Entry::enter) it once, for its life.
//! Tokio's context is a thread-local value, and a green thread has its own of those, so it goes with it from worker to worker.
//! Handlers are not tasks of that runtime: it only drives its timers and sockets and what is spawned on it.
//!
//! **Built on a green thread of a patched runtime, Tokio's threads are green threads as well**, since it starts them by
//! `std::thread`. Tasks that block then hold nobody up but those that wait for one of Tokio's threads. They wait by futexes and
//! epoll, so the families `lock` and `select` must be patched; otherwise it is to be built on an OS thread.
//!
//! Without the feature all of this is nothing.

use std::any::Any;
use std::io;

#[cfg(feature = "tokio")]
use tokio::runtime::{Builder, Handle, Runtime};

/// Tokio's threads that run tasks, at the least. They are cheap where they are green, and each one may be blocked.
#[cfg(feature = "tokio")]
const LEAST_THREADS: usize = 4;

/// See the module's page. Dropped, it shuts the runtime down without waiting for its tasks.
pub(crate) struct Ambient {
    #[cfg(feature = "tokio")]
    runtime: Option<Runtime>,
    entry: Entry,
}

/// A way into an [`Ambient`], for any thread.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    #[cfg(feature = "tokio")]
    handle: &'static Handle,
}

#[cfg(feature = "tokio")]
impl Ambient {
    /// Builds the runtime; its threads are of the caller's kind. `TOKIO_WORKER_THREADS` says how many, as it does in Tokio.
    ///
    /// # Errors
    ///
    /// If a thread or a descriptor cannot be had.
    pub(crate) fn build() -> io::Result<Ambient> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("tokio");
        if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            builder.worker_threads(processors.max(LEAST_THREADS));
        }
        let runtime = builder.build()?;
        // A guard of it is to live as long as its thread. There is one runtime a worker, so little is never freed.
        let handle = Box::leak(Box::new(runtime.handle().clone()));
        Ok(Ambient {
            runtime: Some(runtime),
            entry: Entry { handle },
        })
    }
}

#[cfg(not(feature = "tokio"))]
impl Ambient {
    /// Nothing is built, and nothing fails.
    pub(crate) fn build() -> io::Result<Ambient> {
        Ok(Ambient { entry: Entry {} })
    }
}

impl Ambient {
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }
}

#[cfg(feature = "tokio")]
impl Drop for Ambient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Entry {
    /// Puts the calling thread inside, until the guard is dropped, which must be on the same thread.
    pub(crate) fn enter(self) -> Box<dyn Any> {
        #[cfg(feature = "tokio")]
        return Box::new(self.handle.enter());
        #[cfg(not(feature = "tokio"))]
        return Box::new(());
    }
}

/// What a thread that is started by a handler needs to be inside of the same.
pub(crate) fn inherit<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    #[cfg(feature = "tokio")]
    let handle = Handle::try_current().ok();
    move || {
        #[cfg(feature = "tokio")]
        let _inside = handle.as_ref().map(Handle::enter);
        run()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use greenpatch::{Patch, Runtime};

    use super::*;

    fn sleeps() -> bool {
        greenpatch::block_on(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::spawn(async { greenpatch::thread::is_green() })
                .await
                .unwrap()
        })
    }

    #[test]
    fn timers_and_tasks_work_on_threads_of_either_kind() {
        let ambient = Ambient::build().unwrap();
        let _inside = ambient.entry().enter();
        assert!(!sleeps());
        for (patch, tasks_are_green) in [(Patch::all(), true), (Patch::none(), false)] {
            let runtime = Runtime::builder().workers(1).patch(patch).build().unwrap();
            let are_green = runtime.run(|| {
                let ambient = Ambient::build().unwrap();
                let entry = ambient.entry();
                let thread = greenpatch::spawn(move || {
                    let _inside = entry.enter();
                    sleeps()
                });
                thread.join().unwrap()
            });
            assert_eq!(are_green, tasks_are_green);
        }
    }

    /// Tokio's thread waits until the long one's time is up, and must be woken for the short one.
    #[test]
    fn a_short_timer_ends_while_a_long_one_is_waited_for() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let ambient = Ambient::build().unwrap();
            let _inside = ambient.entry().enter();
            greenpatch::block_on(async {
                let mut long = std::pin::pin!(tokio::time::sleep(Duration::from_secs(1_000_000)));
                // It is in the timer's queue once it was polled.
                poll_fn(|context| {
                    assert!(long.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
    }

    #[test]
    fn a_thread_that_a_handler_starts_is_inside_as_well() {
        let ambient = Ambient::build().unwrap();
        let inside = ambient.entry().enter();
        let was_inside = Arc::new(AtomicBool::new(false));
        let told = was_inside.clone();
        let run = inherit(move || told.store(Handle::try_current().is_ok(), Ordering::Relaxed));
        drop(inside);
        run();
        assert!(was_inside.load(Ordering::Relaxed));
    }
}
