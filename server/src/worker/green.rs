//! Handlers on green threads of their own, and the waiting for handlers that run on other threads.
//!
//! On a driver ([`Run::Here`](super::handling)) a handler costs nothing more than its call. It may block there, for another driver
//! goes on with the connections; but the connection that is being polled stands still meanwhile. So a handler that reads
//! content as it comes gets a green thread of its own, and its connection brings the content.
//!
//! Whether what blocks parks the green thread or blocks the worker's OS thread is decided by the runtime's patch set:
//! that is all the difference between the classes `green`, `sync` and `async`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use greenpatch::thread::Thread;
use greenpatch::{Builder, block_on};
use http::StatusCode;
use tokio::sync::oneshot;

use super::handling::{Call, Title, too_long};
use crate::application::{Application, Request, Response, inherit};
use crate::log;
use crate::protocol::exchange::Exchange;
use crate::protocol::refusal::Refusal;

/// Answers by blocking the calling thread.
pub(super) fn answer_blocking<A: Application>(
    application: &A,
    request: Request,
    title: &Title,
) -> Response {
    let _entered = title.id.enter();
    let call = || block_on(Call::new(application.call(request)));
    title.answer(catch_unwind(AssertUnwindSafe(call)))
}

/// Answers on a green thread of its own.
pub(super) async fn answer_on_thread<A: Application>(
    application: A,
    request: Request,
    title: Title,
    exchange: Arc<Exchange>,
    stack_size: Option<usize>,
) -> Response {
    /// For their names.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut builder = Builder::new().name(format!("request-{number}"));
    if let Some(bytes) = stack_size {
        builder = builder.stack_size(bytes);
    }
    let (sender, receiver) = oneshot::channel();
    let (asked, waiting) = (Instant::now(), Arc::clone(&exchange));
    let spawned = builder.spawn(inherit(move || {
        waiting.note_queued(asked.elapsed());
        drop(waiting);
        // Fails if the client has gone.
        let _ = sender.send(answer_blocking(&application, request, &title));
    }));
    let mut thread = match spawned {
        Ok(thread) => CancelledOnDrop(Some(thread.thread().clone())),
        Err(error) => {
            log::error(format_args!(
                "no green thread can be had for a request: {error}; lower --worker-connections or --stack-size"
            ));
            return Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server has no memory for this request",
            )
            .to_response();
        }
    };
    if let Some(thread) = &thread.0 {
        exchange.run_on(thread.clone());
    }
    let answer = until_answered(receiver, &exchange).await;
    thread.0 = None;
    answer
}

/// Waits for a handler that runs elsewhere, or until its time is over.
pub(super) async fn until_answered(
    receiver: oneshot::Receiver<Response>,
    exchange: &Exchange,
) -> Response {
    let mut receiver = pin!(receiver);
    std::future::poll_fn(|context| {
        exchange.note_waker(context);
        if exchange.is_expired() {
            return Poll::Ready(too_long());
        }
        // Without an answer its thread has been cancelled before it began.
        let gone = |_| Refusal::failed("the handler was cancelled").to_response();
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
