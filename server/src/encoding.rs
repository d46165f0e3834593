//! Responses as bytes.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, SERVER, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::handler::Response;

/// What of the request, and of the connection, decides how a response is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// The request's method was HEAD.
    pub(crate) to_head: bool,
    /// The request's version was HTTP/1.0.
    pub(crate) to_http10: bool,
    /// The connection is closed after the response.
    pub(crate) close: bool,
}

impl Reply {
    /// A reply to a request of this method and version, after which the connection goes on.
    pub(crate) fn to(method: &Method, version: Version) -> Reply {
        Reply {
            to_head: *method == Method::HEAD,
            to_http10: version == Version::HTTP_10,
            close: false,
        }
    }

    /// A reply to something that could not be read as a request.
    pub(crate) const TO_UNREADABLE: Reply = Reply {
        to_head: false,
        to_http10: false,
        close: true,
    };
}

/// Encodes the responses of one connection, into a buffer that is used again and again.
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    date: String,
    /// The second that `date` tells.
    date_second: u64,
}

impl Encoder {
    /// Content up to this length is sent in one piece with the head; longer content is sent from
    /// where it lies. Copying that much costs less than a second buffer in the system call.
    const LONGEST_COPIED: usize = 4 * 1024;

    /// An encoder with an empty buffer.
    pub(crate) fn new() -> Encoder {
        Encoder {
            bytes: Vec::new(),
            date: String::new(),
            date_second: u64::MAX,
        }
    }

    /// The response's head and, if it is short, its content; and the content that is to follow.
    pub(crate) fn encode<'a>(
        &'a mut self,
        response: &'a Response,
        reply: Reply,
    ) -> (&'a [u8], &'a [u8]) {
        self.refresh_date();
        self.bytes.clear();
        let status = response.status();
        let reason = status.canonical_reason().unwrap_or("Unknown");
        self.put(&[
            b"HTTP/1.1 ",
            status.as_str().as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
        ]);

        let fields = response.headers();
        for (name, value) in fields {
            // These are ours to say: they describe the connection and how we frame the content.
            if !matches!(*name, CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING) {
                self.put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
            }
        }
        if !fields.contains_key(SERVER) {
            let server = concat!("server: greenpatch/", env!("CARGO_PKG_VERSION"), "\r\n");
            self.put(&[server.as_bytes()]);
        }
        if !fields.contains_key(DATE) {
            self.bytes.extend_from_slice(b"date: ");
            self.bytes.extend_from_slice(self.date.as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
        }
        if reply.close {
            self.put(&[b"connection: close\r\n"]);
        } else if reply.to_http10 {
            self.put(&[b"connection: keep-alive\r\n"]);
        }

        let has_content = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_content {
            let length = response.body().len();
            self.bytes.extend_from_slice(b"content-length: ");
            match fields.get(CONTENT_LENGTH) {
                // A handler may answer HEAD without making the content.
                Some(length) if reply.to_head => self.bytes.extend_from_slice(length.as_bytes()),
                // Writing to a vector does not fail.
                _ => drop(write!(self.bytes, "{length}")),
            }
            self.put(&[b"\r\n"]);
        }
        self.put(&[b"\r\n"]);

        if reply.to_head || !has_content {
            (&self.bytes, &[])
        } else if response.body().len() <= Self::LONGEST_COPIED {
            self.bytes.extend_from_slice(response.body());
            (&self.bytes, &[])
        } else {
            (&self.bytes, response.body())
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Writes the date anew when a second has passed.
    fn refresh_date(&mut self) {
        let now = SystemTime::now();
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if second != self.date_second {
            self.date_second = second;
            // Both conversions hold for the years 1 to 9999.
            self.date = Timestamp::try_from(now)
                .and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time))
                .unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const KEEP: Reply = Reply {
        to_head: false,
        to_http10: false,
        close: false,
    };

    fn encoded(response: &Response, reply: Reply) -> String {
        let mut encoder = Encoder::new();
        let (head, content) = encoder.encode(response, reply);
        let text = String::from_utf8([head, content].concat()).expect("ASCII");
        text.lines()
            .filter(|line| !line.starts_with("date: "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    const SERVER_LINE: &str = concat!("server: greenpatch/", env!("CARGO_PKG_VERSION"));

    #[test]
    fn content_length_is_always_there() {
        let text = encoded(&Response::new(Bytes::new()), KEEP);
        assert_eq!(
            text,
            format!("HTTP/1.1 200 OK\n{SERVER_LINE}\ncontent-length: 0\n")
        );
    }

    #[test]
    fn head_gets_the_length_but_not_the_content() {
        let response = Response::new(Bytes::from_static(b"four"));
        let text = encoded(
            &response,
            Reply {
                to_head: true,
                ..KEEP
            },
        );
        assert_eq!(
            text,
            format!("HTTP/1.1 200 OK\n{SERVER_LINE}\ncontent-length: 4\n")
        );
    }

    #[test]
    fn no_content_has_neither_length_nor_content() {
        let mut response = Response::new(Bytes::from_static(b"ignored"));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let text = encoded(&response, KEEP);
        assert_eq!(text, format!("HTTP/1.1 204 No Content\n{SERVER_LINE}\n"));
    }

    #[test]
    fn framing_fields_of_the_handler_are_not_passed_on() {
        let mut response = Response::new(Bytes::from_static(b"four"));
        for (name, value) in [
            (CONTENT_LENGTH, "9"),
            (TRANSFER_ENCODING, "chunked"),
            (CONNECTION, "upgrade"),
        ] {
            response
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
        }
        let text = encoded(
            &response,
            Reply {
                close: true,
                ..KEEP
            },
        );
        assert_eq!(
            text,
            format!("HTTP/1.1 200 OK\n{SERVER_LINE}\nconnection: close\ncontent-length: 4\n\nfour")
        );
    }

    #[test]
    fn long_content_is_not_copied() {
        let content = Bytes::from(vec![b'x'; Encoder::LONGEST_COPIED + 1]);
        let response = Response::new(content.clone());
        let mut encoder = Encoder::new();
        let (_, rest) = encoder.encode(&response, KEEP);
        assert_eq!(rest.as_ptr(), content.as_ptr());
    }

    #[test]
    fn date_has_the_form_of_http() {
        let mut encoder = Encoder::new();
        encoder.refresh_date();
        assert_eq!(encoder.date.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
        assert!(encoder.date.ends_with(" GMT"), "{}", encoder.date);
    }
}
