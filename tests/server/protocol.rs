//! HTTP/1.1 over real sockets, the same in every worker class that keeps connections.

#[macro_use]
mod server;

use std::process::Command;
use std::time::{Duration, Instant};

use server::{Client, Server};

in_each_class! { {
    gthread: ["-k", "gthread", "--threads", "8"],
    green: ["-k", "green"],
    green_without_patch: ["-k", "green", "--patch", "none"],
    event_loop: ["-k", "async"],
} {
    keeps_the_connection
    closes_when_asked_to
    closes_for_http_1_0
    keeps_the_connection_for_http_1_0_when_asked_to
    answers_pipelined_requests_in_order
    answers_head_without_content
    reads_chunked_content
    reads_content_that_comes_in_pieces
    sends_100_continue
    reads_over_content_that_the_handler_left
    refuses_content_that_is_too_long
    answers_a_malformed_request_400_and_closes
    answers_a_panic_500_and_stays_up
    closes_an_idle_connection_after_the_keep_alive_time
    closes_every_connection_without_keep_alive_time
    answers_an_unfinished_head_408
    answers_unfinished_content_408
    sends_long_content_whole
    tells_date_and_server
    speaks_http_2
    goes_on_with_a_connection_that_was_quiet
} }

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, arguments].concat())
}

fn keeps_the_connection(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    for _ in 0..3 {
        let response = client.get();
        assert_eq!(response.status, 200);
        assert_eq!(response.content, "Hello, World!\n");
        assert_eq!(response.field("connection"), None);
    }
}

fn closes_when_asked_to(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.receive().field("connection"), Some("close"));
    client.expect_end();
}

fn closes_for_http_1_0(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.receive().field("connection"), Some("close"));
    client.expect_end();
}

fn keeps_the_connection_for_http_1_0_when_asked_to(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.receive().field("connection"), Some("keep-alive"));
    assert_eq!(client.get().status, 200);
}

fn answers_pipelined_requests_in_order(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let mut client = Client::connect(&server);
    let requests: String = (0..20)
        .map(|number| {
            let content = "x".repeat(number);
            format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {number}\r\n\r\n{content}")
        })
        .collect();
    client.send(requests);
    for number in 0..20 {
        assert_eq!(client.receive().content, "x".repeat(number));
    }
}

fn answers_head_without_content(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.receive_head();
    assert_eq!(head.status, 200);
    assert_eq!(head.field("content-length"), Some("14"));
    assert_eq!(client.get().content, "Hello, World!\n");
}

fn reads_chunked_content(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["5\r\nhel", "lo\r\n6\r\n wor", "ld\r", "\n0\r\n\r", "\n"] {
        client.send(piece);
    }
    assert_eq!(client.receive().content, "hello world");
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.receive().content, "ok");
}

fn reads_content_that_comes_in_pieces(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
    for _ in 0..100 {
        client.send([b'x'; 1000]);
    }
    assert_eq!(client.receive().content, "x".repeat(100_000));
}

fn sends_100_continue(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let mut client = Client::connect(&server);
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive_head().status, 100);
    client.send("ok");
    assert_eq!(client.receive().content, "ok");
}

fn reads_over_content_that_the_handler_left(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    let length = hidden.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(hidden);
    assert_eq!(client.receive().status, 405);
    assert_eq!(client.get().status, 200);
}

fn refuses_content_that_is_too_long(class: &[&str]) {
    let server = start(class, &["--app", "echo", "--limit-request-body", "1000"]);
    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
    client.send([b'x'; 1001]);
    assert_eq!(client.receive().status, 413);
    client.expect_end();

    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n");
    client.send([b'x'; 1001]);
    assert_eq!(client.receive().status, 413);
    client.expect_end();
}

fn answers_a_malformed_request_400_and_closes(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost : test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.receive();
    assert_eq!(response.status, 400);
    assert_eq!(response.field("connection"), Some("close"));
    assert_eq!(
        response.content,
        "400 Bad Request: the request's head is not well-formed\n"
    );
    client.expect_end();
    assert_eq!(Client::connect(&server).get().status, 200);
}

fn answers_a_panic_500_and_stays_up(class: &[&str]) {
    let mut server = start(class, &["--app", "panic", "--keep-alive", "60"]);
    let mut client = Client::connect(&server);
    for _ in 0..3 {
        assert_eq!(client.get().status, 500);
        server.wait_for_line("handler panicked at GET /: the application panic was asked for");
    }
    assert_eq!(Client::connect(&server).get().status, 500);
}

