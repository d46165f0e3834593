//! Where a request's content begins and ends: the rules of `Content-Length` and
//! `Transfer-Encoding`, and the decoder of chunks.
//!
//! A proxy in front and this server must agree on every request's end, or one request is smuggled
//! inside another. So whatever is ambiguous is refused: both fields at once, a repeated
//! `Content-Length`, anything but digits in it, chunk lines that are not exactly as the standard
//! has them (RFC 9112, sections 6 and 7).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

use crate::refusal::{Refusal, shown};
use crate::settings::Limits;

/// How the content of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length in bytes; a request without content has length 0.
    Length(u64),
    /// By chunks, the last of which is empty.
    Chunked,
}

impl Framing {
    /// Reads the framing from a request's fields.
    ///
    /// # Errors
    /// 400 if it is ambiguous or malformed, 501 for a transfer coding other than chunked.
    pub(crate) fn of_request(version: Version, fields: &HeaderMap) -> Result<Framing, Refusal> {
        let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
        let (length, second_length) = (lengths.next(), lengths.next());
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter().peekable();
        if codings.peek().is_some() {
            if length.is_some() {
                return Err(Refusal::malformed(
                    "Content-Length and Transfer-Encoding exclude each other",
                ));
            }
            if version == Version::HTTP_10 {
                return Err(Refusal::malformed("HTTP/1.0 has no Transfer-Encoding"));
            }
            return read_codings(codings.map(|value| value.as_bytes()));
        }
        match length {
            None => Ok(Framing::Length(0)),
            Some(_) if second_length.is_some() => Err(Refusal::malformed(
                "there is more than one Content-Length field",
            )),
            Some(value) => read_length(value.as_bytes()).map(Framing::Length),
        }
    }
}

/// Accepts `chunked` alone.
fn read_codings<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Framing, Refusal> {
    let mut chunked = false;
    for coding in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let coding = coding.trim_ascii();
        if coding.is_empty() || chunked {
            return Err(Refusal::malformed(
                "Transfer-Encoding must be chunked, once",
            ));
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
        chunked = true;
    }
    Ok(Framing::Chunked)
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

/// Takes the content out of the bytes that follow a head, as they come.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    /// Bytes of content seen so far.
    received: u64,
    /// Bytes of content allowed.
    limit: u64,
    /// Bytes of trailer fields allowed, line ends included.
    trailer_room: usize,
}

#[derive(Debug)]
enum State {
    /// Content of known length; this much is to come.
    Length(u64),
    /// At the digits of a chunk's size.
    Size { size: u64, digits: u32 },
    /// After a semicolon; this much of the extension has been seen.
    Extension { size: u64, length: u32 },
    /// After the carriage return of a size line.
    SizeEnd { size: u64 },
    /// Inside a chunk; this much of it is to come.
    Chunk(u64),
    /// After a chunk's content.
    ChunkEnd,
    /// After the carriage return that follows a chunk's content.
    ChunkEndLineFeed,
    /// At the first byte of a trailer line.
    TrailerStart,
    /// Inside a trailer line.
    Trailer,
    /// After the carriage return of a trailer line.
    TrailerLineFeed,
    /// After the carriage return of the blank line.
    LastLineFeed,
    /// All content has been seen.
    Finished,
}

/// What stands at the beginning of the bytes given to [`BodyDecoder::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Bytes of framing, to be skipped.
    pub(crate) skip: usize,
    /// Bytes of content that follow them.
    pub(crate) content: usize,
}

impl BodyDecoder {
    /// Bytes of one chunk's extensions that are read over. Nobody uses them but attackers.
    const LONGEST_EXTENSION: u32 = 256;
    /// Hexadecimal digits that fill a `u64`.
    const MOST_DIGITS: u32 = 16;

