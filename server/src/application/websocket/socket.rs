//! [`WebSocket`] and [`Sender`]: what a function has in its hands.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::ready;
use std::time::{Duration, Instant};

use greenpatch::sync::Mutex;
use hyper::upgrade::Upgraded;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message};

use super::super::Farewell;
use super::super::wait::wait_for;
use super::shared::Shared;

/// How long a client may take to agree to the end.
const CLOSING: Duration = Duration::from_secs(5);

/// An open WebSocket.
///
/// One thread reads; others send through [`sender`](Self::sender), at the same time.
///
/// ```no_run
/// use greenpatch_server::application::{Request, Response, websocket};
///
/// fn clock(request: Request) -> Response {
///     websocket::upgrade(request, |socket| {
///         let sender = socket.sender();
///         std::thread::spawn(move || {
///             while sender.send(format!("{:?}", std::time::SystemTime::now())).is_ok() {
///                 std::thread::sleep(std::time::Duration::from_secs(1));
///             }
///         });
///         // Until the client closes, which makes the other thread's next send fail.
///         while socket.read()?.is_some() {}
///         Ok(())
///     })
/// }
/// ```
pub struct WebSocket {
    sender: Sender,
    /// Held while reading.
    reading: Mutex<()>,
    protocol: Option<String>,
}

impl WebSocket {
    /// Waits for the next message, text or binary. `None`: the client has closed the socket in good order.
    ///
    /// # Errors
    ///
    /// If the client violates the protocol, which it is told, or goes away without closing. If a time limit around the call
    /// is over or the green thread is cancelled; the socket can be used on then.
    pub fn read(&self) -> Result<Option<Message>, Error> {
        self.read_within(None)
    }

    /// As [`read`](Self::read), for at most `limit`; an error of kind [`TimedOut`](io::ErrorKind::TimedOut) after that.
    pub fn read_timeout(&self, limit: Duration) -> Result<Option<Message>, Error> {
        self.read_within(Some(limit))
    }

    fn read_within(&self, limit: Option<Duration>) -> Result<Option<Message>, Error> {
        let _turn = self
            .reading
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        let shared = &self.sender.0.shared;
        let data = poll_fn(|context| {
            loop {
                match ready!(shared.poll_read(context)) {
                    Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                        return Ok(Some(message)).into();
                    }
                    // Answered by the protocol, as it goes on reading.
                    Ok(_) => {}
                    Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(None).into(),
                    Err(error) => return Err(error).into(),
                }
            }
        });
        let read = wait_for(limit, data)?;
        if let Err(error) = &read
            && let Some(frame) = close_frame_for(error)
        {
            // The client learns why, if it still listens.
            let _ = self.close(frame);
        }
        read
    }

    /// Sends a message: a `String`, `&str`, `Vec<u8>` or any other [`Message`]. Returns when it is with the kernel.
    ///
    /// # Errors
    ///
    /// If the socket is closed or the client has gone, or the wait was cut short.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message)
    }

    /// Tells the client that this is the end, and why. After that nothing can be sent; [`read`](Self::read) goes on until the
    /// client agrees.
    pub fn close(&self, frame: CloseFrame) -> Result<(), Error> {
        self.sender.close(frame)
    }

    /// A way to send from other threads.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The subprotocol that was agreed upon.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Sees the socket closed: says so, and waits for the client to agree, for a bounded time.
    fn finish(&self, frame: CloseFrame) {
        let Sending { shared, turn } = &*self.sender.0;
        if shared.begin_close(Some(frame)).is_err() {
            return;
        }
        let end = Instant::now() + CLOSING;
        let left = || end.saturating_duration_since(Instant::now());
        // Otherwise a sender is at it, and sends this as well, or is stuck.
        if let Ok(_turn) = turn.try_lock() {
            let flush = poll_fn(|context| shared.poll_flush(context));
            let _ = wait_for(Some(left()), flush);
        }
        while let Ok(Some(_)) = self.read_timeout(left()) {}
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.sender.0.shared.end();
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Sends messages to a [`WebSocket`] from any thread. Clones send to the same.
///
/// It does not keep the socket open: when the socket's function has returned, sending fails.
#[derive(Clone)]
pub struct Sender(Arc<Sending>);

struct Sending {
    shared: Shared,
    /// Held while sending.
    turn: Mutex<()>,
}

impl Sender {
    /// As [`WebSocket::send`]. Several senders take turns, and no message comes into another's.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = message.into();
        self.send_by(|shared| shared.begin_send(message))
    }

    /// As [`WebSocket::close`].
    pub fn close(&self, frame: CloseFrame) -> Result<(), Error> {
        self.send_by(|shared| shared.begin_close(Some(frame)))
    }

    fn send_by(&self, begin: impl FnOnce(&Shared) -> Result<(), Error>) -> Result<(), Error> {
        let Sending { shared, turn } = &*self.0;
        let _turn = turn.lock().unwrap_or_else(|error| error.into_inner());
        begin(shared)?;
        wait_for(None, poll_fn(|context| shared.poll_flush(context)))?
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// Runs the application's function on an open connection, and sees that closed.
pub(super) fn serve<F>(
    stream: Upgraded,
    config: WebSocketConfig,
    protocol: Option<String>,
    farewell: Option<Farewell>,
    serve: F,
) where
    F: FnOnce(&WebSocket) -> Result<(), Error>,
{
    let shared = Shared::new(stream, config);
    let socket = WebSocket {
        sender: Sender(Arc::new(Sending {
            shared,
            turn: Mutex::new(()),
        })),
        reading: Mutex::new(()),
        protocol,
    };
    if let Some(farewell) = farewell {
        let sending = Arc::downgrade(&socket.sender.0);
        farewell.prepare(move || {
            if let Some(sending) = sending.upgrade() {
                // A socket that is closed already needs no farewell.
                let _ = sending.shared.begin_close(Some(CloseFrame {
                    code: CloseCode::Away,
                    reason: "the server stops".into(),
                }));
            }
        });
    }
    // What a panic leaves half done is dropped, or is the application's own affair.
    let code = match catch_unwind(AssertUnwindSafe(|| serve(&socket))) {
        Ok(Ok(())) => CloseCode::Normal,
        Ok(Err(error)) if has_left(&error) => return,
        // It was closed by the worker's farewell, or by another of the function's threads.
        Ok(Err(Error::Protocol(ProtocolError::SendAfterClosing))) => CloseCode::Normal,
        Ok(Err(error)) => {
            tracing::error!("WebSocket ended: {error}");
            CloseCode::Error
        }
        Err(_) => CloseCode::Error,
    };
    socket.finish(CloseFrame {
        code,
        reason: "".into(),
    });
}

fn has_left(error: &Error) -> bool {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => true,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// What the client is told when it has sent what it may not.
fn close_frame_for(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Protocol(_) => CloseCode::Protocol,
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
        _ => return None,
    };
    Some(CloseFrame {
        code,
        reason: "".into(),
    })
}
