//! One connection, from the accepted socket to its end: a future that hyper does most of.
//!
//! The client's first bytes tell which of hyper's two kinds of connection it is. From then on the future only passes polls on,
//! and does two things besides: it ends the connection when the [sweep](super::sweep) or the drain asks for that and nothing is under
//! way; and it reads over content that a handler has left, so that the next request is found behind it.
//!
//! **At rest.** A connection of HTTP/1 that has been quiet for a moment gives hyper's part of it up, with its buffer and all, and
//! waits with nothing but the stream, as a fresh one does. The next byte has hyper's part made anew. So thousands of
//! idle clients cost little more than their sockets, and busy ones nothing.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use super::entry::{Entry, Opened, Shut};
use super::received::MOST_READ_OVER;
use super::registry::{Connection, Entered};
use super::service::{Common, Place, Service};
use super::stream::Stream;
use super::watched::Watched;
use crate::application::Application;
use crate::observe::Refusal;
use crate::settings::Settings;

/// How connections of either kind are served.
#[derive(Clone)]
pub(crate) struct Protocol<E> {
    http1: http1::Builder,
    http2: http2::Builder<E>,
}

impl<E> Protocol<E> {
    /// As the settings say. HTTP/2 runs each of its streams as a task of `executor`.
    pub(crate) fn new<T>(settings: &Settings, executor: E, timer: T) -> Protocol<E>
    where
        E: Clone,
        T: hyper::rt::Timer + Clone + Send + Sync + 'static,
    {
        let limits = &settings.limits;
        let mut http1 = http1::Builder::new();
        http1
            .half_close(settings.half_close)
            // The sweep does that.
            .header_read_timeout(None)
            .max_header_size(limits.request_head)
            .max_buf_size(limits.request_head.clamp(LEAST_BUFFER, MOST_BUFFER));
        // hyper's own number costs nothing; any other one an allocation for each request.
        if limits.request_fields > HYPERS_FIELDS {
            http1.max_headers(limits.request_fields.min(MOST_FIELDS));
        }
        let mut http2 = http2::Builder::new(executor);
        http2
            .timer(timer)
            .max_concurrent_streams(settings.http2_streams)
            .max_header_list_size(u32::try_from(limits.request_head).unwrap_or(u32::MAX));
        Protocol { http1, http2 }
    }
}

/// Header fields that hyper takes unless it is told another number.
const HYPERS_FIELDS: usize = 100;

/// As many as an [`http::HeaderMap`] holds.
const MOST_FIELDS: usize = 32_768;

/// The least buffer that hyper accepts.
const LEAST_BUFFER: usize = 8 * 1024;

/// The greatest buffer for a connection, and hyper's own choice.
const MOST_BUFFER: usize = 8 * 1024 + 4 * 1024 * 100;

/// How often HTTP/2 may read before other connections have their turn. hyper reads on as long as something comes, and
/// each time may bring a thousand frames.
const READS_IN_A_TURN: usize = 4;

/// Serves a connection until either side ends it.
pub(crate) async fn serve<A, P, E>(
    common: Arc<Common<A, P>>,
    protocol: Arc<Protocol<E>>,
    entry: Arc<Entry>,
    stream: Stream,
    entered: Entered,
) where
    A: Application,
    P: Place,
    E: hyper::rt::bounds::Http2ServerConnExec<
            Pin<
                Box<
                    dyn Future<Output = Result<http::Response<super::service::Sending>, Infallible>>
                        + Send,
                >,
            >,
            super::service::Sending,
        > + Clone
        + Unpin,
{
    let connection = Arc::clone(entered.connection());
    let observer = Arc::clone(&common.observer);
    let Opened {
        io,
        peer,
        scheme,
        #[cfg(feature = "tls")]
        tls,
    } = match noting_waker(&connection, entry.open(stream)).await {
        Ok(opened) => opened,
        Err(Shut::Gone) => return,
        Err(Shut::Timeout) => return observer.refused(Refusal::Timeout),
        Err(Shut::Proxy) => return observer.refused(Refusal::Proxy),
        #[cfg(feature = "tls")]
        Err(Shut::Tls) => return observer.refused(Refusal::Tls),
    };
    let limits = common.settings.limits.clone();
    let registry = Arc::clone(&common.registry);
    let mut watched = Watched::new(io, entered, registry, limits);
    let known = unless_ended(&connection, watched.until_known()).await;
    let service = Arc::new(Service {
        application: common.application.clone(),
        common,
        connection: Arc::clone(&connection),
        peer,
        scheme,
        #[cfg(feature = "tls")]
        tls,
    });
    match known {
        Some(Ok(Some(false))) => {
            let Some(served) = serve_http1(&protocol.http1, &service, watched).await else {
                return;
            };
            if let Some((status, length)) = connection.refusal().or(hypers_refusal(&served)) {
                observer.answered_raw(peer.address(), status, length);
            }
            if hypers_refusal(&served).is_some() {
                observer.refused(Refusal::Malformed);
            }
            tell(served);
        }
        Some(Ok(Some(true))) => {
            connection.begin_http2();
            let answer = service_fn(move |request| {
                let answer = service.answer_stream(request);
                Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
            });
            let mut http2 = Box::pin(protocol.http2.serve_connection(watched, answer));
            let mut is_ending = false;
            let served = std::future::poll_fn(|context| {
                connection.allow_reads(READS_IN_A_TURN);
                if connection.is_to_end() && !std::mem::replace(&mut is_ending, true) {
                    http2.as_mut().graceful_shutdown();
                }
                http2.as_mut().poll(context)
            });
            tell(served.await);
            // Its streams are tasks of their own, which do not see that the client has gone.
            connection.for_each_exchange(|exchange| {
                exchange.cancel();
            });
        }
        Some(Ok(None) | Err(_)) | None => return,
    }
    if connection.is_to_linger() {
        connection.socket().linger().await;
    }
}

