//! One request and its response, as those see it who look after it from outside while a handler has it.
//!
//! The sweep ends what lasts too long: a handler, by cancelling what it waits for; the wait for content, with an error. What is asked
//! for each request is a word; what is needed seldom stands under a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use greenpatch::interrupt::{Cancellable, Piece};
use greenpatch::thread::Thread;

use super::clock::{AtomicMoment, Moment};
use super::refusal::Refusal;
use crate::settings::Timeouts;

/// See the module's page.
pub(crate) struct Exchange {
    /// When its head was there.
    began: AtomicMoment,
    /// The handler had its time, and the client gets another answer.
    is_expired: AtomicBool,
    /// What the handler waits for was cancelled.
    is_cancelled: AtomicBool,
    /// Its response was given to hyper, so the handler is done.
    is_answered: AtomicBool,
    /// hyper has asked for more of the response's content, and it is not there yet.
    is_asked_for_content: AtomicBool,
    /// When content was first waited for, while somebody waits.
    content_wait: AtomicMoment,
    content_began: AtomicMoment,
    /// Bytes of content that have come.
    content_received: AtomicU64,
    /// Nanoseconds that it waited for a thread or its turn.
    queued: AtomicU64,
    /// Set after a fault was noted.
    is_faulty: AtomicBool,
    seldom: Mutex<Seldom>,
}

#[derive(Default)]
struct Seldom {
    /// Where the handler runs, or ran when it was polled last, so that its waits can be cancelled.
    runner: Option<Runner>,
    /// Who polls the handler's future.
    waker: Option<Waker>,
    /// Who waits for content.
    content_waker: Option<Waker>,
    /// What was wrong with the content.
    fault: Option<Refusal>,
}

/// What a handler's waits are cancelled by.
enum Runner {
    /// It runs on a driver, as one piece of that one's work.
    Piece(Arc<Cancellable>, Piece),
    /// It has a green thread of its own.
    Thread(Thread),
}

impl Runner {
    fn cancel(&self) {
        match self {
            Runner::Piece(work, piece) => drop(work.cancel(*piece)),
            Runner::Thread(thread) => thread.cancel(),
        }
    }
}

impl Exchange {
    pub(super) fn new(now: Moment) -> Exchange {
        Exchange {
            began: AtomicMoment::new(now),
            is_expired: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
            is_answered: AtomicBool::new(false),
            is_asked_for_content: AtomicBool::new(false),
            content_wait: AtomicMoment::default(),
            content_began: AtomicMoment::default(),
            content_received: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            is_faulty: AtomicBool::new(false),
            seldom: Mutex::default(),
        }
    }

    /// As if it were new, but for where a handler ran last: that piece of work is over.
    pub(super) fn renew(&mut self, now: Moment) {
        let seldom = self
            .seldom
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let runner = seldom.runner.take();
        let runner = runner.filter(|runner| matches!(runner, Runner::Piece(..)));
        *self = Exchange {
            seldom: Mutex::new(Seldom {
                runner,
                ..Seldom::default()
            }),
            ..Exchange::new(now)
        };
    }

    /// Whether the client is to be told that the handler took too long.
    pub(crate) fn is_expired(&self) -> bool {
        self.is_expired.load(Ordering::Relaxed)
    }

    /// The handler begins, after the request has waited so long for a thread or its turn.
    pub(crate) fn note_queued(&self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.queued.store(nanoseconds, Ordering::Relaxed);
    }

    /// How long the request has waited.
    pub(super) fn queued(&self) -> Duration {
        Duration::from_nanos(self.queued.load(Ordering::Relaxed))
    }

