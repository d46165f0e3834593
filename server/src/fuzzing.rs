//! What must hold for any bytes, for the fuzz targets in `fuzz/` and the test that runs them for a moment.
//!
//! Each function panics when it does not. It is no part of the crate's interface.

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};

use crate::application::{HttpError, Peer, Request, Scheme, file};
use crate::command::bind::Bind;
use crate::command::load::Loaded;
use crate::command::networks::Networks;
use crate::observe::access::{Format, Head, Record};
use crate::observe::request_id::RequestIds;
use crate::observe::{RequestId, Route};
use crate::protocol::fields::NameLengths;
use crate::protocol::forwarded::{Forwarders, Origin};
use crate::protocol::proxy::{Expectation, Progress};
use crate::protocol::scan::Scan;
use crate::server::Server;
use crate::settings::{Limits, Proxy, ProxyProtocol, Settings};
use crate::worker::WorkerClass;

/// Settings files: what was read and shown is read again as the same, and a fault is told in words.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match Loaded::from_toml(text, Path::new("fuzz.toml")) {
        Ok(loaded) => {
            let shown = loaded.to_toml();
            let again = Settings::from_toml(&shown, "shown.toml");
            let again = again.unwrap_or_else(|error| panic!("shown as {shown:?}: {error}"));
            assert_eq!(again, loaded.settings, "shown as {shown:?}");
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz.toml"), "{error}"),
    }
}

/// Addresses to listen on, and lists of networks.
pub fn addresses(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        reads_what_it_shows::<Bind>(text);
        reads_what_it_shows::<Networks>(text);
    }
}

/// Formats of the access log, and requests to be written in them: the format, an empty line, the target, and fields. A request
/// is one line, and what a client sent stays where it belongs in it.
pub fn access_log(bytes: &[u8]) {
    let (format, rest) = split_at(bytes, b"\n\n");
    let (target, fields) = split_at(rest, b"\n");
    let fields = fields_of(fields);
    if let Ok(text) = str::from_utf8(format) {
        reads_what_it_shows::<Format>(text);
        if let Ok(format) = text.parse() {
            let line = log_line(&format, target, &fields);
            let (end, line) = line.split_last().expect("a line ends");
            assert!(*end == b'\n' && !line.contains(&b'\n'), "{line:?}");
        }
    }
    let quoted = r#""%({user-agent}i)s""#.parse().expect("a format");
    let line = log_line(&quoted, target, &fields);
    let value = line
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\"\n"));
    let mut value = value.expect("quotes").iter();
    while let Some(byte) = value.next() {
        assert!(!byte.is_ascii_control() || *byte == b'\t', "{line:?}");
        assert_ne!(*byte, b'"', "the field ends early: {line:?}");
        if *byte == b'\\' {
            value.next().expect("a backslash stands before something");
        }
    }
    let json = log_line(&"json".parse().expect("a format"), target, &fields);
    let json: Result<serde_json::Value, _> = serde_json::from_slice(&json);
    json.expect("a line of JSON");
}

fn log_line(format: &Format, target: &[u8], fields: &HeaderMap) -> Vec<u8> {
    let of_fields = |names: &[HeaderName]| {
        let values = names.iter().map(|name| fields.get(name).cloned());
        values.collect::<Vec<_>>()
    };
    let uri = Uri::try_from(target).ok();
    let record = Record {
        peer: None,
        head: uri.map(|uri| Head {
            method: Method::GET,
            uri,
            version: Version::HTTP_11,
        }),
        request_fields: of_fields(format.request_fields()),
        response_fields: of_fields(format.response_fields()),
        status: Some(StatusCode::OK),
        bytes: 0,
        is_complete: true,
        duration: Duration::ZERO,
        queued: Duration::ZERO,
        id: RequestIds::new().take_over_or_make(fields),
        route: Route::new("/"),
    };
    format.line(&record)
}

/// Ids that clients send: what is taken over fits into every log and page.
pub fn request_id(bytes: &[u8]) {
    let fields = fields_of(bytes);
    let id: RequestId = RequestIds::new().take_over_or_make(&fields);
    let shown = id.to_string();
    assert!((1..=128).contains(&shown.len()), "{shown:?}");
    let is_harmless = |c: char| c.is_ascii_graphic() && !"\"'<>&\\`$%;|()[]{}".contains(c);
    assert!(shown.chars().all(is_harmless), "{shown:?}");
    assert_eq!(id.to_header().as_bytes(), shown.as_bytes());
    let fields = HeaderMap::from_iter([(HeaderName::from_static("x-request-id"), id.to_header())]);
    let again = RequestIds::new().take_over_or_make(&fields);
    assert_eq!(again.to_string(), shown, "it is passed on as it is");
}

