//! One connection, used by several threads: the protocol's state and the stream behind one lock, which nobody holds while
//! he waits.
//!
//! A thread that wants something polls: it takes the lock, lets the protocol do what can be done without waiting, and gives
//! the lock back. The stream below never blocks; it says `WouldBlock`, and has the waker of that poll woken when it is ready.
//!
//! **Who is woken.** The stream remembers one waker for reading and one for writing, the last ones it was polled with. But
//! whoever polls may do both: reading answers pings, and so writes. If a reader came between a sender and its wake-up, the
//! sender would wait for ever. So the stream is only ever given one waker, [`Both`], which wakes the reader and the sender
//! that wait. Each direction has at most one of them: senders take turns ([`Shared::send`]), readers do as well.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;
use greenpatch::sync::Mutex;
use hyper::rt::{Read as _, ReadBuf, Write as _};
use hyper::upgrade::Upgraded;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// The wakers of the reader and of the sender.
#[derive(Default)]
struct Both {
    reader: AtomicWaker,
    sender: AtomicWaker,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.sender.wake();
    }
}

struct Connection {
    protocol: WebSocketContext,
    stream: Upgraded,
}

/// What the threads share.
pub(super) struct Shared {
    /// `None` when the socket's function has ended: senders that others keep do not keep the stream open.
    connection: Mutex<Option<Connection>>,
    wakers: Arc<Both>,
    waker: Waker,
}

impl Shared {
    pub(super) fn new(stream: Upgraded, config: WebSocketConfig) -> Shared {
        let wakers = Arc::new(Both::default());
        Shared {
            connection: Mutex::new(Some(Connection {
                protocol: WebSocketContext::new(Role::Server, Some(config)),
                stream,
            })),
            waker: Waker::from(wakers.clone()),
            wakers,
        }
    }

    /// The next message, of whatever kind. One reader at a time.
    pub(super) fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        self.wakers.reader.register(context.waker());
        self.with(|protocol, stream| protocol.read(stream))
    }

    /// Hands a message to the protocol, which sends it as far as it goes. The rest is for [`poll_flush`](Self::poll_flush).
    pub(super) fn begin_send(&self, message: Message) -> Result<(), Error> {
        match self.with(|protocol, stream| protocol.write(stream, message)) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Sends what is left. One sender at a time.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wakers.sender.register(context.waker());
        self.with(|protocol, stream| protocol.flush(stream))
    }

    /// Says that it is over, as [`begin_send`](Self::begin_send).
    pub(super) fn begin_close(&self, frame: Option<CloseFrame>) -> Result<(), Error> {
        match self.with(|protocol, stream| protocol.close(stream, frame)) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Closes the stream, and has those who wait for it fail.
    pub(super) fn end(&self) {
        let mut guard = self
            .connection
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        let connection = guard.take();
        drop(guard);
        drop(connection);
        self.wakers.wake_by_ref();
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut WebSocketContext, &mut NonBlocking<'_>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        let mut guard = self
            .connection
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        let Some(Connection { protocol, stream }) = &mut *guard else {
            return Poll::Ready(Err(Error::AlreadyClosed));
        };
        let context = Context::from_waker(&self.waker);
        match act(protocol, &mut NonBlocking { stream, context }) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            other => Poll::Ready(other),
        }
    }
}

/// The stream during one poll, as tungstenite takes it.
struct NonBlocking<'a> {
    stream: &'a mut Upgraded,
    context: Context<'a>,
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for NonBlocking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(out);
        let stream = Pin::new(&mut *self.stream);
        or_would_block(stream.poll_read(&mut self.context, buffer.unfilled()))?;
        Ok(buffer.filled().len())
    }
}

impl Write for NonBlocking<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.stream).poll_write(&mut self.context, data))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_would_block(Pin::new(&mut *self.stream).poll_flush(&mut self.context))
    }
}
