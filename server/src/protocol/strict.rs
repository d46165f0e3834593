//! What a request must be beyond what hyper asks of it.
//!
//! Two parties that read one request differently are how requests are smuggled, so what the standard calls invalid is
//! refused, and so is what is larger than the settings allow. What can be seen once hyper has read a head is looked at here; what
//! hyper settles as it reads HTTP/1 is looked at [before](super::scan).

use std::net::Ipv6Addr;

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::uri::Uri;
use http::{HeaderMap, Method, StatusCode, Version};

use super::fields::NameLengths;
use super::refusal::{Refusal, shown};
use crate::settings::Limits;

/// Refuses a request whose head is not as it must be.
///
/// `names` are those of its fields, and `length` is that of its content, if that is known.
///
/// # Errors
/// The refusal to answer with.
pub(super) fn check(
    head: &Parts,
    names: NameLengths,
    length: Option<u64>,
    limits: &Limits,
) -> Result<(), Refusal> {
    // The scan has seen the sizes of HTTP/1.
    if head.version >= Version::HTTP_2 {
        check_sizes(head, limits)?;
    }
    check_target(&head.method, &head.uri, head.version)?;
    check_host(head)?;
    if names.may_have(&EXPECT) {
        check_expectation(head.version, &head.headers)?;
    }
    match length {
        Some(length) if length > limits.request_body => {
            Err(Refusal::content_too_large(limits.request_body))
        }
        _ => Ok(()),
    }
}

/// Whether the client waits for `100 Continue` before it sends the content; HTTP/1.0 knows no expectations.
pub(super) fn expects_continue(head: &Parts) -> bool {
    head.version != Version::HTTP_10 && head.headers.contains_key(EXPECT)
}

fn check_sizes(head: &Parts, limits: &Limits) -> Result<(), Refusal> {
    // As it stood in the request line: METHOD TARGET HTTP/1.1.
    let line = head.method.as_str().len() + length_of(&head.uri) + " HTTP/1.1 ".len();
    if line > limits.request_line {
        return Err(Refusal::line_too_long(limits.request_line));
    }
    if head.headers.len() > limits.request_fields {
        return Err(Refusal::too_many_fields(limits.request_fields));
    }
    let mut total = line + "\r\n\r\n".len();
    for (name, value) in &head.headers {
        let length = name.as_str().len() + ": ".len() + value.len();
        if length > limits.request_field_size {
            return Err(Refusal::field_too_long(limits.request_field_size));
        }
        total += length + "\r\n".len();
    }
    if total > limits.request_head {
        return Err(Refusal::head_too_large(limits.request_head));
    }
    Ok(())
}

fn length_of(target: &Uri) -> usize {
    let path = target
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let scheme = target
        .scheme_str()
        .map_or(0, |scheme| scheme.len() + "://".len());
    let authority = target
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    path + scheme + authority
}

/// The target is a path, or a whole URI, or `*` for OPTIONS (RFC 9112, section 3.2).
fn check_target(method: &Method, target: &Uri, version: Version) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "this server opens no tunnels",
        ));
    }
    let path = target.path();
    let is_whole = target.scheme().is_some() && target.authority().is_some();
    // http::Uri lets other bytes than ASCII pass.
    let is_ascii = target
        .path_and_query()
        .is_none_or(|path| path.as_str().is_ascii());
    let is_valid =
        if !is_ascii || version < Version::HTTP_2 && target.authority().is_some() && !is_whole {
            // A bare authority is for CONNECT.
            false
        } else if path == "*" {
            *method == Method::OPTIONS
        } else {
            path.starts_with('/') || is_whole && path.is_empty()
        };
    if is_valid {
        return Ok(());
    }
    let target = target.to_string();
    Err(Refusal::malformed(format!(
        "{} is no request target",
        shown(target.as_bytes())
    )))
}

/// HTTP/1.1 requires one `Host` field (RFC 9112, section 3.2), HTTP/2 that or `:authority`, and that they agree (RFC 9113,
/// section 8.3.1). In any version they must be well-formed.
fn check_host(head: &Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (host, None) => host.map(|host| host.as_bytes()),
        (_, Some(_)) => return Err(Refusal::malformed("there is more than one Host field")),
    };
    // hyper has it in the target.
    let authority = head
        .uri
        .authority()
        .filter(|_| head.version >= Version::HTTP_2);
    let authority = authority.map(|authority| authority.as_str().as_bytes());
    let host = match (host, authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(Refusal::malformed(format!(
                "the Host field says {}, and :authority {}",
                shown(host),
                shown(authority)
            )));
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) if head.version == Version::HTTP_11 => {
            return Err(Refusal::malformed("HTTP/1.1 requires a Host field"));
        }
        (None, None) if head.version >= Version::HTTP_2 => {
            return Err(Refusal::malformed(
                "HTTP/2 requires :authority or a Host field",
            ));
        }
        (None, None) => return Ok(()),
    };
    if host.is_empty() || is_host(host) {
        Ok(())
    } else {
        Err(Refusal::malformed(format!("{} is no host", shown(host))))
    }
}

