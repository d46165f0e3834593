//! Descriptors that futures wait on.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use super::handle::Handle;
use crate::base::interest::Interest;
use crate::net::MOST_BUFFERS;
use crate::net::accept::Accept;
use crate::wait::accept::is_taken;
use crate::wait::descriptor;
use crate::wait::readiness::{Hangup, Registration};

/// How everything is sent.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// A descriptor that futures wait on, by the reactor of the runtime that it was made on.
///
/// It may be polled on any thread. The descriptor stays in the mode in which it is: sockets are read and written by calls that
/// do not wait, whatever the mode. Blocking calls on the same descriptor go on as before; tasks do not wait in line with them.
///
/// **Polling.** The `poll_` functions keep one waker for reading, one for writing and one for [hang-up](Self::poll_hangup): that of
/// the task that has polled last. The futures have a place of their own, so any number of tasks can await them at once. When
/// there is something, all that wait are woken, and each tries.
///
/// **Closing.** If the descriptor is closed by its number behind the back of this, its tasks are woken, and everything fails with
/// `EBADF`, also when the number has been given out anew.
///
/// ```
/// use std::io::Read;
/// use greenpatch_runtime::future::{AsyncFd, block_on};
/// use greenpatch_runtime::net::{TcpListener, TcpStream};
///
/// greenpatch_runtime::run(|| -> std::io::Result<()> {
///     let listener = AsyncFd::new(TcpListener::bind("127.0.0.1:0")?)?;
///     let address = listener.get_ref().local_addr()?;
///     let client = greenpatch_runtime::spawn(move || -> std::io::Result<String> {
///         let mut text = String::new();
///         TcpStream::connect(address)?.read_to_string(&mut text)?;
///         Ok(text)
///     });
///     block_on(async {
///         let (stream, _peer) = listener.accept().await?;
///         // On any thread, where `AsyncFd::new` may have no runtime to use.
///         let stream = listener.handle().async_fd(stream)?;
///         stream.write(b"hello").await
///     })?;
///     assert_eq!(client.join().unwrap()?, "hello");
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AsyncFd<T: AsFd> {
    /// `None` only while it is taken apart.
    parts: Option<(Pin<Box<Registration>>, T)>,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers a descriptor with the reactor of the runtime that the caller runs on.
    ///
    /// # Errors
    ///
    /// `Unsupported` on an OS thread, which has no runtime: there use [`Handle::async_fd`]. `PermissionDenied` for what is
    /// always ready, regular files and directories. Otherwise what epoll refuses a descriptor with.
    pub fn new(io: T) -> io::Result<AsyncFd<T>> {
        AsyncFd::on(Handle::current()?, io)
    }

    pub(super) fn on(handle: Handle, io: T) -> io::Result<AsyncFd<T>> {
        let registration = Registration::new(handle.into_shared(), io.as_fd().as_raw_fd())?;
        Ok(AsyncFd {
            parts: Some((registration, io)),
        })
    }

    fn parts(&self) -> &(Pin<Box<Registration>>, T) {
        (self.parts.as_ref()).expect("an AsyncFd is whole until it is taken apart")
    }

    fn registration(&self) -> Pin<&Registration> {
        self.parts().0.as_ref()
    }

    /// What was registered.
    pub fn get_ref(&self) -> &T {
        &self.parts().1
    }

    /// What was registered. It must keep its descriptor.
    pub fn get_mut(&mut self) -> &mut T {
        let parts = self.parts.as_mut();
        &mut parts
            .expect("an AsyncFd is whole until it is taken apart")
            .1
    }

    /// What was registered, no longer so. Whoever waits here waits for ever.
    pub fn into_inner(mut self) -> T {
        let (_, io) = (self.parts.take()).expect("an AsyncFd is whole until it is taken apart");
        io
    }

    /// That of the runtime whose reactor this uses.
    pub fn handle(&self) -> Handle {
        Handle::of(self.parts().0.shared().clone())
    }

    /// Makes an attempt, which must not block: `WouldBlock` means that the task is woken when the descriptor is ready, and tries
    /// again.
    ///
    /// # Errors
    ///
    /// What `attempt` gives; `EBADF` if the descriptor was closed; an error that says so if the runtime has ended.
    pub fn poll_io<R>(
        &self,
        interest: Interest,
        context: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.registration().poll_io(interest, context, attempt)
    }

    /// Waits until the kernel calls the descriptor readable: there is something to read or to accept, or an end or an error to be
    /// told of.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_io(Interest::Read, context, || self.is_ready(PollFlags::IN))
    }

    /// Waits until the kernel calls the descriptor writable: there is room to write, or an error to be told of.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_io(Interest::Write, context, || self.is_ready(PollFlags::OUT))
    }

    fn is_ready(&self, flags: PollFlags) -> io::Result<()> {
        let fd = self.get_ref().as_fd().as_raw_fd();
        if descriptor::is_ready(fd, flags)? {
            Ok(())
        } else {
            Err(Errno::AGAIN.into())
        }
    }

    /// Reads from a socket, and tells how many bytes of `buffer` were written; 0 is the end.
    ///
    /// # Errors
    ///
    /// What recv(2) gives, `ENOTSOCK` for what is no socket; and as [`poll_io`](Self::poll_io).
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = buffer.len();
        (self.registration()).poll_socket(Interest::Read, context, length, || self.receive(buffer))
    }

    fn receive(&self, buffer: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
        let ((read, _), _) = rustix::net::recv(self.get_ref(), buffer, RecvFlags::DONTWAIT)?;
        Ok(read.len())
    }

    /// Writes to a socket, and tells how many bytes of `buffer` it took.
    ///
    /// # Errors
    ///
    /// What send(2) gives, and no signal; and as [`poll_io`](Self::poll_io).
    pub fn poll_write(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        (self.registration()).poll_socket(Interest::Write, context, buffer.len(), || {
            rustix::net::send(self.get_ref(), buffer, SEND)
        })
    }

    /// As [`poll_write`](Self::poll_write), from several buffers; of very many, from the first ones.
    ///
    /// # Errors
    ///
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        let length = buffers.iter().map(|buffer| buffer.len()).sum();
        (self.registration()).poll_socket(Interest::Write, context, length, || {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(self.get_ref(), buffers, &mut control, SEND)
        })
    }

    /// Accepts a connection: the stream, which is in blocking mode, and the peer's address.
    ///
    /// accept(2) has no flag for a call that does not wait. On a listener in blocking mode threads of this process accept one by
    /// one, each when it has seen a connection; if other *processes* accept on it, put it into non-blocking mode, as
    /// [`net`](crate::net#listeners-that-several-processes-share) says. `bind` of this crate's listeners does.
    ///
    /// # Errors
    ///
    /// What accept(2) gives; and as [`poll_io`](Self::poll_io).
    pub fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(T::Stream, T::Address)>>
    where
        T: Accept,
    {
        accept_by(self.get_ref(), context, |context, attempt| {
            (self.registration()).poll_io(Interest::Read, context, attempt)
        })
    }

    /// Whether the peer has gone, by the events seen so far; consumes nothing. It asks the kernel only if there was an event
    /// that may mean so, so it is cheap on a connection that is in order. After a write that the peer refuses it may take a moment
    /// until the event is seen.
    pub fn hangup(&self) -> Option<Hangup> {
        self.registration().hangup()
    }

    /// Waits until the peer has gone, though nobody reads; consumes nothing.
    ///
    /// # Errors
    ///
    /// `EBADF` if the descriptor was closed; an error that says so if the runtime has ended.
    pub fn poll_hangup(&self, context: &mut Context<'_>) -> Poll<io::Result<Hangup>> {
        self.registration().poll_hangup(context)
    }

    /// As [`poll_io`](Self::poll_io), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    pub async fn io<R>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let place = pin!(self.registration().get_ref().own_place());
        poll_fn(|context| (place.as_ref()).poll_io(interest, context, &mut attempt)).await
    }

    /// As [`poll_readable`](Self::poll_readable), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    pub async fn readable(&self) -> io::Result<()> {
        self.io(Interest::Read, || self.is_ready(PollFlags::IN))
            .await
    }

    /// As [`poll_writable`](Self::poll_writable), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    pub async fn writable(&self) -> io::Result<()> {
        self.io(Interest::Write, || self.is_ready(PollFlags::OUT))
            .await
    }

    /// As [`poll_read`](Self::poll_read), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len();
        if length == 0 {
            return Ok(0);
        }
        let place = pin!(self.registration().get_ref().own_place());
        poll_fn(|context| {
            (place.as_ref()).poll_socket(Interest::Read, context, length, || {
                let flags = RecvFlags::DONTWAIT;
                rustix::net::recv(self.get_ref(), &mut *buffer, flags).map(|(read, _)| read)
            })
        })
        .await
    }

    /// As [`poll_write`](Self::poll_write), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_write`](Self::poll_write).
    pub async fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let place = pin!(self.registration().get_ref().own_place());
        poll_fn(|context| {
            (place.as_ref()).poll_socket(Interest::Write, context, buffer.len(), || {
                rustix::net::send(self.get_ref(), buffer, SEND)
            })
        })
        .await
    }

    /// As [`poll_accept`](Self::poll_accept), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_accept`](Self::poll_accept).
    pub async fn accept(&self) -> io::Result<(T::Stream, T::Address)>
    where
        T: Accept,
    {
        let place = pin!(self.registration().get_ref().own_place());
        poll_fn(|context| {
            accept_by(self.get_ref(), context, |context, attempt| {
                (place.as_ref()).poll_io(Interest::Read, context, attempt)
            })
        })
        .await
    }

    /// As [`poll_hangup`](Self::poll_hangup), for any number of tasks.
    ///
    /// # Errors
    ///
    /// As [`poll_hangup`](Self::poll_hangup).
    pub async fn until_hangup(&self) -> io::Result<Hangup> {
        let place = pin!(self.registration().get_ref().own_place());
        poll_fn(|context| place.as_ref().poll_hangup(context)).await
    }
}

