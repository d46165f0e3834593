//! Who may ask: the page itself, under a name of this machine.
//!
//! A browser sends requests for any page that it shows. That of another site can send them here, but must not be able to start
//! processes, and one whose name was made to lead to this machine (DNS rebinding) must not read answers either. So the
//! `Host` has to be loopback's with our port, an `Origin` has to be that host, and `Sec-Fetch-Site`, which no page can set, must not
//! speak of another site, unless a person follows a link to the page.

use std::net::{IpAddr, SocketAddr};

use greenpatch_server::application::{HttpError, Request};
use greenpatch_server::http::uri::Authority;
use greenpatch_server::http::{StatusCode, header};

/// Checks requests.
pub(super) struct Guard {
    port: u16,
}

impl Guard {
    /// For a server that listens there.
    pub(super) fn new(address: SocketAddr) -> Guard {
        Guard {
            port: address.port(),
        }
    }

    /// Whether the request may be answered; why not, if not.
    pub(super) fn check(&self, request: &Request) -> Result<(), HttpError> {
        let field = |name: &str| request.headers().get(name).map(|it| it.to_str());
        let refused = |text| Err(HttpError::new(StatusCode::FORBIDDEN, text));
        let host: Option<Authority> = match field(header::HOST.as_str()) {
            Some(host) => host.ok().and_then(|host| host.parse().ok()),
            None => request.uri().authority().cloned(),
        };
        let Some(host) = host.filter(|host| self.is_ours(host)) else {
            return refused("the page is asked for by a name of this machine's loopback");
        };
        if let Some(origin) = field(header::ORIGIN.as_str())
            && origin.ok() != Some(&format!("http://{host}"))
        {
            return refused("requests of other pages are not answered");
        }
        let is_for_page = request.uri().path() == "/";
        match field("sec-fetch-site") {
            None | Some(Ok("same-origin" | "none")) => Ok(()),
            Some(_) if is_for_page => Ok(()),
            Some(_) => refused("requests of other sites are not answered"),
        }
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = name.eq_ignore_ascii_case("localhost")
            || address.parse().is_ok_and(|it: IpAddr| it.is_loopback());
        is_loopback && host.port_u16().unwrap_or(80) == self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, fields: &[(&str, &str)]) -> Option<u16> {
        let guard = Guard::new(SocketAddr::from(([127, 0, 0, 1], 8001)));
        let mut request = Request::default();
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in fields {
            let name: header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let refusal = guard.check(&request).err();
        refusal.map(|refusal| refusal.status().as_u16())
    }

    const HOST: (&str, &str) = ("host", "127.0.0.1:8001");

    #[test]
    fn names_of_loopback_with_the_right_port_are_answered() {
        for host in [
            "127.0.0.1:8001",
            "localhost:8001",
            "[::1]:8001",
            "127.1.2.3:8001",
        ] {
            assert_eq!(status("/", &[("host", host)]), None, "{host}");
        }
        for host in [
            "127.0.0.1",
            "localhost:80",
            "evil.example:8001",
            "127.0.0.1.evil.example:8001",
            "\u{e9}",
        ] {
            assert_eq!(status("/", &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(status("/", &[]), Some(403));
        assert_eq!(status("http://localhost:8001/runs", &[]), None);
    }

    #[test]
    fn only_the_page_itself_is_an_origin() {
        let origin = |origin| status("/runs", &[HOST, ("origin", origin)]);
        assert_eq!(origin("http://127.0.0.1:8001"), None);
        for other in [
            "http://localhost:8001",
            "https://127.0.0.1:8001",
            "http://evil.example",
            "null",
            "",
        ] {
            assert_eq!(origin(other), Some(403), "{other}");
        }
    }

    #[test]
    fn other_sites_can_lead_to_the_page_and_no_further() {
        let site = |path, site| status(path, &[HOST, ("sec-fetch-site", site)]);
        assert_eq!(site("/", "cross-site"), None);
        assert_eq!(site("/runs/1/events", "same-origin"), None);
        assert_eq!(site("/runs/1/events", "cross-site"), Some(403));
        assert_eq!(site("/runs", "same-site"), Some(403));
    }
}
