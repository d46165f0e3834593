//! The transport of a connection: a TCP or Unix socket of which no call ever blocks.
//!
//! [`Stream`] is the end that one task owns: hyper, or the TLS session below it, reads and writes it. Its [`Socket`] is
//! shared with whoever looks after the connection meanwhile (the registry and its sweep): they ask whether the client has
//! gone, and end the connection from outside. The descriptor is closed when the last of both is dropped.
//!
//! # Closing
//! A socket that is closed while bytes of the client's lie in it unread is reset, and a reset destroys what the client has not
//! taken yet: often the response that refuses the request. So who answers without having read all of a request ends with
//! [`Socket::linger`], which reads on for a while (as nginx's `lingering_close` and Apache do).

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrayvec::ArrayVec;
use bytes::{Buf, Bytes, BytesMut};
use greenpatch::future::{AsyncFd, Handle, Hangup, timeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::application::Peer;

/// How long a client that is refused may send nothing before the connection is closed (Apache's `SECONDS_TO_LINGER`).
const LINGER_QUIET: Duration = Duration::from_secs(2);

/// How long it may send at all (nginx's `lingering_time`, and Apache's).
const LINGER_LONGEST: Duration = Duration::from_secs(30);

/// How much it may send.
const LINGER_MOST: u64 = 64 << 20;

/// Up to this length several buffers are sent as one: to copy so little costs less than to tell the kernel of each buffer.
const GATHERED: usize = 1024;

/// A socket of a connection, as those see it who share it. Every method may be called from any thread, and none blocks.
pub(crate) struct Socket {
    fd: AsyncFd<socket2::Socket>,
    /// Whether the client's last byte has been read. Only ever set; nothing else is published with it.
    ended: AtomicBool,
    /// Whether `refusal` holds something. Set after it was put there; the reader takes the lock to see it.
    refused: AtomicBool,
    refusal: Mutex<Bytes>,
}

impl Socket {
    /// What has become of the client's side, by the events seen so far; costs no system call.
    pub(crate) fn hangup(&self) -> Option<Hangup> {
        self.fd.hangup()
    }

    /// Whether the client has gone. One that has only ended its own side, and may still read, counts as gone unless
    /// `half_close` says that clients do so.
    pub(crate) fn is_peer_gone(&self, half_close: bool) -> bool {
        match self.hangup() {
            None => false,
            Some(Hangup::Half) => !half_close,
            Some(_) => true,
        }
    }

    /// Ends one direction or both; who waits for it is woken.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.fd.get_ref().shutdown(how)
    }

    /// Ends the connection at once: reads and writes under way return, and what the client has not taken is thrown away when
    /// the socket is closed, where the kernel would otherwise go on to offer it.
    pub(crate) fn abort(&self) {
        let socket = self.fd.get_ref();
        // On a socket that is broken already both fail, and nothing is left to do.
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
    }

    /// Has the connection answer `response` instead of reading on: the next read of its [`Io`](super::io::Io) sends it, ends
    /// the writing side and reports the end of the request's bytes. The connection's task is to be woken then.
    pub(crate) fn refuse(&self, response: Bytes) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = response;
        self.refused.store(true, Relaxed);
    }

    /// The response of [`Socket::refuse`], once.
    pub(super) fn take_refusal(&self) -> Option<Bytes> {
        if !self.refused.load(Relaxed) || !self.refused.swap(false, Relaxed) {
            return None;
        }
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *refusal))
    }

    /// Ends the writing side, then reads and discards what the client still sends, until it has ended its own side, says
    /// nothing for 2 s, or has gone on for 30 s or 64 MiB.
    pub(crate) async fn linger(&self) {
        if self.ended.load(Relaxed) || self.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let discard = async {
            let mut buffer = vec![0; 16 << 10];
            let mut discarded = 0;
            while discarded < LINGER_MOST {
                match timeout(LINGER_QUIET, self.fd.read(&mut buffer)).await {
                    Ok(Ok(read)) if read > 0 => discarded += read as u64,
                    _ => break,
                }
            }
        };
        // Either way nothing more is to be done for this client.
        let _ = timeout(LINGER_LONGEST, discard).await;
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

/// A connection's byte stream, read and written by one task.
pub(crate) struct Stream {
    socket: Arc<Socket>,
    /// Bytes that were read to find out what the client speaks, and that come first.
    early: BytesMut,
    peer: Peer,
}

impl Stream {
    /// Takes a connected stream socket over, on a green thread.
    #[cfg(test)]
    pub(crate) fn new(socket: impl Into<OwnedFd>, peer: Peer) -> io::Result<Stream> {
        Stream::with(&Handle::current()?, socket, peer)
    }

    /// Takes a connected stream socket over, on any thread.
    ///
    /// # Errors
    /// If it cannot be registered with the reactor.
    pub(crate) fn with(
        handle: &Handle,
        socket: impl Into<OwnedFd>,
        peer: Peer,
    ) -> io::Result<Stream> {
        let fd = handle.async_fd(socket2::Socket::from(socket.into()))?;
        let socket = Arc::new(Socket {
            fd,
            ended: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            refusal: Mutex::new(Bytes::new()),
        });
        Ok(Stream {
            socket,
            early: BytesMut::new(),
            peer: peer.to_canonical(),
        })
    }

    /// The socket, to share.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Says who is at the other end, as a proxy tells it.
    pub(super) fn set_peer(&mut self, peer: Peer) {
        self.peer = peer.to_canonical();
    }

    /// Waits until at least `wanted` bytes have come, or the client's last one, and returns those that are there. They stay
    /// the first to be read.
    pub(super) async fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let mut scratch = [0; 512];
        while self.early.len() < wanted {
            let read = self.socket.fd.read(&mut scratch).await?;
            self.early.extend_from_slice(&scratch[..read]);
            if read == 0 {
                self.socket.ended.store(true, Relaxed);
                break;
            }
        }
        Ok(&self.early)
    }

    /// Takes the first `length` of the bytes that [`Stream::peek`] returned out of the stream.
    pub(super) fn consume(&mut self, length: usize) {
        self.early.advance(length);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Stream { socket, early, .. } = self.get_mut();
        if !early.is_empty() {
            let length = early.len().min(buffer.remaining());
            buffer.put_slice(&early.split_to(length));
            if early.is_empty() {
                // Nothing comes early again, and the connection may live long.
                *early = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.remaining();
        ready!(Pin::new(&mut &socket.fd).poll_read(context, buffer))?;
        if buffer.remaining() == before && before > 0 {
            socket.ended.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.fd.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if buffers.len() < 2 || length > GATHERED {
            return self.socket.fd.poll_write_vectored(context, buffers);
        }
        let mut gathered = ArrayVec::<u8, GATHERED>::new();
        for buffer in buffers {
            let appended = gathered.try_extend_from_slice(buffer);
            appended.expect("there is room for all of them");
        }
        self.socket.fd.poll_write(context, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The kernel has what was written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.socket.shutdown(Shutdown::Write) {
            // The client was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;
    use std::thread;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Runs a test on a connected stream and its client.
    fn with_client<F: Future<Output = io::Result<()>>>(
        test: impl FnOnce(Stream, TcpStream) -> F + Send + 'static,
    ) {
        greenpatch::run(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (accepted, address) = listener.accept()?;
            let stream = Stream::new(accepted, Peer::Tcp(address))?;
            greenpatch::block_on(test(stream, client))
        })
        .unwrap();
    }

    #[test]
    fn it_reads_and_writes() {
        with_client(async |mut stream, mut client| {
            let echo = thread::spawn(move || {
                client.write_all(b"hello")?;
                let mut text = String::new();
                client.read_to_string(&mut text).map(|_| text)
            });
            let mut buffer = [0; 5];
            stream.read_exact(&mut buffer).await?;
            stream.write_all(&buffer).await?;
            let parts = [IoSlice::new(b", "), IoSlice::new(b"world")];
            assert_eq!(
                poll_fn(|context| pin!(&mut stream).poll_write_vectored(context, &parts)).await?,
                7
            );
            stream.shutdown().await?;
            assert_eq!(echo.join().unwrap()?, "hello, world");
            Ok(())
        });
    }

    #[test]
    fn what_was_looked_at_comes_first() {
        with_client(async |mut stream, mut client| {
            client.write_all(b"PROXY GET")?;
            assert_eq!(&stream.peek(6).await?[..6], b"PROXY ");
            stream.consume(6);
            client.write_all(b" /")?;
            client.shutdown(Shutdown::Write)?;
            assert_eq!(stream.peek(100).await?, b"GET /", "all that comes");
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            assert_eq!(text, "GET /");
            Ok(())
        });
    }

    #[test]
    fn it_tells_that_the_client_has_gone() {
        with_client(async |stream, client| {
            let socket = Arc::clone(stream.socket());
            assert!(!socket.is_peer_gone(false));
            client.shutdown(Shutdown::Write)?;
            poll_fn(|context| socket.fd.poll_hangup(context)).await?;
            assert!(socket.is_peer_gone(false));
            assert!(!socket.is_peer_gone(true), "it may still read");
            Ok(())
        });
    }

    #[test]
    fn aborting_ends_reads_and_writes() {
        with_client(async |mut stream, _client| {
            let socket = Arc::clone(stream.socket());
            let aborting = thread::spawn(move || socket.abort());
            assert_eq!(stream.read(&mut [0]).await?, 0);
            aborting.join().unwrap();
            let error = stream.write(b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            Ok(())
        });
    }

    #[test]
    fn aborting_throws_away_what_the_client_has_not_taken() {
        with_client(async |mut stream, mut client| {
            // More than the buffers of both sides hold.
            let long = vec![0; 64 << 20];
            let written = timeout(Duration::from_millis(100), stream.write_all(&long));
            assert!(written.await.is_err());
            stream.socket().abort();
            drop(stream);
            let error = client.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            Ok(())
        });
    }

    #[test]
    fn lingering_saves_the_response_from_bytes_that_nobody_reads() {
        with_client(async |mut stream, mut client| {
            let client = thread::spawn(move || {
                // More than the buffers of both sides hold: without somebody who reads on it fails.
                client.write_all(&vec![b'x'; 8 << 20])?;
                client.shutdown(Shutdown::Write)?;
                let mut text = String::new();
                client.read_to_string(&mut text).map(|_| text)
            });
            stream.write_all(b"refused").await?;
            stream.socket().linger().await;
            drop(stream);
            assert_eq!(client.join().unwrap()?, "refused");
            Ok(())
        });
    }

    #[test]
    fn unix_sockets_are_streams_too() {
        greenpatch::run(|| {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
            let mut stream = Stream::new(ours, Peer::Unix)?;
            theirs.write_all(b"hello")?;
            greenpatch::block_on(async {
                let mut buffer = [0; 5];
                stream.read_exact(&mut buffer).await?;
                assert_eq!(&buffer, b"hello");
                io::Result::Ok(())
            })
        })
        .unwrap();
    }
}
