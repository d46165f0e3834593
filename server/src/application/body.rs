//! The content of requests and responses, in both directions and for both kinds of code.
//!
//! [`Body`] is an [`http_body::Body`], so hyper, tower layers and axum take it as it is; and it is [`Read`], so blocking
//! code reads a request's content as it reads a file. Reading parks or blocks the calling thread until the next frame is
//! there.
//!
//! **Where it may be polled.** Content in one piece, a request's content, and the receiving end of a
//! [`Producer`](super::Producer) are always safe to poll on an event loop; a [file](super::part) is read there as far as the kernel has it
//! in memory. What a service streams is as good as the service.
//! A reader or a writer closure would block, so it is never run by the poller: the worker class takes it out
//! ([`Body::take_producer`]) and runs it on a thread of its own kind. If nobody has done so, because a layer has wrapped the
//! body and hides it, the body starts a thread for itself at the first poll.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::BadContent;
use super::part::Part;
use super::producer::{Pipe, Producer, Source, Streams, Writer};
use super::wait::wait_for;
use crate::protocol::received::Received;
use crate::protocol::refusal::Refusal;

/// What goes wrong with content, or in a service.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The content of a request or a response.
///
/// ```
/// use std::io::{Read, Write};
/// use greenpatch_server::application::Body;
///
/// let mut text = String::new();
/// Body::from("in one piece").read_to_string(&mut text)?;
/// assert_eq!(text, "in one piece");
///
/// // Written while it is sent: nothing of it is held in memory but some tens of KiB.
/// let numbers = Body::from_writer(|writer| (0..3).try_for_each(|n| writeln!(writer, "{n}")));
/// assert_eq!(numbers.into_string(100).unwrap(), "0\n1\n2\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Body {
    content: Content,
    /// What is left of the frame that a blocking read is in.
    unread: Bytes,
    /// Met by a blocking read at the end of the content.
    trailers: Option<Box<HeaderMap>>,
}

enum Content {
    /// In one piece; empty once it was given away.
    Whole(Bytes),
    Incoming(Incoming),
    /// A request's, within the server's limits.
    Received(Box<Received>),
    /// A service's stream.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
    /// Read by the poller, as far as that need not wait.
    File(Part),
    /// A reader or a closure that nobody has begun to run.
    Unbegun(Source),
    /// The receiving end of a producer.
    Piped(Pipe),
}

impl Body {
    /// No content.
    pub const fn empty() -> Body {
        Body::whole_of(Bytes::new())
    }

    const fn whole_of(bytes: Bytes) -> Body {
        Body::of(Content::Whole(bytes))
    }

    const fn of(content: Content) -> Body {
        Body {
            content,
            unread: Bytes::new(),
            trailers: None,
        }
    }

