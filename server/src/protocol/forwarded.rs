//! For whom a trusted proxy forwards: `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, or RFC 7239's `Forwarded`.
//!
//! Anybody can write these fields, so they count only if the connection's peer is among `forwarded_allow_ips`, and then only as
//! far as trust goes: each proxy appends whom it heard, so the addresses are read from the right, and the first that is no
//! trusted proxy is the client. What stands left of it, the client may have written itself. A value that is no address ends
//! the walk in the same way: who appended it is the last that is known.
//!
//! `Forwarded` counts only where no `X-Forwarded-` field is. A proxy that sets one kind passes the other on as the client sent
//! it, and those that set the `X-` kind are many; one that sets `Forwarded` has to remove the others.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName};
use http::uri::Authority;

use super::fields::NameLengths;
use crate::application::{Peer, Scheme};
use crate::command::networks::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whose word about where a request comes from is taken.
pub(crate) struct Forwarders {
    trusted: Networks,
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client; its port is 0 if no proxy tells it.
    pub(crate) peer: Peer,
    /// How the client sent the request.
    pub(crate) scheme: Scheme,
    /// The host that the client asked for, if a proxy tells it.
    pub(crate) authority: Option<Authority>,
}

/// What one proxy says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hop {
    peer: Option<SocketAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

impl Hop {
    /// Takes a pair of an element of `Forwarded` in; those that say nothing of the client are passed over.
    fn tell(&mut self, name: &str, value: String) {
        if name.eq_ignore_ascii_case("for") {
            self.peer = parse_node(&value);
        } else if name.eq_ignore_ascii_case("proto") {
            self.scheme = parse_scheme(&value);
        } else if name.eq_ignore_ascii_case("host") {
            self.host = Some(value);
        }
    }
}

impl Forwarders {
    /// Takes the word of the peers in `trusted`.
    pub(crate) fn new(trusted: Networks) -> Forwarders {
        Forwarders { trusted }
    }

    /// Where a request with these fields, whose names are `names`, comes from that came over a connection of `peer` by `scheme`.
    pub(crate) fn origin(
        &self,
        fields: &HeaderMap,
        names: NameLengths,
        peer: Peer,
        scheme: Scheme,
    ) -> Origin {
        let mut origin = Origin {
            peer,
            scheme,
            authority: None,
        };
        let told = [
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            FORWARDED,
        ];
        if !told.iter().any(|name| names.may_have(name)) || !self.trusts(peer) {
            return origin;
        }
        let is_x = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST]
            .iter()
            .any(|name| fields.contains_key(name));
        if is_x {
            self.follow_x(fields, &mut origin);
        } else if fields.contains_key(FORWARDED) {
            self.follow_forwarded(fields, &mut origin);
        }
        origin
    }

    fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.trusted.contains(address.ip()),
            Peer::Unix => self.trusted.contains_unix(),
        }
    }

    /// Walks along the addresses that `X-Forwarded-For` lists, from the right. The other fields have a value for each proxy, or
    /// one for all.
    fn follow_x(&self, fields: &HeaderMap, origin: &mut Origin) {
        let addresses = elements(fields, &X_FORWARDED_FOR).into_iter().rev();
        let mut hops = 0;
        for address in addresses.map_while(|element| parse_node(element?)) {
            origin.peer = Peer::Tcp(address);
            hops += 1;
            if !self.trusts(origin.peer) {
                break;
            }
        }
        // The value that came with the last address, or the first proxy's if there are fewer.
        let nth = |name: &HeaderName| {
            let mut values = elements(fields, name);
            values.drain(..values.len().saturating_sub(usize::max(hops, 1)));
            values.into_iter().next().flatten()
        };
        if let Some(scheme) = nth(&X_FORWARDED_PROTO).and_then(parse_scheme) {
            origin.scheme = scheme;
        }
        let port = nth(&X_FORWARDED_PORT).and_then(|port| port.parse().ok());
        let host = nth(&X_FORWARDED_HOST);
        origin.authority = host.and_then(|host| parse_host(host, port, origin.scheme));
    }

    /// Walks along the elements of `Forwarded`, from the right.
    fn follow_forwarded(&self, fields: &HeaderMap, origin: &mut Origin) {
        for line in fields.get_all(FORWARDED).iter().rev() {
            let line = String::from_utf8_lossy(line.as_bytes());
            let mut rest = &line[..];
            while !rest.is_empty() {
                let Some((hop, before)) = last_element(rest) else {
                    return;
                };
                rest = before;
                let Some(hop) = hop else { continue };
                if let Some(scheme) = hop.scheme {
                    origin.scheme = scheme;
                }
                if let Some(host) = hop.host {
                    origin.authority = parse_host(&host, None, origin.scheme);
                }
                let Some(address) = hop.peer else { return };
                origin.peer = Peer::Tcp(address);
                if !self.trusts(origin.peer) {
                    return;
                }
            }
        }
    }
}

