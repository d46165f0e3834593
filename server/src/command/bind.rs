//! The address of a listening socket, as it is written in settings.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
///
/// Written as `HOST:PORT`, `[IPV6]:PORT`, `:PORT` for every address of the machine, `HOST` for port 8000 as in gunicorn,
/// `unix:PATH`, or `fd://NUMBER` for a socket that listens already and was handed down by the parent process.
///
/// ```
/// use greenpatch_server::Bind;
///
/// assert_eq!("[::1]".parse(), Ok(Bind::Tcp { host: "::1".into(), port: 8000 }));
/// assert_eq!("unix:/run/app.sock".parse(), Ok(Bind::Unix("/run/app.sock".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A TCP port.
    Tcp {
        /// A name or an address; every address of the machine if it is empty.
        host: String,
        /// The port; 0 takes a free one.
        port: u16,
    },
    /// A Unix socket. A path that begins with `@` is a name without a file, in Linux's abstract namespace.
    Unix(PathBuf),
    /// A descriptor that the process was started with.
    Fd(i32),
}

/// The port of an address that names none; gunicorn's.
const DEFAULT_PORT: u16 = 8000;

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            // Without the prefix it would be a path.
            Bind::Tcp { host, port } if host == "unix" => write!(f, "tcp://{host}:{port}"),
            Bind::Tcp { host, port } => write!(f, "{host}:{port}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
            Bind::Fd(number) => write!(f, "fd://{number}"),
        }
    }
}

/// Text that names no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBind {
    text: String,
    reason: &'static str,
}

impl fmt::Display for InvalidBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' {}; write HOST:PORT (127.0.0.1:8000, [::1]:8000, :8000), unix:PATH or fd://NUMBER",
            self.text, self.reason
        )
    }
}

impl std::error::Error for InvalidBind {}

impl FromStr for Bind {
    type Err = InvalidBind;

    fn from_str(text: &str) -> Result<Bind, InvalidBind> {
        parse(text).map_err(|reason| InvalidBind {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Bind, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" | "@" => Err("names no path"),
            _ if path.contains('\0') => Err("has a zero byte in its path"),
            _ => Ok(Bind::Unix(path.into())),
        };
    }
    if let Some(number) = text.strip_prefix("fd://") {
        return match number.parse() {
            Ok(number @ 0..) => Ok(Bind::Fd(number)),
            _ => Err("names no descriptor"),
        };
    }
    let address = text.strip_prefix("tcp://").unwrap_or(text);
    if address.is_empty() {
        return Err("is empty");
    }
    if address.contains('/') {
        return Err("is no address to listen on");
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("lacks the bracket ']'")?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| "has no IPv6 address in its brackets")?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err("has something other than a port after its brackets"),
            }
        }
        None => match address.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("has an IPv6 address without brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None if address.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err("is a number and not a host");
            }
            None => (address, None),
        },
    };
    if host.contains(char::is_whitespace) {
        return Err("has a space in its host");
    }
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_err(|_| "has a port outside 0 to 65535")?
        }
        Some(_) => return Err("has a port that is no number"),
        None => DEFAULT_PORT,
    };
    Ok(Bind::Tcp {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Result<Bind, InvalidBind> {
        Ok(Bind::Tcp {
            host: host.to_owned(),
            port,
        })
    }

    #[test]
    fn hosts_and_ports_are_read() {
        assert_eq!("127.0.0.1:80".parse(), tcp("127.0.0.1", 80));
        assert_eq!("localhost:0".parse(), tcp("localhost", 0));
        assert_eq!("[::1]:80".parse(), tcp("::1", 80));
        assert_eq!("[::]".parse(), tcp("::", 8000));
        assert_eq!(":80".parse(), tcp("", 80));
        assert_eq!("example.org".parse(), tcp("example.org", 8000));
        assert_eq!("tcp://localhost:80".parse(), tcp("localhost", 80));
    }

    #[test]
    fn unix_paths_and_descriptors_are_read() {
        assert_eq!("unix:/run/a".parse(), Ok(Bind::Unix("/run/a".into())));
        assert_eq!("unix:///run/a".parse(), Ok(Bind::Unix("/run/a".into())));
        assert_eq!("unix:a:1".parse(), Ok(Bind::Unix("a:1".into())));
        assert_eq!("unix:@name".parse(), Ok(Bind::Unix("@name".into())));
        assert_eq!("fd://3".parse(), Ok(Bind::Fd(3)));
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_fault() {
        for (text, fault) in [
            ("", "is empty"),
            ("8000", "is a number"),
            ("::1:8000", "without brackets"),
            ("[::1", "lacks the bracket"),
            ("[localhost]:80", "no IPv6 address"),
            ("[::1]80", "after its brackets"),
            ("localhost:http", "no number"),
            ("localhost:", "outside"),
            ("localhost:-1", "no number"),
            ("localhost:65536", "outside"),
            ("http://localhost:80", "no address to listen on"),
            ("a b:80", "a space"),
            ("unix:", "no path"),
            ("fd://", "no descriptor"),
            ("fd://-1", "no descriptor"),
        ] {
            let error = text.parse::<Bind>().expect_err(text).to_string();
            assert!(error.contains(fault), "{text}: {error}");
            assert!(error.starts_with(&format!("'{text}' ")), "{error}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["127.0.0.1:80", "[::1]:80", ":80", "unix:/run/a", "fd://3"] {
            let bind: Bind = text.parse().expect("an address");
            assert_eq!(bind.to_string(), text);
        }
    }
}
