//! The stream that hyper reads and writes, with an account of what passes.
//!
//! Besides the account it does three things that hyper cannot be asked to do. It finds out whether a client begins with
//! HTTP/2, before one of hyper's two kinds of connection is made. It [looks at HTTP/1](super::scan) before hyper reads it. And it
//! puts our answer in the place of hyper's own to a head that hyper cannot read, which has a status and nothing else: whatever HTTP/1
//! has written while no exchange is under way, and all of the last response has been written, is that answer.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::io::Io;
use super::refusal::Refusal;
use super::registry::{Connection, Entered, Registry};
use super::scan::Scan;
use crate::settings::Limits;

/// What a client says first that speaks HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read at once while it is found out what a client speaks: most heads.
const FIRST_READ: usize = 1024;

/// How much of HTTP/1 is read at once; hyper's own buffer begins with as much.
const USUAL_READ: usize = 8 * 1024;

/// The same inside of content that is longer.
const LONG_READ: usize = 64 * 1024;

/// See the module's page.
pub(super) struct Watched {
    io: Io,
    /// Bytes that have come and that hyper has not had yet.
    early: BytesMut,
    /// Nothing comes after them.
    is_ended: bool,
    scan: Scan,
    /// Where long content is read to before hyper has it.
    long: Vec<u8>,
    /// What is left to send of the answer that takes the place of hyper's.
    instead: Option<Bytes>,
    /// The connection counts as open as long as the stream is there.
    entered: Entered,
    registry: Arc<Registry>,
    limits: Limits,
}

impl Watched {
    pub(super) fn new(
        io: Io,
        entered: Entered,
        registry: Arc<Registry>,
        limits: Limits,
    ) -> Watched {
        Watched {
            io,
            early: BytesMut::new(),
            is_ended: false,
            scan: Scan::default(),
            long: Vec::new(),
            instead: None,
            entered,
            registry,
            limits,
        }
    }

    fn connection(&self) -> &Connection {
        self.entered.connection()
    }

    /// Takes back what hyper has read and not used, and waits for more. False if the client says nothing more and ends.
    pub(super) async fn until_more(&mut self, unused: Bytes) -> io::Result<bool> {
        let read = std::future::poll_fn(|context| self.poll_first(context)).await?;
        self.is_ended = read == 0;
        let more = std::mem::take(&mut self.early);
        if self.look_at(&more) {
            self.early = more;
        }
        if !unused.is_empty() {
            // That has been looked at.
            let more = std::mem::replace(&mut self.early, BytesMut::from(&unused[..]));
            self.early.extend_from_slice(&more);
        }
        Ok(!self.early.is_empty())
    }

    /// Waits for what a client says first, and tells whether it speaks HTTP/2. `None` if it says nothing and ends.
    pub(super) async fn until_known(&mut self) -> io::Result<Option<bool>> {
        if self.io.is_http2_agreed() {
            return Ok(Some(true));
        }
        loop {
            let read = std::future::poll_fn(|context| self.poll_first(context)).await?;
            let begun = self.early.len().min(PREFACE.len());
            let is_preface = self.early[..begun] == PREFACE[..begun];
            if read == 0 {
                self.is_ended = true;
                if self.early.is_empty() {
                    return Ok(None);
                }
            } else if is_preface && begun == PREFACE.len() {
                return Ok(Some(true));
            } else if is_preface {
                continue;
            }
            let early = std::mem::take(&mut self.early);
            if self.look_at(&early) {
                self.early = early;
            }
            return Ok(Some(false));
        }
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(context, buffer.unfilled()))?;
        let read = buffer.filled();
        self.early.extend_from_slice(read);
        self.connection().note_received();
        Poll::Ready(Ok(read.len()))
    }

    /// Looks at what has come. False if hyper may not have all of it: then what it is to have is put where it reads next.
    fn look_at(&mut self, bytes: &[u8]) -> bool {
        let Err(fault) = self.scan.pass(bytes, &self.limits) else {
            return true;
        };
        self.early = BytesMut::from(&bytes[..fault.sound]);
        self.early.extend_from_slice(fault.instead);
        self.is_ended = true;
        self.connection().linger();
        self.connection().note_fault(fault.refusal);
        false
    }

    /// Reads HTTP/1 for hyper, and looks at it.
    fn poll_looked_at(
        &mut self,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.scan.content_left() > USUAL_READ as u64 {
            let mut long = std::mem::take(&mut self.long);
            long.resize(LONG_READ, 0);
            let length = buffer.remaining().min(LONG_READ);
            let mut read = ReadBuf::new(&mut long[..length]);
            let polled = self.poll_through(context, &mut read, buffer);
            self.long = long;
            return polled;
        }
        if !self.long.is_empty() {
            self.long = Vec::new();
        }
        let mut space = [MaybeUninit::uninit(); USUAL_READ];
        let length = buffer.remaining().min(USUAL_READ);
        let mut read = ReadBuf::uninit(&mut space[..length]);
        self.poll_through(context, &mut read, buffer)
    }

    /// Reads into `read`, looks at it, and gives it to hyper.
    fn poll_through(
        &mut self,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(context, read.unfilled()))?;
        self.connection().note_received();
        if self.look_at(read.filled()) {
            buffer.put_slice(read.filled());
        } else {
            self.give_early(&mut buffer);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives hyper what it has not had yet.
    fn give_early(&mut self, buffer: &mut ReadBufCursor<'_>) {
        let length = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..length]);
        self.early.advance(length);
        if self.early.is_empty() {
            self.early = BytesMut::new();
        }
    }

    /// What is to be sent in the place of hyper's own answer.
    #[cold]
    fn answer_instead(&self, hypers: &[u8]) -> Bytes {
        let status = hypers.get(9..12).unwrap_or_default();
        let refusal = match (self.connection().fault(), StatusCode::from_bytes(status)) {
            (Some(fault), _) => fault.clone(),
            // Limits of hyper's own, where ours are wider.
            (None, Ok(status @ StatusCode::URI_TOO_LONG)) => {
                Refusal::new(status, "the request's target is too long")
            }
            (None, Ok(status @ StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)) => {
                Refusal::new(status, "the request's head is too large")
            }
            _ => Refusal::malformed("the request's head is not well-formed"),
        };
        self.connection().linger();
        refusal.to_bytes(!self.scan.is_to_head())
    }

    /// Sends our answer in the place of hyper's, of which `length` bytes are given.
    #[cold]
    fn poll_instead(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some(rest) = self.instead.as_mut().filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(sent);
        }
        Poll::Ready(Ok(length))
    }

    /// Whether what hyper writes, beginning with `first`, is replaced.
    fn replaces(&mut self, first: &[u8]) -> bool {
        if self.instead.is_none() && self.connection().is_hypers_own_write() {
            self.instead = Some(self.answer_instead(first));
        }
        self.instead.is_some()
    }

    fn note_written<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let blocked = written.is_pending().then(|| self.registry.clock.now());
        self.connection().note_written(blocked);
        written
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            self.give_early(&mut buffer);
            return Poll::Ready(Ok(()));
        }
        if self.is_ended {
            return Poll::Ready(Ok(()));
        }
        if self.connection().is_http1() {
            return self.poll_looked_at(context, buffer);
        }
        if self.connection().is_http2() && !self.connection().take_read() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.connection().note_received();
        Poll::Ready(Ok(()))
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            return self.poll_instead(context, bytes.len());
        }
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(buffers.first().map_or(&[], |first| first)) {
            let length = buffers.iter().map(|buffer| buffer.len()).sum();
            return self.poll_instead(context, length);
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(context, buffers);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        if self.connection().note_flushed() {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
