//! Worker class `async`: async handlers on one event loop.
//!
//! The counterpart of [`crate::exchange`] for tasks: the same protocol, the same limits, each wait
//! an `.await`. A request's content is received whole before the handler is called.

use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time;

use super::pause_after;
use crate::buffer::ReceiveBuffer;
use crate::encoding::{Encoder, Reply};
use crate::exchange::{CONTINUE, Failure, LINGER, MOST_READ_OVER, asks_to_close};
use crate::framing::BodyDecoder;
use crate::handler::{self, AsyncHandler, Response};
use crate::head::{Head, HeadScan};
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::server::{ServeError, Server};
use crate::settings::Settings;

impl Server {
    /// Serves with async handlers on one event loop, which runs on the calling thread.
    ///
    /// # Errors
    /// If the event loop cannot be built or the listening socket fails.
    pub fn run_async(self, handler: impl AsyncHandler) -> Result<(), ServeError> {
        let event_loop = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        event_loop.block_on(accept_and_spawn(self, Arc::new(handler)))?;
        Ok(())
    }
}

async fn accept_and_spawn(server: Server, handler: Arc<dyn AsyncHandler>) -> io::Result<()> {
    let connections = Arc::clone(server.connections());
    let slots = u32::try_from(server.settings.worker_connections)
        .unwrap_or(u32::MAX)
        .max(1);
    let free_slots = Arc::new(Semaphore::new(slots as usize));
    let settings = Arc::new(server.settings);
    server.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(server.listener)?;
    let admit = async |stream: TcpStream| {
        let slot = Arc::clone(&free_slots).acquire_owned().await;
        let (receiver, sender) = stream.into_split();
        let sender = Arc::new(Sender(sender));
        let presence = connections.enter(Arc::clone(&sender) as _);
        let (handler, settings) = (Arc::clone(&handler), Arc::clone(&settings));
        tokio::spawn(async move {
            serve(receiver, &sender, &*handler, &settings, &presence).await;
            drop(slot);
        });
    };

    while !connections.is_stopping() {
        match listener.accept().await {
            Ok((stream, _)) => admit(stream).await,
            Err(error) => {
                if let Some(pause) = pause_after(&error) {
                    time::sleep(pause).await;
                }
            }
        }
    }
    // The event loop may not have heard yet of connections that came before the stop, so the
    // socket itself is asked.
    let listener = listener.into_std()?;
    for _ in 0..settings.backlog {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                admit(TcpStream::from_std(stream)?).await;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => {
                pause_after(&error);
            }
        }
    }
    drop(listener);
    // All slots free: all connections have ended. The semaphore is never closed.
    let _ = free_slots.acquire_many(slots).await;
    Ok(())
}

/// The sending half of a connection, which the server may shut down from outside.
struct Sender(OwnedWriteHalf);

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().as_fd()
    }
}

impl Sender {
    /// Sends all of `parts`, in one piece if the socket takes it; each time it does not, the
    /// client has so much time to take more.
    async fn send_all(&self, mut parts: &mut [IoSlice<'_>], patience: Duration) -> io::Result<()> {
        // Leaves empty parts at the front away.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let sent = time::timeout(patience, self.send(parts)).await??;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(())
    }

    /// Sends a part of `parts`, one after the other, and tells how long it was.
    async fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            self.0.writable().await?;
            let sent = match parts {
                [head, rest @ ..] if rest.iter().all(|part| part.is_empty()) => {
                    self.0.try_write(head)
                }
                _ => self.0.try_write_vectored(parts),
            };
            match sent {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }
}

async fn serve(
    receiver: OwnedReadHalf,
    sender: &Sender,
    handler: &dyn AsyncHandler,
    settings: &Settings,
    presence: &Presence,
) {
    let mut exchange = Exchange {
        receiver,
        sender,
        settings,
        presence,
        input: ReceiveBuffer::new(),
        encoder: Encoder::new(),
    };
    let mut patience = settings.timeouts.header;
    loop {
        match exchange.next(patience, handler).await {
            Ok(true) => patience = settings.timeouts.keep_alive,
            Ok(false) | Err(Failure::Lost) => return,
            Err(Failure::Refused(refusal)) => return exchange.refuse(&refusal).await,
        }
    }
}

/// A connection with its buffers.
struct Exchange<'a> {
    receiver: OwnedReadHalf,
    sender: &'a Sender,
    settings: &'a Settings,
    presence: &'a Presence,
    input: ReceiveBuffer,
    encoder: Encoder,
}

