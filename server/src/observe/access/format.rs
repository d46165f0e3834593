//! How a line of the access log looks: gunicorn's format strings, read once into pieces.
//!
//! Texts from a client are written so that they stay in their place: `"` as `\"`, as gunicorn does, `\` as `\\`, or a quote
//! after it would seem to end the text, and what a terminal or a reader of lines would trip over, control characters but tabs, and
//! bytes that are no UTF-8, as `\x0a`.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process;
use std::str::FromStr;
use std::time::Duration;

use headers::Header;
use headers::authorization::{Authorization, Basic};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Uri, Version};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{Clock, Head, Record};

/// gunicorn's default, which is the Combined Log Format.
pub const DEFAULT_FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

/// The Common Log Format.
const COMMON: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s"#;

/// The atoms, for messages.
const ATOMS: &str = "h l u t r m U q H s B b f a T M D L p {FIELD}i {FIELD}o {VARIABLE}e";

/// A format of the access log, as `--access-logformat` takes it: a format string of gunicorn's, or one of the names `combined`,
/// `common` and `json`.
///
/// In a format string `%(ATOM)s` stands for:
///
/// | atom | what |
/// |---|---|
/// | `h` | the client's address, `-` at a Unix socket |
/// | `l` | `-` |
/// | `u` | the user's name, of HTTP's Basic authentication |
/// | `t` | the date and time when the response has ended, `[10/Oct/2000:13:55:36 -0700]` |
/// | `r` | the request line, `GET /?a=1 HTTP/1.1` |
/// | `m`, `U`, `q`, `H` | of this, the method, the path, decoded, the query, the protocol |
/// | `s` | the status; `-` if the client left before there was one |
/// | `b`, `B` | bytes of content in the response |
/// | `f`, `a` | the request's `Referer` and `User-Agent` |
/// | `T`, `M`, `D`, `L` | how long it took: in seconds, milliseconds, microseconds, and in seconds with six decimals |
/// | `p` | the process id, `<4711>` |
/// | `{FIELD}i`, `{FIELD}o` | a field of the request; of the response |
/// | `{VARIABLE}e` | `request_id`, `route`, `queue_time`; of WSGI's environment: `remote_addr`, `remote_port`, `request_method`, `raw_uri`, `path_info`, `query_string`, `server_protocol`, `http_…`, `content_type`, `content_length`; any other: the environment variable of that name |
///
/// What is not there is `-`, and `%%` is a percent sign.
///
/// ```
/// use greenpatch_server::access::Format;
///
/// let format: Format = r#"%(h)s "%(r)s" %({x-forwarded-for}i)s %(L)s"#.parse().unwrap();
/// let error = "%(h)s %(x)s".parse::<Format>().unwrap_err();
/// assert!(error.to_string().contains("no atom \"x\""));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    text: String,
    pieces: Option<Vec<Piece>>,
    request_fields: Vec<HeaderName>,
    response_fields: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Address,
    Port,
    Dash,
    User(usize),
    Time,
    RequestLine,
    Method,
    RawUri,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Process,
    RequestField(usize),
    ResponseField(usize),
    RequestId,
    Route,
    QueueTime,
}

impl Format {
    /// The fields that a record for this format must hold.
    pub(crate) fn request_fields(&self) -> &[HeaderName] {
        &self.request_fields
    }

    /// The same of the response.
    pub(crate) fn response_fields(&self) -> &[HeaderName] {
        &self.response_fields
    }

    fn json() -> Format {
        Format {
            text: "json".to_owned(),
            pieces: None,
            request_fields: vec![AUTHORIZATION, REFERER, USER_AGENT],
            response_fields: Vec::new(),
        }
    }

    /// The record's line.
    pub(crate) fn line(&self, record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        self.write(record, &Clock::default(), &mut line);
        line
    }

    /// Writes the record's line.
    pub(super) fn write(&self, record: &Record, clock: &Clock, line: &mut Vec<u8>) {
        match &self.pieces {
            Some(pieces) => {
                for piece in pieces {
                    piece.write(record, clock, line);
                }
            }
            None => write_json(record, clock, line),
        }
        line.push(b'\n');
    }

