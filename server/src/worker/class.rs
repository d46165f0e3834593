//! The worker classes: where a request's handler runs. Everything else is the same in all of them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use super::executor::Context;
use super::green::answer_on_thread;
use super::gthread::Pool;
use super::handling::{Run, Title, answer_here};
use super::sync::OneAtATime;
use crate::application::{Application, Request};
use crate::observe::RequestId;
use crate::protocol::exchange::Exchange;
use crate::protocol::service::{Caller, Handled, Handling, Place};
use crate::settings::Settings;

/// Which kind of worker serves the connections; the names are gunicorn's, except that `green`
/// stands for its `eventlet` and `gevent`, and `async` for what Sanic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request at a time, one request a connection.
    Sync,
    /// A pool of OS threads.
    Gthread,
    /// Green threads.
    Green,
    /// On the event loop.
    Async,
}

impl WorkerClass {
    /// Every class.
    pub const ALL: [WorkerClass; 4] = [
        WorkerClass::Sync,
        WorkerClass::Gthread,
        WorkerClass::Green,
        WorkerClass::Async,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WorkerClass::Sync => "sync",
            WorkerClass::Gthread => "gthread",
            WorkerClass::Green => "green",
            WorkerClass::Async => "async",
        }
    }
}

/// Up to which length content is waited for before the handler is called. It is what one request of many may hold in memory
/// without harm, and most forms and documents are shorter.
const MOST_COLLECTED: u64 = 64 * 1024;

/// What a worker class needs to run handlers.
pub(super) enum Handlers {
    Sync(OneAtATime),
    Gthread(Pool),
    Green { stack_size: Option<usize> },
    Async,
}

impl Handlers {
    /// Makes it ready, on an OS thread; `enter` gives what each thread of a pool holds for its life.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn new(
        settings: &Settings,
        enter: impl Fn() -> Context + Clone + Send + 'static,
    ) -> io::Result<Handlers> {
        let stack_size = settings.stack_size;
        Ok(match settings.effective_class() {
            WorkerClass::Sync => Handlers::Sync(OneAtATime::new()),
            WorkerClass::Gthread => {
                Handlers::Gthread(Pool::start(settings.threads.get(), stack_size, enter)?)
            }
            WorkerClass::Green => Handlers::Green { stack_size },
            WorkerClass::Async => Handlers::Async,
        })
    }
}

impl Place for Handlers {
    type Handling<A: Application> = Run<A::Future>;

    fn collects(&self, blocks: bool) -> u64 {
        match self {
            Handlers::Async if !blocks => 0,
            _ => MOST_COLLECTED,
        }
    }

    #[inline]
    fn handle<A: Application>(
        &self,
        application: &A,
        request: Request,
        id: RequestId,
        exchange: &Arc<Exchange>,
        caller: Caller,
    ) -> Handled<Run<A::Future>> {
        let title = Title::of(&request, id);
        let needs_thread = caller == Caller::BringsContent
            && (A::BLOCKS || matches!(self, Handlers::Green { .. }));
        let (turn, stack_size) = match self {
            Handlers::Gthread(pool) => {
                let (application, exchange) = (application.clone(), Arc::clone(exchange));
                let answer = pool.answer(application, request, title, exchange);
                return Handled::UnderWay(Run::elsewhere(answer));
            }
            Handlers::Green { stack_size } => (None, *stack_size),
            Handlers::Sync(one) => (Some(one.turn()), None),
            Handlers::Async => (None, None),
        };
        if turn.is_none() && !needs_thread {
            return match A::BLOCKS && caller == Caller::Waits {
                true => answer_here(application, request, title, exchange),
                false => Handled::UnderWay(Run::here(title, application.call(request))),
            };
        }
        let (application, exchange) = (application.clone(), Arc::clone(exchange));
        Handled::UnderWay(Run::elsewhere(async move {
            let asked = Instant::now();
            let mut _turn = None;
            if let Some(turn) = turn {
                _turn = turn.await;
                exchange.note_queued(asked.elapsed());
            }
            if needs_thread {
                answer_on_thread(application, request, title, exchange, stack_size).await
            } else {
                let mut here = pin!(Run::here(title, application.call(request)));
                poll_fn(|context| here.as_mut().poll(context, &exchange)).await
            }
        }))
    }

    fn may_block(&self) -> bool {
        matches!(self, Handlers::Green { .. })
    }
}

impl fmt::Display for WorkerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no worker class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownClass(String);

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no worker class; use sync, gthread, green or async",
            self.0
        )
    }
}

impl std::error::Error for UnknownClass {}

impl FromStr for WorkerClass {
    type Err = UnknownClass;

    fn from_str(name: &str) -> Result<WorkerClass, UnknownClass> {
        let class = WorkerClass::ALL
            .into_iter()
            .find(|class| class.name() == name);
        class.ok_or_else(|| UnknownClass(name.to_owned()))
    }
}