impl Exchange<'_> {
    /// Serves one request, for which the client may take its time up to `patience`. Tells whether
    /// the connection goes on.
    async fn next(
        &mut self,
        patience: Duration,
        handler: &dyn AsyncHandler,
    ) -> Result<bool, Failure> {
        let Some(head) = self.receive_head(patience).await? else {
            return Ok(false);
        };
        let mut reply = Reply::to(head.request.method(), head.request.version());
        let keep_alive = head.keep_alive;
        let content = self.receive_content(&head).await?;
        let response = handler::call_async(handler, head.request.map(|()| content)).await;
        reply.close = !keep_alive
            || self.settings.timeouts.keep_alive.is_zero()
            || self.presence.should_close()
            || asks_to_close(&response);
        self.send(&response, reply).await?;
        self.input.shrink();
        if reply.close && !self.input.is_empty() {
            self.linger().await;
        }
        Ok(!reply.close)
    }

    /// Waits for a request's head; `None` when there will be none.
    async fn receive_head(&mut self, patience: Duration) -> Result<Option<Head>, Failure> {
        if self.input.is_empty() {
            self.presence.idle();
            match self.fill(patience).await {
                Ok(0) => return Ok(None),
                Ok(_) => self.presence.busy(),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(error.into()),
            }
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
            match self.fill(wait).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Refusal::timed_out("head").into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives the whole content of a request.
    async fn receive_content(&mut self, head: &Head) -> Result<Bytes, Failure> {
        let mut decoder = BodyDecoder::new(head.framing, &self.settings.limits)?;
        let mut content = Vec::new();
        let mut continue_due = head.expects_continue;
        let began = Instant::now();
        loop {
            let decoded = decoder.decode(self.input.filled(), usize::MAX)?;
            self.input.consume(decoded.skip);
            content.extend_from_slice(&self.input.filled()[..decoded.content]);
            self.input.consume(decoded.content);
            if decoder.is_finished() {
                return Ok(content.into());
            }
            if decoded.content > 0 {
                continue_due = false;
                continue;
            }
            if std::mem::take(&mut continue_due) {
                let patience = self.settings.timeouts.write;
                self.sender
                    .send_all(&mut [IoSlice::new(CONTINUE)], patience)
                    .await?;
            }
            let wait = self
                .settings
                .timeouts
                .content_wait(began.elapsed(), decoder.received());
            match self.fill(wait).await {
                Ok(0) => return Err(Refusal::malformed("the content ends too early").into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Refusal::timed_out("content").into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives bytes into the buffer; 0 means that no more will come.
    ///
    /// # Errors
    /// `TimedOut` when none came within `wait`.
    async fn fill(&mut self, wait: Duration) -> io::Result<usize> {
        let receive = self.receiver.read(self.input.space());
        let count = time::timeout(wait, receive).await??;
        self.input.filled_more(count);
        Ok(count)
    }

    /// Sends a response, in one piece if the socket takes it.
    async fn send(&mut self, response: &Response, reply: Reply) -> io::Result<()> {
        let (head, content) = self.encoder.encode(response, reply);
        let mut parts = [IoSlice::new(head), IoSlice::new(content)];
        self.sender
            .send_all(&mut parts, self.settings.timeouts.write)
            .await
    }

    /// Answers with an error and closes.
    async fn refuse(&mut self, refusal: &Refusal) {
        let response = handler::status_response(refusal.status, &refusal.reason);
        if self.send(&response, Reply::TO_UNREADABLE).await.is_ok() {
            self.linger().await;
        }
    }

    /// Closes the sending side and takes what the client still sends, for a while.
    async fn linger(&mut self) {
        let end = Instant::now() + LINGER;
        let mut room = MOST_READ_OVER;
        if SockRef::from(self.sender)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            return;
        }
        while room > 0 {
            self.input.consume(self.input.filled().len());
            match self
                .fill(end.saturating_duration_since(Instant::now()))
                .await
            {
                Ok(count) if count > 0 => room = room.saturating_sub(count as u64),
                _ => return,
            }
        }
    }
}
