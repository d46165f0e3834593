//! From a request as hyper gives it to the response that it sends: the checks before the handler, and what becomes of its answer.
//! What is between the two is waited for by an [`Answer`].
//!
//! Where the handler runs is the worker class's affair ([`Place`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, SERVER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::answer::{Answer, Collecting, Step, Waiting};
use super::exchange::Exchange;
use super::farewell::Farewell;
use super::fields::NameLengths;
use super::forwarded::Forwarders;
use super::piece::Piece;
use super::received::Received;
use super::refusal::{self, Refusal};
use super::registry::{Connection, Registry};
use super::strict;
#[cfg(feature = "tls")]
use super::tls::TlsDetails;
use crate::application::{
    Application, Body, BoxError, ForwardedHost, Peer, PeerAddress, Request, Response, Scheme,
};
use crate::observe::{Observation, Observer, RequestId};
use crate::settings::Settings;

/// Where handlers run.
pub(crate) trait Place: Send + Sync + 'static {
    /// What a handler's answer is waited for by.
    type Handling<A: Application>: Handling;

    /// Up to which length a request's content is waited for before the handler is called; 0 if the handler gets it as it comes.
    fn collects(&self, blocks: bool) -> u64;

    /// Has the application answer a request.
    fn handle<A: Application>(
        &self,
        application: &A,
        request: Request,
        id: RequestId,
        exchange: &Arc<Exchange>,
        caller: Caller,
    ) -> Handled<Self::Handling<A>>;

    /// Whether polling a response's content may block for long.
    fn may_block(&self) -> bool;
}

/// Who has a request handled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The task that waits for this answer alone: a handler may block it.
    Waits,
    /// One that has other things to do.
    GoesOn,
    /// One that brings the request's content while it is polled, so that the handler must not block in there.
    BringsContent,
}

/// What becomes of a request that the application answers.
pub(crate) enum Handled<H> {
    Answered(Response),
    UnderWay(H),
}

/// A handler's answer on its way.
pub(crate) trait Handling: Send + 'static {
    /// The response; one that says so if something went wrong on our side.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>, exchange: &Exchange)
    -> Poll<Response>;
}

/// What the connections of a worker have in common.
pub(crate) struct Common<A, P> {
    pub(crate) application: A,
    pub(crate) place: P,
    pub(crate) registry: Arc<Registry>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) forwarders: Forwarders,
    pub(crate) observer: Arc<Observer>,
    /// Whether the worker is to stop, so that each response is the last of its connection.
    pub(crate) is_stopping: Box<dyn Fn() -> bool + Send + Sync>,
}

/// What answers the requests of one connection.
pub(super) struct Service<A, P> {
    pub(super) common: Arc<Common<A, P>>,
    pub(super) application: A,
    pub(super) connection: Arc<Connection>,
    pub(super) peer: Peer,
    pub(super) scheme: Scheme,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsDetails>,
}

impl<A: Application, P: Place> Service<A, P> {
    /// Answers a request of HTTP/1, or begins to. A handler that blocks may do so in here, as the connection has nothing else
    /// to do.
    pub(super) fn answer(self: &Arc<Self>, request: http::Request<Incoming>) -> Answer<A, P> {
        self.answer_for(request, Caller::Waits)
    }

