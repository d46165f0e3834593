//! What must not happen however unkind clients and circumstances are: lost requests, starved clients, spinning.

#[macro_use]
mod server;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::eventually;
use rustix::process::Signal;
use server::{Client, PATIENCE, Server};
use socket2::{Domain, Socket, Type};

in_each_class! { {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "4"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    a_stop_loses_no_request_of_busy_clients
    a_stop_loses_no_request_of_new_clients
    a_thousand_unfinished_heads_hold_nobody_up
    a_thousand_unfinished_contents_hold_nobody_up
    hundreds_of_clients_that_read_nothing_hold_nobody_up
    goes_on_when_descriptors_are_free_again
} }

/// Time-outs that no test outlasts: whoever waits for one of them fails.
const NO_TIMEOUTS: [&str; 6] = [
    "--header-timeout",
    "600",
    "--body-timeout",
    "600",
    "--keep-alive",
    "600",
];

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, &NO_TIMEOUTS, arguments].concat())
}

/// How often the tests of stops, which are about races, are repeated.
const STOPS: usize = if cfg!(debug_assertions) { 3 } else { 20 };

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[test]
fn gthread_loses_no_kept_client_when_more_clients_than_threads_think() {
    const CLIENTS: u64 = 32;
    let server = start(&["-k", "gthread", "--threads", "4"], &["--app", "plain"]);
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let mut client = Client::connect(&server);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..50 {
                    let response = client.get();
                    assert_eq!(response.status, 200);
                    assert_eq!(response.field("connection"), None);
                    thread::sleep(Duration::from_micros(random.u64(0..5000)));
                }
            });
        }
    });
}

/// A hundred clients send one request after the other on connections that they keep, and open a new one when the server
/// says that it closes.
fn a_stop_loses_no_request_of_busy_clients(class: &[&str]) {
    for _ in 0..STOPS {
        stop_under(class, 100, REQUEST);
    }
}

/// A hundred clients open a connection for each request.
fn a_stop_loses_no_request_of_new_clients(class: &[&str]) {
    for _ in 0..STOPS {
        stop_under(class, 100, LAST_REQUEST);
    }
}

/// Stops a server under busy clients, each of which goes on until nobody accepts its connection. Every request that was
/// sent must be answered.
fn stop_under(class: &[&str], clients: usize, request: &'static [u8]) {
    let server = start(class, &["--app", "plain"]);
    let address = server.address();
    let answered = AtomicUsize::new(0);
    let lost: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| requests_until_refused(address, request, &answered)))
            .collect();
        eventually(|| answered.load(Ordering::Relaxed) > 1000);
        let (status, lines) = server.stop();
        assert!(status.success(), "{status}: {lines:#?}");
        let outcomes = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        outcomes.filter_map(Result::err).collect()
    });
    let answered = answered.into_inner();
    assert!(
        lost.is_empty(),
        "{} requests were lost, {answered} answered: {lost:#?}",
        lost.len()
    );
}

/// Sends requests until no connection is accepted any more; tells how a request was lost, if one was.
fn requests_until_refused(
    address: SocketAddr,
    request: &[u8],
    answered: &AtomicUsize,
) -> Result<(), String> {
    let mut connections = 0;
    loop {
        let mut stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            // The kernel may have no room for another connection for a moment, or reset one that waits to be accepted
            // nowhere: neither has carried a request.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(format!("connecting: {error}")),
        };
        connections += 1;
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut requests = 0;
        loop {
            requests += 1;
            let closes = exchange(&mut stream, request).map_err(|error| {
                format!("request {requests} on connection {connections}: {error}")
            })?;
            answered.fetch_add(1, Ordering::Relaxed);
            if closes {
                break;
            }
        }
    }
}

/// Sends a request and reads its answer; tells whether the server closes the connection after it.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<bool> {
    stream.write_all(request)?;
    let mut received = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head
            .parse(&received)
            .map_err(|error| io::Error::other(error.to_string()))?;
        if let httparse::Status::Complete(length) = parsed {
            let field = |name: &str| {
                let mut fields = head.headers.iter();
                let field = fields.find(|field| field.name.eq_ignore_ascii_case(name));
                field.map(|field| String::from_utf8_lossy(field.value).into_owned())
            };
            let content = field("content-length").and_then(|length| length.parse().ok());
            let content: usize = content.ok_or(ErrorKind::InvalidData)?;
            if head.code != Some(200) {
                return Err(io::Error::other(format!("status {:?}", head.code)));
            }
            if received.len() == length + content {
                return Ok(field("connection").as_deref() == Some("close"));
            }
        }
        match stream.read(&mut bytes)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&bytes[..count]),
        }
    }
}