fn closes_an_idle_connection_after_the_keep_alive_time(class: &[&str]) {
    let server = start(class, &["--app", "plain", "--keep-alive", "0.3"]);
    let mut client = Client::connect(&server);
    client.get();
    let idle_since = Instant::now();
    client.expect_end();
    assert!(
        idle_since.elapsed() > Duration::from_millis(250),
        "{:?}",
        idle_since.elapsed()
    );
}

fn closes_every_connection_without_keep_alive_time(class: &[&str]) {
    let server = start(class, &["--app", "plain", "--keep-alive", "0"]);
    let mut client = Client::connect(&server);
    assert_eq!(client.get().field("connection"), Some("close"));
    client.expect_end();
}

fn answers_an_unfinished_head_408(class: &[&str]) {
    let server = start(class, &["--app", "plain", "--header-timeout", "0.3"]);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n");
    assert_eq!(client.receive().status, 408);
    client.expect_end();
}

fn answers_unfinished_content_408(class: &[&str]) {
    let server = start(class, &["--app", "echo", "--body-timeout", "0.3"]);
    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!(client.receive().status, 408);
    client.expect_end();
}

fn sends_long_content_whole(class: &[&str]) {
    const LENGTH: usize = 8 * 1024 * 1024;
    let server = start(class, &["--app", "echo"]);
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--data-binary",
            "@-",
        ])
        .arg(server.url())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let content: Vec<u8> = (0..LENGTH).map(|index| (index * 31 % 251) as u8).collect();
    let mut input = curl.stdin.take().expect("piped");
    let sent = content.clone();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
    let output = curl.wait_with_output().expect("curl runs");
    sender.join().expect("no panic").expect("curl reads it all");
    assert!(output.status.success());
    assert!(
        output.stdout == content,
        "{} bytes came back",
        output.stdout.len()
    );
}

fn tells_date_and_server(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let response = Client::connect(&server).get();
    assert!(
        response
            .field("date")
            .is_some_and(|date| date.ends_with(" GMT")),
        "{response:?}"
    );
    assert!(
        response
            .field("server")
            .is_some_and(|it| it.starts_with("greenpatch/"))
    );
}

/// Long enough for it to be at rest in between, whole and in the middle of what follows.
fn goes_on_with_a_connection_that_was_quiet(class: &[&str]) {
    const QUIET: Duration = Duration::from_millis(600);
    let server = start(class, &["--app", "echo", "--keep-alive", "60"]);
    let mut client = Client::connect(&server);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n";
    for _ in 0..2 {
        client.send(format!("{head}first"));
        assert_eq!(client.receive().content, "first");
        std::thread::sleep(QUIET);
        client.send(&head[..7]);
        std::thread::sleep(QUIET);
        client.send(&head[7..]);
        client.send("later");
        assert_eq!(client.receive().content, "later");
        std::thread::sleep(QUIET);
        client.send(format!("{head}one..{head}two.."));
        assert_eq!(client.receive().content, "one..");
        assert_eq!(client.receive().content, "two..");
    }
    std::thread::sleep(QUIET);
    // Such a beginning is for the first word alone.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.receive().status, 400);
    client.expect_end();
}

/// Known beforehand, as gRPC does, and in the clear.
fn speaks_http_2(class: &[&str]) {
    const LENGTH: usize = 1024 * 1024;
    let server = start(class, &["--app", "echo"]);
    for length in [0, 10, LENGTH] {
        let content = "x".repeat(length);
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--http2-prior-knowledge"])
            .args(["--max-time", "30", "--data-binary", "@-"])
            .args(["--write-out", "%{http_version} %{http_code}"])
            .arg(server.url())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("curl is installed");
        let mut input = curl.stdin.take().expect("piped");
        let sent = content.clone();
        let sender =
            std::thread::spawn(move || std::io::Write::write_all(&mut input, sent.as_bytes()));
        let output = curl.wait_with_output().expect("curl runs");
        sender.join().expect("no panic").expect("curl reads it all");
        let expected = format!("{content}2 200");
        assert!(
            output.stdout == expected.as_bytes(),
            "{} bytes came back of {length}",
            output.stdout.len()
        );
    }
}

#[test]
fn sync_closes_after_each_response() {
    let server = start(&["-k", "sync"], &["--app", "plain"]);
    let mut client = Client::connect(&server);
    assert_eq!(client.get().field("connection"), Some("close"));
    client.expect_end();
}

/// Whether such a client still sends the content is its own choice, so where the next request
/// begins cannot be known.
#[test]
fn closes_when_the_handler_leaves_a_client_waiting_for_100_continue() {
    let server = start(&["-k", "gthread"], &["--app", "plain"]);
    let mut client = Client::connect(&server);
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let response = client.receive();
    assert_eq!(
        (response.status, response.field("connection")),
        (405, Some("close"))
    );
    client.expect_end();
}