    /// Begins to answer a request of HTTP/2. This does not block.
    pub(super) fn answer_stream(
        self: &Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Answer<A, P> {
        self.answer_for(request, Caller::GoesOn)
    }

    fn answer_for(
        self: &Arc<Self>,
        request: http::Request<Incoming>,
        caller: Caller,
    ) -> Answer<A, P> {
        let seen = self.common.observer.request(&request, self.peer.address());
        let under_way = UnderWay {
            seen,
            exchange: self.connection.begin(),
            connection: Arc::clone(&self.connection),
        };
        let (version, is_head) = (request.version(), request.method() == Method::HEAD);
        // Otherwise hyper says it.
        if version == Version::HTTP_10
            && !(self.common.settings.keeps_connections() && asks_to_keep(request.headers()))
        {
            self.connection.close_after_response();
        }
        let response = match self.begin(request, &under_way, caller) {
            Step::Refused { refusal } => self.refuse(&refusal),
            Step::Answered {
                response: Some(response),
            } => response,
            step => {
                let service = Arc::clone(self);
                let waiting = Waiting::new(service, step, under_way, version, is_head);
                return Answer::Waiting(Box::pin(waiting));
            }
        };
        Answer::Ready(Some(self.send(response, version, is_head, under_way)))
    }

    /// Looks at a request, and has it handled if all of it is there or need not be waited for.
    fn begin(
        &self,
        request: http::Request<Incoming>,
        under_way: &UnderWay,
        caller: Caller,
    ) -> Step<P::Handling<A>> {
        let (mut head, incoming) = request.into_parts();
        let length = incoming.size_hint().exact();
        if let Err(refusal) = self.check(&mut head, length) {
            return Step::Refused { refusal };
        }
        head.extensions.insert(under_way.seen.id().clone());
        if incoming.is_end_stream() {
            let request = Request::from_parts(head, Body::empty());
            return self.handle(request, under_way, caller);
        }
        let limits = &self.common.settings.limits;
        let expects_continue = strict::expects_continue(&head);
        let content = Received::new(
            incoming,
            Arc::clone(&under_way.exchange),
            Arc::clone(&self.connection),
            Arc::clone(&self.common.registry),
            limits.request_body,
            expects_continue,
        );
        let most = self.common.place.collects(A::BLOCKS);
        match length.filter(|length| !expects_continue && *length <= most) {
            Some(length) => Step::Collecting {
                collecting: Collecting::new(head, content, length as usize),
            },
            None => {
                let caller = match head.version < Version::HTTP_2 {
                    true => Caller::BringsContent,
                    false => caller,
                };
                let request = Request::from_parts(head, Body::from(content));
                self.handle(request, under_way, caller)
            }
        }
    }

    /// Refuses a request that is not as it must be; else the application is told where it comes from.
    fn check(&self, head: &mut Parts, length: Option<u64>) -> Result<(), Refusal> {
        self.check_under_way()?;
        let names = NameLengths::of(&head.headers);
        strict::check(head, names, length, &self.common.settings.limits)?;
        self.tell_origin(head, names);
        Ok(())
    }

    /// Has a request handled.
    #[inline]
    pub(super) fn handle(
        &self,
        request: Request,
        under_way: &UnderWay,
        caller: Caller,
    ) -> Step<P::Handling<A>> {
        let UnderWay { exchange, seen, .. } = under_way;
        let (place, id) = (&self.common.place, seen.id().clone());
        match place.handle(&self.application, request, id, exchange, caller) {
            Handled::Answered(response) => Step::Answered {
                response: Some(response),
            },
            Handled::UnderWay(handling) => Step::Handling { handling },
        }
    }

    /// A client has no more streams open than it may, but resets some whose handlers go on for a while
    /// (CVE-2023-44487). They are to be no more than as many again.
    fn check_under_way(&self) -> Result<(), Refusal> {
        let most = self.common.settings.http2_streams as usize * 2;
        if self.connection.is_http2() && self.connection.under_way() > most {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests of this connection are under way",
            ));
        }
        Ok(())
    }

    /// Tells the application where the request comes from.
    fn tell_origin(&self, head: &mut Parts, names: NameLengths) {
        let forwarders = &self.common.forwarders;
        let origin = forwarders.origin(&head.headers, names, self.peer, self.scheme);
        head.extensions.insert(PeerAddress(origin.peer));
        head.extensions.insert(origin.scheme);
        if let Some(authority) = origin.authority {
            head.extensions.insert(ForwardedHost(authority));
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            head.extensions.insert(tls.clone());
        }
        if head.extensions.get::<OnUpgrade>().is_some() {
            let farewell = Farewell::default();
            self.connection.set_farewell(farewell.clone());
            // The drain begins before it looks for those that are there.
            if self.common.registry.draining().is_some() {
                farewell.say();
            }
            head.extensions.insert(farewell);
        }
    }

    /// The response to a request that no handler has seen or that was not as it must be. The connection ends after it.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        self.connection.linger();
        self.connection.close_after_response();
        refusal.to_response()
    }

    /// Makes a response ready for hyper.
    pub(super) fn send(
        &self,
        mut response: Response,
        version: Version,
        is_head: bool,
        mut under_way: UnderWay,
    ) -> http::Response<Sending> {
        // Content that was not as it must be is told of, whatever a handler has made of it.
        if let Some(fault) = under_way.exchange.fault() {
            response = self.refuse(&fault);
        }
        under_way.exchange.answer();
        under_way.seen.queued(under_way.exchange.queued());
        under_way.seen.answered(&mut response);
        let (mut head, body) = response.into_parts();
        if is_head || body.is_end_stream() {
            under_way.seen.complete();
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.upgrade();
        } else if version < Version::HTTP_2
            && (!self.common.settings.keeps_connections()
                || self.connection.is_to_close()
                || (self.common.is_stopping)())
        {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
            if version == Version::HTTP_10 {
                // Or hyper adds that it keeps the connection, as the client has asked.
                head.version = version;
            }
        }
        head.headers
            .entry(SERVER)
            .or_insert(HeaderValue::from_static(refusal::SERVER));
        correct_length(&mut head, &body, is_head);
        let is_http2 = version >= Version::HTTP_2;
        // hyper sends it in HTTP/2.
        let body = match is_http2 && is_bodiless(head.status, is_head) {
            true => Body::empty(),
            false => body,
        };
        let waits_for_flush = !is_http2 && self.common.place.may_block() && body.is_stream();
        let sending = Sending {
            body,
            is_http2,
            under_way,
            unwritten: waits_for_flush.then(|| self.connection.flushes()),
            waits_for_flush,
        };
        http::Response::from_parts(head, sending)
    }
}

