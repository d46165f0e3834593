//! The blocking connection loop: request, handler, response, and again.
//!
//! Ordinary blocking code, the same for all blocking worker classes. A keep-alive request costs
//! one read and one write: time-outs are set on the socket only when they change, and a response
//! leaves in one piece.

use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::buffer::ReceiveBuffer;
use crate::connection::Connection;
use crate::encoding::{Encoder, Reply};
use crate::framing::BodyDecoder;
use crate::handler::{self, Body, BodySource, Handler, Response};
use crate::head::{Head, HeadScan};
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// Content that a handler left unread is read over up to this length; with more to come the
/// connection is closed instead. (256 KiB is what Go's net/http reads over.)
pub(crate) const MOST_READ_OVER: u64 = 256 * 1024;

/// How long a closed connection goes on taking what the client still sends, so that the last
/// response is not lost in a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What a client may wait for before it sends its content.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a worker class wants its connections treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Whether a connection serves more than one request.
    pub(crate) keep_alive: bool,
    /// How often an idle connection looks whether others wait for its thread; never if `None`.
    pub(crate) look_round: Option<Duration>,
}

/// Serves one connection until either side closes it.
pub(crate) fn serve<C: Connection>(
    stream: &C,
    handler: &dyn Handler,
    settings: &Settings,
    manners: Manners,
    presence: &Presence,
) {
    // Without a limit a client that reads nothing would hold the thread for good.
    if stream
        .set_write_timeout(Some(settings.timeouts.write))
        .is_err()
    {
        return;
    }
    let mut exchange = Exchange {
        stream,
        settings,
        manners,
        presence,
        input: ReceiveBuffer::new(),
        encoder: Encoder::new(),
        read_timeout: None,
        content: Content::new(BodyDecoder::finished(), false),
    };
    let mut patience = settings.timeouts.header;
    loop {
        match exchange.next(patience, handler) {
            Ok(true) => {
                patience = settings.timeouts.keep_alive;
                C::give_way();
            }
            Ok(false) | Err(Failure::Lost) => return,
            Err(Failure::Refused(refusal)) => return exchange.refuse(&refusal),
        }
    }
}

/// Why a connection cannot go on.
pub(crate) enum Failure {
    /// The client is gone, or takes nothing any more.
    Lost,
    /// The client gets an error for an answer.
    Refused(Refusal),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Lost
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

/// A connection with its buffers.
struct Exchange<'a, C> {
    stream: &'a C,
    settings: &'a Settings,
    manners: Manners,
    presence: &'a Presence,
    input: ReceiveBuffer,
    encoder: Encoder,
    /// The read time-out that is set on the socket.
    read_timeout: Option<Duration>,
    content: Content,
}

/// The content of the request under way.
struct Content {
    decoder: BodyDecoder,
    /// When it was first waited for.
    began: Option<Instant>,
    /// The client waits for `100 Continue`.
    continue_due: bool,
    /// What was wrong with it.
    fault: Option<Refusal>,
}

impl Content {
    fn new(decoder: BodyDecoder, continue_due: bool) -> Content {
        Content {
            decoder,
            began: None,
            continue_due,
            fault: None,
        }
    }
}

