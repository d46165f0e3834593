//! A request that is being answered, as the future that hyper polls.
//!
//! It is written out by hand, and small: hyper keeps room for one in each connection of HTTP/1, and moves it there for each request.
//! An `async fn` that calls others keeps the request several times, at each place where it may have to wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::Version;
use http::request::Parts;
use http_body::Body as _;
use pin_project_lite::pin_project;

use super::exchange::Exchange;
use super::received::Received;
use super::refusal::Refusal;
use super::service::{Handling, Place, Sending, Service, UnderWay};
use crate::application::{Application, Body, Request};

pin_project! {
    /// See the module's page.
    pub(super) struct Answer<A: Application, P: Place> {
        #[pin]
        step: Step<P::Handling<A>>,
        // `None` when it has ended.
        under_way: Option<UnderWay>,
        version: Version,
        is_head: bool,
        service: Arc<Service<A, P>>,
    }
}

pin_project! {
    /// How far it has come.
    #[project = StepProjection]
    pub(super) enum Step<H> {
        // No handler sees the request.
        Refused { refusal: Refusal },
        // The handler is called when the content is there.
        Collecting { collecting: Collecting },
        Handling { #[pin] handling: H },
    }
}

impl<A: Application, P: Place> Answer<A, P> {
    pub(super) fn new(
        service: Arc<Service<A, P>>,
        step: Step<P::Handling<A>>,
        under_way: UnderWay,
        version: Version,
        is_head: bool,
    ) -> Answer<A, P> {
        Answer {
            step,
            under_way: Some(under_way),
            version,
            is_head,
            service,
        }
    }
}

impl<A: Application, P: Place> Future for Answer<A, P> {
    type Output = Result<http::Response<Sending>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let missing = "a future that has ended is not polled again";
        let answer = loop {
            let under_way = this.under_way.as_ref().expect(missing);
            match this.step.as_mut().project() {
                StepProjection::Refused { refusal } => break Err(refusal.clone()),
                StepProjection::Collecting { collecting } => {
                    let request = match ready!(collecting.poll(context, &under_way.exchange)) {
                        Ok(request) => request,
                        Err(refusal) => break Err(refusal),
                    };
                    let handling = this.service.handle(request, under_way, false);
                    this.step.set(handling);
                }
                StepProjection::Handling { handling } => {
                    let response = ready!(handling.poll(context, &under_way.exchange));
                    // Whatever the handler made of content that was not as it must be.
                    break match under_way.exchange.fault() {
                        Some(fault) => Err(fault),
                        // What fails on our side is no reason to end the connection.
                        None => Ok(response.unwrap_or_else(|failure| failure.to_response())),
                    };
                }
            }
        };
        let under_way = this.under_way.take().expect(missing);
        let finished = (this.service).finish(answer, *this.version, *this.is_head, under_way);
        Poll::Ready(Ok(finished))
    }
}

/// A request whose content, of a known length, is waited for.
pub(super) struct Collecting {
    /// `None` when it has ended.
    head: Option<Parts>,
    content: Received,
    length: usize,
    /// What has come, if it comes in several frames.
    collected: BytesMut,
}

impl Collecting {
    pub(super) fn new(head: Parts, content: Received, length: usize) -> Collecting {
        Collecting {
            head: Some(head),
            content,
            length,
            collected: BytesMut::new(),
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Result<Request, Refusal>> {
        let body = loop {
            match ready!(Pin::new(&mut self.content).poll_frame(context)) {
                None => break Body::from(self.collected.split().freeze()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() == self.length => break Body::from(data),
                    Ok(data) => {
                        self.collected
                            .reserve(self.length.saturating_sub(self.collected.len()));
                        self.collected.extend_from_slice(&data);
                    }
                    Err(_trailers) => {}
                },
                Some(Err(_)) => {
                    let fault = exchange.fault();
                    let unknown = || Refusal::malformed("the content is incomplete");
                    return Poll::Ready(Err(fault.unwrap_or_else(unknown)));
                }
            }
        };
        let head = self.head.take();
        let head = head.expect("what has ended is not polled again");
        Poll::Ready(Ok(Request::from_parts(head, body)))
    }
}
