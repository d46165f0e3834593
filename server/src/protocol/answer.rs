//! A request that is being answered, as the future that hyper polls.
//!
//! It is written out by hand, and small: hyper keeps room for one in each connection of HTTP/1, and moves it there for each request.
//! So what has to wait is boxed, and a plain function's response, which is there at once, costs no box.

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
use super::service::{Caller, Handling, Place, Sending, Service, UnderWay};
use crate::application::{Application, Body, Request, Response};

/// See the module's page.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost each plain function's response an allocation"
)]
pub(super) enum Answer<A: Application, P: Place> {
    /// `None` when it was given.
    Ready(Option<http::Response<Sending>>),
    Waiting(Pin<Box<Waiting<A, P>>>),
}

impl<A: Application, P: Place> Future for Answer<A, P> {
    type Output = Result<http::Response<Sending>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answer::Ready(response) => Poll::Ready(Ok(response.take().expect(ENDED))),
            Answer::Waiting(waiting) => waiting.as_mut().poll(context).map(Ok),
        }
    }
}

const ENDED: &str = "a future that has ended is not polled again";

pin_project! {
    /// An answer that is not there yet.
    pub(super) struct Waiting<A: Application, P: Place> {
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
        // `None` when it was given.
        Answered { response: Option<Response> },
    }
}

impl<A: Application, P: Place> Waiting<A, P> {
    pub(super) fn new(
        service: Arc<Service<A, P>>,
        step: Step<P::Handling<A>>,
        under_way: UnderWay,
        version: Version,
        is_head: bool,
    ) -> Waiting<A, P> {
        Waiting {
            step,
            under_way: Some(under_way),
            version,
            is_head,
            service,
        }
    }
}

impl<A: Application, P: Place> Future for Waiting<A, P> {
    type Output = http::Response<Sending>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let response = loop {
            let under_way = this.under_way.as_ref().expect(ENDED);
            match this.step.as_mut().project() {
                StepProjection::Refused { refusal } => break this.service.refuse(refusal),
                StepProjection::Collecting { collecting } => {
                    let step = match ready!(collecting.poll(context, &under_way.exchange)) {
                        Ok(request) => this.service.handle(request, under_way, Caller::Waits),
                        Err(refusal) => Step::Refused { refusal },
                    };
                    this.step.set(step);
                }
                StepProjection::Handling { handling } => {
                    break ready!(handling.poll(context, &under_way.exchange));
                }
                StepProjection::Answered { response } => break response.take().expect(ENDED),
            }
        };
        let under_way = this.under_way.take().expect(ENDED);
        let service = &this.service;
        Poll::Ready(service.send(response, *this.version, *this.is_head, under_way))
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
        let head = head.expect(ENDED);
        Poll::Ready(Ok(Request::from_parts(head, body)))
    }
}