/// Serves HTTP/1. How it ended; `None` if the connection was at rest then.
async fn serve_http1<A: Application, P: Place>(
    http1: &http1::Builder,
    service: &Arc<Service<A, P>>,
    mut watched: Watched,
) -> Option<hyper::Result<()>> {
    let connection = &service.connection;
    let mut leftover = None;
    loop {
        let answer = {
            let service = Arc::clone(service);
            service_fn(move |request| service.answer(request))
        };
        // Boxed, so that a connection at rest has no place for it.
        let mut hypers = Box::new(http1.serve_connection(watched, answer).with_upgrades());
        let served = std::future::poll_fn(|context| {
            let mut http1 = Pin::new(&mut *hypers);
            let mut served = http1.as_mut().poll(context);
            if served.is_pending() && read_over(connection, &mut leftover, context) {
                served = http1.as_mut().poll(context);
            }
            if served.is_pending() && connection.is_to_end() {
                http1.as_mut().graceful_shutdown();
                served = http1.as_mut().poll(context);
            }
            match served {
                Poll::Ready(served) => Poll::Ready(Some(served)),
                Poll::Pending if leftover.is_none() && connection.begin_rest() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(served) = served.await {
            return Some(served);
        }
        let parts = hypers.into_parts()?;
        watched = parts.io;
        let is_more = unless_ended(connection, watched.until_more(parts.read_buf)).await;
        connection.end_rest();
        if !is_more?.ok()? {
            return None;
        }
    }
}

/// Waits for what comes from the client; `None` if the connection is to end first.
async fn unless_ended<F: Future>(connection: &Connection, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending if connection.is_to_end() => Poll::Ready(None),
        polled => polled.map(Some),
    })
    .await
}

/// The future, and how to wake its task is noted at the first poll.
fn noting_waker<F: Future>(connection: &Connection, future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |context| {
        connection.note_waker(context.waker());
        future.as_mut().poll(context)
    })
}

/// Content that is being read over.
struct Leftover {
    incoming: Incoming,
    room: u64,
}

/// Reads over what a handler has left. True if hyper is to be polled again, as it waits for that.
fn read_over(
    connection: &Connection,
    leftover: &mut Option<Leftover>,
    context: &mut Context<'_>,
) -> bool {
    if let Some(incoming) = connection.take_leftover() {
        *leftover = Some(Leftover {
            incoming,
            room: MOST_READ_OVER,
        });
    }
    let Some(rest) = leftover else {
        return false;
    };
    loop {
        match Pin::new(&mut rest.incoming).poll_frame(context) {
            // hyper is woken by the wish for more.
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(room) = rest.room.checked_sub(length) {
                    rest.room = room;
                    continue;
                }
                connection.linger();
            }
            Poll::Ready(Some(Err(_)) | None) => {}
        }
        *leftover = None;
        return true;
    }
}

/// The status of the answer that hyper has given by itself to a head that it does not understand; it has no content.
fn hypers_refusal(served: &hyper::Result<()>) -> Option<(StatusCode, usize)> {
    let error = served.as_ref().err().filter(|error| error.is_parse())?;
    let status = match error.is_parse_too_large() {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    };
    Some((status, 0))
}

/// Clients that break off are usual, so that is told only to who wants to know all.
fn tell(served: hyper::Result<()>) {
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}
