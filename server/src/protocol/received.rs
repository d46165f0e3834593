//! A request's content as the handler gets it: hyper's, within the limits, and with an account of what is wrong with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::clock::Clock;
use super::exchange::Exchange;
use super::refusal::Refusal;
use super::registry::{Connection, Registry};
use crate::application::BoxError;

/// Received that a handler left unread is read over up to this length; with more to come the connection is closed instead.
/// (256 KiB is what Go's net/http reads over.)
pub(super) const MOST_READ_OVER: u64 = 256 * 1024;

/// See the module's page.
pub(crate) struct Received {
    /// `None` when nothing more is to be had of it.
    incoming: Option<Incoming>,
    exchange: Arc<Exchange>,
    connection: Arc<Connection>,
    registry: Arc<Registry>,
    /// Bytes that may still come.
    room: u64,
    limit: u64,
    /// The client waits for `100 Continue`, which hyper sends at the first poll.
    is_continue_due: bool,
}

impl Received {
    pub(super) fn new(
        incoming: Incoming,
        exchange: Arc<Exchange>,
        connection: Arc<Connection>,
        registry: Arc<Registry>,
        limit: u64,
        expects_continue: bool,
    ) -> Received {
        Received {
            incoming: Some(incoming),
            exchange,
            connection,
            registry,
            room: limit,
            limit,
            is_continue_due: expects_continue,
        }
    }

    fn clock(&self) -> &Clock {
        &self.registry.clock
    }

    /// Notes what was wrong, and makes an error of it for the handler.
    fn fail(&mut self, refusal: Refusal) -> BoxError {
        self.incoming = None;
        self.connection.linger();
        self.exchange.fail_content(refusal.clone());
        refusal.into()
    }

    /// What hyper found wrong.
    fn refusal_of(&self, error: &hyper::Error) -> Refusal {
        if let Some(fault) = self.exchange.fault() {
            fault
        } else if let Some(fault) = self.connection.fault() {
            fault.clone()
        } else if error.is_incomplete_message() {
            Refusal::malformed("the content ends too early")
        } else {
            Refusal::malformed("the content is not framed as it must be")
        }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(this.exchange.fault().map(|fault| Err(fault.into())));
        };
        this.is_continue_due = false;
        match Pin::new(incoming).poll_frame(context) {
            Poll::Pending => {
                let now = this.clock().now();
                this.exchange.wait_for_content(context, now);
                // The sweep sets the fault, then wakes who has been noted; the other way round here.
                match this.exchange.fault() {
                    None => Poll::Pending,
                    Some(fault) => Poll::Ready(Some(Err(this.fail(fault)))),
                }
            }
            Poll::Ready(None) => {
                this.incoming = None;
                this.exchange.end_content();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.exchange.note_content(length);
                match this.room.checked_sub(length as u64) {
                    Some(room) => this.room = room,
                    None => {
                        let refusal = Refusal::content_too_large(this.limit);
                        return Poll::Ready(Some(Err(this.fail(refusal))));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let refusal = this.refusal_of(&error);
                Poll::Ready(Some(Err(this.fail(refusal))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Received {
    /// What the handler has left of it is read over, so that the connection can go on.
    fn drop(&mut self) {
        self.exchange.end_content();
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        if incoming.is_end_stream() || self.connection.is_http2() {
            return;
        }
        // A client that still waits for `100 Continue` may or may not send the content after another answer, so that where
        // the next request begins cannot be known.
        let rest = incoming.size_hint().exact();
        if self.is_continue_due || rest.is_some_and(|rest| rest > MOST_READ_OVER) {
            self.connection.linger();
            self.connection.close_after_response();
        } else {
            self.connection.leave_over(incoming);
        }
    }
}
