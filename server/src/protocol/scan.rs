//! A look at the bytes of HTTP/1 before hyper reads them.
//!
//! hyper takes what the standard permits and then some: a line feed alone ends a line, equal `Content-Length` fields count as
//! one and beside `Transfer-Encoding` for nothing, what follows a `#` in the target is dropped, extensions of chunks may be
//! anything. Once it has read a head none of that can be seen any more, and two parties that read one request differently are how
//! requests are smuggled. So the lines of heads and the framing of chunks are looked at here; content is not.
//!
//! The scan changes no verdict of hyper's to the better: it knows where each request ends by the same two fields, and what it
//! does not know (an unreadable line) hyper refuses. On a fault hyper gets, in the place of the
//! bytes from there on, some that it refuses itself. So the answer comes after those to the requests before, as it must.

use std::mem;

use http::StatusCode;

use super::refusal::{Refusal, shown};
use crate::settings::Limits;

/// The longest content that hyper takes for a length.
const LONGEST_CONTENT: u64 = u64::MAX - 2;

/// See the module's page. One for each connection.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    state: State,
    /// The beginning of the line under way, if it came in an earlier piece.
    line: Vec<u8>,
    head: Head,
    /// Whether the last request line that began is one of HEAD.
    is_to_head: bool,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// To a head, or to the empty lines before it.
    #[default]
    Head,
    /// To content of known length, of which this much is to come.
    Content(u64),
    /// To chunks.
    Chunks(Chunks),
}

/// What has been seen of a head.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// Empty lines before the request line.
    empty_lines: usize,
    /// The request line and the fields.
    lines: usize,
    /// Bytes of all of them, line ends included.
    length: usize,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// Places among chunks. The extension is counted for the whole size line, and the trailer for all its lines.
#[derive(Clone, Copy, Debug)]
enum Chunks {
    /// At the digits of a chunk's size.
    Size { size: u64, digits: u32 },
    /// After a semicolon, at the name of an extension.
    ExtensionName { size: u64, length: u32 },
    /// In an extension.
    Extension { size: u64, length: u32 },
    /// After the carriage return of a size line.
    SizeEnd { size: u64 },
    /// Inside a chunk, of which this much is to come.
    Chunk(u64),
    /// After a chunk's content.
    ChunkEnd,
    /// After the carriage return that follows a chunk's content.
    ChunkLineFeed,
    /// At the first byte of a trailer line.
    TrailerStart { length: usize },
    /// Inside a trailer line.
    Trailer { length: usize },
    /// After the carriage return of a trailer line.
    TrailerLineFeed { length: usize },
    /// After the carriage return of the blank line.
    LastLineFeed,
}

/// What is wrong with the bytes that were looked at.
#[derive(Debug)]
pub(crate) struct Fault {
    /// How many of them hyper may read.
    pub(crate) sound: usize,
    /// What hyper is to read after them, before the end.
    pub(crate) instead: &'static [u8],
    /// What to answer.
    pub(crate) refusal: Refusal,
}

impl Scan {
    /// Empty lines that may stand before a request line. The standard asks for one (RFC 9112, section 2.2), for clients
    /// that send one too many after content.
    const MOST_EMPTY_LINES: usize = 2;

    /// Ends every head, and no byte of it may be there.
    const INSTEAD_OF_HEAD: &[u8] = b"\0\r\n\r\n";

    /// Among chunks this and the end after it are right nowhere.
    const INSTEAD_OF_CHUNKS: &[u8] = b"\0";