/// Whether this is a name or an address, with or without a port (RFC 3986, section 3.2.2). A name has no `%`, which no name of
/// the DNS needs.
fn is_host(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else {
        return false;
    };
    let (is_name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let name = host.find(':').unwrap_or(host.len());
            let of_a_name =
                |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte);
            let (name, port) = host.split_at(name);
            (
                !name.is_empty() && name.as_bytes().iter().all(of_a_name),
                port,
            )
        }
    };
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    };
    is_name && is_port
}

/// `100-continue` is the only expectation that there is.
fn check_expectation(version: Version, fields: &HeaderMap) -> Result<(), Refusal> {
    if version == Version::HTTP_10 {
        return Ok(());
    }
    for value in fields.get_all(EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::new(
                StatusCode::EXPECTATION_FAILED,
                format!(
                    "{} is expected; only 100-continue is met",
                    shown(value.as_bytes())
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// A request line and fields, separated by `|`.
    fn refused(head: &str) -> Option<u16> {
        let limits = Limits {
            request_line: 40,
            request_fields: 4,
            request_field_size: 40,
            request_head: 100,
            request_body: 10,
        };
        let mut lines = head.split('|');
        let mut line = lines.next().expect("a request line").split(' ');
        let mut request = Request::builder()
            .method(line.next().expect("a method"))
            .uri(line.next().expect("a target"))
            .version(match line.next() {
                Some("1.0") => Version::HTTP_10,
                Some("2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            });
        for field in lines {
            let (name, value) = field.split_once(": ").expect("a field");
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).expect("http takes it").into_parts();
        let length = head.headers.get("content-length");
        let length = length.map(|value| value.to_str().unwrap().parse().unwrap());
        check(&head, NameLengths::of(&head.headers), length, &limits)
            .err()
            .map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn usual_requests_pass() {
        for head in [
            "GET / 1.1|Host: a",
            "GET /a?b 1.0",
            "GET http://a/b 1.1|Host: a",
            "GET http://a 1.1|Host: a",
            "OPTIONS * 1.1|Host: a:80",
            "GET / 1.1|Host: [::1]:80",
            "GET / 1.1|Host: a:",
            "GET / 1.1|Host: a:65535",
            "POST / 1.1|Host: a|Expect: 100-Continue",
            "POST / 1.0|Expect: anything",
            "POST / 1.1|Host: a|Content-Length: 10",
            "GET https://a/ 2",
            "GET https://a/ 2|Host: A",
            "GET / 2|Host: a",
        ] {
            assert_eq!(refused(head), None, "{head}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        for (head, status) in [
            ("GET / 1.1", 400),
            ("GET / 1.1|Host: a|Host: a", 400),
            ("GET / 1.1|Host: a/b", 400),
            ("GET / 1.0|Host: user@a", 400),
            ("GET / 1.1|Host: a:http", 400),
            ("GET / 1.1|Host: a:65536", 400),
            ("GET / 1.1|Host: [::1", 400),
            ("GET / 1.1|Host: [hello]", 400),
            ("GET / 1.1|Host: a%20b", 400),
            ("GET / 1.1|Host: :80", 400),
            ("GET * 1.1|Host: a", 400),
            ("GET a:80 1.1|Host: a", 400),
            ("CONNECT a:80 1.1|Host: a", 501),
            ("GET / 1.1|Host: a:65536", 400),
            ("GET / 1.1|Host: a:http", 400),
            ("GET / 1.1|Host: [hello]", 400),
            ("GET / 1.1|Host: [::1]x", 400),
            ("GET /\u{e9} 1.1|Host: a", 400),
            ("POST / 1.1|Host: a|Expect: more", 417),
            ("POST / 1.1|Host: a|Content-Length: 11", 413),
            ("GET / 2", 400),
            ("GET https://user@a/ 2", 400),
            ("GET https://a/ 2|Host: b", 400),
            ("GET /0123456789012345678901234567890 2|Host: a", 414),
            ("GET / 2|Host: a|a: b|c: d|e: f|g: h", 431),
            (
                "GET / 2|Host: a|a: 01234567890123456789012345678901234567",
                431,
            ),
            (
                "GET / 2|Host: 012345678901234567890123456789|a: 012345678901234567890123456789|b: 012345678901234567890123456789",
                431,
            ),
        ] {
            assert_eq!(refused(head), Some(status), "{head}");
        }
    }
}
