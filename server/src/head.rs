//! The head of a request: finding its end within the limits, and reading it.
//!
//! [`HeadScan`] walks over the bytes line by line as they come and looks at each byte once, so a
//! client that sends a byte at a time costs no more than one that sends the head whole. Only a
//! complete head is parsed.
//!
//! Where the standard leaves a choice we refuse, since two parties that read one request
//! differently are how requests are smuggled: a line feed alone ends no line, whitespace before a
//! colon and folded lines are errors.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST};
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use crate::framing::Framing;
use crate::refusal::{Refusal, shown};
use crate::settings::Limits;

/// Finds the end of a head in bytes that arrive piece by piece.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Where the line under way begins.
    line_start: usize,
    /// How far the bytes have been looked at.
    scanned: usize,
    /// Lines seen: the request line and the fields.
    lines: usize,
}

impl HeadScan {
    /// The length of the head, blank line included, once it is complete.
    ///
    /// `received` begins with the bytes of the calls before.
    ///
    /// # Errors
    /// 414 and 431 as soon as a limit is passed, 400 for a line feed without carriage return.
    pub(crate) fn advance(
        &mut self,
        received: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Refusal> {
        while let Some(distance) = memchr::memchr(b'\n', &received[self.scanned..]) {
            let line_feed = self.scanned + distance;
            let line = &received[self.line_start..line_feed];
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Refusal::malformed(
                    "a line ends in a line feed alone; send CR LF",
                ));
            };
            self.scanned = line_feed + 1;
            self.line_start = self.scanned;
            if !line.is_empty() {
                self.admit(line.len(), limits)?;
                self.lines += 1;
            } else if self.lines > 0 {
                return Ok(Some(self.scanned));
            } else if self.scanned > Self::LONGEST_PREAMBLE {
                return Err(Refusal::malformed(
                    "empty lines stand before the request line",
                ));
            }
        }
        self.scanned = received.len();
        // One byte more than a line may have: its carriage return.
        let unfinished = (received.len() - self.line_start).saturating_sub(1);
        if unfinished > 0 {
            self.admit(unfinished, limits)?;
        }
        Ok(None)
    }

    /// How many header fields a complete head has.
    pub(crate) fn fields(&self) -> usize {
        self.lines.saturating_sub(1)
    }

    /// Bytes of empty lines that may stand before a request line. The standard asks for at least
    /// one line (RFC 9112, section 2.2), for clients that send one too many after a body.
    const LONGEST_PREAMBLE: usize = 4;

    /// Refuses a line of `length` bytes if it is too long or one too many.
    fn admit(&self, length: usize, limits: &Limits) -> Result<(), Refusal> {
        if self.lines == 0 {
            if length > limits.request_line {
                return Err(Refusal::new(
                    StatusCode::URI_TOO_LONG,
                    format!(
                        "the request line is longer than {} bytes",
                        limits.request_line
                    ),
                ));
            }
        } else if self.lines > limits.request_fields {
            return Err(too_many_fields(limits.request_fields));
        } else if length > limits.request_field_size {
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!(
                    "a header field is longer than {} bytes",
                    limits.request_field_size
                ),
            ));
        }
        Ok(())
    }
}

/// A request's head, read.
#[derive(Debug)]
pub(crate) struct Head {
    /// Method, target, version and header fields.
    pub(crate) request: Request<()>,
    /// How the request's content is delimited.
    pub(crate) framing: Framing,
    /// Whether the client wants to go on with the connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the content.
    pub(crate) expects_continue: bool,
}

impl Head {
    /// Reads a complete head with so many fields, as [`HeadScan`] delimits it.
    ///
    /// # Errors
    /// The refusal to answer with, if it breaks the protocol or asks for what is not done here.
    pub(crate) fn parse(head: &[u8], fields: usize) -> Result<Head, Refusal> {
        // One copy of the head; target and field values share it.
        let head = Bytes::copy_from_slice(head);
        let mut few = [const { MaybeUninit::uninit() }; 100];
        let mut many = Vec::new();
        let slots = if fields <= few.len() {
            &mut few[..]
        } else {
            many.resize(fields, MaybeUninit::uninit());
            &mut many[..]
        };
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(&head, slots) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => {
                return Err(Refusal::malformed(
                    "the head does not end where it seems to",
                ));
            }
            Err(error) => return Err(refuse_unparsed(error, &head)),
        }
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
            .map_err(|_| Refusal::malformed("the method is not a token"))?;
        let target = parsed.path.unwrap_or_default();
        let uri = read_target(&method, head.slice_ref(target.as_bytes()))?;
        let version = if parsed.version == Some(0) {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };
        let mut fields = HeaderMap::with_capacity(parsed.headers.len());
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| Refusal::malformed("a header field's name is not a token"))?;
            let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
                .map_err(|_| Refusal::malformed(format!("the value of {name} is not text")))?;
            fields
                .try_append(name, value)
                .map_err(|_| too_many_fields(MOST_FIELDS))?;
        }

        require_host(version, &fields)?;
        let framing = Framing::of_request(version, &fields)?;
        let expects_continue = read_expectation(version, &fields)?;
        let keep_alive = read_persistence(version, &fields);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = fields;
        Ok(Head {
            request,
            framing,
            keep_alive,
            expects_continue,
        })
    }
}