/// Its client has been told by the kernel that it is connected before the server was told to stop.
#[test]
fn a_connection_from_before_the_stop_has_its_first_request_answered() {
    for class in ["gthread", "green", "async"] {
        let mut server = start(&["-k", class], &["--app", "hello", "--sleep", "1"]);
        let mut busy = Client::connect(&server);
        busy.send_get();
        server.wait_for_line("hello 0");
        let mut fresh = Client::connect(&server);
        server.signal(Signal::TERM);
        server.wait_for_line("Handling signal: term");
        fresh.send_get();
        assert_eq!(fresh.receive().status, 200, "{class}");
        assert_eq!(busy.receive().status, 200, "{class}");
        let (status, lines) = server.wait();
        assert!(status.success(), "{status}: {lines:#?}");
    }
}

fn a_thousand_unfinished_heads_hold_nobody_up(class: &[&str]) {
    let server = start(class, &["--app", "plain", "--worker-connections", "3000"]);
    let slow = many_clients(&server, "GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ");
    others_are_served(&server);
    drop(slow);
}

fn a_thousand_unfinished_contents_hold_nobody_up(class: &[&str]) {
    let server = start(class, &["--app", "echo", "--worker-connections", "3000"]);
    let slow = many_clients(
        &server,
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabc",
    );
    for _ in 0..10 {
        let mut client = Client::connect(&server);
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.receive().content, "ok");
    }
    drop(slow);
}

fn many_clients(server: &Server, sent: &str) -> Vec<Client> {
    let clients = (0..1000).map(|_| {
        let mut client = Client::connect(server);
        client.send(sent);
        client
    });
    clients.collect()
}

/// Their answers do not fit into the buffers of the sockets.
fn hundreds_of_clients_that_read_nothing_hold_nobody_up(class: &[&str]) {
    const CONTENT: usize = 256 * 1024;
    let server = start(class, &["--app", "echo", "--worker-connections", "3000"]);
    let content = "x".repeat(CONTENT);
    let slow = (0..300).map(|_| {
        let mut stream = narrow_connection(server.address());
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {CONTENT}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("taken");
        stream.write_all(content.as_bytes()).expect("taken");
        stream
    });
    let slow: Vec<TcpStream> = slow.collect();
    for _ in 0..10 {
        let mut client = Client::connect(&server);
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.receive().content, "ok");
    }
    // And each of them gets all of it when it reads at last.
    for mut stream in slow.into_iter().take(10) {
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut received = Vec::new();
        let mut bytes = [0; 65536];
        while received.iter().filter(|&&byte| byte == b'x').count() < CONTENT {
            let count = stream.read(&mut bytes).expect("the rest of the answer");
            assert!(count > 0, "cut off after {} bytes", received.len());
            received.extend_from_slice(&bytes[..count]);
        }
    }
}

/// A connection whose buffers take little of an answer that is not read.
fn narrow_connection(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Segments have to be shorter than the window, or what is sent waits for the window to open wide.
    socket.set_tcp_mss(1400).expect("a usual length");
    socket
        .set_recv_buffer_size(16 * 1024)
        .expect("a usual size");
    socket.connect(&address.into()).expect("the server listens");
    socket.into()
}

fn others_are_served(server: &Server) {
    for _ in 0..10 {
        assert_eq!(Client::connect(server).get().status, 200);
    }
}

/// With more clients than descriptors some wait until others leave, and meanwhile nothing is tried again and again.
fn goes_on_when_descriptors_are_free_again(class: &[&str]) {
    let arguments = [class, &NO_TIMEOUTS, &["--app", "plain"]].concat();
    let mut server = Server::start_with_descriptors(256, &arguments);
    let mut first = Client::connect(&server);
    first.send(LAST_REQUEST);
    assert_eq!(first.receive().status, 200);
    // More than it has descriptors for; the kernel accepts them all.
    let mut idle: Vec<Client> = (0..400).map(|_| Client::connect(&server)).collect();
    let mut late = Client::connect(&server);
    late.send_get();
    server.wait_for_line("Too many open files");
    let before = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time() - before;
    assert!(
        used < Duration::from_millis(300),
        "{used:?} of processor time in a second of waiting"
    );
    idle.truncate(20);
    assert_eq!(late.receive().status, 200);
    drop(idle);
    let mut last = Client::connect(&server);
    last.send_get();
    assert_eq!(last.receive().status, 200);
    let (status, lines) = server.stop();
    assert!(status.success(), "{status}");
    let complaints = lines
        .iter()
        .filter(|line| line.contains("Too many open files"));
    let complaints: Vec<&String> = complaints.collect();
    assert!(complaints.len() <= 5, "{complaints:#?}");
}

/// The handler sleeps for longer than the test lasts; the server ends without waiting for that.
#[test]
fn green_cancels_the_waits_of_a_handler_whose_client_has_left() {
    let mut server = start(
        &["-k", "green"],
        &[
            "--app",
            "hello",
            "--sleep",
            "3600",
            "--graceful-timeout",
            "3600",
        ],
    );
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    drop(client);
    let (status, lines) = server.stop();
    assert!(status.success(), "{status}: {lines:#?}");
}
