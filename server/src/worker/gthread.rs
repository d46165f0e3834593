//! Handlers on a pool of OS threads.
//!
//! A thread is held from the handler's call until the last of its response's content is made: while a reader or a writer closure
//! makes it, or a service streams it, a client that takes its time holds the thread, until `--write-timeout` at the latest. Bytes and
//! files are sent by the event loop and hold none, nor do connections, while a client thinks or sends its request slowly.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, thread};

use tokio::sync::oneshot;

use super::executor::Context;
use super::green::{answer_blocking, until_answered};
use super::handling::Title;
use crate::application::{Application, Request, Response, Streams};
use crate::protocol::exchange::Exchange;

/// The threads and the requests that wait for one.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// No more will come.
    is_closed: bool,
}

/// A request with everything that is to be done for it.
type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    /// Starts so many threads, each of which calls `enter` when it begins and drops what that gives when it ends. To be called
    /// on an OS thread, so that they are OS threads whatever is patched.
    ///
    /// # Errors
    /// If one cannot be started.
    pub(super) fn start(
        threads: usize,
        stack_size: Option<usize>,
        enter: impl Fn() -> Context + Clone + Send + 'static,
    ) -> io::Result<Pool> {
        let pool = Pool {
            shared: Arc::new(Shared {
                waiting: Mutex::default(),
                changed: Condvar::new(),
            }),
        };
        for number in 0..threads {
            let mut builder = thread::Builder::new().name(format!("gthread-{number}"));
            if let Some(bytes) = stack_size {
                builder = builder.stack_size(bytes);
            }
            let (shared, enter) = (Arc::clone(&pool.shared), enter.clone());
            builder.spawn(move || {
                let _context = enter();
                while let Some(job) = shared.next() {
                    job();
                }
            })?;
        }
        Ok(pool)
    }

    /// Answers on the next thread that is free.
    pub(super) fn answer<A: Application>(
        &self,
        application: A,
        request: Request,
        title: Title,
        exchange: Arc<Exchange>,
    ) -> impl Future<Output = Response> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let (asked, waiting) = (Instant::now(), Arc::clone(&exchange));
        self.shared.push(Box::new(move || {
            waiting.note_queued(asked.elapsed());
            drop(waiting);
            // The client left while the request waited for a thread.
            if sender.is_closed() {
                return;
            }
            let mut answer = answer_blocking(&application, request, &title);
            let producer = answer.body_mut().take_producer(Streams::Piped);
            if sender.send(answer).is_ok()
                && let Some(producer) = producer
            {
                producer.run();
            }
        }));
        async move { until_answered(receiver, &exchange).await }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Waits for a job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No job runs under it, and each change is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