    /// The response is about to be given to hyper; the handler's time counts no more.
    pub(super) fn answer(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// Whether more of the response's content is waited for.
    pub(super) fn note_asked_for_content(&self, is_asked: bool) {
        self.is_asked_for_content.store(is_asked, Ordering::Relaxed);
    }

    /// Whether the response goes on as soon as the client takes more of it.
    pub(super) fn is_at_client(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
            && !self.is_asked_for_content.load(Ordering::Relaxed)
    }

    /// Notes who polls the handler's future, to be woken when its time is over.
    pub(crate) fn note_waker(&self, context: &Context<'_>) {
        let waker = &mut self.lock().waker;
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
    }

    /// The handler runs on this driver until the guard is dropped.
    pub(crate) fn run_by<'a>(&self, work: &'a Arc<Cancellable>) -> RunsHere<'a> {
        let piece = work.begin();
        let mut seldom = self.lock();
        // Cancelled before it began to run.
        if self.is_cancelled.load(Ordering::Relaxed) {
            work.cancel(piece);
        }
        match &mut seldom.runner {
            Some(Runner::Piece(last, number)) if Arc::ptr_eq(last, work) => *number = piece,
            runner => *runner = Some(Runner::Piece(Arc::clone(work), piece)),
        }
        RunsHere(work)
    }

    /// The handler runs on a green thread of its own.
    pub(crate) fn run_on(&self, thread: Thread) {
        let mut seldom = self.lock();
        // Cancelled before it began to run.
        if self.is_cancelled.load(Ordering::Relaxed) {
            thread.cancel();
        }
        seldom.runner = Some(Runner::Thread(thread));
    }

    /// Ends what the handler waits for, now and from now on. False if that was done before.
    pub(crate) fn cancel(&self) -> bool {
        let seldom = self.lock();
        if self.is_cancelled.swap(true, Ordering::Relaxed) {
            return false;
        }
        if let Some(runner) = &seldom.runner {
            runner.cancel();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Seldom> {
        // Each change is whole.
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the request's content.
impl Exchange {
    /// Somebody waits for more content.
    pub(super) fn wait_for_content(&self, context: &Context<'_>, now: Moment) {
        self.content_began.get_or_set(now);
        self.content_wait.get_or_set(now);
        let waker = &mut self.lock().content_waker;
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
    }

    /// So much more content has come.
    pub(super) fn note_content(&self, count: usize) {
        if self.content_wait.get().is_some() {
            self.content_wait.clear();
        }
        self.content_received
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Nobody waits for content any more.
    pub(super) fn end_content(&self) {
        self.content_wait.clear();
    }

    /// Bytes of content that have come.
    pub(super) fn content_received(&self) -> u64 {
        self.content_received.load(Ordering::Relaxed)
    }

    /// Something is wrong with the content; the first thing counts.
    pub(super) fn fail_content(&self, fault: Refusal) {
        self.content_wait.clear();
        self.lock().fault.get_or_insert(fault);
        self.is_faulty.store(true, Ordering::Release);
    }

    /// What was wrong with the content.
    pub(super) fn fault(&self) -> Option<Refusal> {
        if !self.is_faulty.load(Ordering::Acquire) {
            return None;
        }
        self.lock().fault.clone()
    }
}

/// For the sweep.
impl Exchange {
    /// How long the handler has had it; `None` once it is answered.
    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        if self.is_answered.load(Ordering::Relaxed) {
            return None;
        }
        self.began.get().map(|began| now.since(began))
    }

    /// Cancels the handler, whose client is to be told that it took too long.
    pub(super) fn expire(&self) {
        if self.is_expired.swap(true, Ordering::Relaxed) {
            return;
        }
        self.cancel();
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the wait for content that comes too slowly.
    pub(super) fn check_content(&self, timeouts: &Timeouts, now: Moment) {
        let (Some(began), Some(wait)) = (self.content_began.get(), self.content_wait.get()) else {
            return;
        };
        let limit = timeouts.content_wait(wait.since(began), self.content_received());
        if now.since(wait) < limit {
            return;
        }
        self.fail_content(Refusal::timed_out("content"));
        let waker = self.lock().content_waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A handler is being polled on a driver. Who cancels it afterwards finds that piece of work over.
pub(crate) struct RunsHere<'a>(&'a Cancellable);

impl Drop for RunsHere<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