    /// Looks at the next bytes that the client has sent.
    ///
    /// # Errors
    /// The first fault in them. Nothing that follows it must be read by anyone.
    pub(crate) fn pass(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sound = bytes.len() - rest.len();
            rest = match self.state {
                State::Head => {
                    let taken = self.take_line(rest, limits);
                    let taken = taken.map_err(|refusal| self.fault(sound, refusal));
                    &rest[taken?..]
                }
                State::Content(_) | State::Chunks(Chunks::Chunk(_)) => {
                    let length = rest.len() as u64;
                    let taken = self.content_left().min(length);
                    self.skip(taken);
                    &rest[taken as usize..]
                }
                State::Chunks(chunks) => match chunks.step(rest[0], limits) {
                    Ok(Some(next)) => {
                        self.state = State::Chunks(next);
                        &rest[1..]
                    }
                    Ok(None) => {
                        self.begin_head();
                        &rest[1..]
                    }
                    Err(refusal) => return Err(self.fault(sound, refusal)),
                },
            };
        }
        Ok(())
    }

    /// Bytes that come next and need not be looked at.
    pub(crate) fn content_left(&self) -> u64 {
        match self.state {
            State::Content(left) | State::Chunks(Chunks::Chunk(left)) => left,
            State::Head | State::Chunks(_) => 0,
        }
    }

    /// So many of them have come.
    pub(crate) fn skip(&mut self, count: u64) {
        match &mut self.state {
            State::Content(left) => {
                *left -= count;
                if *left == 0 {
                    self.begin_head();
                }
            }
            State::Chunks(Chunks::Chunk(left)) => {
                *left -= count;
                if *left == 0 {
                    self.state = State::Chunks(Chunks::ChunkEnd);
                }
            }
            State::Head | State::Chunks(_) => debug_assert_eq!(count, 0),
        }
    }

    /// Whether the last request that has begun is one of HEAD, whose answer has no content.
    pub(crate) fn is_to_head(&self) -> bool {
        self.is_to_head
    }

    fn begin_head(&mut self) {
        self.state = State::Head;
        self.head = Head::default();
    }

    #[cold]
    fn fault(&self, sound: usize, refusal: Refusal) -> Fault {
        let instead = match self.state {
            State::Chunks(_) => Self::INSTEAD_OF_CHUNKS,
            _ => Self::INSTEAD_OF_HEAD,
        };
        Fault {
            sound,
            instead,
            refusal,
        }
    }

    /// Looks at the line of a head that begins, or goes on, at the front of `bytes`; returns how many bytes it took.
    fn take_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, Refusal> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            if self.head.lines == 0 {
                self.is_to_head = is_to_head(&self.line);
            }
            // One byte more than a line may have: its carriage return.
            self.check_size(self.line.len() - 1, limits)?;
            return Ok(bytes.len());
        };
        if self.line.is_empty() {
            self.end_line(&bytes[..end], limits)?;
        } else {
            self.line.extend_from_slice(&bytes[..end]);
            let line = mem::take(&mut self.line);
            self.end_line(&line, limits)?;
        }
        Ok(end + 1)
    }

    /// Looks at a whole line, which stands before its line feed.
    fn end_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if self.head.lines == 0 {
            self.is_to_head = is_to_head(line);
        }
        // As for a line whose end has not come.
        self.check_size(line.len().saturating_sub(1), limits)?;
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Refusal::malformed(
                "a line ends in a line feed alone; send CR LF",
            ));
        };
        if line.is_empty() {
            return self.end_head();
        }
        if self.head.lines == 0 {
            check_request_line(line)?;
        } else {
            self.take_field(line, limits)?;
        }
        self.head.lines += 1;
        self.head.length += line.len() + 2;
        Ok(())
    }

    /// After the empty line that ends a head, or one before a head.
    fn end_head(&mut self) -> Result<(), Refusal> {
        if self.head.lines == 0 {
            self.head.empty_lines += 1;
            if self.head.empty_lines > Self::MOST_EMPTY_LINES {
                return Err(Refusal::malformed(
                    "empty lines stand before the request line",
                ));
            }
            return Ok(());
        }
        match self.head.content_length {
            _ if self.head.is_chunked => {
                self.state = State::Chunks(Chunks::Size { size: 0, digits: 0 });
            }
            None | Some(0) => self.begin_head(),
            Some(length) => self.state = State::Content(length),
        }
        Ok(())
    }

    /// Refuses the line under way if `length` bytes are too many for it.
    fn check_size(&self, length: usize, limits: &Limits) -> Result<(), Refusal> {
        if length == 0 {
            return Ok(());
        }
        if self.head.lines == 0 {
            if length > limits.request_line {
                return Err(Refusal::line_too_long(limits.request_line));
            }
        } else if self.head.lines > limits.request_fields {
            return Err(Refusal::too_many_fields(limits.request_fields));
        } else if length > limits.request_field_size {
            return Err(Refusal::field_too_long(limits.request_field_size));
        }
        // Two line ends are to come.
        if self.head.length + length + 4 > limits.request_head {
            return Err(Refusal::head_too_large(limits.request_head));
        }
        Ok(())
    }

    /// Looks at a field: whether it tells where the content ends.
    fn take_field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        let Some(colon) = memchr::memchr(b':', line) else {
            // hyper refuses it.
            return Ok(());
        };
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        // Most names are told from the two by their length.
        match colon {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.head.is_chunked {
                    return Err(both_framings());
                }
                if self.head.content_length.is_some() {
                    return Err(Refusal::malformed(
                        "there is more than one Content-Length field",
                    ));
                }
                let length = read_length(value)?;
                if length > LONGEST_CONTENT {
                    return Err(Refusal::content_too_large(limits.request_body));
                }
                self.head.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.head.content_length.is_some() {
                    return Err(both_framings());
                }
                if self.head.is_chunked {
                    return Err(not_chunked_once());
                }
                check_coding(value)?;
                self.head.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_to_head(request_line: &[u8]) -> bool {
    request_line.starts_with(b"HEAD ")
}

/// What hyper would not refuse: it drops fragments, which a target cannot have, and ends a connection without an answer when
/// HTTP/2 begins in it.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    if line == b"PRI * HTTP/2.0" {
        return Err(Refusal::malformed("HTTP/2 must begin the connection"));
    }
    if memchr::memchr(b'#', line).is_none() {
        return Ok(());
    }
    // It may stand in a method.
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    if memchr::memchr(b'#', target).is_none() {
        return Ok(());
    }
    Err(Refusal::malformed(format!(
        "{} is no request target",
        shown(target)
    )))
}

