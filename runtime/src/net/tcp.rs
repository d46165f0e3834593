//! `TcpListener` and `TcpStream`, as std has them.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
use std::{fmt, net};

use rustix::net::RecvFlags;

use super::socket::Socket;
use crate::context::NativeSection;
use crate::deadline::Deadline;
use crate::hook::Interest;

/// A listener; mirrors [`std::net::TcpListener`].
pub struct TcpListener(Socket);

impl TcpListener {
    /// Binds to the first address that can be bound, as [`std::net::TcpListener::bind`] does.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        let _native = NativeSection::enter();
        TcpListener::from_std(net::TcpListener::bind(address)?)
    }

    /// Takes over a listener that was made otherwise, with socket2 say.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        let nonblocking = crate::hook::is_nonblocking(listener.as_raw_fd());
        Socket::new(listener.into(), nonblocking).map(TcpListener)
    }

    /// The std listener, in blocking mode unless [`set_nonblocking`](Self::set_nonblocking) asked
    /// otherwise.
    pub fn into_std(self) -> io::Result<net::TcpListener> {
        self.0.into_fd().map(net::TcpListener::from)
    }

    /// Waits for a connection.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = self.0.accept()?;
        Ok((TcpStream(socket), address))
    }

    /// The connections, one after the other; never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address the listener is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }

    /// Another handle to the same listener.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        self.0.try_clone().map(TcpListener)
    }

    /// Whether `accept` returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }

    /// The error that is pending on the socket, which is cleared.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.options().take_error()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("addr", &self.local_addr().ok())
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

/// Iterator over the connections of a [`TcpListener`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A connection; mirrors [`std::net::TcpStream`]. Reading and writing also work through `&TcpStream`.
pub struct TcpStream(Socket);

impl TcpStream {
    /// Connects to the first address that answers.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        let addresses = {
            let _native = NativeSection::enter();
            address.to_socket_addrs()?
        };
        let mut last = None;
        for address in addresses {
            match Socket::connect(&address, None) {
                Ok(socket) => return Ok(TcpStream(socket)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "could not resolve to any addresses",
            )
        }))
    }

    /// Connects to one address; `TimedOut` if that takes longer than `timeout`, which is not zero.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            ));
        }
        Socket::connect(address, Some(Deadline::after(timeout))).map(TcpStream)
    }

    /// Takes over a connection that was made otherwise.
    pub fn from_std(stream: net::TcpStream) -> io::Result<TcpStream> {
        let nonblocking = crate::hook::is_nonblocking(stream.as_raw_fd());
        Socket::new(stream.into(), nonblocking).map(TcpStream)
    }

    /// The std stream, in blocking mode unless [`set_nonblocking`](Self::set_nonblocking) asked otherwise.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        self.0.into_fd().map(net::TcpStream::from)
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_address()
    }

    /// The address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }

    /// Another handle to the same connection.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        self.0.try_clone().map(TcpStream)
    }

    /// Reads without taking the bytes out.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer, RecvFlags::PEEK)
    }

    /// Ends one or both directions; readers and writers that wait are woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    /// How long a read waits before it fails with `WouldBlock`; `None` for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(Interest::Read, timeout)
    }

    /// How long a write waits before it fails with `WouldBlock`; `None` for ever.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(Interest::Write, timeout)
    }

    /// See [`set_read_timeout`](Self::set_read_timeout).
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.0.options().read_timeout()
    }

    /// See [`set_write_timeout`](Self::set_write_timeout).
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.0.options().write_timeout()
    }

    /// Whether small writes go out at once.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.options().set_tcp_nodelay(nodelay)
    }

    /// See [`set_nodelay`](Self::set_nodelay).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.options().tcp_nodelay()
    }

    /// Whether reads and writes return `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }

    /// The error that is pending on the socket, which is cleared.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.options().take_error()
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer, RecvFlags::empty())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.send(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("addr", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

macro_rules! descriptor_of {
    ($($type:ty),*) => {$(
        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_fd().as_raw_fd()
            }
        }
    )*};
}

descriptor_of!(TcpListener, TcpStream);
