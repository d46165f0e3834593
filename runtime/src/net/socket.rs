//! A socket of ours: what the types of this module have in common.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};
use rustix::time::Timespec;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::context::NativeSection;
use crate::deadline::Deadline;
use crate::descriptor;
use crate::hook::{self, Interest};

/// An open socket in non-blocking mode. Clones share the mode that the user asked for, as they
/// share the open file.
pub(super) struct Socket {
    /// `None` only while the socket is taken apart.
    fd: Option<OwnedFd>,
    nonblocking: Arc<AtomicBool>,
}

impl Socket {
    /// Takes over a descriptor and puts it into non-blocking mode. `nonblocking` tells what
    /// its user asked for.
    pub(super) fn new(fd: OwnedFd, nonblocking: bool) -> io::Result<Socket> {
        let _native = NativeSection::enter();
        SockRef::from(&fd).set_nonblocking(true)?;
        Ok(Socket::opened(fd, nonblocking))
    }

    fn opened(fd: OwnedFd, nonblocking: bool) -> Socket {
        descriptor::opened(fd.as_raw_fd());
        Socket {
            fd: Some(fd),
            nonblocking: Arc::new(AtomicBool::new(nonblocking)),
        }
    }

    /// Opens a TCP socket and connects it; `EINPROGRESS` becomes `TimedOut` at the deadline.
    pub(super) fn connect(address: &SocketAddr, deadline: Option<Deadline>) -> io::Result<Socket> {
        let _native = NativeSection::enter();
        let stream = Type::STREAM.nonblocking();
        let new = socket2::Socket::new(Domain::for_address(*address), stream, Some(Protocol::TCP))?;
        let socket = Socket::opened(new.into(), false);
        match socket.options().connect(&SockAddr::from(*address)) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            outcome => return outcome.map(|()| socket),
        }
        let connected = socket.retry_until(Interest::Write, deadline, || {
            let mut entry = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            if poll(&mut entry, Some(&now))? == 0 {
                Err(Errno::AGAIN)
            } else {
                Ok(())
            }
        });
        match connected {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "connection timed out",
                ));
            }
            outcome => outcome?,
        }
        match socket.options().take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (fd, address) = self.retry(Interest::Read, || {
            rustix::net::acceptfrom_with(self, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        })?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        let address =
            address.ok_or_else(|| io::Error::other("the peer has no internet address"))?;
        Ok((Socket::opened(fd, false), address))
    }

    pub(super) fn recv(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let Some(section) = hook::enter_own() else {
            return self.retry(Interest::Read, || receive(self, buffer, flags));
        };
        let fd = self.as_fd().as_raw_fd();
        if self.nonblocking.load(Ordering::Relaxed) || !flags.is_empty() {
            drop(section);
            return self.retry(Interest::Read, || receive(self, buffer, flags));
        }
        let patience = || Ok(section.socket_deadline(fd, Interest::Read));
        Ok(section
            .retry_stream_read(fd, buffer.len(), patience, || receive(self, buffer, flags))?)
    }

    pub(super) fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.retry(Interest::Write, || {
            rustix::net::send(self, buffer, SendFlags::NOSIGNAL)
        })
    }

    pub(super) fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.retry(Interest::Write, || {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(self, buffers, &mut control, SendFlags::NOSIGNAL)
        })
    }

    /// Tries until the socket is ready, its time-out has passed, or at once in the mode that the user
    /// asked for.
    fn retry<T>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        if self.nonblocking.load(Ordering::Relaxed) {
            return Ok(attempt()?);
        }
        let fd = self.as_fd().as_raw_fd();
        let deadline = descriptor::entry(fd)?.socket_deadline(fd, interest);
        self.retry_until(interest, deadline, attempt)
    }

    fn retry_until<T>(
        &self,
        interest: Interest,
        deadline: Option<Deadline>,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        if let Some(section) = hook::enter_own() {
            return Ok(section.retry(
                self.as_fd().as_raw_fd(),
                interest,
                || Ok(deadline),
                attempt,
            )?);
        }
        let flags = match interest {
            Interest::Read => PollFlags::IN,
            Interest::Write => PollFlags::OUT,
        };
        loop {
            match attempt() {
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                outcome => return Ok(outcome?),
            }
            if deadline.is_some_and(Deadline::has_passed) {
                return Err(Errno::AGAIN.into());
            }
            let timeout = deadline.map(Deadline::timeout);
            match poll(
                &mut [PollFd::from_borrowed_fd(self.as_fd(), flags)],
                timeout.as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Socket> {
        let _native = NativeSection::enter();
        let fd = self.as_fd().try_clone_to_owned()?;
        descriptor::opened(fd.as_raw_fd());
        Ok(Socket {
            fd: Some(fd),
            nonblocking: self.nonblocking.clone(),
        })
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn set_timeout(
        &self,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a zero duration time-out; None is no time-out",
            ));
        }
        match interest {
            Interest::Read => self.options().set_read_timeout(timeout)?,
            Interest::Write => self.options().set_write_timeout(timeout)?,
        }
        hook::timeouts_changed();
        Ok(())
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        internet(&self.options().local_addr()?)
    }

    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        internet(&self.options().peer_addr()?)
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.options().shutdown(how)
    }

    /// The socket's options, none of which blocks.
    pub(super) fn options(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    /// The bare descriptor, in the mode that the user asked for.
    pub(super) fn into_fd(mut self) -> io::Result<OwnedFd> {
        let _native = NativeSection::enter();
        self.options()
            .set_nonblocking(self.nonblocking.load(Ordering::Relaxed))?;
        Ok(self
            .fd
            .take()
            .expect("a socket has its descriptor until it is taken apart"))
    }
}

fn receive(socket: &Socket, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    rustix::net::recv(socket, buffer, flags).map(|(read, _)| read)
}

fn internet(address: &SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no internet address"))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("a socket has its descriptor until it is taken apart")
            .as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            let _native = NativeSection::enter();
            let number = fd.as_raw_fd();
            descriptor::closing(number);
            drop(fd);
            descriptor::closed(number);
        }
    }
}
