//! The PROXY protocol: a header before a connection's first byte, in which a proxy says for whom it forwards.
//!
//! Version 1 is a line of text, version 2 binary with values of the proxy's own behind the addresses (of which one is read:
//! whether the client came by TLS). Whoever may send it can claim any address, so only the peers of `proxy_allow_from` may. A
//! header that is malformed, too long or does not come in time ends the connection without an answer, as the protocol demands.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

use super::stream::Stream;
use crate::application::{Peer, Scheme};
use crate::command::networks::Networks;
use crate::settings::{self, ProxyProtocol};

/// What a header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";

/// The longest header of version 1, its line end included (from the protocol's description).
const LONGEST_TEXT: usize = 107;

/// What stands before the addresses in version 2: the signature, version and command, family, and a length.
const BINARY_HEAD: usize = 16;

/// The longest header of version 2 that is taken. The addresses need 232 bytes at most; the rest is for the proxy's own values.
const LONGEST_BINARY: usize = 4096;

/// Who may, must or must not begin a connection with a PROXY header.
pub(crate) struct Expectation {
    protocol: ProxyProtocol,
    allow_from: Networks,
}

/// What a proxy says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The client; none if the connection is the proxy's own (a health check), or of a kind that has no address.
    pub(crate) peer: Option<Peer>,
    /// How the client came to the proxy, if it says so.
    pub(crate) scheme: Option<Scheme>,
}

impl Expectation {
    pub(crate) fn new(settings: &settings::Proxy) -> Expectation {
        Expectation {
            protocol: settings.protocol,
            allow_from: settings.allow_from.clone(),
        }
    }

    /// Whether no connection has a header.
    pub(super) fn is_off(&self) -> bool {
        self.protocol == ProxyProtocol::Off
    }

    /// Reads the header, if one is due, and takes it out of the stream.
    ///
    /// # Errors
    /// If it does not come, or is not as it should be.
    pub(super) async fn receive(
        &self,
        stream: &mut Stream,
    ) -> Result<Option<Announced>, ProxyError> {
        let is_allowed = match stream.peer() {
            Peer::Tcp(address) => self.allow_from.contains(address.ip()),
            Peer::Unix => self.allow_from.contains_unix(),
        };
        match self.protocol {
            ProxyProtocol::Off => return Ok(None),
            // It is no proxy, and what it sends is its request.
            ProxyProtocol::Auto if !is_allowed => return Ok(None),
            _ if !is_allowed => return Err(ProxyError::Forbidden),
            _ => {}
        }
        let mut wanted = 1;
        loop {
            let bytes = stream.peek(wanted).await?;
            let is_all = bytes.len() < wanted;
            match self.parse(bytes)? {
                Progress::Complete { length, announced } => {
                    stream.consume(length);
                    return Ok(Some(announced));
                }
                Progress::Absent => return Ok(None),
                // Somebody who only looks whether the port is open.
                Progress::Partial if bytes.is_empty() && is_all => return Ok(None),
                Progress::Partial if is_all => return Err(ProxyError::Incomplete),
                Progress::Partial => wanted = bytes.len() + 1,
            }
        }
    }

    /// Looks for a header in the first bytes of a connection.
    pub(crate) fn parse(&self, bytes: &[u8]) -> Result<Progress, ProxyError> {
        let (text, binary) = match self.protocol {
            ProxyProtocol::V1 => (true, false),
            ProxyProtocol::V2 => (false, true),
            _ => (true, true),
        };
        if text && begins(bytes, TEXT) {
            parse_text(bytes)
        } else if binary && begins(bytes, v2::PROTOCOL_PREFIX) {
            parse_binary(bytes)
        } else if self.protocol == ProxyProtocol::Auto {
            Ok(Progress::Absent)
        } else {
            Err(ProxyError::Missing(self.protocol))
        }
    }
}

/// How far a header has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Complete { length: usize, announced: Announced },
    Partial,
    Absent,
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}

fn parse_text(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let within = &bytes[..bytes.len().min(LONGEST_TEXT)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_TEXT {
            Ok(Progress::Partial)
        } else {
            Err(ProxyError::TooLong(LONGEST_TEXT))
        };
    };
    let length = end + 2;
    let header = v1::Header::try_from(&bytes[..length]).map_err(malformed)?;
    let peer = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(tcp(ip.source_address, ip.source_port)),
        v1::Addresses::Tcp6(ip) => Some(tcp(ip.source_address, ip.source_port)),
        v1::Addresses::Unknown => None,
    };
    let announced = Announced { peer, scheme: None };
    Ok(Progress::Complete { length, announced })
}