    /// Content from any other kind of body, such as a layer's or a framework's.
    ///
    /// A body that is one of these, hyper's own, whole or at its end is taken over without a box around it.
    pub fn new<B>(body: B) -> Body
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let any = &mut body as &mut dyn Any;
        if let Some(same) = any.downcast_mut::<Option<Body>>() {
            return same.take().unwrap_or_default();
        }
        if let Some(Some(full)) = any.downcast_mut::<Option<Full<Bytes>>>() {
            return Body::whole_of(take_full(full));
        }
        if let Some(incoming) = any.downcast_mut::<Option<Incoming>>() {
            return incoming.take().map(Body::from).unwrap_or_default();
        }
        match body {
            Some(body) if !body.is_end_stream() => {
                Body::of(Content::Stream(body.map_err(Into::into).boxed_unsync()))
            }
            _ => Body::empty(),
        }
    }

    /// Content that is read from `reader` while it is sent: a file, a pipe, the answer of another server.
    ///
    /// The reader may block; it runs on a thread of the worker class. If it fails, the connection is closed before the
    /// content is complete, so that the client does not take a part for the whole. If the client leaves, the reader is
    /// dropped.
    ///
    /// ```
    /// use greenpatch_server::application::Body;
    ///
    /// let body = Body::from_reader(&b"as a file would"[..]).with_length(15);
    /// assert_eq!(body.into_bytes(1024).unwrap(), "as a file would");
    /// ```
    pub fn from_reader(reader: impl Read + Send + 'static) -> Body {
        Body::of(Content::Unbegun(Source::reader(reader)))
    }

    /// Content that `write` writes while it is sent.
    ///
    /// The closure may block; it runs on a thread of the worker class. What it writes is sent when some KiB have come
    /// together and at each [`flush`](std::io::Write::flush). It is stopped by a slow client as by a full pipe, and gets
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the client has left. If it returns an error or panics, the connection
    /// is closed before the content is complete.
    pub fn from_writer(write: impl FnOnce(&mut Writer) -> io::Result<()> + Send + 'static) -> Body {
        Body::of(Content::Unbegun(Source::writer(write)))
    }

    /// Content that is a part of a file.
    pub(super) fn from_file(part: Part) -> Body {
        Body::of(Content::File(part))
    }

    /// Tells the exact length, in bytes, of content from a reader or a writer, which is then sent with `Content-Length`.
    ///
    /// Content that turns out to be longer or shorter fails. Other content knows its own length and is left alone.
    #[must_use]
    pub fn with_length(mut self, length: u64) -> Body {
        if let Content::Unbegun(source) = &mut self.content {
            source.length = Some(length);
        }
        self
    }

    /// The whole content, if it is there in one piece and nothing of it was given away.
    #[cfg(any(test, feature = "test"))]
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Whole(bytes) if self.unread.is_empty() => Some(bytes),
            _ => None,
        }
    }

    /// Takes out what would block the poller, for a thread that may block; from then on this is its receiving end.
    ///
    /// Nothing is there to be taken from content that does not block. `streams` says whether what a service streams is
    /// thought to block.
    pub(crate) fn take_producer(&mut self, streams: Streams) -> Option<Producer> {
        let source = match mem::replace(&mut self.content, Content::Whole(Bytes::new())) {
            Content::Unbegun(source) => source,
            Content::Stream(stream) if streams == Streams::Piped => Source::stream(stream),
            other => {
                self.content = other;
                return None;
            }
        };
        let (producer, pipe) = Producer::new(source);
        self.content = Content::Piped(pipe);
        Some(producer)
    }

    /// Whether a service streams it, so that it is unknown when the next frame comes.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.content, Content::Stream(_))
    }

    /// Polls the first frame of what a service streams. A stream that has but one frame, known to be its last, becomes
    /// whole.
    ///
    /// Services box even a line of text, so only this tells which of them stream.
    pub(crate) fn poll_settle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Content::Stream(stream) = &mut self.content else {
            return Poll::Ready(());
        };
        if !self.unread.is_empty() {
            return Poll::Ready(());
        }
        // A stream without a length may be long in coming; one with a length is there to be sent.
        if stream.size_hint().exact().is_none() {
            return Poll::Ready(());
        }
        let mut frame = ready!(Pin::new(&mut *stream).poll_frame(context));
        let ended = stream.is_end_stream();
        match frame.take().map(|frame| frame.map(Frame::into_data)) {
            None => self.content = Content::Whole(Bytes::new()),
            Some(Ok(Ok(data))) if ended => self.content = Content::Whole(data),
            Some(Ok(Ok(data))) => self.unread = data,
            Some(Ok(Err(trailers))) => {
                let trailers = trailers.into_trailers().unwrap_or_default();
                let rest = Full::default().with_trailers(async move { Some(Ok(trailers)) });
                self.content = Content::Stream(rest.map_err(|never| match never {}).boxed_unsync());
            }
            Some(Err(error)) => self.content = Content::Stream(failed(error)),
        }
        Poll::Ready(())
    }

    /// Reads on in a file; `None` if that is at its end, or has to be done by who may wait.
    fn read_file(&mut self) -> Option<io::Result<Bytes>> {
        let Content::File(part) = &mut self.content else {
            return None;
        };
        if part.left() == 0 {
            self.content = Content::Whole(Bytes::new());
            return None;
        }
        let read = part.read_now();
        if read.is_none()
            && let Content::File(part) =
                mem::replace(&mut self.content, Content::Whole(Bytes::new()))
        {
            let length = Some(part.left());
            let mut source = Source::reader(part);
            source.length = length;
            self.content = Content::Unbegun(source);
        }
        read
    }

    /// Has a thread of its own run what would block the poller, if nobody else does.
    fn begin(&mut self) -> io::Result<()> {
        match self.take_producer(Streams::Inline) {
            Some(producer) => producer.start(),
            None => Ok(()),
        }
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.unread)))));
        }
        if let Some(read) = self.read_file() {
            let frame = read.map(Frame::data).map_err(Into::into);
            return Poll::Ready(Some(frame));
        }
        if let Err(error) = self.begin() {
            return Poll::Ready(Some(Err(error.into())));
        }
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Content::Incoming(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Content::Received(received) => Pin::new(&mut **received).poll_frame(context),
            Content::Stream(stream) => Pin::new(stream).poll_frame(context),
            Content::Piped(pipe) => pipe.poll_frame(context),
            Content::File(_) | Content::Unbegun(_) => unreachable!("it was begun above"),
        }
    }
}