    fn read(&mut self, text: &str) -> Result<Vec<Piece>, Fault> {
        if text.contains(['\n', '\r']) {
            return Err(Fault::LineEnd);
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (atom, after) = rest
                .strip_prefix('(')
                .and_then(|rest| rest.split_once(')'))
                .ok_or_else(|| Fault::Percent(rest.chars().next()))?;
            rest = after
                .strip_prefix(['s', 'd'])
                .ok_or_else(|| Fault::Conversion(atom.to_owned(), after.chars().next()))?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(self.atom(atom)?);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(pieces)
    }

    fn atom(&mut self, atom: &str) -> Result<Piece, Fault> {
        if let Some((name, kind)) = atom.strip_prefix('{').and_then(|it| it.split_once('}')) {
            return match kind {
                "i" => Ok(self.request_field(field_name(name)?)),
                "o" => Ok(self.response_field(field_name(name)?)),
                "e" => Ok(self.variable(name)),
                _ => Err(Fault::Atom(atom.to_owned())),
            };
        }
        Ok(match atom {
            "h" => Piece::Address,
            "l" => Piece::Dash,
            "u" => match self.request_field(AUTHORIZATION) {
                Piece::RequestField(number) => Piece::User(number),
                other => other,
            },
            "t" => Piece::Time,
            "r" => Piece::RequestLine,
            "m" => Piece::Method,
            "U" => Piece::Path,
            "q" => Piece::Query,
            "H" => Piece::Protocol,
            "s" => Piece::Status,
            "b" | "B" => Piece::Bytes,
            "f" => self.request_field(REFERER),
            "a" => self.request_field(USER_AGENT),
            "T" => Piece::Seconds,
            "M" => Piece::Milliseconds,
            "D" => Piece::Microseconds,
            "L" => Piece::DecimalSeconds,
            "p" => Piece::Process,
            _ => return Err(Fault::Atom(atom.to_owned())),
        })
    }

    fn request_field(&mut self, name: HeaderName) -> Piece {
        Piece::RequestField(number_of(&mut self.request_fields, name))
    }

    fn response_field(&mut self, name: HeaderName) -> Piece {
        Piece::ResponseField(number_of(&mut self.response_fields, name))
    }

    /// A name of WSGI's environment, one of ours, or of the process's environment.
    fn variable(&mut self, name: &str) -> Piece {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "request_id" => Piece::RequestId,
            "route" => Piece::Route,
            "queue_time" => Piece::QueueTime,
            "remote_addr" => Piece::Address,
            "remote_port" => Piece::Port,
            "request_method" => Piece::Method,
            "raw_uri" => Piece::RawUri,
            "path_info" => Piece::Path,
            "query_string" => Piece::Query,
            "server_protocol" => Piece::Protocol,
            "content_type" | "content_length" => {
                let field = field_name(&lower.replace('_', "-"));
                field.map_or(Piece::Dash, |field| self.request_field(field))
            }
            _ => {
                let field = lower.strip_prefix("http_").map(|it| it.replace('_', "-"));
                if let Some(Ok(field)) = field.as_deref().map(field_name) {
                    return self.request_field(field);
                }
                let value = std::env::var_os(name);
                value.map_or(Piece::Dash, |value| {
                    let mut text = Vec::new();
                    escape(value.as_encoded_bytes(), &mut text);
                    Piece::Text(String::from_utf8_lossy(&text).into_owned())
                })
            }
        }
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Format, FormatError> {
        let expanded = match text {
            "json" => return Ok(Format::json()),
            "combined" => DEFAULT_FORMAT,
            "common" => COMMON,
            text => text,
        };
        let mut format = Format {
            text: text.to_owned(),
            pieces: None,
            request_fields: Vec::new(),
            response_fields: Vec::new(),
        };
        let pieces = format.read(expanded).map_err(|fault| FormatError {
            format: text.to_owned(),
            fault,
        })?;
        format.pieces = Some(pieces);
        Ok(format)
    }
}

impl Default for Format {
    fn default() -> Format {
        DEFAULT_FORMAT.parse().expect("the default is a format")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text is no format of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    format: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Atom(String),
    FieldName(String),
    Percent(Option<char>),
    Conversion(String, Option<char>),
    LineEnd,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access log format {:?}: ", self.format)?;
        match &self.fault {
            Fault::Atom(atom) => write!(f, "there is no atom {atom:?}; the atoms are {ATOMS}"),
            Fault::FieldName(name) => write!(f, "{name:?} cannot be the name of a field"),
            Fault::Percent(None) => write!(f, "% at its end; write %% for a percent sign"),
            Fault::Percent(Some(_)) => {
                write!(
                    f,
                    "% begins an atom, as in %(h)s; write %% for a percent sign"
                )
            }
            Fault::Conversion(atom, after) => {
                write!(f, "%({atom}) must be followed by s, as in %({atom})s")?;
                after.map_or(Ok(()), |after| write!(f, ", not by {after:?}"))
            }
            Fault::LineEnd => write!(f, "it has a line end in it, which each line gets anyway"),
        }
    }
}

impl Error for FormatError {}

impl Piece {
    fn write(&self, record: &Record, clock: &Clock, line: &mut Vec<u8>) {
        let head = record.head.as_ref();
        let field = |field: Option<&Option<HeaderValue>>, line: &mut Vec<u8>| {
            or_dash(field.and_then(Option::as_ref), line, |value, line| {
                escape(value.as_bytes(), line);
            });
        };
        match self {
            Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
            Piece::Dash => line.push(b'-'),
            Piece::Address => or_dash(record.peer, line, |peer, line| print(peer.ip(), line)),
            Piece::Port => or_dash(record.peer, line, |peer, line| print(peer.port(), line)),
            Piece::User(number) => {
                let value = record.request_fields.get(*number).and_then(Option::as_ref);
                or_dash(value.and_then(user), line, |name, line| {
                    escape(name.as_bytes(), line);
                });
            }
            Piece::Time => line.extend_from_slice(clock.local.as_bytes()),
            Piece::RequestLine => or_dash(head, line, |head, line| {
                escape(head.method.as_str().as_bytes(), line);
                line.push(b' ');
                escape(target(head).as_bytes(), line);
                line.push(b' ');
                line.extend_from_slice(protocol(head.version).as_bytes());
            }),
            Piece::Method => or_dash(head, line, |head, line| {
                escape(head.method.as_str().as_bytes(), line);
            }),
            Piece::RawUri => or_dash(head, line, |head, line| {
                escape(target(head).as_bytes(), line);
            }),
            Piece::Path => or_dash(head, line, |head, line| {
                escape(&Cow::from(percent_decode_str(head.uri.path())), line);
            }),
            Piece::Query => or_dash(head, line, |head, line| {
                escape(head.uri.query().unwrap_or_default().as_bytes(), line);
            }),
            Piece::Protocol => or_dash(head, line, |head, line| {
                line.extend_from_slice(protocol(head.version).as_bytes());
            }),
            Piece::Status => or_dash(record.status, line, |status, line| {
                line.extend_from_slice(status.as_str().as_bytes());
            }),
            Piece::Bytes => print(record.bytes, line),
            Piece::Seconds => print(record.duration.as_secs(), line),
            Piece::Milliseconds => print(record.duration.as_millis(), line),
            Piece::Microseconds => print(record.duration.as_micros(), line),
            Piece::DecimalSeconds => print(decimal_seconds(record.duration), line),
            Piece::QueueTime => print(decimal_seconds(record.queued), line),
            Piece::Process => print(format_args!("<{}>", process::id()), line),
            Piece::RequestField(number) => field(record.request_fields.get(*number), line),
            Piece::ResponseField(number) => field(record.response_fields.get(*number), line),
            Piece::RequestId => print(&record.id, line),
            Piece::Route => {
                let name = Some(record.route.name()).filter(|name| !name.is_empty());
                or_dash(name, line, |name, line| escape(name.as_bytes(), line));
            }
        }
    }
}

/// A line of the format `json`.
#[derive(Serialize)]
struct JsonRecord<'a> {
    time: String,
    pid: u32,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    bytes: u64,
    complete: bool,
    duration: f64,
    queue_time: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
}

