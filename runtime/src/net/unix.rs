//! Unix sockets, as [`std::os::unix::net`] has them.

use std::io;
use std::os::unix::net;
use std::path::Path;

use rustix::net::AddressFamily;

use super::address;
use super::listener::Listener;
use super::socket::{SEND, Socket, fresh};
use crate::base::interest::Interest;
use crate::wait::retry::retry_by_timer;

#[doc(no_inline)]
pub use std::os::unix::net::SocketAddr;

/// A Unix listener; mirrors [`std::os::unix::net::UnixListener`].
///
/// ```
/// use std::os::linux::net::SocketAddrExt;
/// use greenpatch_runtime::net::unix::{SocketAddr, UnixListener, UnixStream};
///
/// let name = format!("example-{}", std::process::id());
/// let address = SocketAddr::from_abstract_name(name)?;
/// greenpatch_runtime::run(move || {
///     let listener = UnixListener::bind_addr(&address)?;
///     let client = greenpatch_runtime::spawn(move || UnixStream::connect_addr(&address));
///     let (_stream, peer) = listener.accept()?;
///     assert!(peer.is_unnamed());
///     client.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener(Listener<net::UnixListener>);

handle!(UnixListener is Listener<net::UnixListener>, at SocketAddr);
listener!(UnixListener of UnixStream at SocketAddr, by address::unix);

impl UnixListener {
    /// Listens at `path`, which must not exist.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        Ok(UnixListener(Listener::bound(net::UnixListener::bind(
            path,
        )?)))
    }

    /// Listens at `address`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        let bound = net::UnixListener::bind_addr(address)?;
        Ok(UnixListener(Listener::bound(bound)))
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// A Unix stream; mirrors [`std::os::unix::net::UnixStream`]. Reading and writing also work through `&UnixStream`.
///
/// ```
/// use std::io::{Read, Write};
/// use greenpatch_runtime::net::UnixStream;
///
/// greenpatch_runtime::run(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     let writer = greenpatch_runtime::spawn(move || theirs.write_all(b"hello"));
///     let mut text = String::new();
///     ours.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     writer.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream(Socket<net::UnixStream>);

handle!(UnixStream is Socket<net::UnixStream>, at SocketAddr);
peer!(UnixStream at SocketAddr);
shutdown!(UnixStream);
stream!(UnixStream);

impl UnixStream {
    /// Connects to the listener at `path`.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to the listener at `address`.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let address = address::for_kernel(address)?;
        let socket = Socket::unconnected(AddressFamily::UNIX)?;
        // If the listener's queue is full, no readiness tells of its end.
        retry_by_timer(|| Ok(None), || rustix::net::connect(&socket, &address))?;
        socket.connected().map(UnixStream)
    }

    /// Two streams that are connected to each other.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        net::UnixStream::pair().map(|(one, other)| (fresh(one).into(), fresh(other).into()))
    }
}

/// A Unix datagram socket; mirrors [`std::os::unix::net::UnixDatagram`].
///
/// ```
/// use greenpatch_runtime::net::UnixDatagram;
///
/// greenpatch_runtime::run(|| {
///     let (ours, theirs) = UnixDatagram::pair()?;
///     let sender = greenpatch_runtime::spawn(move || theirs.send(b"whole"));
///     let mut buffer = [0; 100];
///     assert_eq!(ours.recv(&mut buffer)?, 5);
///     sender.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram(Socket<net::UnixDatagram>);

handle!(UnixDatagram is Socket<net::UnixDatagram>, at SocketAddr);
peer!(UnixDatagram at SocketAddr);
shutdown!(UnixDatagram);
datagrams!(UnixDatagram);

impl UnixDatagram {
    /// A socket at `path`, which must not exist.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind(path).map(|socket| fresh(socket).into())
    }

    /// A socket at `address`.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind_addr(address).map(UnixDatagram::from)
    }

    /// A socket without an address.
    pub fn unbound() -> io::Result<UnixDatagram> {
        net::UnixDatagram::unbound().map(|socket| fresh(socket).into())
    }

    /// Two sockets that are connected to each other.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        net::UnixDatagram::pair().map(|(one, other)| (fresh(one).into(), fresh(other).into()))
    }

    /// Sets the path that [`send`](Self::send) sends to and [`recv`](Self::recv) receives from.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.0.std().connect(path)
    }

    /// Sets the address that [`send`](Self::send) sends to and [`recv`](Self::recv) receives from.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.0.std().connect_addr(address)
    }

    /// Waits for a datagram, and gives its length and origin; what does not fit into `buffer` is cut off.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (read, from) = self.0.recv_from(buffer)?;
        Ok((read, address::unix(from)?))
    }

    /// Sends a datagram to the socket at `path`.
    pub fn send_to<P: AsRef<Path>>(&self, buffer: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buffer, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to the socket at `address`.
    pub fn send_to_addr(&self, buffer: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let address = address::for_kernel(address)?;
        // If the receiver's queue is full, poll(2) calls the sender ready all the same.
        let sent = retry_by_timer(
            || self.0.patience(None, Interest::Write),
            || rustix::net::sendto(&self.0, buffer, SEND, &address),
        );
        Ok(sent?)
    }
}
