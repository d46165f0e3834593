//! Lists of networks: whose word a setting lets the server take.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Peers that are trusted: networks, everybody, and whoever comes over a Unix socket.
///
/// Written as a list with commas of addresses (`10.0.0.7`, `::1`), networks (`10.0.0.0/8`), `unix` and `*`, which stands for
/// every address and Unix sockets. An empty list trusts nobody.
///
/// ```
/// use greenpatch_server::Networks;
///
/// let trusted: Networks = "10.0.0.0/8, ::1".parse()?;
/// assert!(trusted.contains("10.1.2.3".parse()?));
/// assert!(!trusted.contains("192.168.0.1".parse()?));
/// assert!(!trusted.contains_unix());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    unix: bool,
    all: bool,
}

impl Networks {
    /// This machine itself: its loopback addresses, and who comes over a Unix socket.
    pub fn local() -> Networks {
        Networks {
            networks: vec![
                IpNet::from(IpAddr::from([127, 0, 0, 1])),
                IpNet::from(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
            ],
            unix: true,
            all: false,
        }
    }

    /// Whether a peer of this address is trusted. An IPv4 address in IPv6's form (`::ffff:10.0.0.7`) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.all || self.networks.iter().any(|net| net.contains(&address))
    }

    /// Whether a peer is trusted that comes over a Unix socket.
    pub fn contains_unix(&self) -> bool {
        self.all || self.unix
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        !self.all && !self.unix && self.networks.is_empty()
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().map(|net| {
            if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }
        });
        let words = self
            .all
            .then(|| "*".to_owned())
            .into_iter()
            .chain(self.unix.then(|| "unix".to_owned()))
            .chain(networks);
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

/// A word that names no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownNetwork(String);

impl fmt::Display for UnknownNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no network; list addresses (10.0.0.7, ::1), networks (10.0.0.0/8), unix, or * for everybody",
            self.0
        )
    }
}

impl std::error::Error for UnknownNetwork {}

impl FromStr for Networks {
    type Err = UnknownNetwork;

    fn from_str(list: &str) -> Result<Networks, UnknownNetwork> {
        let mut networks = Networks::default();
        for word in list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "*" => networks.all = true,
                "unix" => networks.unix = true,
                _ => networks
                    .networks
                    .push(network(word).ok_or_else(|| UnknownNetwork(word.to_owned()))?),
            }
        }
        Ok(networks)
    }
}

/// An address, with a prefix or alone; an IPv4 one in IPv6's form becomes what it is.
fn network(word: &str) -> Option<IpNet> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let net: IpNet = word.parse().ok()?;
    let net = match (net.addr().to_canonical(), net.prefix_len()) {
        (IpAddr::V4(address), bits) if net.addr().is_ipv6() && bits >= 96 => {
            IpNet::new(address.into(), bits - 96).ok()?
        }
        _ => net,
    };
    Some(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &str) -> Networks {
        list.parse().expect("networks")
    }

    fn contains(list: &str, address: &str) -> bool {
        networks(list).contains(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_and_networks_contain_what_they_say() {
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("10.0.0.0/8,192.168.0.0/16", "192.168.7.9"));
        assert!(!contains("10.0.0.0/8,192.168.0.0/16", "192.169.7.9"));
        assert!(contains("2001:db8::/32", "2001:db8::7"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(!contains("", "127.0.0.1"));
    }

    #[test]
    fn an_address_with_bits_below_its_prefix_stands_for_the_network() {
        assert!(contains("10.1.2.3/8", "10.9.9.9"));
        assert_eq!(networks("10.1.2.3/8").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn ipv4_in_ipv6_form_is_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.7"));
        assert!(contains("::ffff:10.0.0.7", "10.0.0.7"));
        assert!(contains("::ffff:10.0.0.0/104", "10.0.0.7"));
    }

    #[test]
    fn a_star_trusts_everybody_and_unix_only_unix_sockets() {
        assert!(contains("*", "203.0.113.9"));
        assert!(networks("*").contains_unix());
        assert!(networks("unix").contains_unix());
        assert!(!contains("unix", "127.0.0.1"));
        assert!(!networks("127.0.0.1").contains_unix());
        assert!(networks(" , ").is_empty());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for list in ["", "*", "unix,10.0.0.0/8", "127.0.0.1,::1", "2001:db8::/32"] {
            assert_eq!(networks(list).to_string(), list);
        }
        assert_eq!(networks("unix,127.0.0.1,::1"), Networks::local());
    }

    #[test]
    fn no_network_is_refused_by_name() {
        for word in ["localhost", "10.0.0.0/33", "10.0.0", "10.0.0.1:80"] {
            let error = format!("10.0.0.1, {word}").parse::<Networks>().unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("'{word}' is no network"))
            );
        }
    }
}