fn write_json(record: &Record, clock: &Clock, line: &mut Vec<u8>) {
    let field = |number: usize| record.request_fields.get(number).and_then(Option::as_ref);
    let text = |number| field(number).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let head = record.head.as_ref();
    let json = JsonRecord {
        time: format!("{:.6}", clock.now),
        pid: process::id(),
        request_id: record.id.to_string(),
        remote_addr: record.peer.map(|peer| peer.ip().to_string()),
        remote_port: record.peer.map(|peer| peer.port()),
        user: field(0).and_then(user),
        method: head.map(|head| head.method.as_str()),
        target: head.map(target),
        protocol: head.map(|head| protocol(head.version)),
        status: record.status.map(|status| status.as_u16()),
        bytes: record.bytes,
        complete: record.is_complete,
        duration: round(record.duration),
        queue_time: round(record.queued),
        route: record.route.name(),
        referer: text(1),
        user_agent: text(2),
    };
    serde_json::to_writer(line, &json).expect("texts and numbers can be written to memory as JSON");
}

/// In seconds, to the microsecond.
fn round(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

fn decimal_seconds(duration: Duration) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{}.{:06}", duration.as_secs(), duration.subsec_micros()))
}

/// The target of a request as the client wrote it; HTTP/2 has it in parts, of which this is the path and the query.
fn target(head: &Head) -> Cow<'_, str> {
    let Head { uri, version, .. } = head;
    match uri.path_and_query() {
        Some(path) if is_origin_form(uri) || *version >= Version::HTTP_2 => path.as_str().into(),
        _ => uri.to_string().into(),
    }
}

fn is_origin_form(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// The user's name in a field of Basic authentication, if there is one.
fn user(value: &HeaderValue) -> Option<String> {
    let credentials = Authorization::<Basic>::decode(&mut std::iter::once(value)).ok()?;
    let name = credentials.0.username();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The place of a name in the list, to which it is added if it is not there.
fn number_of(names: &mut Vec<HeaderName>, name: HeaderName) -> usize {
    match names.iter().position(|known| *known == name) {
        Some(number) => number,
        None => {
            names.push(name);
            names.len() - 1
        }
    }
}

fn field_name(name: &str) -> Result<HeaderName, Fault> {
    let lower = name.to_ascii_lowercase();
    HeaderName::from_bytes(lower.as_bytes()).map_err(|_| Fault::FieldName(name.to_owned()))
}

fn or_dash<T>(value: Option<T>, line: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, line),
        None => line.push(b'-'),
    }
}

fn print(value: impl fmt::Display, line: &mut Vec<u8>) {
    write!(line, "{value}").expect("memory can be written to");
}

/// Appends a text of which nobody knows what is in it.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    let is_plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~') && !b"\"\\".contains(byte);
    if text.iter().all(is_plain) {
        line.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                c if c.is_control() && c != '\t' => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        print(format_args!("\\x{byte:02x}"), line);
                    }
                }
                c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            print(format_args!("\\x{byte:02x}"), line);
        }
    }
}