impl<C: Connection> Exchange<'_, C> {
    /// Serves one request, for which the client may take its time up to `patience`. Tells whether
    /// the connection goes on.
    fn next(&mut self, patience: Duration, handler: &dyn Handler) -> Result<bool, Failure> {
        let Some(head) = self.receive_head(patience)? else {
            return Ok(false);
        };
        let decoder = BodyDecoder::new(head.framing, &self.settings.limits)?;
        self.content = Content::new(decoder, head.expects_continue);
        let mut reply = Reply::to(head.request.method(), head.request.version());
        let request = head.request.map(|()| Body::new(self));
        let response = handler::call(handler, request);
        if let Some(fault) = self.content.fault.take() {
            return Err(fault.into());
        }

        reply.close = !head.keep_alive
            || !self.manners.keep_alive
            || self.settings.timeouts.keep_alive.is_zero()
            || self.presence.should_close()
            || asks_to_close(&response)
            || !self.can_read_over();
        self.send(&response, reply)?;
        if !reply.close && self.read_over_content() {
            self.input.shrink();
            return Ok(true);
        }
        self.close();
        Ok(false)
    }

    /// Waits for a request's head; `None` when there will be none.
    fn receive_head(&mut self, patience: Duration) -> Result<Option<Head>, Failure> {
        if self.input.is_empty() && !self.wait_for_request(patience)? {
            return Ok(None);
        }
        let limits = &self.settings.limits;
        let mut scan = HeadScan::default();
        let mut began = None;
        loop {
            if let Some(length) = scan.advance(self.input.filled(), limits)? {
                let head = Head::parse(&self.input.filled()[..length], scan.fields())?;
                self.input.consume(length);
                return Ok(Some(head));
            }
            let began = *began.get_or_insert_with(Instant::now);
            let wait = self
                .settings
                .timeouts
                .header
                .saturating_sub(began.elapsed());
            match self.fill(wait) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Refusal::timed_out("head").into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the first bytes of a request; false when none came in time.
    fn wait_for_request(&mut self, patience: Duration) -> Result<bool, Failure> {
        self.presence.idle();
        let began = self.manners.look_round.map(|_| Instant::now());
        loop {
            let wait = self.manners.look_round.unwrap_or(patience).min(patience);
            match self.fill(wait) {
                Ok(count) => {
                    self.presence.busy();
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let is_last = began.is_none_or(|began| began.elapsed() >= patience);
                    if is_last || self.presence.others_wait() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives bytes into the buffer; 0 means that no more will come.
    ///
    /// # Errors
    /// `TimedOut` when none came within `wait`.
    fn fill(&mut self, wait: Duration) -> io::Result<usize> {
        if wait.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.read_timeout != Some(wait) {
            self.stream.set_read_timeout(Some(wait))?;
            self.read_timeout = Some(wait);
        }
        loop {
            match self.stream.receive(self.input.space()) {
                Ok(count) => {
                    self.input.filled_more(count);
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Sends a response, in one piece if the socket takes it.
    fn send(&mut self, response: &Response, reply: Reply) -> io::Result<()> {
        let (head, content) = self.encoder.encode(response, reply);
        if content.is_empty() {
            return send_all(self.stream, head);
        }
        let mut parts = [IoSlice::new(head), IoSlice::new(content)];
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            let sent = count_sent(self.stream.send_vectored(parts))?;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(())
    }

    /// Whether what the handler left of the content is known to be short enough to be read over.
    ///
    /// A client that still waits for `100 Continue` may or may not send the content after another
    /// answer, so that where the next request begins cannot be known.
    fn can_read_over(&self) -> bool {
        let content = &self.content;
        content.decoder.is_finished()
            || !content.continue_due
                && content
                    .decoder
                    .remaining()
                    .is_none_or(|rest| rest <= MOST_READ_OVER)
    }

    /// Reads over what the handler left of the content; false if there is too much of it.
    fn read_over_content(&mut self) -> bool {
        let end = self
            .content
            .decoder
            .received()
            .saturating_add(MOST_READ_OVER);
        while !self.content.decoder.is_finished() {
            if self.content.decoder.received() > end {
                return false;
            }
            match self.next_content(usize::MAX) {
                Ok(content) => self.input.consume(content),
                Err(_) => return false,
            }
        }
        true
    }

    /// How many bytes of content, at most `most`, stand at the front of the buffer; receives more
    /// if need be. 0 means that the content has ended.
    fn next_content(&mut self, most: usize) -> io::Result<usize> {
        loop {
            let content = &mut self.content;
            let decoded = match content.decoder.decode(self.input.filled(), most) {
                Ok(decoded) => decoded,
                Err(refusal) => return Err(self.fail(refusal)),
            };
            self.input.consume(decoded.skip);
            if decoded.content > 0 || content.decoder.is_finished() {
                content.continue_due = false;
                return Ok(decoded.content);
            }
            if std::mem::take(&mut content.continue_due) {
                send_all(self.stream, CONTINUE)?;
            }
            let elapsed = content.began.get_or_insert_with(Instant::now).elapsed();
            let received = content.decoder.received();
            match self.fill(self.settings.timeouts.content_wait(elapsed, received)) {
                Ok(0) => return Err(self.fail(Refusal::malformed("the content ends too early"))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(self.fail(Refusal::timed_out("content")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes what was wrong with the content, and makes an error of it for the handler.
    fn fail(&mut self, refusal: Refusal) -> io::Error {
        self.content.fault = Some(refusal.clone());
        io::Error::new(ErrorKind::InvalidData, refusal)
    }

    /// Answers with an error and closes.
    fn refuse(&mut self, refusal: &Refusal) {
        let response = handler::status_response(refusal.status, &refusal.reason);
        if self.send(&response, Reply::TO_UNREADABLE).is_ok() {
            self.linger();
        }
    }

    /// Closes the connection after the last response.
    fn close(&mut self) {
        if !self.content.decoder.is_finished() || !self.input.is_empty() {
            self.linger();
        }
    }

    /// Closes the sending side and takes what the client still sends, for a while. Closing with
    /// bytes unread would reset the connection, and the client could lose our response.
    fn linger(&mut self) {
        let end = Instant::now() + LINGER;
        let mut room = MOST_READ_OVER;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while room > 0 {
            self.input.consume(self.input.filled().len());
            match self.fill(end.saturating_duration_since(Instant::now())) {
                Ok(count) if count > 0 => room = room.saturating_sub(count as u64),
                _ => return,
            }
        }
    }
}

impl<C: Connection> BodySource for Exchange<'_, C> {
    fn read_body(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = &self.content.fault {
            return Err(io::Error::new(ErrorKind::InvalidData, fault.clone()));
        }
        let count = self.next_content(out.len())?;
        out[..count].copy_from_slice(&self.input.filled()[..count]);
        self.input.consume(count);
        Ok(count)
    }
}

/// Whether the handler wants the connection closed.
pub(crate) fn asks_to_close(response: &Response) -> bool {
    response
        .headers()
        .get(http::header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn send_all<C: Connection>(stream: &C, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[count_sent(stream.send(bytes))?..];
    }
    Ok(())
}

/// The bytes sent: none after an interruption, an error if the socket takes nothing.
fn count_sent(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}