type Accepted<T> = (<T as Accept>::Stream, <T as Accept>::Address);

/// Accepts by a `poll` of an attempt. While another thread accepts, nobody can look; who does has a moment's work.
fn accept_by<T: Accept>(
    listener: &T,
    context: &mut Context<'_>,
    poll: impl FnOnce(
        &mut Context<'_>,
        &mut dyn FnMut() -> io::Result<Accepted<T>>,
    ) -> Poll<io::Result<Accepted<T>>>,
) -> Poll<io::Result<Accepted<T>>> {
    let mut has_looked = true;
    let outcome = poll(context, &mut || {
        let outcome = listener.accept_at_once();
        has_looked = !outcome.as_ref().is_err_and(is_taken);
        if has_looked {
            outcome
        } else {
            Err(Errno::AGAIN.into())
        }
    });
    if outcome.is_pending() && !has_looked {
        context.waker().wake_by_ref();
    }
    outcome
}

impl<T: AsFd> Drop for AsyncFd<T> {
    fn drop(&mut self) {
        if let Some((registration, io)) = self.parts.take() {
            // Its tasks have nothing to be woken for.
            registration.withdraw_own();
            drop(io);
            registration.given_up();
        }
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd")
            .field("io", self.get_ref())
            .finish_non_exhaustive()
    }
}
