//! A socket of ours: std's own, and how a call on it waits.
//!
//! The socket stays in the mode that its user gave it, and std carries out all that never waits. What may wait
//! is tried with `MSG_DONTWAIT`; when there is nothing to do, and the user does not want `WouldBlock` for that, the
//! thread waits and tries again: a green thread parks, by [`Call::retry`], an OS thread polls, in
//! [`retry_on_os_thread`].

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny,
    SocketFlags, SocketType,
};

use crate::base::deadline::Deadline;
use crate::base::interest::Interest;
use crate::sched::context::NativeSection;
use crate::wait::call::{Call, Patience};
use crate::wait::descriptor;
use crate::wait::interrupt::{Limits, WaitEnd};
use crate::wait::section;

/// Buffers that the kernel takes in one call.
pub(crate) const MOST_BUFFERS: usize = libc::UIO_MAXIOV as usize;

/// std's socket `S`, whose descriptor the runtime knows while it is here.
pub(super) struct Socket<S: AsFd> {
    /// `None` only while the socket is taken apart.
    std: Option<S>,
}

/// Tells the runtime of a descriptor that the kernel has just given out, and hands it on.
pub(super) fn fresh<S: AsFd>(std: S) -> S {
    descriptor::opened(std.as_fd().as_raw_fd());
    std
}

impl<S: AsFd> Socket<S> {
    pub(super) fn new(std: S) -> Socket<S> {
        // A descriptor that was converted may be in use already.
        descriptor::outdated(std.as_fd().as_raw_fd());
        Socket { std: Some(std) }
    }

    /// A stream socket to be connected, in non-blocking mode until [`connected`](Self::connected).
    pub(super) fn unconnected(family: AddressFamily) -> io::Result<Socket<S>>
    where
        S: From<OwnedFd>,
    {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        Ok(Socket::new(S::from(fresh(fd))))
    }

    /// The socket in blocking mode. Nobody else has seen it in the other.
    pub(super) fn connected(self) -> io::Result<Socket<S>> {
        rustix::io::ioctl_fionbio(&self, false)?;
        Ok(self)
    }

    pub(super) fn std(&self) -> &S {
        self.std
            .as_ref()
            .expect("a socket has its descriptor until it is taken apart")
    }

    pub(super) fn into_std(mut self) -> S {
        self.std
            .take()
            .expect("a socket has its descriptor until it is taken apart")
    }

