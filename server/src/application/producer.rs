//! Content that is made while it is sent: by a reader, by a closure that writes, or by a service's stream that may block.
//!
//! A [`Producer`] runs on a thread that may block; a [`Pipe`] is what its content comes out of, on an event loop. Between them
//! is a bounded channel, and it is all that they share:
//!
//! - **Memory is bounded.** At most [`PIECES`] pieces are on their way, of [`PIECE`] bytes each if they were copied. (Bytes
//!   that the application holds anyway are handed on as they are, whatever their size.) A slow client so stops the producer.
//! - **Dropping the pipe ends the producer**: its next send fails with `BrokenPipe`, also one that waits already.
//! - **A part is never taken for the whole.** Complete content ends with an end mark. A channel that closes without one,
//!   because the thread was cancelled or panicked, is an error, which makes hyper close the connection.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::BoxError;
use super::thread::spawn;
use super::wait::wait_for;

/// Most bytes in one piece of content that was copied or read.
const PIECE: usize = 16 * 1024;

/// Most pieces on their way from the producer to the client.
const PIECES: usize = 4;

/// What is left of a read buffer is used for the next read if it is this large.
const LEAST_READ: usize = 4 * 1024;

/// Whether what a service streams is run by a producer or polled where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// It may block: it is piped from a thread, as readers and writers are.
    Piped,
    /// It does not block.
    Inline,
}

/// What content is made from.
pub(super) struct Source {
    kind: Kind,
    /// The exact number of bytes, if it was told.
    pub(super) length: Option<u64>,
}

type WriterClosure = Box<dyn FnOnce(&mut Writer) -> io::Result<()> + Send>;

enum Kind {
    Reader(Box<dyn Read + Send>),
    Writer(WriterClosure),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Source {
    pub(super) fn reader(reader: impl Read + Send + 'static) -> Source {
        Source::of(Kind::Reader(Box::new(reader)), None)
    }

    pub(super) fn writer(
        write: impl FnOnce(&mut Writer) -> io::Result<()> + Send + 'static,
    ) -> Source {
        Source::of(Kind::Writer(Box::new(write)), None)
    }

    pub(super) fn stream(stream: UnsyncBoxBody<Bytes, BoxError>) -> Source {
        let length = stream.size_hint().exact();
        Source::of(Kind::Stream(stream), length)
    }

    fn of(kind: Kind, length: Option<u64>) -> Source {
        Source { kind, length }
    }

    /// Reads from the reader, if it is one, on the calling thread.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Option<io::Result<usize>> {
        let Kind::Reader(reader) = &mut self.kind else {
            return None;
        };
        Some(reader.read(out).and_then(|length| {
            account(&mut self.length, length)?;
            if length == 0 {
                require_complete(self.length)?;
            }
            Ok(length)
        }))
    }
}

/// One piece of what goes through the channel.
enum Piece {
    Data(Bytes),
    /// The last one, of complete content.
    End(Option<Box<HeaderMap>>),
    /// The last one, of content that failed.
    Failed(BoxError),
}

/// The end that makes the content.
pub(crate) struct Producer {
    kind: Kind,
    writer: Writer,
}

impl Producer {
    pub(super) fn new(source: Source) -> (Producer, Pipe) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let writer = Writer {
            sender,
            buffer: BytesMut::new(),
            remaining: source.length,
            trailers: None,
        };
        let kind = source.kind;
        let pipe = Pipe {
            receiver,
            remaining: source.length,
            ended: false,
        };
        (Producer { kind, writer }, pipe)
    }

    /// Makes the content, on the calling thread, and returns when all of it was taken or the pipe is gone.
    ///
    /// A panic becomes an error of the content.
    pub(crate) fn run(self) {
        let Producer { kind, mut writer } = self;
        // A panic leaves nothing of ours half done: what was sent was sent, and the rest is dropped.
        let made = catch_unwind(AssertUnwindSafe(|| match kind {
            Kind::Reader(reader) => copy(reader, &mut writer).map_err(Into::into),
            Kind::Writer(write) => write(&mut writer).map_err(Into::into),
            Kind::Stream(stream) => forward(stream, &mut writer),
        }))
        .unwrap_or_else(|panic| Err(after_panic(&*panic)));
        // If nobody is there to take the last piece, nobody misses it.
        let _ = match made.and_then(|()| writer.finish()) {
            Ok(trailers) => writer.post(Piece::End(trailers)),
            Err(error) => writer.post(Piece::Failed(error)),
        };
    }

    /// Runs on a new thread: a green one where the caller is green.
    pub(super) fn start(self) -> io::Result<()> {
        spawn("content", || self.run())
    }
}