fn both_framings() -> Refusal {
    Refusal::malformed("Content-Length and Transfer-Encoding exclude each other")
}

fn not_chunked_once() -> Refusal {
    Refusal::malformed("Transfer-Encoding must be chunked, once")
}

/// Refuses codings other than `chunked`, once: by their names those that are not known, by their place those that are.
fn check_coding(value: &[u8]) -> Result<(), Refusal> {
    if !value.iter().all(|&byte| is_text(byte)) {
        return Err(Refusal::malformed(
            "a header field has a value that is not text",
        ));
    }
    let mut is_chunked = false;
    for coding in value.split(|&byte| byte == b',') {
        let coding = trim(coding);
        if coding.is_empty() || is_chunked {
            return Err(not_chunked_once());
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                format!(
                    "the transfer coding {} is not known; send chunked",
                    shown(coding)
                ),
            ));
        }
        is_chunked = true;
    }
    Ok(())
}

/// Reads a length of digits alone; one too large to count is as long as can be.
fn read_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::malformed(format!(
            "the Content-Length {} is not a number",
            shown(value)
        )));
    }
    Ok(value.iter().fold(0u64, |length, digit| {
        length
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

impl Chunks {
    /// Bytes of one chunk's extensions that are read over. Nobody uses them but attackers.
    const LONGEST_EXTENSION: u32 = 256;

    /// Hexadecimal digits that fill a `u64`.
    const MOST_DIGITS: u32 = 16;

    /// Takes one byte of framing; `None` after the last.
    fn step(self, byte: u8, limits: &Limits) -> Result<Option<Chunks>, Refusal> {
        Ok(Some(match (self, byte) {
            (Chunks::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == Self::MOST_DIGITS {
                    return Err(Refusal::malformed("a chunk's size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Chunks::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Chunks::Size { size, digits: 1.. }, b'\r') => Chunks::SizeEnd { size },
            (Chunks::Size { size, digits: 1.. }, b';') => Chunks::ExtensionName { size, length: 0 },
            (Chunks::Size { .. }, _) => {
                return Err(Refusal::malformed(
                    "a chunk's size is not a hexadecimal number",
                ));
            }
            (Chunks::ExtensionName { size, length }, _) if byte == b' ' || byte == b'\t' => {
                Chunks::ExtensionName {
                    size,
                    length: Self::count_extension(length)?,
                }
            }
            (Chunks::ExtensionName { .. }, b'\r' | b';') => {
                return Err(Refusal::malformed("a chunk's extension has no name"));
            }
            (Chunks::Extension { size, length }, b';') => Chunks::ExtensionName {
                size,
                length: Self::count_extension(length)?,
            },
            (Chunks::Extension { size, .. }, b'\r') => Chunks::SizeEnd { size },
            (Chunks::ExtensionName { size, length } | Chunks::Extension { size, length }, _)
                if is_text(byte) =>
            {
                Chunks::Extension {
                    size,
                    length: Self::count_extension(length)?,
                }
            }
            (Chunks::SizeEnd { size: 0 }, b'\n') => Chunks::TrailerStart { length: 0 },
            (Chunks::SizeEnd { size }, b'\n') => Chunks::Chunk(size),
            (Chunks::ChunkEnd, b'\r') => Chunks::ChunkLineFeed,
            (Chunks::ChunkLineFeed, b'\n') => Chunks::Size { size: 0, digits: 0 },
            (Chunks::TrailerStart { .. }, b'\r') => Chunks::LastLineFeed,
            (Chunks::TrailerStart { length } | Chunks::Trailer { length }, _) if is_text(byte) => {
                if length == limits.request_field_size {
                    return Err(Refusal::new(
                        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                        "the trailer fields are too long",
                    ));
                }
                Chunks::Trailer { length: length + 1 }
            }
            (Chunks::Trailer { length }, b'\r') => Chunks::TrailerLineFeed { length },
            (Chunks::TrailerLineFeed { length }, b'\n') => Chunks::TrailerStart { length },
            (Chunks::LastLineFeed, b'\n') => return Ok(None),
            (Chunks::ChunkEnd | Chunks::ChunkLineFeed, _) => {
                return Err(Refusal::malformed("a chunk is longer than its size"));
            }
            _ => {
                return Err(Refusal::malformed(
                    "a line among the chunks does not end in CR LF",
                ));
            }
        }))
    }

    fn count_extension(length: u32) -> Result<u32, Refusal> {
        if length == Self::LONGEST_EXTENSION {
            return Err(Refusal::malformed("a chunk's extension is too long"));
        }
        Ok(length + 1)
    }
}

/// Without the spaces and tabs around it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether the byte may stand in a line: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            request_line: 40,
            request_fields: 4,
            request_field_size: 40,
            request_head: 120,
            ..Limits::default()
        }
    }

    /// The status of the refusal, and what of the bytes hyper may read and what it reads instead; in pieces of this length.
    fn scanned(sent: &[u8], piece: usize) -> Option<(u16, Vec<u8>)> {
        let mut scan = Scan::default();
        let mut read = Vec::new();
        for piece in sent.chunks(piece.max(1)) {
            match scan.pass(piece, &limits()) {
                Ok(()) => read.extend_from_slice(piece),
                Err(fault) => {
                    read.extend_from_slice(&piece[..fault.sound]);
                    read.extend_from_slice(fault.instead);
                    return Some((fault.refusal.status.as_u16(), read));
                }
            }
        }
        None
    }

    fn status(sent: &str) -> Option<u16> {
        let statuses =
            [sent.len(), 1, 7].map(|piece| scanned(sent.as_bytes(), piece).map(|it| it.0));
        assert!(
            statuses.iter().all(|it| *it == statuses[0]),
            "{sent}: {statuses:?}"
        );
        statuses[0]
    }

    #[test]
    fn sound_requests_pass() {
        for sent in [
            "",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n#\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b; c\r\n\n#\n\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "G#T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nReferer: /#a\r\n\r\n",
        ] {
            assert_eq!(status(sent), None, "{sent}");
        }
    }

    #[test]
    fn faults_are_found() {
        for (sent, expected) in [
            ("GET / HTTP/1.1\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
            ("\n", 400),
            ("\r\n\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\n", 400),
            ("GET /0123456789012345678901234567890123456789", 414),
            (
                "GET / HTTP/1.1\r\nA: 0123456789012345678901234567890123456789",
                431,
            ),
            (
                "GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n",
                431,
            ),
            (
                "GET / HTTP/1.1\r\nA: 01234567890123456789012345678\r\nA: 01234567890123456789012345678\r\nA: 012345678901234567890123456789\r\n",
                431,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
                501,
            ),
            ("POST / HTTP/1.1\r\nContent-Length: 1,1\r\n", 400),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a\0",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000000",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: 01234567890123456789\r\nB: 01234567890123456789\r\n",
                431,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nokGET / HTTP/1.1\n",
                400,
            ),
        ] {
            assert_eq!(status(sent), Some(expected), "{sent:?}");
        }
    }

    #[test]
    fn what_comes_before_a_fault_is_left_as_it_is() {
        let sent = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\nX: y\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
        let (_, read) = scanned(sent, sent.len()).expect("a fault");
        assert_eq!(
            read.escape_ascii().to_string(),
            "GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\nGET /next HTTP/1.1\\r\\n\\x00\\r\\n\\r\\n"
        );
    }

    #[test]
    fn content_need_not_be_looked_at() {
        let mut scan = Scan::default();
        let head = b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc";
        scan.pass(head, &limits()).expect("sound");
        assert_eq!(scan.content_left(), 7);
        scan.skip(7);
        assert_eq!(scan.content_left(), 0);
        assert!(
            scan.pass(b"\n", &limits()).is_err(),
            "the next head has begun"
        );
    }
}