/// Blocking use.
impl Body {
    /// Reads the whole content, which may be `limit` bytes long at most.
    ///
    /// ```
    /// use greenpatch_server::application::{BadContent, Body};
    ///
    /// assert_eq!(Body::from("short").into_bytes(5).unwrap(), "short");
    /// assert!(matches!(Body::from("longer").into_bytes(5), Err(BadContent::TooLong { limit: 5 })));
    /// ```
    pub fn into_bytes(mut self, limit: usize) -> Result<Bytes, BadContent> {
        let too_long = BadContent::TooLong { limit };
        let least = usize::try_from(self.size_hint().lower());
        let Some(least) = least.ok().filter(|least| *least <= limit) else {
            return Err(too_long);
        };
        let mut first = self.next_data()?.unwrap_or_default();
        if first.len() > limit {
            return Err(too_long);
        }
        let Some(mut data) = self.next_data()? else {
            return Ok(first);
        };
        let mut all = BytesMut::with_capacity(least.max(first.len() + data.len()));
        all.extend_from_slice(&mem::take(&mut first));
        loop {
            if data.len() > limit - all.len() {
                return Err(too_long);
            }
            all.extend_from_slice(&data);
            match self.next_data()? {
                Some(next) => data = next,
                None => return Ok(all.freeze()),
            }
        }
    }

    /// Reads the whole content as UTF-8; `limit` is in bytes.
    ///
    /// ```
    /// # use greenpatch_server::application::Body;
    /// assert_eq!(Body::from("grün").into_string(100).unwrap(), "grün");
    /// ```
    pub fn into_string(self, limit: usize) -> Result<String, BadContent> {
        let bytes = self.into_bytes(limit)?;
        String::from_utf8(bytes.into()).map_err(|error| BadContent::NotText(error.utf8_error()))
    }

    /// Reads the whole content as JSON; `limit` is in bytes.
    ///
    /// ```
    /// # use greenpatch_server::application::Body;
    /// let numbers: Vec<u32> = Body::from("[1, 2]").into_json(100).unwrap();
    /// assert_eq!(numbers, [1, 2]);
    /// ```
    pub fn into_json<T: DeserializeOwned>(self, limit: usize) -> Result<T, BadContent> {
        serde_json::from_slice(&self.into_bytes(limit)?).map_err(BadContent::NotJson)
    }

    /// The trailers, if the content had any and was read to its end by blocking calls.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// The next piece of content, waited for; keeps trailers. Empty pieces are left out.
    fn next_data(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = wait_for(None, poll_fn(|context| self.poll_next(context)))?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            match frame.map_err(into_io_error)?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(other) => self.trailers = other.into_trailers().ok().map(Box::new),
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if let Content::File(part) = &mut self.content {
            return part.read(out);
        }
        // Read by a thread that may block, a reader needs no other.
        if let Content::Unbegun(source) = &mut self.content
            && let Some(read) = source.read(out)
        {
            return read;
        }
        let whole = match &mut self.content {
            Content::Whole(bytes) if self.unread.is_empty() => bytes,
            _ => {
                if self.unread.is_empty() {
                    self.unread = self.next_data()?.unwrap_or_default();
                }
                &mut self.unread
            }
        };
        let length = out.len().min(whole.len());
        whole.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.poll_next(context)
    }