/// As many as an [`http::HeaderMap`] holds.
const MOST_FIELDS: usize = 32_768;

fn too_many_fields(limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        format!("the request has more than {limit} header fields"),
    )
}

/// Tells what httparse objects to.
fn refuse_unparsed(error: httparse::Error, head: &[u8]) -> Refusal {
    use httparse::Error;
    match error {
        Error::HeaderName => Refusal::malformed("a header field's name is not a token"),
        Error::HeaderValue => Refusal::malformed("a header field has a value that is not text"),
        _ => {
            let mut lines = head.split(|byte| matches!(byte, b'\r' | b'\n'));
            let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
            let last = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            match last {
                [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                    if error == Error::Version
                        && major.is_ascii_digit()
                        && minor.is_ascii_digit() =>
                {
                    Refusal::new(
                        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                        format!("{} is not spoken here; use HTTP/1.1", shown(last)),
                    )
                }
                _ => Refusal::malformed(format!(
                    "{} is no request line; send METHOD TARGET HTTP/1.1",
                    shown(line)
                )),
            }
        }
    }
}

/// Reads the target: a path, or a whole URI, or `*` for OPTIONS (RFC 9112, section 3.2).
fn read_target(method: &Method, target: Bytes) -> Result<Uri, Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "this server opens no tunnels",
        ));
    }
    let bad = |target: &[u8]| Refusal::malformed(format!("{} is no request target", shown(target)));
    // http::Uri drops fragments, which a target cannot have.
    if memchr::memchr(b'#', &target).is_some() {
        return Err(bad(&target));
    }
    let uri = Uri::from_maybe_shared(target.clone()).map_err(|_| bad(&target))?;
    let is_path = target.starts_with(b"/");
    let is_whole = uri.scheme().is_some() && uri.authority().is_some();
    let is_server = target == "*" && *method == Method::OPTIONS;
    if is_path || is_whole || is_server {
        Ok(uri)
    } else {
        Err(bad(&target))
    }
}

/// HTTP/1.1 requires one `Host` field; in any version it must be well-formed (RFC 9112,
/// section 3.2).
fn require_host(version: Version, fields: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = fields.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => {
            return Err(Refusal::malformed("HTTP/1.1 requires a Host field"));
        }
        (None, _) => return Ok(()),
        (Some(host), None) => host.as_bytes(),
        (Some(_), Some(_)) => return Err(Refusal::malformed("there is more than one Host field")),
    };
    let is_authority = |host: &[u8]| Authority::try_from(host).is_ok() && !host.contains(&b'@');
    if host.is_empty() || is_authority(host) {
        Ok(())
    } else {
        Err(Refusal::malformed(format!("{} is no host", shown(host))))
    }
}

/// Whether the client waits for `100 Continue`; HTTP/1.0 knows no expectations.
fn read_expectation(version: Version, fields: &HeaderMap) -> Result<bool, Refusal> {
    match fields.get(EXPECT) {
        Some(value) if version == Version::HTTP_11 => {
            if value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                Ok(true)
            } else {
                Err(Refusal::new(
                    StatusCode::EXPECTATION_FAILED,
                    format!(
                        "{} is expected; only 100-continue is met",
                        shown(value.as_bytes())
                    ),
                ))
            }
        }
        _ => Ok(false),
    }
}

/// Whether the connection goes on after the response: by default in HTTP/1.1, only when asked for
/// in HTTP/1.0 (RFC 9112, section 9.3).
fn read_persistence(version: Version, fields: &HeaderMap) -> bool {
    let names = |option: &[u8]| {
        let values = fields.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(option))
    };
    !names(b"close") && (version == Version::HTTP_11 || names(b"keep-alive"))
}