fn parse_binary(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let Some(head) = bytes.get(..BINARY_HEAD) else {
        return Ok(Progress::Partial);
    };
    let length = BINARY_HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > LONGEST_BINARY {
        return Err(ProxyError::TooLong(LONGEST_BINARY));
    }
    let Some(bytes) = bytes.get(..length) else {
        return Ok(Progress::Partial);
    };
    let header = v2::Header::try_from(bytes).map_err(malformed)?;
    let mut announced = Announced {
        peer: None,
        scheme: None,
    };
    if header.command == v2::Command::Proxy {
        if header.protocol == v2::Protocol::Datagram {
            return Err(ProxyError::Malformed("it announces datagrams".to_owned()));
        }
        announced.peer = match &header.addresses {
            v2::Addresses::Unspecified => None,
            v2::Addresses::IPv4(ip) => Some(tcp(ip.source_address, ip.source_port)),
            v2::Addresses::IPv6(ip) => Some(tcp(ip.source_address, ip.source_port)),
            v2::Addresses::Unix(_) => Some(Peer::Unix),
        };
        announced.scheme = scheme(&header)?;
    }
    Ok(Progress::Complete { length, announced })
}

/// How the client came to the proxy, if the values behind the addresses have one about TLS.
fn scheme(header: &v2::Header<'_>) -> Result<Option<Scheme>, ProxyError> {
    /// The bit that says that the client came by TLS (`PP2_CLIENT_SSL`).
    const BY_TLS: u8 = 1;
    let mut scheme = None;
    for value in header.tlvs() {
        let value = value.map_err(malformed)?;
        if value.kind == u8::from(v2::Type::SSL) {
            let is_tls = value.value.first().is_some_and(|bits| bits & BY_TLS != 0);
            scheme = Some(if is_tls { Scheme::Https } else { Scheme::Http });
        }
    }
    Ok(scheme)
}

fn tcp(address: impl Into<IpAddr>, port: u16) -> Peer {
    Peer::Tcp(SocketAddr::new(address.into(), port))
}

fn malformed(error: impl fmt::Display) -> ProxyError {
    ProxyError::Malformed(error.to_string())
}