    /// A decoder for content framed so.
    ///
    /// # Errors
    /// 413 if the content is known to be too long.
    pub(crate) fn new(framing: Framing, limits: &Limits) -> Result<BodyDecoder, Refusal> {
        let state = match framing {
            Framing::Length(0) => State::Finished,
            Framing::Length(length) if length > limits.request_body => {
                return Err(Refusal::content_too_large(limits.request_body));
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(BodyDecoder {
            state,
            received: 0,
            limit: limits.request_body,
            trailer_room: limits.request_field_size,
        })
    }

    /// A decoder for no content.
    pub(crate) fn finished() -> BodyDecoder {
        BodyDecoder {
            state: State::Finished,
            received: 0,
            limit: 0,
            trailer_room: 0,
        }
    }

    /// Whether the whole content has been taken out.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Bytes of content seen so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of content still to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Finished => Some(0),
            State::Length(remaining) => Some(remaining),
            _ => None,
        }
    }

    /// Says what stands at the beginning of `received`, at most `most` bytes of content. The
    /// caller then consumes both parts. Without content either more bytes are needed or the
    /// content [is finished](Self::is_finished).
    ///
    /// # Errors
    /// 400 if the chunks are malformed, 413 if there is more content than the limit.
    pub(crate) fn decode(&mut self, received: &[u8], most: usize) -> Result<Decoded, Refusal> {
        let mut skip = 0;
        loop {
            let rest = &received[skip..];
            match &mut self.state {
                State::Finished => return Ok(Decoded { skip, content: 0 }),
                State::Length(remaining) | State::Chunk(remaining) => {
                    let available = rest.len().min(most);
                    let content = usize::try_from(*remaining)
                        .unwrap_or(usize::MAX)
                        .min(available);
                    *remaining -= content as u64;
                    self.received += content as u64;
                    self.state = match self.state {
                        State::Length(0) => State::Finished,
                        State::Chunk(0) => State::ChunkEnd,
                        _ => return Ok(Decoded { skip, content }),
                    };
                    return Ok(Decoded { skip, content });
                }
                _ => {}
            }
            let Some(&byte) = rest.first() else {
                return Ok(Decoded { skip, content: 0 });
            };
            self.step(byte)?;
            skip += 1;
        }
    }

    /// Takes one byte of framing.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (&self.state, byte) {
            (&State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == Self::MOST_DIGITS {
                    return Err(Refusal::malformed("a chunk's size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (&State::Size { size, digits: 1.. }, b'\r') => State::SizeEnd { size },
            (&State::Size { size, digits: 1.. }, b';') => State::Extension { size, length: 0 },
            (&State::Size { .. }, _) => {
                return Err(Refusal::malformed(
                    "a chunk's size is not a hexadecimal number",
                ));
            }
            (&State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (&State::Extension { size, length }, _) if is_text(byte) => {
                if length == Self::LONGEST_EXTENSION {
                    return Err(Refusal::malformed("a chunk's extension is too long"));
                }
                State::Extension {
                    size,
                    length: length + 1,
                }
            }
            (&State::SizeEnd { size: 0 }, b'\n') => State::TrailerStart,
            (&State::SizeEnd { size }, b'\n') => {
                if size > self.limit - self.received {
                    return Err(Refusal::content_too_large(self.limit));
                }
                State::Chunk(size)
            }
            (State::ChunkEnd, b'\r') => State::ChunkEndLineFeed,
            (State::ChunkEndLineFeed, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::TrailerStart | State::Trailer, _) if is_text(byte) => {
                self.take_trailer_room()?;
                State::Trailer
            }
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::LastLineFeed, b'\n') => State::Finished,
            (State::ChunkEnd | State::ChunkEndLineFeed, _) => {
                return Err(Refusal::malformed("a chunk is longer than its size"));
            }
            _ => {
                return Err(Refusal::malformed(
                    "a line among the chunks does not end in CR LF",
                ));
            }
        };
        Ok(())
    }

    fn take_trailer_room(&mut self) -> Result<(), Refusal> {
        self.trailer_room = self.trailer_room.checked_sub(1).ok_or_else(|| {
            Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the trailer fields are too long",
            )
        })?;
        Ok(())
    }
}

/// Whether the byte may stand in a line: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
