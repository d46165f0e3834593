//! Runs the requests in `tests/corpus` through the connection loop.
//!
//! Each case is a file `NAME.http` with what a client sends, and a file `NAME.expected` with what
//! the server answers: for each response the status, whether the connection goes on, and the
//! content. The handler answers with the request as it understood it.
//!
//! In `.http` files line breaks count for nothing; `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stand
//! for what they stand for in Rust. Every case is sent whole and byte by byte. The limits are
//! small ([`limits`]), so that the files can be.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::connection::Connection;
use crate::exchange::{Manners, serve};
use crate::handler::{Request, Response};
use crate::presence::Connections;
use crate::settings::{Limits, Settings};

fn limits() -> Limits {
    Limits {
        request_line: 60,
        request_fields: 8,
        request_field_size: 80,
        request_body: 40,
        ..Limits::default()
    }
}

#[test]
fn valid_requests_are_understood() {
    check("valid");
}

#[test]
fn invalid_requests_are_refused() {
    check("invalid");
}

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    cases.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "http")
    });
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut failures = String::new();
    for case in cases {
        let sent = unescape(&fs::read_to_string(&case).expect("a case is ASCII"));
        let expected = case.with_extension("expected");
        let expected = fs::read_to_string(expected).expect("every case says what it expects");
        for (manner, piece) in [("whole", sent.len()), ("byte by byte", 1)] {
            let answered = answers(&sent, piece);
            if answered != expected {
                let _ = write!(
                    failures,
                    "\n{} sent {manner}:\n{answered}--- expected:\n{expected}",
                    case.display()
                );
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What the server answers, in the form of the `.expected` files.
fn answers(sent: &[u8], piece: usize) -> String {
    let script = Script {
        state: Mutex::new(State {
            sent: sent.to_vec(),
            piece,
            got: Vec::new(),
        }),
    };
    let settings = Settings {
        limits: limits(),
        ..Settings::default()
    };
    let manners = Manners {
        keep_alive: true,
        look_round: None,
    };
    let (socket, _peer) = UnixStream::pair().expect("a pair of sockets");
    let presence = Arc::new(Connections::default()).enter(Arc::new(socket));
    serve(&script, &describe, &settings, manners, &presence);
    let got = script.state.into_inner().expect("not poisoned").got;
    transcript(&got)
}

/// Answers with the request as it was understood.
fn describe(request: Request<'_>) -> Response {
    let (head, mut body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        let line = format!("{name}: {}", value.as_bytes().escape_ascii());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let mut content = Vec::new();
    match body.read_to_end(&mut content) {
        Ok(0) => text.push_str("no content\n"),
        Ok(length) => {
            let _ = writeln!(text, "{length} bytes: {}", content.escape_ascii());
        }
        Err(error) => {
            let _ = writeln!(text, "faulty content: {error}");
        }
    }
    Response::new(text.into())
}

/// The responses in a stream of bytes, but for `100 Continue`, which depends on the pieces.
fn transcript(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let head = response.parse(bytes).expect("a response").unwrap();
        let field = |name: &str| {
            let mut fields = response.headers.iter();
            fields
                .find(|field| field.name == name)
                .map(|field| String::from_utf8_lossy(field.value))
        };
        let code = response.code.expect("complete");
        let persistence = field("connection").map_or("keep-alive".to_owned(), |it| it.to_string());
        let length = field("content-length").map_or(0, |it| it.parse().expect("a number"));
        let content = &bytes[head..head + length];
        if code != 100 {
            let _ = write!(
                text,
                "{code} {persistence}\n{}",
                String::from_utf8_lossy(content)
            );
        }
        bytes = &bytes[head + length..];
    }
    text
}

/// Reads the notation of the `.http` files.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.bytes().filter(|&byte| byte != b'\n');
    while let Some(byte) = characters.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match characters.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [characters.next(), characters.next()].map(|it| it.unwrap_or(b' '));
                let digits = str::from_utf8(&digits).expect("ASCII");
                u8::from_str_radix(digits, 16).expect("two hexadecimal digits")
            }
            other => panic!("unknown escape {other:?}"),
        });
    }
    bytes
}

/// A client that sends what is written, in pieces of a certain length, and takes everything.
struct Script {
    state: Mutex<State>,
}

struct State {
    sent: Vec<u8>,
    piece: usize,
    got: Vec<u8>,
}

impl Connection for Script {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock().expect("not poisoned");
        let count = state.piece.min(state.sent.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&state.sent[..count]);
        state.sent.drain(..count);
        Ok(count)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.state
            .lock()
            .expect("not poisoned")
            .got
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        buffers.iter().map(|buffer| self.send(buffer)).sum()
    }

    fn set_read_timeout(&self, _limit: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&self, _limit: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        Ok(())
    }

    fn give_way() {}
}
