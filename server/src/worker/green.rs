//! Handlers on green threads: on the stack of the driver that polls the connection, or on one of their own.
//!
//! On a driver a handler costs nothing more than its call. It may block there, for another driver goes on with the connections; but
//! the connection that is being polled stands still meanwhile. So a handler that reads content as it comes gets a green thread
//! of its own, and its connection brings the content.
//!
//! Whether what blocks parks the green thread or blocks the worker's OS thread is decided by the runtime's patch set:
//! that is all the difference between the classes `green`, `sync` and `async`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use greenpatch::thread::Thread;
use greenpatch::{Builder, block_on};
use http::{Method, StatusCode, Uri};
use tokio::sync::oneshot;

use super::executor;
use crate::application::{Application, BoxError, Request, Response, inherit};
use crate::log;
use crate::observe::RequestId;
use crate::protocol::exchange::Exchange;
use crate::protocol::refusal::Refusal;
use crate::protocol::service::require_final;

/// Which request a handler has, for what is said about it in the log.
struct Title {
    method: Method,
    target: Uri,
    id: Option<RequestId>,
}

impl Title {
    fn of(request: &Request) -> Title {
        Title {
            method: request.method().clone(),
            target: request.uri().clone(),
            id: request.extensions().get().cloned(),
        }
    }

    /// Calls the application and polls the response's content as far as it is there at once.
    async fn call<A: Application>(
        &self,
        application: A,
        request: Request,
    ) -> Result<Response, BoxError> {
        let answer = async {
            let mut response = application.call(request).await?;
            std::future::poll_fn(|context| response.body_mut().poll_settle(context)).await;
            Ok(response)
        };
        match &self.id {
            Some(id) => id.within(answer).await,
            None => answer.await,
        }
    }

    /// What to answer after a panic, which is told in the log.
    #[cold]
    fn panicked(&self, panic: &(dyn Any + Send)) -> Refusal {
        let Title { method, target, .. } = self;
        let _entered = self.id.as_ref().map(RequestId::enter);
        let text = executor::panic_text(panic);
        log::error(format_args!(
            "handler panicked at {method} {target}: {text}; answered 500"
        ));
        Refusal::failed("the handler failed")
    }

    /// What to answer if the handler ended by itself.
    fn answered(&self, answer: Result<Response, BoxError>) -> Result<Response, Refusal> {
        match answer {
            Ok(response) => require_final(response, &self.method),
            Err(error) => {
                let Title { method, target, .. } = self;
                let _entered = self.id.as_ref().map(RequestId::enter);
                log::error(format_args!(
                    "handler failed at {method} {target}: {error}; answered 500"
                ));
                Err(Refusal::failed("the handler failed"))
            }
        }
    }
}

/// What to answer if the handler took too long.
pub(super) fn too_long() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the handler took too long")
}

/// Answers by blocking the calling thread.
///
/// # Errors
/// What to answer if there is no response.
pub(super) fn answer_blocking<A: Application>(
    application: A,
    request: Request,
) -> Result<Response, Refusal> {
    let title = Title::of(&request);
    let call = || block_on(title.call(application, request));
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => title.answered(answer),
        Err(panic) => Err(title.panicked(&*panic)),
    }
}

/// Answers on the stack of whoever polls.
pub(super) async fn answer_here<A: Application>(
    application: &A,
    request: Request,
    exchange: &Exchange,
) -> Result<Response, Refusal> {
    let title = Title::of(&request);
    let mut future = pin!(title.call(application.clone(), request));
    let answer = std::future::poll_fn(|context| {
        if exchange.is_expired() {
            return Poll::Ready(Err(too_long()));
        }
        match poll_as_piece(future.as_mut(), context, exchange) {
            Ok(Poll::Pending) => {
                exchange.note_waker(context);
                // The sweep marks it as expired, then wakes who has been noted; the other way round here.
                match exchange.is_expired() {
                    true => Poll::Ready(Err(too_long())),
                    false => Poll::Pending,
                }
            }
            Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
            Err(panic) => Poll::Ready(Err(title.panicked(&*panic))),
        }
    });
    let answer = answer.await?;
    if exchange.is_expired() {
        return Err(too_long());
    }
    title.answered(answer)
}

/// Polls a handler as a piece of work of the driver, so that it can be cancelled.
fn poll_as_piece<F: Future>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
    exchange: &Exchange,
) -> Result<Poll<F::Output>, Box<dyn Any + Send>> {
    let _runs_here = executor::work().map(|work| exchange.run_by(work));
    // A panic leaves nothing of ours half done. What it leaves of the application's is the application's own affair, as with any
    // thread.
    catch_unwind(AssertUnwindSafe(|| future.poll(context)))
}

/// Answers on a green thread of its own.
pub(super) async fn answer_on_thread<A: Application>(
    application: &A,
    request: Request,
    exchange: &Arc<Exchange>,
    stack_size: Option<usize>,
) -> Result<Response, Refusal> {
    /// For their names.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut builder = Builder::new().name(format!("request-{number}"));
    if let Some(bytes) = stack_size {
        builder = builder.stack_size(bytes);
    }
    let (sender, receiver) = oneshot::channel();
    let application = application.clone();
    let (asked, waiting) = (Instant::now(), Arc::clone(exchange));
    let spawned = builder.spawn(inherit(move || {
        waiting.note_queued(asked.elapsed());
        drop(waiting);
        // Fails if the client has gone.
        let _ = sender.send(answer_blocking(application, request));
    }));
    let mut thread = match spawned {
        Ok(thread) => CancelledOnDrop(Some(thread.thread().clone())),
        Err(error) => {
            log::error(format_args!(
                "no green thread can be had for a request: {error}; lower --worker-connections or --stack-size"
            ));
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server has no memory for this request",
            ));
        }
    };
    if let Some(thread) = &thread.0 {
        exchange.run_on(thread.clone());
    }
    let answer = until_answered(receiver, exchange).await;
    thread.0 = None;
    answer
}

/// Waits for a handler that runs elsewhere, or until its time is over.
pub(super) async fn until_answered(
    receiver: oneshot::Receiver<Result<Response, Refusal>>,
    exchange: &Exchange,
) -> Result<Response, Refusal> {
    let mut receiver = pin!(receiver);
    std::future::poll_fn(|context| {
        exchange.note_waker(context);
        if exchange.is_expired() {
            return Poll::Ready(Err(too_long()));
        }
        // Without an answer its thread has been cancelled before it began.
        let gone = |_| Err(Refusal::failed("the handler was cancelled"));
        receiver
            .as_mut()
            .poll(context)
            .map(|answer| answer.unwrap_or_else(gone))
    })
    .await
}

/// Cancels a handler's thread if nobody waits for it any more.
struct CancelledOnDrop(Option<Thread>);

impl Drop for CancelledOnDrop {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.cancel();
        }
    }
}