    pub(super) fn try_clone(&self) -> io::Result<Socket<S>>
    where
        S: From<OwnedFd>,
    {
        let _native = NativeSection::enter();
        Ok(Socket::new(S::from(fresh(
            self.as_fd().try_clone_to_owned()?,
        ))))
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, nonblocking)?)
    }

    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer.len(), || {
            rustix::net::recv(self, &mut *buffer, RecvFlags::DONTWAIT).map(|(read, _)| read)
        })
    }

    pub(super) fn recv_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = buffers.len().min(MOST_BUFFERS);
        let buffers = &mut buffers[..count];
        let length = buffers.iter().map(|buffer| buffer.len()).sum();
        self.read(length, || {
            let mut control = RecvAncillaryBuffer::default();
            rustix::net::recvmsg(self, buffers, &mut control, RecvFlags::DONTWAIT)
                .map(|message| message.bytes)
        })
    }

    /// A datagram and where it comes from; what does not fit is cut off.
    pub(super) fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<SocketAddrAny>)> {
        let length = buffer.len();
        self.recv_from_with(buffer, RecvFlags::DONTWAIT, length)
    }

    /// As [`recv_from`](Self::recv_from), without taking the data off the socket.
    pub(super) fn peek_from(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<SocketAddrAny>)> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.recv_from_with(buffer, flags, 0)
    }

    /// Sends all of `buffer`, as a blocking call does, as long as the socket's user wants to wait.
    pub(super) fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        let outcome = self.retry(Interest::Write, || {
            loop {
                sent += rustix::net::send(self, &buffer[sent..], SEND)?;
                if sent >= buffer.len() {
                    return Ok(sent);
                }
            }
        });
        match outcome {
            // What was sent counts; the error comes again with the next call.
            Err(_) if sent > 0 => Ok(sent),
            outcome => outcome,
        }
    }

    pub(super) fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        self.retry(Interest::Write, || {
            rustix::net::sendmsg(self, buffers, &mut SendAncillaryBuffer::default(), SEND)
        })
    }

    fn recv_from_with(
        &self,
        buffer: &mut [u8],
        flags: RecvFlags,
        taken: usize,
    ) -> io::Result<(usize, Option<SocketAddrAny>)> {
        let mut from = None;
        let read = self.read(taken, || {
            let (read, _, address) = rustix::net::recvfrom(self, &mut *buffer, flags)?;
            from = address;
            Ok(read)
        })?;
        Ok((read, from))
    }

    /// Reads, and takes up to so many bytes off the socket.
    fn read(
        &self,
        taken: usize,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        let outcome = match section::enter_own() {
            Some(section) => section
                .call(self.number())
                .and_then(|call| call.retry_stream_read(taken, Call::socket_patience, attempt)),
            None => retry_on_os_thread(
                self.as_fd(),
                Interest::Read,
                || self.patience(None, Interest::Read),
                |is_shut| match attempt() {
                    // As in `Call::retry_stream_read`.
                    Err(Errno::AGAIN) if is_shut => Ok(0),
                    outcome => outcome,
                },
            ),
        };
        Ok(outcome?)
    }

    /// Tries until the socket is ready, or its time-out has passed, or once if it is in non-blocking mode.
    pub(super) fn retry<T>(
        &self,
        interest: Interest,
        attempt: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        self.retry_patiently(interest, |call| self.patience(call, interest), attempt)
    }

    /// As [`retry`](Self::retry), for as long as `patience`, which is asked when the call first has to wait, allows.
    pub(super) fn retry_patiently<T>(
        &self,
        interest: Interest,
        patience: impl FnOnce(Option<&Call<'_>>) -> Patience,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        let outcome = match section::enter_own() {
            Some(section) => section
                .call(self.number())
                .and_then(|call| call.retry(interest, |call, _| patience(Some(call)), attempt)),
            None => retry_on_os_thread(self.as_fd(), interest, || patience(None), |_| attempt()),
        };
        Ok(outcome?)
    }

    /// How long a call on this socket may wait, by its mode and time-outs. Without a [`Call`], the kernel is asked.
    pub(super) fn patience(&self, call: Option<&Call<'_>>, interest: Interest) -> Patience {
        if let Some(call) = call {
            call.socket_patience(interest)
        } else if descriptor::is_nonblocking(self.number()) {
            Err(Errno::AGAIN)
        } else {
            Ok(self.deadline(None, interest))
        }
    }

    /// When the socket's time-out will have passed.
    pub(super) fn deadline(&self, call: Option<&Call<'_>>, interest: Interest) -> Option<Deadline> {
        if let Some(call) = call {
            return call.socket_deadline(interest);
        }
        let which = match interest {
            Interest::Read => Timeout::Recv,
            Interest::Write => Timeout::Send,
        };
        let timeout = socket_timeout(self, which).ok().flatten();
        timeout.map(Deadline::after)
    }

    pub(super) fn number(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// How everything is sent.
pub(super) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// As [`Call::retry`], on an OS thread, which is blocked in between. `attempt` is told whether the socket is shut for
/// reading.
pub(super) fn retry_on_os_thread<T>(
    fd: BorrowedFd<'_>,
    interest: Interest,
    patience: impl FnOnce() -> Patience,
    mut attempt: impl FnMut(bool) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let flags = match interest {
        Interest::Read => PollFlags::IN | PollFlags::RDHUP,
        Interest::Write => PollFlags::OUT,
    };
    match attempt(false) {
        Err(Errno::AGAIN | Errno::INTR) => {}
        outcome => return outcome,
    }
    let limits = Limits::new(patience()?);
    loop {
        match limits.check() {
            Ok(()) => {}
            Err(WaitEnd::Deadline) => return Err(Errno::AGAIN),
            Err(WaitEnd::Interrupted(interrupted)) => return Err(interrupted.into()),
        }
        let timeout = limits.until().map(Deadline::timeout);
        let mut entry = [PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut entry, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        match attempt(entry[0].revents().contains(PollFlags::RDHUP)) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

impl<S: AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

impl<S: AsFd> Drop for Socket<S> {
    fn drop(&mut self) {
        if let Some(std) = self.std.take() {
            let _native = NativeSection::enter();
            let number = std.as_fd().as_raw_fd();
            let closing = descriptor::closing(number);
            drop(std);
            descriptor::closed(closing);
        }
    }
}
