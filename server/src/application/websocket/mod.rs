//! WebSockets for blocking code (RFC 6455), by the crate `tungstenite` over hyper's upgraded connection.
//!
//! A plain function answers a request with [`upgrade`], which is given another function. That runs on a thread of its own when
//! the connection has been switched over, and reads and sends messages as if nothing else were to do.
//!
//! ```no_run
//! use greenpatch_server::application::{Request, Response, websocket};
//!
//! fn echo(request: Request) -> Response {
//!     websocket::upgrade(request, |socket| {
//!         while let Some(message) = socket.read()? {
//!             socket.send(message)?;
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Pings are answered, and closing is agreed upon with the client, without any doing of the function's. When the worker is to stop, it
//! tells the client with code 1001; sending fails from then on, and reading ends when the client agrees.

mod shared;
mod socket;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response;
use tungstenite::protocol::WebSocketConfig;

pub use socket::{Sender, WebSocket};
pub use tungstenite::protocol::frame::coding::CloseCode;
pub use tungstenite::{Error, Message, protocol::CloseFrame};

use super::thread::spawn;
use super::wait::wait_for;
use super::{Farewell, HttpError, IntoResponse, Request, Response, ResponseExt};

/// Answers a request by switching its connection to a WebSocket, which `serve` then serves.
///
/// A request that is none for a WebSocket is refused. When `serve` returns, the socket is closed; an error is logged, unless
/// it is that the client has left.
pub fn upgrade<F>(request: Request, serve: F) -> Response
where
    F: FnOnce(&WebSocket) -> Result<(), Error> + Send + 'static,
{
    Upgrade::new().accept(request, serve)
}

/// How to switch to WebSockets: [`upgrade`] with subprotocols and limits.
///
/// ```no_run
/// use greenpatch_server::application::{Request, Response, websocket::Upgrade};
///
/// fn chat(request: Request) -> Response {
///     Upgrade::new()
///         .protocols(["chat.v2", "chat.v1"])
///         .max_message_size(64 * 1024)
///         .accept(request, |socket| {
///             let greeting = format!("this is {}", socket.protocol().unwrap_or("chat.v1"));
///             socket.send(greeting)
///         })
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Upgrade {
    protocols: Vec<String>,
    config: WebSocketConfig,
}

impl Default for Upgrade {
    fn default() -> Upgrade {
        Upgrade::new()
    }
}

impl Upgrade {
    /// No subprotocols, messages of at most 16 MiB.
    pub fn new() -> Upgrade {
        let most = 16 * 1024 * 1024;
        Upgrade {
            protocols: Vec::new(),
            // Kept for as long as the connection is open, so they are small.
            config: WebSocketConfig::default()
                .read_buffer_size(8 * 1024)
                .write_buffer_size(8 * 1024)
                .max_message_size(Some(most))
                .max_frame_size(Some(most)),
        }
    }

    /// The subprotocols that are served, the preferred one first. The first one that the client offers as well is agreed
    /// upon; if there is none, the socket is opened without.
    #[must_use]
    pub fn protocols<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Upgrade {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// The most bytes that a message may have. A longer one closes the socket with code 1009.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Upgrade {
        self.config = self
            .config
            .max_message_size(Some(bytes))
            .max_frame_size(Some(bytes));
        self
    }

    /// As [`upgrade`].
    pub fn accept<F>(&self, mut request: Request, serve: F) -> Response
    where
        F: FnOnce(&WebSocket) -> Result<(), Error> + Send + 'static,
    {
        let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return refuse(Refusal::NoUpgrade);
        };
        let farewell = request.extensions_mut().remove::<Farewell>();
        let (parts, _) = request.into_parts();
        let request = http::Request::from_parts(parts, ());
        let response = match create_response(&request) {
            Ok(response) => response,
            Err(error) => return refuse(Refusal::Handshake(error)),
        };
        let mut response = response.map(super::Body::from);
        let protocol = self.choose(&request);
        if let Some(protocol) = &protocol {
            let value = HeaderValue::try_from(protocol).expect("the client has sent the same");
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        let config = self.config;
        let spawned = spawn("websocket", move || match wait_for(None, upgrade) {
            Ok(Ok(upgraded)) => socket::serve(upgraded, config, protocol, farewell, serve),
            Ok(Err(error)) => {
                tracing::debug!("connection was not switched to a WebSocket: {error}")
            }
            Err(error) => tracing::debug!("connection was not switched to a WebSocket: {error}"),
        });
        match spawned {
            Ok(()) => response,
            Err(error) => HttpError::from(error).into_response(),
        }
    }

    fn choose<B>(&self, request: &http::Request<B>) -> Option<String> {
        let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let offers = offers.iter().filter_map(|field| field.to_str().ok());
        let offers: Vec<&str> = offers
            .flat_map(|field| field.split(','))
            .map(str::trim)
            .collect();
        let agreed = self
            .protocols
            .iter()
            .find(|known| offers.contains(&known.as_str()));
        agreed.cloned()
    }
}

enum Refusal {
    NoUpgrade,
    Handshake(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoUpgrade => f.write_str("a WebSocket is opened by an upgrade of HTTP/1.1"),
            Refusal::Handshake(error) => write!(f, "no WebSocket can be opened: {error}"),
        }
    }
}

/// 405, 426 or 400.
fn refuse(refusal: Refusal) -> Response {
    let status = match &refusal {
        Refusal::Handshake(Error::Protocol(ProtocolError::WrongHttpMethod)) => {
            StatusCode::METHOD_NOT_ALLOWED
        }
        Refusal::NoUpgrade
        | Refusal::Handshake(Error::Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
            | ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader,
        )) => StatusCode::UPGRADE_REQUIRED,
        Refusal::Handshake(_) => StatusCode::BAD_REQUEST,
    };
    let response = HttpError::new(status, refusal.to_string()).into_response();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => response.with_header(header::ALLOW, "GET"),
        StatusCode::UPGRADE_REQUIRED => response
            .with_header(header::UPGRADE, "websocket")
            .with_header(header::CONNECTION, "upgrade")
            .with_header(header::SEC_WEBSOCKET_VERSION, "13"),
        _ => response,
    }
}
