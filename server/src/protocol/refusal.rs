//! Requests that are answered with an error before, or instead of, the handler's response.

use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::application::{Body, Response};

/// Why a request is not served: the status to answer and the reason to tell the client.
///
/// After a refusal the connection is closed, because where the next request begins can no longer
/// be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// What was wrong and, where it is not plain, what would be right.
    pub(crate) reason: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this status and reason.
    pub(crate) fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            status,
            reason: reason.into(),
        }
    }

    /// 400: the request breaks the protocol.
    pub(crate) fn malformed(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 414: the request line is longer than the limit.
    pub(crate) fn line_too_long(limit: usize) -> Refusal {
        Refusal::new(
            StatusCode::URI_TOO_LONG,
            format!("the request line is longer than {limit} bytes"),
        )
    }

    /// 431: there are more fields than the limit.
    pub(crate) fn too_many_fields(limit: usize) -> Refusal {
        Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request has more than {limit} header fields"),
        )
    }

    /// 431: a field is longer than the limit.
    pub(crate) fn field_too_long(limit: usize) -> Refusal {
        Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("a header field is longer than {limit} bytes"),
        )
    }

    /// 431: the head is longer than the limit.
    pub(crate) fn head_too_large(limit: usize) -> Refusal {
        Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request's head is longer than {limit} bytes"),
        )
    }

    /// 413: more content than the limit allows.
    pub(crate) fn content_too_large(limit: u64) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's content is longer than {limit} bytes"),
        )
    }

    /// 408: the client took too long to send what is named.
    pub(crate) fn timed_out(part: &'static str) -> Refusal {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's {part} came too slowly"),
        )
    }

    /// 500: what is named went wrong on our side.
    pub(crate) fn failed(reason: &'static str) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }

    /// As the kind of error that a handler gets when it reads the content.
    pub(crate) fn error_kind(&self) -> ErrorKind {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::FileTooLarge,
            StatusCode::REQUEST_TIMEOUT => ErrorKind::TimedOut,
            _ => ErrorKind::InvalidData,
        }
    }

    /// The content that tells the client.
    pub(crate) fn to_line(&self) -> String {
        format!("{self}\n")
    }

    /// As a response: one line of text, which tells the status and the reason.
    pub(crate) fn to_response(&self) -> Response {
        let mut response = Response::new(Body::from(self.to_line()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }

    /// The same as bytes of HTTP/1.1, for a connection whose request hyper has not handed over, and which ends with it. The
    /// answer to HEAD has no content.
    pub(crate) fn to_bytes(&self, has_content: bool) -> Bytes {
        let content = self.to_line();
        let reason = self.status.canonical_reason().unwrap_or("Unknown");
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\nserver: {SERVER}\r\ndate: {}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            self.status.as_str(),
            httpdate::fmt_http_date(SystemTime::now()),
            content.len()
        );
        let content = if has_content { &content } else { "" };
        (head + content).into()
    }
}

/// The value of the field `Server`.
pub(crate) const SERVER: &str = concat!("greenpatch/", env!("CARGO_PKG_VERSION"));

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// A value from the wire, fit to be shown: escaped, and cut after 64 bytes.
pub(crate) fn shown(value: &[u8]) -> String {
    const LONGEST: usize = 64;
    let end = value.len().min(LONGEST);
    let ellipsis = if end < value.len() { "…" } else { "" };
    format!("'{}{ellipsis}'", value[..end].escape_ascii())
}