    fn is_end_stream(&self) -> bool {
        self.unread.is_empty()
            && match &self.content {
                Content::Whole(bytes) => bytes.is_empty(),
                Content::Incoming(incoming) => incoming.is_end_stream(),
                Content::Received(received) => received.is_end_stream(),
                Content::Stream(stream) => stream.is_end_stream(),
                Content::File(part) => part.left() == 0,
                Content::Unbegun(source) => source.length == Some(0),
                Content::Piped(pipe) => pipe.is_ended(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Incoming(incoming) => incoming.size_hint(),
            Content::Received(received) => received.size_hint(),
            Content::Stream(stream) => stream.size_hint(),
            Content::File(part) => SizeHint::with_exact(part.left()),
            Content::Unbegun(source) => exact_or_unknown(source.length),
            Content::Piped(pipe) => exact_or_unknown(pipe.remaining()),
        };
        let unread = self.unread.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(unread));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unread));
        }
        hint
    }
}

fn exact_or_unknown(length: Option<u64>) -> SizeHint {
    length.map(SizeHint::with_exact).unwrap_or_default()
}

/// `Full` has its bytes at the first poll, and gives them away in no other fashion.
fn take_full(full: &mut Full<Bytes>) -> Bytes {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(full).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

/// A body that is nothing but an error.
fn failed(error: BoxError) -> UnsyncBoxBody<Bytes, BoxError> {
    let trailers = async move { Some(Err(error)) };
    Full::default()
        .map_err(|never| match never {})
        .with_trailers(trailers)
        .boxed_unsync()
}

/// The error as blocking code knows it, with the cause as its source.
fn into_io_error(error: BoxError) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::new(kind_of(&*error), error),
    }
}

