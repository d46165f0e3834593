//! `UdpSocket`, as [`std::net`] has it.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::address;
use super::socket::{SEND, Socket, fresh};
use crate::base::interest::Interest;

/// A UDP socket; mirrors [`std::net::UdpSocket`].
///
/// ```
/// use greenpatch_runtime::net::UdpSocket;
///
/// greenpatch_runtime::run(|| {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let address = server.local_addr()?;
///     let echo = greenpatch_runtime::spawn(move || {
///         let mut buffer = [0; 100];
///         let (length, peer) = server.recv_from(&mut buffer)?;
///         server.send_to(&buffer[..length], peer)
///     });
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.connect(address)?;
///     client.send(b"ping")?;
///     let mut buffer = [0; 100];
///     let length = client.recv(&mut buffer)?;
///     assert_eq!(&buffer[..length], b"ping");
///     echo.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket(Socket<net::UdpSocket>);

handle!(UdpSocket is Socket<net::UdpSocket>, at SocketAddr);
peer!(UdpSocket at SocketAddr);
datagrams!(UdpSocket);
ttl!(UdpSocket);

/// Options that std's socket sets and reads: a doc comment and the two methods' names for each.
macro_rules! options {
    ($($(#[$doc:meta])+ $set:ident, $get:ident: $type:ty;)+) => {
        impl UdpSocket {$(
            $(#[$doc])+
            pub fn $set(&self, value: $type) -> io::Result<()> {
                self.0.std().$set(value)
            }

            #[doc = concat!("See [`", stringify!($set), "`](Self::", stringify!($set), ").")]
            pub fn $get(&self) -> io::Result<$type> {
                self.0.std().$get()
            }
        )+}
    };
}

options! {
    /// Whether the socket may send to broadcast addresses.
    set_broadcast, broadcast: bool;
    /// Whether multicast datagrams over IPv4 come back to the groups' members on this machine.
    set_multicast_loop_v4, multicast_loop_v4: bool;
    /// How many routers multicast datagrams over IPv4 may pass.
    set_multicast_ttl_v4, multicast_ttl_v4: u32;
    /// Whether multicast datagrams over IPv6 come back to the groups' members on this machine.
    set_multicast_loop_v6, multicast_loop_v6: bool;
}

impl UdpSocket {
    /// Binds to the first address that can be bound.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` if there is none.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<UdpSocket> {
        address::first_that_works(address, net::UdpSocket::bind).map(|socket| fresh(socket).into())
    }

    /// Sets the address that [`send`](Self::send) sends to and [`recv`](Self::recv) receives from: the first that can be.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` if there is none.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        address::first_that_works(address, |address| self.0.std().connect(address))
    }

    /// Sends a datagram to the first address that `address` stands for.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is none.
    pub fn send_to<A: ToSocketAddrs>(&self, buffer: &[u8], address: A) -> io::Result<usize> {
        let address = address::resolve(address)?.next().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")
        })?;
        self.0.retry(Interest::Write, || {
            rustix::net::sendto(&self.0, buffer, SEND, &address)
        })
    }

    /// Waits for a datagram, and gives its length and origin; what does not fit into `buffer` is cut off.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (read, from) = self.0.recv_from(buffer)?;
        Ok((read, address::internet(from)?))
    }

    /// As [`recv_from`](Self::recv_from), and leaves the datagram to be received again.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (read, from) = self.0.peek_from(buffer)?;
        Ok((read, address::internet(from)?))
    }

    /// As [`recv`](Self::recv), and leaves the datagram to be received again.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek_from(buffer).map(|(read, _)| read)
    }

    /// Joins a multicast group on the interface with this address; `UNSPECIFIED` leaves the choice to the system.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.std().join_multicast_v4(group, interface)
    }

    /// Joins a multicast group on the interface with this index; 0 leaves the choice to the system.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.std().join_multicast_v6(group, interface)
    }

    /// Undoes [`join_multicast_v4`](Self::join_multicast_v4).
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.std().leave_multicast_v4(group, interface)
    }

    /// Undoes [`join_multicast_v6`](Self::join_multicast_v6).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.std().leave_multicast_v6(group, interface)
    }
}
