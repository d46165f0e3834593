//! Clients of HTTP/2 that no library makes: frames are written byte by byte.

mod server;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use greenpatch_server::application::Request;
use greenpatch_server::{Server as InProcess, Settings, WorkerClass};

use server::{Client as Http1, PATIENCE, Server};

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Fields by their numbers in HPACK's static table, and `:authority: test`.
const GET: &[u8] = b"\x82\x86\x84\x01\x04test";
const HEAD: &[u8] = b"\x02\x04HEAD\x86\x84\x01\x04test";

/// What a client allows of each stream to be sent, as a setting.
fn window(bytes: u32) -> Vec<u8> {
    [&[0, 4][..], &bytes.to_be_bytes()].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, content].concat()
}

/// A request without content.
fn request(stream: u32, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, fields)
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    content: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    unread: VecDeque<u8>,
}

impl Client {
    fn connect(address: SocketAddr, settings: &[u8]) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut client = Client {
            stream,
            unread: VecDeque::new(),
        };
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(&frame(SETTINGS, 0, 0, settings));
        client.send(&frame(SETTINGS, ACK, 0, &[]));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// The next frame; `None` at the end.
    fn receive(&mut self) -> Option<Frame> {
        let mut length = 9;
        loop {
            if let [high, middle, low, ..] = *self.unread.make_contiguous() {
                length = 9 + u32::from_be_bytes([0, high, middle, low]) as usize;
            }
            if self.unread.len() >= length {
                break;
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).expect("it answers or closes") {
                0 => return None,
                read => self.unread.extend(&bytes[..read]),
            }
        }
        let bytes: Vec<u8> = self.unread.drain(..length).collect();
        Some(Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]),
            content: bytes[9..].to_vec(),
        })
    }

    /// The next frame that fits; panics at the end.
    fn receive_where(&mut self, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.receive().expect("it comes before the end");
            if fits(&frame) {
                return frame;
            }
        }
    }

    /// Waits until the server has read all that was sent so far.
    fn round_trip(&mut self) {
        self.send(&frame(PING, 0, 0, b"are you?"));
        self.receive_where(|frame| frame.kind == PING && frame.content == b"are you?");
    }
}

#[test]
fn an_answer_to_head_has_no_content() {
    let server = Server::start(&["-k", "green", "--app", "plain"]);
    let mut client = Client::connect(server.address(), &[]);
    client.send(&request(1, HEAD));
    let head = client.receive_where(|frame| frame.stream == 1);
    assert_eq!((head.kind, head.flags & END_STREAM), (HEADERS, END_STREAM));
    // Its length is told: literally, since it is no common one.
    let length = b"14";
    assert!(
        head.content.windows(2).any(|two| two == length)
            || head.content.windows(2).any(|two| two == [0x82, 0x0b]),
        "{head:?}"
    );
}

/// It holds the only place there is, and until then the other one waits.
#[test]
fn a_client_that_widens_no_window_is_cut_off_after_the_write_timeout() {
    for class in ["sync", "gthread", "green", "async"] {
        let arguments = ["-k", class, "--app", "plain", "--write-timeout", "0.5"];
        let server = Server::start(&[&arguments[..], &["--worker-connections", "1"]].concat());
        // One gets nothing, the other less than all.
        for narrow in [0, 5] {
            let mut client = Client::connect(server.address(), &window(narrow));
            client.send(&request(1, GET));
            client.receive_where(|frame| frame.kind == HEADERS);
            assert_eq!(Http1::connect(&server).get().status, 200, "{class}");
        }
    }
}

/// The handler is done with it long before the client is, and nothing of it can be sent meanwhile.
#[test]
fn a_client_that_pauses_for_longer_than_an_idle_one_may_gets_all_of_its_answer() {
    let server = Server::start(&["-k", "green", "--app", "plain", "--keep-alive", "0.2"]);
    let mut client = Client::connect(server.address(), &window(5));
    client.send(&request(1, GET));
    let mut content = client.receive_where(|frame| frame.kind == DATA).content;
    // An idle connection is closed after 0.2 s, and cut off after 5 more.
    std::thread::sleep(Duration::from_secs(7));
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]));
    content.extend(client.receive_where(|frame| frame.kind == DATA).content);
    assert_eq!(content, b"Hello, World!\n");
}

/// What the handlers of this test's server wait for: a lock, the wait for which nobody can cancel.
static GATE: Mutex<()> = Mutex::new(());

fn wait_at_the_gate(_: Request) -> &'static str {
    drop(GATE.lock().unwrap_or_else(PoisonError::into_inner));
    "through\n"
}

#[test]
fn streams_that_are_reset_at_once_make_no_more_handlers_than_twice_the_streams() {
    const STREAMS: u32 = 10;
    let closed = GATE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings {
        worker_class: WorkerClass::Green,
        http2_streams: STREAMS,
        ..Settings::default()
    };
    let server = InProcess::bind("127.0.0.1:0", settings).expect("loopback has a port");
    let address = server.local_addr();
    std::thread::spawn(|| server.serve(wait_at_the_gate).expect("it serves"));
    let mut client = Client::connect(address, &[]);
    let mut streams = (1..).step_by(2);
    for _ in 0..2 {
        let some: Vec<u32> = streams.by_ref().take(STREAMS as usize).collect();
        for stream in &some {
            client.send(&request(*stream, GET));
        }
        client.round_trip();
        for stream in some {
            client.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        client.round_trip();
    }
    client.send(&request(streams.next().expect("no end"), GET));
    let refusal = client.receive_where(|frame| [HEADERS, GOAWAY].contains(&frame.kind));
    assert_eq!(refusal.kind, HEADERS, "{refusal:?}");
    let text = client.receive_where(|frame| frame.kind == DATA).content;
    let text = String::from_utf8(text).expect("a text");
    assert!(text.contains("too many requests"), "{text}");
    drop(closed);
}