/// How content is framed is not for handlers to say: what they say of its length holds only where there is none to be seen.
fn correct_length(head: &mut http::response::Parts, body: &Body, is_head: bool) {
    let names = NameLengths::of(&head.headers);
    if names.may_have(&TRANSFER_ENCODING) {
        head.headers.remove(TRANSFER_ENCODING);
    }
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
        return;
    }
    let is_said = names.may_have(&CONTENT_LENGTH) && head.headers.contains_key(CONTENT_LENGTH);
    // Without content the length is that of the response to GET, which the handler may know better.
    let is_wanted = match is_bodiless(head.status, is_head) {
        true => is_head && !is_said && !body.is_end_stream(),
        false => is_said,
    };
    if is_wanted && let Some(length) = body.size_hint().exact() {
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Whether a response has no content, whatever the handler gave it (RFC 9110, section 6.4.1).
fn is_bodiless(status: StatusCode, is_head: bool) -> bool {
    is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a client of HTTP/1.0 wants to go on with the connection.
fn asks_to_keep(fields: &HeaderMap) -> bool {
    let has = |option: &str| {
        let values = fields.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    has("keep-alive") && !has("close")
}

/// An exchange, until its response was given to hyper whole, or will never be.
pub(super) struct UnderWay {
    pub(super) exchange: Arc<Exchange>,
    connection: Arc<Connection>,
    seen: Observation,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.end(&self.exchange);
    }
}

/// A response's content on its way to hyper.
pub(crate) struct Sending {
    body: Body,
    is_http2: bool,
    under_way: UnderWay,
    /// The next frame may be long in coming, so the last one is to be written before it is asked for.
    waits_for_flush: bool,
    /// How often hyper had written all when it was given the head or the last frame, until it has written that.
    unwritten: Option<u64>,
}

impl http_body::Body for Sending {
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let this = &mut *self;
        if let Some(flushes) = this.unwritten {
            if this.under_way.connection.flushes() == flushes {
                this.under_way.connection.await_flush();
                return Poll::Pending;
            }
            this.unwritten = None;
        }
        let UnderWay {
            seen,
            exchange,
            connection,
            ..
        } = &mut this.under_way;
        exchange.note_asked_for_content(true);
        let polled = {
            // Only a stream is somebody's code, which may log.
            let _entered = this.body.is_stream().then(|| seen.enter());
            Pin::new(&mut this.body).poll_frame(context)
        };
        if polled.is_ready() {
            exchange.note_asked_for_content(false);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if this.waits_for_flush {
                    this.unwritten = Some(connection.flushes());
                }
                seen.sent(frame.data_ref().map_or(0, Bytes::len));
                if this.body.is_end_stream() {
                    seen.complete();
                }
            }
            Poll::Ready(None) => seen.complete(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled.map_ok(|frame| {
            frame.map_data(|data| match this.is_http2 {
                true => Piece::of(connection, data),
                false => Piece::from(data),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
