//! What hyper reads and writes: a plain stream, or a TLS session over one.
//!
//! One type for both, so that hyper's connections are compiled once. It also carries out [`Socket::refuse`], which has to
//! happen here: above TLS, and by the task that owns the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use super::stream::{Socket, Stream};

#[cfg(feature = "tls")]
type Session = tokio_rustls::server::TlsStream<Stream>;

/// The two kinds of transport.
enum Transport {
    Plain(Stream),
    /// Boxed: a session is a kilobyte, and most connections have none.
    #[cfg(feature = "tls")]
    Tls(Box<Session>),
}

/// Calls a method of hyper's traits on whichever transport there is.
macro_rules! transport {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.transport {
            Transport::Plain(stream) => {
                let mut adapted = TokioIo::new(stream);
                let $stream = Pin::new(&mut adapted);
                $call
            }
            #[cfg(feature = "tls")]
            Transport::Tls(session) => {
                let mut adapted = TokioIo::new(session);
                let $stream = Pin::new(&mut adapted);
                $call
            }
        }
    };
}

/// The byte stream of a connection, as hyper wants it.
pub(crate) struct Io {
    transport: Transport,
    refusing: Refusing,
}

/// How far a refusal has come. It goes down the list.
enum Refusing {
    No,
    /// This much of the response is still to be sent.
    Sending(Bytes),
    Ending,
    Done,
}

impl Io {
    /// The socket below, to share.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        match &self.transport {
            Transport::Plain(stream) => stream.socket(),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.get_ref().0.socket(),
        }
    }

    /// Whether client and server have agreed on HTTP/2 as they began (by ALPN).
    pub(crate) fn is_http2_agreed(&self) -> bool {
        match &self.transport {
            Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Sends the refusal and ends the writing side; done, or if the client does not take it, all reads find the end.
    #[cold]
    fn poll_refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.refusing {
                Refusing::Sending(rest) if rest.is_empty() => {
                    ready!(transport!(self, stream => stream.poll_flush(context)))?;
                    self.refusing = Refusing::Ending;
                }
                Refusing::Sending(rest) => {
                    let sent = transport!(self, stream => stream.poll_write(context, rest));
                    let sent = ready!(sent)?;
                    if sent == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    rest.advance(sent);
                }
                Refusing::Ending => {
                    ready!(transport!(self, stream => stream.poll_shutdown(context)))?;
                    self.refusing = Refusing::Done;
                }
                Refusing::No | Refusing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl From<Stream> for Io {
    fn from(stream: Stream) -> Io {
        Io {
            transport: Transport::Plain(stream),
            refusing: Refusing::No,
        }
    }
}

#[cfg(feature = "tls")]
impl From<Session> for Io {
    fn from(session: Session) -> Io {
        Io {
            transport: Transport::Tls(Box::new(session)),
            refusing: Refusing::No,
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(response) = self.socket().take_refusal() {
            self.refusing = Refusing::Sending(response);
        }
        if !matches!(self.refusing, Refusing::No) {
            return self.poll_refuse(context);
        }
        transport!(self, stream => stream.poll_read(context, buffer))
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        transport!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        transport!(self, stream => stream.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::application::Peer;

    #[test]
    fn a_refusal_is_answered_in_place_of_reading_on() {
        greenpatch::run(|| {
            let (ours, mut theirs) = UnixStream::pair()?;
            let mut io = Io::from(Stream::new(ours, Peer::Unix)?);
            theirs.write_all(b"GET / HTT")?;
            let client = thread::spawn(move || {
                let mut text = String::new();
                theirs.read_to_string(&mut text).map(|_| text)
            });
            greenpatch::block_on(async {
                let socket = Arc::clone(io.socket());
                let mut io = TokioIo::new(&mut io);
                let mut buffer = [0; 9];
                io.read_exact(&mut buffer).await?;
                socket.refuse(Bytes::from_static(b"HTTP/1.1 408 Request Timeout\r\n\r\n"));
                assert_eq!(io.read(&mut buffer).await?, 0);
                assert_eq!(io.read(&mut buffer).await?, 0, "it stays so");
                io::Result::Ok(())
            })?;
            assert_eq!(
                client.join().unwrap()?,
                "HTTP/1.1 408 Request Timeout\r\n\r\n"
            );
            io::Result::Ok(())
        })
        .unwrap();
    }
}