/// PROXY headers: what follows one changes nothing, less than one is a part of one, and none is read to be longer than what came.
pub fn proxy(bytes: &[u8]) {
    for protocol in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Auto] {
        let expectation = Expectation::new(&Proxy {
            protocol,
            ..Proxy::default()
        });
        let Ok(Progress::Complete { length, announced }) = expectation.parse(bytes) else {
            continue;
        };
        let header = &bytes[..length];
        for followed in [header, &[header, b"GET / HTTP/1.1\r\n"].concat()] {
            let again = expectation.parse(followed).expect("as before");
            assert_eq!(again, Progress::Complete { length, announced });
        }
        for length in 0..length {
            let part = expectation.parse(&header[..length]);
            assert_eq!(part.expect("no fault yet"), Progress::Partial, "{length}");
        }
    }
}

/// `Forwarded` and the fields before it: who is not trusted is not believed, and where the last of trusted proxies heard from
/// does not depend on what a client wrote before.
pub fn forwarded(bytes: &[u8]) {
    let fields = fields_of(bytes);
    let proxy = Peer::Tcp(([10, 0, 0, 1], 4000).into());
    let stranger = Peer::Tcp(([192, 0, 2, 1], 4000).into());
    let forwarders = Forwarders::new("10.0.0.0/8".parse().expect("a network"));
    let of_stranger = Origin {
        peer: stranger,
        scheme: Scheme::Http,
        authority: None,
    };
    assert_eq!(
        forwarders.origin(&fields, NameLengths::of(&fields), stranger, Scheme::Http),
        of_stranger
    );
    let origin = forwarders.origin(&fields, NameLengths::of(&fields), proxy, Scheme::Http);
    if let Some(authority) = &origin.authority {
        assert!(!authority.as_str().contains('@'), "{authority}");
        assert!(!authority.host().is_empty());
    }
    for name in ["forwarded", "x-forwarded-for"] {
        let heard = match name {
            "forwarded" => "for=203.0.113.7",
            _ => "203.0.113.7",
        };
        let written = fields.get_all(name).iter().cloned();
        let appended = written.chain([HeaderValue::from_static(heard)]);
        let name = HeaderName::from_static(name);
        let appended: Vec<_> = appended.map(|value| (Some(name.clone()), value)).collect();
        let mut fields = HeaderMap::new();
        fields.extend(appended);
        let origin = forwarders.origin(&fields, NameLengths::of(&fields), proxy, Scheme::Http);
        let client = Peer::Tcp(([203, 0, 113, 7], 0).into());
        assert_eq!(origin.peer, client, "{fields:?}");
    }
}

/// The scan of HTTP/1: how the bytes come in pieces changes nothing, and no byte before a fault is kept from hyper.
pub fn scan(bytes: &[u8]) {
    let limits = small_limits();
    let mut scan = Scan::default();
    let whole = scan.pass(bytes, &limits);
    // The first byte also says how long the pieces are.
    let length = bytes.first().map_or(1, |byte| usize::from(byte % 16) + 1);
    let mut scan = Scan::default();
    let mut read = 0;
    let mut pieces = Ok(());
    for piece in bytes.chunks(length) {
        pieces = scan.pass(piece, &limits);
        match &pieces {
            Ok(()) => read += piece.len(),
            Err(fault) => {
                read += fault.sound;
                break;
            }
        }
    }
    match (whole, pieces) {
        (Ok(()), Ok(())) => assert_eq!(read, bytes.len()),
        (Err(whole), Err(pieces)) => {
            assert_eq!(whole.refusal.status, pieces.refusal.status);
            assert!(whole.sound <= read, "{} and {read}", whole.sound);
        }
        (whole, pieces) => panic!("whole {whole:?}, in pieces {pieces:?}"),
    }
}

fn small_limits() -> Limits {
    Limits {
        request_line: 200,
        request_fields: 20,
        request_field_size: 200,
        request_head: 1000,
        request_body: 1000,
    }
}