/// The elements of a field that is a list, from all its lines; none for what is no text.
fn elements<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Vec<Option<&'a str>> {
    let lines = fields.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|element| str::from_utf8(element).ok().map(str::trim))
        .collect()
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn parse_node(node: &str) -> Option<SocketAddr> {
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (IpAddr::V6(address), port.strip_prefix(':'))
        }
        None => match node.parse() {
            Ok(address) => (address, None),
            Err(_) => {
                let (address, port) = node.split_once(':')?;
                let address: std::net::Ipv4Addr = address.parse().ok()?;
                (IpAddr::V4(address), Some(port))
            }
        },
    };
    // RFC 7239 lets a port be hidden behind a name of the proxy's own.
    let port = match port {
        Some(port) if !port.starts_with('_') => port.parse().ok()?,
        _ => 0,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

fn parse_scheme(scheme: &str) -> Option<Scheme> {
    // The two of WebSockets are what some proxies say of an upgrade.
    if ["https", "wss"]
        .iter()
        .any(|name| scheme.eq_ignore_ascii_case(name))
    {
        Some(Scheme::Https)
    } else if ["http", "ws"]
        .iter()
        .any(|name| scheme.eq_ignore_ascii_case(name))
    {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// A host, and a port if it is given with the host or apart from it and is not the scheme's own.
fn parse_host(host: &str, port: Option<u16>, scheme: Scheme) -> Option<Authority> {
    let authority: Authority = host.parse().ok()?;
    if authority.host().is_empty() || host.contains('@') {
        return None;
    }
    let usual = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    match port {
        Some(port) if authority.port().is_none() && port != usual => {
            format!("{host}:{port}").parse().ok()
        }
        _ => Some(authority),
    }
}

/// The last element of a line of `Forwarded` (none if it is empty), and what stands before it.
///
/// It is looked for from the right, so that a quote which a client leaves open does not swallow what proxies append.
fn last_element(list: &str) -> Option<(Option<Hop>, &str)> {
    /// More than any host or address has that is worth a quote.
    const MOST_COMMAS: usize = 4;
    let mut before = list;
    for _ in 0..=MOST_COMMAS {
        let comma = before.rfind(',');
        before = &list[..comma.unwrap_or(0)];
        if let Some(hop) = parse_element(&list[comma.map_or(0, |at| at + 1)..]) {
            return Some((hop, before));
        }
        comma?;
    }
    None
}

/// The pairs of an element; none at all if it is malformed.
fn parse_element(element: &str) -> Option<Option<Hop>> {
    let mut hop = None;
    let mut rest = element.trim();
    while !rest.is_empty() {
        // Pairs may be empty.
        if !rest.starts_with(';') {
            let (name, value) = rest.split_once('=')?;
            let (value, after) = parse_value(value)?;
            if !is_token(name) {
                return None;
            }
            hop.get_or_insert_with(Hop::default).tell(name, value);
            rest = after.trim_start();
        }
        if !rest.is_empty() {
            rest = rest.strip_prefix(';')?.trim_start();
        }
    }
    Some(hop)
}

/// A token or a quoted string, and what stands behind it.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Colons and brackets would have to be quoted; proxies leave the quotes away.
        let end = text.find([';', ' ', '\t', '"', ',']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Whether a word is a token (RFC 9110, section 5.6.2).
fn is_token(word: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1:4000";

    /// The origin of a request with these fields that the proxy at [`PROXY`] sent; every address of 10.0.0.0/8 is a proxy's.
    fn origin(fields: &[(&'static str, &str)]) -> Origin {
        origin_from(Peer::Tcp(PROXY.parse().unwrap()), fields)
    }

    fn origin_from(peer: Peer, fields: &[(&'static str, &str)]) -> Origin {
        let forwarders = Forwarders::new("10.0.0.0/8".parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        forwarders.origin(&map, NameLengths::of(&map), peer, Scheme::Http)
    }

    /// Who the client is by `X-Forwarded-For`, and by the same as `Forwarded`.
    fn client(lines: &[&str]) -> String {
        let fields: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        origin(&fields).peer.to_string()
    }

    fn client_by_forwarded(lines: &[&str]) -> String {
        let fields: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        origin(&fields).peer.to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        let peer = Peer::Tcp("192.0.2.9:99".parse().unwrap());
        let fields = [
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
            ("forwarded", "for=203.0.113.1;proto=https"),
        ];
        let expected = Origin {
            peer,
            scheme: Scheme::Http,
            authority: None,
        };
        assert_eq!(origin_from(peer, &fields), expected);
    }

    #[test]
    fn without_fields_a_trusted_peer_is_the_client() {
        assert_eq!(client(&[]), PROXY);
        assert_eq!(
            origin(&[("x-forwarded-port", "443")]).peer.to_string(),
            PROXY
        );
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_proxy() {
        assert_eq!(client(&["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client(&["1.1.1.1, 203.0.113.1"]), "203.0.113.1");
        assert_eq!(
            client(&["1.1.1.1, 203.0.113.1, 10.9.9.9,10.8.8.8"]),
            "203.0.113.1"
        );
        assert_eq!(
            client(&["1.1.1.1", "203.0.113.1", "10.9.9.9"]),
            "203.0.113.1"
        );
        assert_eq!(
            client_by_forwarded(&["for=1.1.1.1, for=203.0.113.1, for=10.9.9.9"]),
            "203.0.113.1"
        );
        assert_eq!(
            client_by_forwarded(&["for=1.1.1.1", "for=203.0.113.1", "For=10.9.9.9"]),
            "203.0.113.1"
        );
    }

    #[test]
    fn if_all_are_proxies_the_left_most_is_the_client() {
        assert_eq!(client(&["10.1.1.1, 10.2.2.2"]), "10.1.1.1");
        assert_eq!(
            client_by_forwarded(&["for=10.1.1.1, for=10.2.2.2"]),
            "10.1.1.1"
        );
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for line in [
            "1.1.1.1, unknown, 10.2.2.2",
            "1.1.1.1, , 10.2.2.2",
            "1.1.1.1,\u{e9},10.2.2.2",
            "1.1.1.1,_x,10.2.2.2",
        ] {
            assert_eq!(client(&[line]), "10.2.2.2", "{line}");
        }
        for line in [
            "unknown",
            "",
            "256.1.1.1",
            "1.1.1.1:x",
            "[::1",
            "::1]",
            "1.1.1.1:70000",
            "example.com",
        ] {
            assert_eq!(client(&[line]), PROXY, "{line}");
        }
        assert_eq!(
            client_by_forwarded(&["for=1.1.1.1, for=unknown, for=10.2.2.2"]),
            "10.2.2.2"
        );
        assert_eq!(
            client_by_forwarded(&["for=1.1.1.1, proto=http, for=10.2.2.2"]),
            "10.2.2.2"
        );
        assert_eq!(client_by_forwarded(&["for=1.1.1.1, for=_hidden"]), PROXY);
    }

    #[test]
    fn a_malformed_line_of_forwarded_says_nothing_and_ends_the_walk() {
        for line in [
            "for=\"1.1.1.1",
            "for=1.1.1.1 2",
            "for",
            "for==",
            "=1.1.1.1",
            "f r=1.1.1.1",
            "for=1.1.1.1;;proto",
            "for=\"1.1.1.1\"x",
        ] {
            assert_eq!(client_by_forwarded(&[line]), PROXY, "{line}");
            assert_eq!(
                client_by_forwarded(&["for=1.2.3.4", line, "for=10.3.3.3"]),
                "10.3.3.3",
                "{line}"
            );
        }
    }

    #[test]
    fn what_a_client_spoils_does_not_hide_it() {
        assert_eq!(
            client_by_forwarded(&["for=\"10.1.1.1, for=203.0.113.1"]),
            "203.0.113.1"
        );
        assert_eq!(
            client_by_forwarded(&["x=\"a,b\", for=203.0.113.1, for=10.2.2.2;x=\"c,d\""]),
            "203.0.113.1"
        );
        assert_eq!(client(&["\u{e9}, 203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn addresses_come_in_every_form() {
        for (node, expected) in [
            ("203.0.113.1:4711", "203.0.113.1:4711"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
        ] {
            assert_eq!(client(&[node]), expected);
            assert_eq!(
                client_by_forwarded(&[&format!("For=\"{node}\";by=_x")]),
                expected
            );
        }
        assert_eq!(
            client_by_forwarded(&["for=\"[2001:db8::1]:_port\""]),
            "2001:db8::1"
        );
        assert_eq!(
            client_by_forwarded(&["for=\"203.0.113\\.1\""]),
            "203.0.113.1"
        );
        assert_eq!(
            client_by_forwarded(&["ext=\"a,b;c=\\\"d\" ; for=203.0.113.1"]),
            "203.0.113.1"
        );
    }

    #[test]
    fn scheme_and_host_come_with_the_client() {
        let told = origin(&[
            ("x-forwarded-for", "1.1.1.1, 203.0.113.1, 10.2.2.2"),
            ("x-forwarded-proto", "http, https, http"),
            ("x-forwarded-host", "a.example, b.example, c.example"),
        ]);
        assert_eq!(told.scheme, Scheme::Https);
        assert_eq!(told.authority.unwrap(), "b.example");
        let told = origin(&[(
            "forwarded",
            "for=203.0.113.1;proto=HTTPS;host=b.example, for=10.2.2.2;proto=http",
        )]);
        assert_eq!(told.scheme, Scheme::Https);
        assert_eq!(told.authority.unwrap(), "b.example");
    }

    #[test]
    fn one_value_is_for_all_proxies() {
        let told = origin(&[
            ("x-forwarded-for", "203.0.113.1, 10.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
        ]);
        assert_eq!(told.scheme, Scheme::Https);
        assert_eq!(told.authority.unwrap(), "example.com");
    }

    #[test]
    fn scheme_without_addresses_is_the_last_proxys() {
        let told = origin(&[("x-forwarded-proto", "http,https")]);
        assert_eq!(
            (told.peer.to_string(), told.scheme),
            (PROXY.to_owned(), Scheme::Https)
        );
        assert_eq!(
            origin(&[("x-forwarded-proto", "gopher")]).scheme,
            Scheme::Http
        );
        assert_eq!(
            origin(&[("x-forwarded-proto", "wss")]).scheme,
            Scheme::Https
        );
    }

    #[test]
    fn a_port_is_told_unless_it_is_the_schemes_own() {
        let authority = |port, host| {
            let fields = [
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", port),
                ("x-forwarded-host", host),
            ];
            origin(&fields)
                .authority
                .map(|authority| authority.to_string())
        };
        assert_eq!(
            authority("8443", "example.com").unwrap(),
            "example.com:8443"
        );
        assert_eq!(authority("443", "example.com").unwrap(), "example.com");
        assert_eq!(authority("8443", "example.com:1").unwrap(), "example.com:1");
        assert_eq!(
            authority("8443", "[2001:db8::1]").unwrap(),
            "[2001:db8::1]:8443"
        );
        assert_eq!(authority("x", "example.com").unwrap(), "example.com");
        for host in ["", "user@example.com", "a b", "example.com/x"] {
            assert_eq!(authority("8443", host), None, "{host}");
        }
    }

    #[test]
    fn forwarded_counts_only_where_no_other_field_is() {
        let told = origin(&[
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "203.0.113.1"),
        ]);
        assert_eq!(
            (told.peer.to_string(), told.scheme),
            ("203.0.113.1".to_owned(), Scheme::Http)
        );
    }

    #[test]
    fn who_comes_by_a_unix_socket_is_trusted_if_the_list_says_so() {
        let mut fields = HeaderMap::new();
        fields.insert("x-forwarded-for", "203.0.113.1".parse().unwrap());
        let peer = |list: &str| {
            let forwarders = Forwarders::new(list.parse().unwrap());
            forwarders
                .origin(&fields, NameLengths::of(&fields), Peer::Unix, Scheme::Http)
                .peer
        };
        assert_eq!(peer("unix").to_string(), "203.0.113.1");
        assert_eq!(peer("*").to_string(), "203.0.113.1");
        assert_eq!(peer("127.0.0.1"), Peer::Unix);
    }
}
