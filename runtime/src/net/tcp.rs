//! `TcpListener` and `TcpStream`, as [`std::net`] has them.

use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::linux::net::TcpStreamExt;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::address;
use super::listener::Listener;
use super::socket::Socket;
use crate::base::deadline::Deadline;
use crate::base::interest::Interest;

/// A TCP listener; mirrors [`std::net::TcpListener`].
///
/// ```
/// use greenpatch_runtime::net::{TcpListener, TcpStream};
///
/// greenpatch_runtime::run(|| {
///     let listener = TcpListener::bind("localhost:0")?;
///     let address = listener.local_addr()?;
///     let client = greenpatch_runtime::spawn(move || TcpStream::connect(address));
///     let (stream, peer) = listener.accept()?;
///     assert_eq!(stream.peer_addr()?, peer);
///     client.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener(Listener<net::TcpListener>);

handle!(TcpListener is Listener<net::TcpListener>, at SocketAddr);
listener!(TcpListener of TcpStream at SocketAddr, by address::internet);
ttl!(TcpListener);

impl TcpListener {
    /// Binds to the first address that can be bound, and listens there.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` if there is none.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        let bound = address::first_that_works(address, net::TcpListener::bind)?;
        Ok(TcpListener(Listener::bound(bound)))
    }
}

/// A TCP connection; mirrors [`std::net::TcpStream`]. Reading and writing also work through `&TcpStream`.
///
/// ```
/// use std::io::{ErrorKind, Read};
/// use std::time::Duration;
/// use greenpatch_runtime::net::{TcpListener, TcpStream};
///
/// greenpatch_runtime::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut stream = TcpStream::connect(listener.local_addr()?)?;
///     stream.set_read_timeout(Some(Duration::from_millis(10)))?;
///     // Nobody writes.
///     assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
///     # Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct TcpStream(Socket<net::TcpStream>);

handle!(TcpStream is Socket<net::TcpStream>, at SocketAddr);
peer!(TcpStream at SocketAddr);
shutdown!(TcpStream);
stream!(TcpStream);
ttl!(TcpStream);

impl TcpStream {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` if there is none.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        address::first_that_works(address, |address| TcpStream::reach(address, None))
    }

    /// Connects to one address, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut` if it takes longer; `InvalidInput` if the time is zero.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            ));
        }
        TcpStream::reach(*address, Some(Deadline::after(timeout)))
    }

    fn reach(address: SocketAddr, deadline: Option<Deadline>) -> io::Result<TcpStream> {
        let socket = Socket::unconnected(match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        })?;
        // The first call sends the request, those after it ask what has become of it.
        let attempt = || match rustix::net::connect(&socket, &address) {
            Err(Errno::INPROGRESS | Errno::ALREADY) => Err(Errno::AGAIN),
            Err(Errno::ISCONN) => Ok(()),
            outcome => outcome,
        };
        match socket.retry_patiently(Interest::Write, |_| Ok(deadline), attempt) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "connection timed out",
            )),
            outcome => outcome,
        }?;
        socket.connected().map(TcpStream)
    }

    /// Waits for something to read, and reads without taking it off the socket.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek_from(buffer).map(|(read, _)| read)
    }

    /// Whether small writes go out at once, and do not wait for the acknowledgement of earlier ones.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.std().set_nodelay(nodelay)
    }

    /// See [`set_nodelay`](Self::set_nodelay).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.std().nodelay()
    }

    /// Whether what comes is acknowledged at once, until the kernel thinks otherwise; that of
    /// [`std::os::linux::net::TcpStreamExt`].
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.0.std().set_quickack(quickack)
    }

    /// See [`set_quickack`](Self::set_quickack).
    pub fn quickack(&self) -> io::Result<bool> {
        self.0.std().quickack()
    }
}