/// A whole connection with a real server: every answer is one, and after a refusal none comes.
pub fn connection(bytes: &[u8]) {
    static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
        let settings = Settings {
            worker_class: WorkerClass::Async,
            // Otherwise the end of what is sent is the end of all.
            half_close: true,
            limits: small_limits(),
            ..Settings::default()
        };
        let server = Server::bind("127.0.0.1:0", settings).expect("loopback has a port");
        let address = server.local_addr();
        std::thread::spawn(|| {
            server
                .serve(measure)
                .expect("it serves until the process ends")
        });
        address
    });
    let mut stream = TcpStream::connect(*SERVER).expect("the server listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("not zero");
    // The server may refuse a part and close before it has seen the rest.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        // HTTP/2 has its own answers.
        Ok(_) if bytes.starts_with(b"PRI * HTTP/2.0") => {}
        Ok(_) => check_answers(&answers, bytes),
        Err(error) => panic!("no answer, and no end: {error}"),
    }
}

/// Answers with the length of the content.
fn measure(request: Request) -> Result<String, HttpError> {
    let content = request.into_body().into_bytes(usize::MAX)?;
    Ok(format!("{}\n", content.len()))
}

fn check_answers(mut answers: &[u8], sent: &[u8]) {
    let is_to_head = sent.windows(5).any(|window| window == b"HEAD ");
    let mut is_over = false;
    while !answers.is_empty() {
        assert!(!is_over, "an answer after the last");
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(answers).expect("an answer");
        let httparse::Status::Complete(length) = parsed else {
            panic!("half an answer: {}", answers.escape_ascii());
        };
        answers = &answers[length..];
        let status = head.code.expect("complete");
        let field = |name: &str| {
            let mut fields = head.headers.iter();
            let field = fields.find(|field| field.name == name);
            field.map(|field| str::from_utf8(field.value).expect("ASCII"))
        };
        if status == 100 {
            continue;
        }
        is_over = field("connection") == Some("close");
        assert!(is_over || status == 200, "{status} without an end");
        let length = field("content-length").expect("the answers have content");
        let length: usize = length.parse().expect("a number");
        // The answer to HEAD has none; which of them is one is not told here.
        if !is_to_head || answers.len() >= length && !answers.starts_with(b"HTTP/1.1 ") {
            answers = &answers[length.min(answers.len())..];
        }
    }
}

/// Conditional requests and ranges: what is sent lies in the file, and is as long as is said.
pub fn ranges(bytes: &[u8]) {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let name = format!("greenpatch-fuzz-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, [b'x'; 100]).expect("a directory for temporary files");
        path
    });
    let mut request = http::Request::new(());
    *request.headers_mut() = fields_of(bytes);
    let response = file(&request, &*FILE);
    let status = response.status().as_u16();
    assert!([200, 206, 304, 412, 416].contains(&status), "{status}");
    let range = response.headers().get("content-range").cloned();
    let content = response.into_body().into_bytes(1 << 20);
    let content = content.expect("the file is there");
    match (status, range) {
        (200, None) => assert_eq!(content.len(), 100),
        (206, Some(range)) => {
            let range = range.to_str().expect("ASCII");
            let range = range.strip_prefix("bytes ").expect("a unit");
            let (range, total) = range.split_once('/').expect("a length");
            let (first, last) = range.split_once('-').expect("a range");
            let [first, last]: [usize; 2] = [first, last].map(|it| it.parse().expect("a number"));
            assert!(first <= last && last < 100 && total == "100", "{range}");
            assert_eq!(content.len(), last - first + 1);
        }
        // Several parts, each with a head.
        (206, None) => assert!(content.starts_with(b"\r\n--") || content.starts_with(b"--")),
        (_, _) => assert!(!content.starts_with(b"x"), "{status} with content"),
    }
}

/// What stands before and after the first `separator`.
fn split_at<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let mut windows = bytes.windows(separator.len());
    match windows.position(|window| window == separator) {
        Some(at) => (&bytes[..at], &bytes[at + separator.len()..]),
        None => (bytes, &[]),
    }
}

/// The lines that are fields.
fn fields_of(lines: &[u8]) -> HeaderMap {
    let lines = lines.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| {
        let (name, value) = split_at(line, b":");
        let name = HeaderName::from_bytes(name).ok()?;
        Some((name, HeaderValue::from_bytes(value.trim_ascii()).ok()?))
    });
    let mut map = HeaderMap::new();
    for (name, value) in fields.take(1000) {
        map.append(name, value);
    }
    map
}

/// What is read from `text` is shown so that it is read again as the same.
fn reads_what_it_shows<T>(text: &str)
where
    T: FromStr + Display + PartialEq + std::fmt::Debug,
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => match value.to_string().parse::<T>() {
            Ok(again) => assert_eq!(again, value, "shown as '{value}'"),
            Err(error) => panic!("shown as '{value}': {error}"),
        },
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
