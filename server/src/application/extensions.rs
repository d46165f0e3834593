//! What the server knows of a request besides the message itself; found in the request's extensions.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address of TCP; the port is 0 where only the address is known.
    Tcp(SocketAddr),
    /// Somebody on this machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// The IP address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// The IP address and the port, if there are any.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        }
    }

    /// The same, with an IPv4 address in IPv6's form (`::ffff:192.0.2.1`) as what it is.
    pub fn to_canonical(self) -> Peer {
        match self {
            Peer::Tcp(address) => {
                Peer::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            Peer::Unix => Peer::Unix,
        }
    }
}

/// As `192.0.2.1:4711`, `192.0.2.1` where the port is not known, or `unix`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) if address.port() == 0 => address.ip().fmt(f),
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// The client: the other end of the connection, or for whom a trusted proxy says that it forwards.
///
/// ```
/// use greenpatch_server::application::PeerAddress;
///
/// fn who<B>(request: &http::Request<B>) -> String {
///     match request.extensions().get::<PeerAddress>() {
///         Some(PeerAddress(peer)) => peer.to_string(),
///         None => "nobody".to_owned(),
///     }
/// }
/// # assert_eq!(who(&http::Request::new(())), "nobody");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub Peer);

/// How the client sent the request: to this server, or as a trusted proxy says, to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL: `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The host, and the port if it is not the scheme's own, that the client asked for, as a trusted proxy says; there only then.
/// What stands in the field `Host` is then what the proxy made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedHost(pub Authority);
