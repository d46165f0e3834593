//! A handler's answer on its way, wherever the handler runs.
//!
//! Most handlers run *here*, on the stack of whoever polls: as a piece of the driver's work, which can be cancelled, with their
//! request's id as the current one, and a panic is caught. One that blocks is called once ([`answer_here`]), one that is a future is
//! polled until it is done. Those that run *elsewhere*, on a thread of their own or after waiting for their turn, are waited
//! for by a boxed future.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use pin_project_lite::pin_project;

use super::executor;
use crate::application::{Application, BoxError, Request, Response};
use crate::log;
use crate::observe::RequestId;
use crate::protocol::exchange::Exchange;
use crate::protocol::refusal::Refusal;
use crate::protocol::service::{Handled, Handling};

/// Which request a handler has, for what is said about it in the log.
pub(super) struct Title {
    method: Method,
    /// `None` if the client has sent but a host.
    path: Option<PathAndQuery>,
    /// What the handler logs carries it.
    pub(super) id: RequestId,
}

impl Title {
    pub(super) fn of(request: &Request, id: RequestId) -> Title {
        Title {
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            id,
        }
    }

    /// What to answer when the handler has ended, or has panicked.
    #[inline]
    pub(super) fn answer(
        &self,
        ended: Result<Result<Response, BoxError>, Box<dyn Any + Send>>,
    ) -> Response {
        match ended {
            Ok(Ok(response)) if is_final(&response) => response,
            Ok(Ok(response)) => {
                let status = response.status();
                let why = "which is no final status";
                self.failed(format_args!("returned {status} at {self}, {why}"))
            }
            Ok(Err(error)) => self.failed(format_args!("failed at {self}: {error}")),
            Err(panic) => {
                let text = executor::panic_text(&*panic);
                self.failed(format_args!("panicked at {self}: {text}"))
            }
        }
    }

    #[cold]
    fn failed(&self, how: std::fmt::Arguments<'_>) -> Response {
        let _entered = self.id.enter();
        log::error(format_args!("handler {how}; answered 500"));
        Refusal::failed("the handler failed").to_response()
    }
}

impl std::fmt::Display for Title {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.as_ref().map_or("/", PathAndQuery::as_str);
        write!(f, "{} {path}", self.method)
    }
}

/// What to answer if the handler took too long.
#[cold]
pub(super) fn too_long() -> Response {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the handler took too long").to_response()
}

/// A status that announces another response is no answer: none would follow.
fn is_final(response: &Response) -> bool {
    let status = response.status();
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

pin_project! {
    /// An application's response, with its content as far as that is there at once.
    #[project = CallProjection]
    pub(super) enum Call<F> {
        Called { #[pin] response: F },
        // The content is asked for what is there.
        Settling { response: Option<Response> },
    }
}

impl<F> Call<F> {
    /// `response` as the application gave it.
    pub(super) fn new(response: F) -> Call<F> {
        Call::Called { response }
    }
}

impl<F: Future<Output = Result<Response, BoxError>>> Future for Call<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().project() {
            CallProjection::Called { response } => {
                let mut response = ready!(response.poll(context))?;
                if response.body_mut().poll_settle(context).is_pending() {
                    let response = Some(response);
                    self.set(Call::Settling { response });
                    return Poll::Pending;
                }
                Poll::Ready(Ok(response))
            }
            CallProjection::Settling { response } => {
                if let Some(response) = response {
                    ready!(response.body_mut().poll_settle(context));
                }
                let response = response.take();
                Poll::Ready(Ok(
                    response.expect("a future that has ended is not polled again")
                ))
            }
        }
    }
}

/// Calls a handler that blocks, on the caller's stack.
#[inline]
pub(super) fn answer_here<A: Application>(
    application: &A,
    request: Request,
    title: Title,
    exchange: &Exchange,
) -> Handled<Run<A::Future>> {
    if exchange.is_expired() {
        return Handled::Answered(too_long());
    }
    // Both go in and out by reference: they are long, and each closure would move them once more.
    let (mut request, mut ended) = (Some(request), None);
    let panic = executor::with_work(|work| {
        let _runs_here = work.map(|work| exchange.run_by(work));
        let _entered = title.id.enter();
        // As in `Run::poll`.
        let call =
            AssertUnwindSafe(|| ended = request.take().map(|request| application.answer(request)));
        catch_unwind(call).err()
    });
    if exchange.is_expired() {
        return Handled::Answered(too_long());
    }
    if let Some(panic) = panic {
        return Handled::Answered(title.answer(Err(panic)));
    }
    match ended.expect("the call has returned") {
        Ok(response) if response.body().is_stream() => {
            let response = Some(response);
            let call = Call::Settling { response };
            Handled::UnderWay(Run::Here { title, call })
        }
        ended => Handled::Answered(title.answer(Ok(ended))),
    }
}

pin_project! {
    /// See the module's page.
    #[project = RunProjection]
    pub(super) enum Run<F> {
        Here { title: Title, #[pin] call: Call<F> },
        Elsewhere { answer: Pin<Box<dyn Future<Output = Response> + Send>> },
    }
}

impl<F> Run<F> {
    /// The handler runs on the stack of whoever polls.
    pub(super) fn here(title: Title, response: F) -> Run<F> {
        Run::Here {
            title,
            call: Call::new(response),
        }
    }

    /// Somebody else sees to it.
    pub(super) fn elsewhere(answer: impl Future<Output = Response> + Send + 'static) -> Run<F> {
        Run::Elsewhere {
            answer: Box::pin(answer),
        }
    }
}

impl<F> Handling for Run<F>
where
    F: Future<Output = Result<Response, BoxError>> + Send + 'static,
{
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Response> {
        let (title, call) = match self.project() {
            RunProjection::Elsewhere { answer } => return answer.as_mut().poll(context),
            RunProjection::Here { title, call } => (title, call),
        };
        if exchange.is_expired() {
            return Poll::Ready(too_long());
        }
        let polled = executor::with_work(|work| {
            let _runs_here = work.map(|work| exchange.run_by(work));
            let _entered = title.id.enter();
            // A panic leaves nothing of ours half done. What it leaves of the application's is the application's own affair, as
            // with any thread.
            catch_unwind(AssertUnwindSafe(|| call.poll(context)))
        });
        let ended = match polled {
            Ok(Poll::Ready(ended)) => Ok(ended),
            Ok(Poll::Pending) => {
                exchange.note_waker(context);
                // The sweep marks it as expired, then wakes who has been noted; the other way round here.
                return match exchange.is_expired() {
                    true => Poll::Ready(too_long()),
                    false => Poll::Pending,
                };
            }
            Err(panic) => Err(panic),
        };
        Poll::Ready(match ended {
            Ok(_) if exchange.is_expired() => too_long(),
            ended => title.answer(ended),
        })
    }
}