/// Why a connection that should begin with a PROXY header is ended.
#[derive(Debug)]
pub(crate) enum ProxyError {
    Io(io::Error),
    Forbidden,
    Missing(ProxyProtocol),
    Incomplete,
    TooLong(usize),
    Malformed(String),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Io(error) => write!(f, "cannot read its PROXY header: {error}"),
            ProxyError::Forbidden => f.write_str(
                "it is not among --proxy-allow-from, and every connection must have a PROXY header",
            ),
            ProxyError::Missing(protocol) => write!(
                f,
                "it does not begin with a PROXY header, which --proxy-protocol {} demands",
                protocol.name()
            ),
            ProxyError::Incomplete => f.write_str("it ended within its PROXY header"),
            ProxyError::TooLong(longest) => {
                write!(f, "its PROXY header is longer than {longest} bytes")
            }
            ProxyError::Malformed(problem) => {
                write!(f, "its PROXY header is malformed: {problem}")
            }
        }
    }
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> ProxyError {
        ProxyError::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(protocol: ProxyProtocol) -> Expectation {
        Expectation {
            protocol,
            allow_from: Networks::local(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Progress, ProxyError> {
        expectation(ProxyProtocol::Auto).parse(bytes)
    }

    /// The peer and scheme of a whole header; that every part of it is but a part is checked, too.
    fn announced(header: &[u8]) -> Announced {
        for length in 0..header.len() {
            assert_eq!(
                parse(&header[..length]).unwrap(),
                Progress::Partial,
                "{length}"
            );
        }
        let with_request = [header, b"GET / HTTP/1.1\r\n"].concat();
        match parse(&with_request).unwrap() {
            Progress::Complete { length, announced } => {
                assert_eq!(length, header.len());
                announced
            }
            other => panic!("{other:?}"),
        }
    }

    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [
            v2::PROTOCOL_PREFIX,
            &[0x20 | command, family],
            &length,
            content,
        ]
        .concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 80];

    #[test]
    fn text_tells_the_client() {
        let header = announced(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n");
        assert_eq!(header.peer.unwrap().to_string(), "192.0.2.7:4711");
        assert_eq!(header.scheme, None);
        let header = announced(b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n");
        assert_eq!(header.peer.unwrap().to_string(), "[2001:db8::7]:4711");
        assert_eq!(announced(b"PROXY UNKNOWN\r\n").peer, None);
        assert_eq!(
            announced(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").peer,
            None
        );
    }

    #[test]
    fn binary_tells_the_client() {
        assert_eq!(
            announced(&binary(1, 0x11, &IPV4)).peer.unwrap().to_string(),
            "192.0.2.7:4711"
        );
        let mut ipv6 = [0; 36];
        (ipv6[15], ipv6[33]) = (1, 9);
        assert_eq!(
            announced(&binary(1, 0x21, &ipv6)).peer.unwrap().to_string(),
            "[::1]:9"
        );
        assert_eq!(
            announced(&binary(1, 0x31, &[0; 216])).peer,
            Some(Peer::Unix)
        );
        assert_eq!(announced(&binary(1, 0x00, b"")).peer, None);
        assert_eq!(
            announced(&binary(0, 0x11, &IPV4)).peer,
            None,
            "a connection of the proxy's own"
        );
        assert_eq!(announced(&binary(0, 0x00, b"")).peer, None);
    }

    #[test]
    fn values_behind_the_addresses_are_passed_over_but_for_tls() {
        let tls = |bits| {
            [
                &IPV4[..],
                &[0x04, 0, 3, 1, 2, 3],
                &[0x20, 0, 5, bits, 0, 0, 0, 0],
            ]
            .concat()
        };
        assert_eq!(
            announced(&binary(1, 0x11, &tls(1))).scheme,
            Some(Scheme::Https)
        );
        assert_eq!(
            announced(&binary(1, 0x11, &tls(0))).scheme,
            Some(Scheme::Http)
        );
        assert_eq!(announced(&binary(1, 0x11, &IPV4)).scheme, None);
        assert!(parse(&binary(1, 0x11, &[&IPV4[..], &[4, 0, 9, 1]].concat())).is_err());
    }

    #[test]
    fn a_malformed_header_is_an_error() {
        for header in [
            &b"PROXY TCP4 192.0.2.7 127.0.0.1 4711\r\n"[..],
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80 x\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.7 127.0.0.1 65536 80\r\n",
            b"PROXY TCP4 192.0.2.7 127.0.0.1 -1 80\r\n",
            b"PROXY TCP5 192.0.2.7 127.0.0.1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.777 127.0.0.1 4711 80\r\n",
            b"PROXY  TCP4 192.0.2.7 127.0.0.1 4711 80\r\n",
            b"PROXY TCP4 \xff 127.0.0.1 4711 80\r\n",
            b"PROXY \r\n",
            &binary(2, 0x11, &IPV4),
            &binary(1, 0x13, &IPV4),
            &binary(1, 0x41, &IPV4),
            &binary(1, 0x12, &IPV4),
            &binary(1, 0x11, &IPV4[..11]),
            &binary(1, 0x21, &IPV4),
        ] {
            let error = parse(header).expect_err(&String::from_utf8_lossy(header));
            assert!(matches!(error, ProxyError::Malformed(_)), "{error:?}");
        }
        let mut version_3 = binary(1, 0x11, &IPV4);
        version_3[12] = 0x31;
        assert!(parse(&version_3).is_err());
    }

    #[test]
    fn a_header_is_bounded() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_TEXT - 16));
        assert_eq!(announced(longest.as_bytes()).peer, None);
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_TEXT - 15));
        assert!(matches!(
            parse(longer.as_bytes()),
            Err(ProxyError::TooLong(LONGEST_TEXT))
        ));
        let longest = binary(1, 0, &[4].repeat(LONGEST_BINARY - BINARY_HEAD + 1));
        assert!(matches!(
            parse(&longest[..BINARY_HEAD]),
            Err(ProxyError::TooLong(LONGEST_BINARY))
        ));
    }

    #[test]
    fn what_begins_like_a_header_and_is_none_is_the_request() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PRI * HTTP/2.0\r\n",
            b"POST / HTTP/1.1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            b"PROXIMITY",
            b"\x16\x03\x01",
        ] {
            assert_eq!(parse(bytes).unwrap(), Progress::Absent);
            for protocol in [
                ProxyProtocol::V1,
                ProxyProtocol::V2,
                ProxyProtocol::Required,
            ] {
                let error = expectation(protocol).parse(bytes).unwrap_err();
                assert!(matches!(error, ProxyError::Missing(_)), "{error:?}");
            }
        }
        let text = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
        assert!(expectation(ProxyProtocol::V2).parse(text).is_err());
        assert!(
            expectation(ProxyProtocol::V1)
                .parse(&binary(1, 0x11, &IPV4))
                .is_err()
        );
        assert!(expectation(ProxyProtocol::Required).parse(text).is_ok());
    }
}