/// Sends what a reader gives, each read's bytes at once.
fn copy(mut reader: impl Read, writer: &mut Writer) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.len() < LEAST_READ {
            buffer = BytesMut::zeroed(PIECE);
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => writer.send(buffer.split_to(length))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends what a service streams, until it ends or the client has left.
fn forward(
    mut stream: UnsyncBoxBody<Bytes, BoxError>,
    writer: &mut Writer,
) -> Result<(), BoxError> {
    let sender = writer.sender.clone();
    let mut closed = pin!(sender.closed());
    loop {
        let next = poll_fn(|context| {
            // The stream may have nothing to say for long, and the client leave meanwhile.
            if closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Some(Err(gone().into())));
            }
            Pin::new(&mut stream).poll_frame(context)
        });
        let Some(frame) = wait_for(None, next)? else {
            return Ok(());
        };
        match frame?.into_data() {
            Ok(data) => writer.send(data)?,
            Err(other) => writer.trailers(other.into_trailers().unwrap_or_default()),
        }
    }
}

fn after_panic(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    format!("what makes the content panicked: {text}").into()
}

/// What a [writer closure](super::Body::from_writer) writes to: the content of the response.
///
/// Small writes are collected; `flush` sends what has come together.
pub struct Writer {
    sender: mpsc::Sender<Piece>,
    buffer: BytesMut,
    /// How many bytes may still be written, if the length was told.
    remaining: Option<u64>,
    trailers: Option<Box<HeaderMap>>,
}

impl Writer {
    /// Sends bytes without copying them, after what was written before.
    ///
    /// Waits while the client is slow, and fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when it has left.
    pub fn send(&mut self, data: impl Into<Bytes>) -> io::Result<()> {
        let data = data.into();
        account(&mut self.remaining, data.len())?;
        self.flush()?;
        if data.is_empty() {
            return Ok(());
        }
        self.post(Piece::Data(data))
    }

    /// Sets the trailers, which are sent after the content.
    ///
    /// Clients over HTTP/1.1 get those that the response's `Trailer` field announces.
    pub fn trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(Box::new(trailers));
    }

    /// Whether the client has left, so that whatever is written from now on fails.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// A piece that another thread may send any number of times, between what this writer sends.
    pub(super) fn aside(&self, data: &'static [u8]) -> Aside {
        Aside {
            sender: self.sender.clone(),
            data,
        }
    }

    /// Waits for room in the channel.
    fn post(&self, piece: Piece) -> io::Result<()> {
        match self.sender.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(gone()),
            Err(TrySendError::Full(piece)) => {
                wait_for(None, self.sender.send(piece))?.map_err(|_| gone())
            }
        }
    }

    /// Sends the rest, and gives the trailers.
    fn finish(&mut self) -> Result<Option<Box<HeaderMap>>, BoxError> {
        self.flush()?;
        require_complete(self.remaining)?;
        Ok(self.trailers.take())
    }
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.buffer.len();
        let length = data.len().min(room);
        account(&mut self.remaining, length)?;
        self.buffer.extend_from_slice(&data[..length]);
        if length == room {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return if self.is_closed() {
                Err(gone())
            } else {
                Ok(())
            };
        }
        let data = self.buffer.split().freeze();
        self.post(Piece::Data(data))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("buffered", &self.buffer.len())
            .field("remaining", &self.remaining)
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// See [`Writer::aside`].
pub(super) struct Aside {
    sender: mpsc::Sender<Piece>,
    data: &'static [u8],
}

impl Aside {
    /// Sends the piece, unless the channel is full anyway. False when the client has left.
    pub(super) fn send(&self) -> bool {
        let piece = Piece::Data(Bytes::from_static(self.data));
        !matches!(self.sender.try_send(piece), Err(TrySendError::Closed(_)))
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "nobody takes the content any more: the client has left or the response was dropped",
    )
}

/// Takes `length` bytes off what may still come.
fn account(remaining: &mut Option<u64>, length: usize) -> io::Result<()> {
    let Some(remaining) = remaining else {
        return Ok(());
    };
    *remaining = remaining.checked_sub(length as u64).ok_or_else(|| {
        let more = length as u64 - *remaining;
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the content is at least {more} bytes longer than its length was told to be"),
        )
    })?;
    Ok(())
}

fn require_complete(remaining: Option<u64>) -> io::Result<()> {
    match remaining {
        None | Some(0) => Ok(()),
        Some(missing) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the content is {missing} bytes shorter than its length was told to be"),
        )),
    }
}

/// The end that the content comes out of.
pub(super) struct Pipe {
    receiver: mpsc::Receiver<Piece>,
    remaining: Option<u64>,
    ended: bool,
}