fn kind_of(error: &(dyn Error + 'static)) -> io::ErrorKind {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    for cause in causes {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return error.kind();
        }
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.error_kind();
        }
        if cause.is::<LengthLimitError>() {
            return io::ErrorKind::FileTooLarge;
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return io::ErrorKind::TimedOut;
            } else if error.is_incomplete_message() {
                return io::ErrorKind::UnexpectedEof;
            } else if error.is_parse() {
                return io::ErrorKind::InvalidData;
            } else if error.is_closed() || error.is_canceled() {
                return io::ErrorKind::ConnectionAborted;
            }
        }
    }
    io::ErrorKind::Other
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::whole_of(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::whole_of(bytes.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::whole_of(text.into())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::whole_of(Bytes::from_static(text.as_bytes()))
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Body {
        Body::whole_of(Bytes::from_static(bytes))
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Body {
        if incoming.is_end_stream() {
            Body::empty()
        } else {
            Body::of(Content::Incoming(incoming))
        }
    }
}

impl From<Received> for Body {
    fn from(received: Received) -> Body {
        Body::of(Content::Received(Box::new(received)))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.content {
            Content::Whole(_) => "whole",
            Content::Incoming(_) | Content::Received(_) => "incoming",
            Content::Stream(_) => "stream",
            Content::File(_) => "file",
            Content::Unbegun(_) => "producer, not begun",
            Content::Piped(_) => "producer",
        };
        let size = self.size_hint();
        f.debug_struct("Body")
            .field("kind", &kind)
            .field("least", &size.lower())
            .field("most", &size.upper())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;
    use std::thread;

    use http_body_util::StreamBody;

    use super::*;

    /// Two pieces and a trailer, from a body that has no length.
    fn streamed() -> Body {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "7".parse().unwrap());
        let frames = [
            Frame::data(Bytes::from_static(b"one ")),
            Frame::data(Bytes::from_static(b"two")),
            Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, io::Error>);
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    }

    fn first_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, BoxError>> {
        greenpatch::block_on(body.frame())
    }

    #[test]
    fn bytes_are_given_away_in_one_frame_and_without_a_copy() {
        let bytes = Bytes::from(vec![7; 100]);
        let mut body = Body::from(bytes.clone());
        assert_eq!(body.size_hint().exact(), Some(100));
        assert!(!body.is_end_stream());
        let frame = first_frame(&mut body).unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap().as_ptr(), bytes.as_ptr());
        assert!(body.is_end_stream());
        assert!(first_frame(&mut body).is_none());
    }

    #[test]
    fn what_is_a_body_already_gets_no_box() {
        let body = Body::new(Body::from("text"));
        assert_eq!(body.whole().unwrap(), "text");
        let body = Body::new(Full::new(Bytes::from_static(b"full")));
        assert_eq!(body.whole().unwrap(), "full");
        let body = Body::new(http_body_util::Empty::new());
        assert_eq!(body.whole().unwrap(), "");
    }

    #[test]
    fn reading_goes_over_the_borders_of_frames_and_keeps_trailers() {
        let mut body = streamed();
        let mut out = [0; 6];
        body.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"one tw");
        assert_eq!(body.trailers(), None);
        let mut rest = String::new();
        body.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "o");
        assert_eq!(body.trailers().unwrap()["checksum"], "7");
    }

    #[test]
    fn what_a_read_has_left_over_comes_first_when_it_is_sent_on() {
        let mut body = streamed();
        body.read_exact(&mut [0; 2]).unwrap();
        let all = greenpatch::block_on(body.collect()).unwrap();
        assert_eq!(all.trailers().unwrap()["checksum"], "7");
        assert_eq!(all.to_bytes(), "e two");
    }

    #[test]
    fn content_of_several_frames_is_put_together_up_to_the_limit() {
        assert_eq!(streamed().into_bytes(7).unwrap(), "one two");
        for limit in 0..7 {
            let error = streamed().into_bytes(limit).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("content longer than {limit} bytes")
            );
        }
    }

    #[test]
    fn text_and_json_of_the_wrong_form_are_told_so() {
        let error = Body::from(&b"\xff"[..]).into_string(9).unwrap_err();
        assert!(matches!(error, BadContent::NotText(_)), "{error}");
        let error = Body::from("{").into_json::<u32>(9).unwrap_err();
        assert!(matches!(error, BadContent::NotJson(_)), "{error}");
    }

    #[test]
    fn an_error_keeps_its_kind_and_its_cause() {
        let reset = io::Error::new(io::ErrorKind::ConnectionReset, "by the peer");
        let frames = futures::stream::iter([Err::<Frame<Bytes>, _>(reset)]);
        let error = Body::new(StreamBody::new(frames))
            .read(&mut [0])
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = into_io_error("without a kind".into());
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert_eq!(error.to_string(), "without a kind");
    }

    #[test]
    fn a_boxed_line_of_text_is_whole_once_it_was_polled() {
        let boxed = Full::new(Bytes::from_static(b"text")).boxed_unsync();
        let mut body = Body::new(boxed);
        assert!(body.whole().is_none());
        greenpatch::block_on(poll_fn(|context| body.poll_settle(context)));
        assert_eq!(body.whole().unwrap(), "text");
        assert!(body.take_producer(Streams::Piped).is_none());
    }

    #[test]
    fn a_stream_without_a_length_is_left_to_a_producer() {
        let mut body = streamed();
        greenpatch::block_on(poll_fn(|context| body.poll_settle(context)));
        assert!(body.whole().is_none());
        assert!(body.take_producer(Streams::Inline).is_none());
        let producer = body.take_producer(Streams::Piped).unwrap();
        let thread = thread::spawn(|| producer.run());
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        assert_eq!(body.trailers().unwrap()["checksum"], "7");
        thread.join().unwrap();
    }

    #[test]
    fn a_writer_that_nobody_runs_gets_a_thread_when_it_is_polled() {
        for green in [false, true] {
            let write_and_collect = || {
                let (sender, receiver) = mpsc::channel();
                let mut body = Body::from_writer(move |writer| {
                    sender.send(greenpatch::thread::is_green()).unwrap();
                    writer.write_all(b"text")
                });
                let frame = first_frame(&mut body).unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), "text");
                assert!(first_frame(&mut body).is_none());
                receiver.recv().unwrap()
            };
            let was_green = if green {
                greenpatch::run(write_and_collect)
            } else {
                write_and_collect()
            };
            assert_eq!(was_green, green);
        }
    }

    #[test]
    fn a_reader_is_read_by_the_caller_itself() {
        struct Caller(thread::ThreadId);
        impl Read for Caller {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                assert_eq!(thread::current().id(), self.0);
                out[0] = b'x';
                Ok(1)
            }
        }
        let mut body = Body::from_reader(Caller(thread::current().id()).take(3));
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xxx");
    }
}