impl Pipe {
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.receiver.poll_recv(context));
        if let Some(Piece::Data(data)) = piece {
            if let Some(remaining) = &mut self.remaining {
                *remaining = remaining.saturating_sub(data.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.ended = true;
        Poll::Ready(match piece {
            Some(Piece::End(trailers)) => trailers.map(|trailers| Ok(Frame::trailers(*trailers))),
            Some(Piece::Failed(error)) => Some(Err(error)),
            Some(Piece::Data(_)) | None => Some(Err(Box::new(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the thread that made the content ended before it was complete",
            )))),
        })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn remaining(&self) -> Option<u64> {
        self.remaining
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc as std_mpsc};

    use http_body_util::BodyExt;

    use super::super::Body;
    use super::*;

    fn next(body: &mut Body) -> Option<Result<Bytes, String>> {
        let frame = greenpatch::block_on(body.frame())?;
        Some(
            frame
                .map(|frame| frame.into_data().unwrap())
                .map_err(|e| e.to_string()),
        )
    }

    #[test]
    fn small_writes_are_collected_and_a_flush_sends_them() {
        let mut body = Body::from_writer(|writer| {
            writer.write_all(b"a")?;
            writer.write_all(b"b")?;
            writer.flush()?;
            writer.flush()?;
            writer.write_all(b"c")?;
            writer.send("d")
        });
        let pieces: Vec<_> = std::iter::from_fn(|| next(&mut body)).collect();
        assert_eq!(pieces, ["ab", "c", "d"].map(|piece| Ok(piece.into())));
    }

    #[test]
    fn a_slow_taker_stops_the_writer_and_a_dropped_body_ends_it() {
        let written = Arc::new(AtomicUsize::new(0));
        let (sender, ended) = std_mpsc::channel();
        let counted = written.clone();
        let mut body = Body::from_writer(move |writer| {
            let error = loop {
                match writer.write(&[0; 1000]) {
                    Ok(length) => counted.fetch_add(length, Ordering::Relaxed),
                    Err(error) => break error,
                };
            };
            assert!(writer.is_closed());
            sender.send(error.kind()).unwrap();
            Err(error)
        });
        let first = next(&mut body).unwrap().unwrap();
        assert_eq!(first.len(), PIECE);
        // Neither time nor luck lets it get further than the taken piece and the channel, with one more that waits.
        assert!(written.load(Ordering::Relaxed) <= (PIECES + 2) * PIECE);
        drop(body);
        assert_eq!(ended.recv().unwrap(), io::ErrorKind::BrokenPipe);
        assert!(written.load(Ordering::Relaxed) <= (PIECES + 2) * PIECE);
    }

    #[test]
    fn a_body_that_is_dropped_before_it_was_begun_runs_nothing() {
        let (sender, receiver) = std_mpsc::channel::<()>();
        drop(Body::from_writer(move |_| {
            sender.send(()).unwrap();
            Ok(())
        }));
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn a_failure_comes_after_what_was_sent() {
        let mut body = Body::from_writer(|writer| {
            writer.send("part")?;
            Err(io::Error::other("disk on fire"))
        });
        assert_eq!(next(&mut body), Some(Ok("part".into())));
        assert_eq!(next(&mut body), Some(Err("disk on fire".into())));
        assert_eq!(next(&mut body), None);
    }

    #[test]
    fn a_panic_is_an_error_of_the_content() {
        let mut body = Body::from_writer(|_| panic!("at the {}", "disco"));
        let error = next(&mut body).unwrap().unwrap_err();
        assert_eq!(error, "what makes the content panicked: at the disco");
    }

    #[test]
    fn a_producer_that_goes_away_leaves_no_complete_content() {
        let mut body = Body::from_reader(&b"text"[..]);
        drop(body.take_producer(Streams::Inline).unwrap());
        let error = next(&mut body).unwrap().unwrap_err();
        assert_eq!(
            error,
            "the thread that made the content ended before it was complete"
        );
    }

    #[test]
    fn a_length_that_was_told_is_kept_to() {
        let of = |text: &'static str, length| {
            let mut body = Body::from_reader(text.as_bytes()).with_length(length);
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(length));
            let pieces: Result<Vec<_>, _> = std::iter::from_fn(|| next(&mut body)).collect();
            pieces.map(|pieces| pieces.concat())
        };
        assert_eq!(of("four", 4).unwrap(), b"four");
        let error = of("four", 5).unwrap_err();
        assert!(error.contains("1 bytes shorter"), "{error}");
        let error = of("four", 3).unwrap_err();
        assert!(error.contains("1 bytes longer"), "{error}");
        let mut read_directly = Body::from_reader(&b"four"[..]).with_length(5);
        let error = read_directly.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn trailers_come_after_the_content() {
        let body = Body::from_writer(|writer| {
            let mut trailers = HeaderMap::new();
            trailers.insert("checksum", "9".parse().unwrap());
            writer.trailers(trailers);
            writer.write_all(b"text")
        });
        let all = greenpatch::block_on(body.collect()).unwrap();
        assert_eq!(all.trailers().unwrap()["checksum"], "9");
        assert_eq!(all.to_bytes(), "text");
    }
}
