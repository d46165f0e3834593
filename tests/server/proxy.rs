//! Who the client is, as proxies say it: by the PROXY protocol, and by header fields.

#[macro_use]
mod server;

use std::process::Command;

use server::{Client, Server};

in_each_class! { {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "8"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    the_header_tells_the_client_in_both_versions
    the_header_may_come_byte_by_byte
    curl_sends_one
    a_malformed_header_closes_the_connection
    a_missing_header_closes_the_connection_where_it_is_required
    a_sender_that_is_not_allowed_is_no_proxy
    a_slow_header_closes_the_connection
    fields_of_a_trusted_proxy_tell_client_and_scheme
    fields_of_others_are_ignored
} }

const REQUEST: &str = "GET /connection HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A header of version 1 and one of version 2 that say the same.
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x12\x67\x00\x50";

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, &["--app", "inspect"], arguments].concat())
}

/// What the application knows of a connection that begins with these bytes.
fn connection(server: &Server, begin: &[u8]) -> String {
    let mut client = Client::connect(server);
    client.send([begin, REQUEST.as_bytes()].concat());
    client.receive().content
}

fn the_header_tells_the_client_in_both_versions(class: &[&str]) {
    for (protocol, headers) in [
        ("auto", &[TEXT, BINARY][..]),
        ("required", &[TEXT, BINARY]),
        ("v1", &[TEXT]),
        ("v2", &[BINARY]),
    ] {
        let server = start(class, &["--proxy-protocol", protocol]);
        for header in headers {
            let answer = connection(&server, header);
            assert!(
                answer.contains("peer: 192.0.2.7:4711\n"),
                "{protocol}: {answer}"
            );
        }
    }
    let server = start(class, &["--proxy-protocol", "auto"]);
    let answer = connection(&server, b"");
    assert!(answer.contains("peer: 127.0.0.1:"), "{answer}");
    let answer = connection(&server, b"PROXY UNKNOWN\r\n");
    assert!(answer.contains("peer: 127.0.0.1:"), "{answer}");
}

fn the_header_may_come_byte_by_byte(class: &[&str]) {
    let server = start(class, &["--proxy-protocol", "auto"]);
    for header in [TEXT, BINARY] {
        let mut client = Client::connect(&server);
        for byte in header {
            client.send([*byte]);
        }
        client.send(REQUEST);
        let answer = client.receive().content;
        assert!(answer.contains("peer: 192.0.2.7:4711\n"), "{answer}");
    }
}

fn curl_sends_one(class: &[&str]) {
    let server = start(class, &["--proxy-protocol", "required"]);
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--haproxy-protocol",
        ])
        .arg(format!("{}connection", server.url()))
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains("peer: 127.0.0.1:"), "{answer}");
}

fn a_malformed_header_closes_the_connection(class: &[&str]) {
    let mut server = start(class, &["--proxy-protocol", "auto"]);
    let mut client = Client::connect(&server);
    client.send("PROXY TCP4 192.0.2.777 127.0.0.1 4711 80\r\n");
    client.expect_end();
    server.wait_for_line("its PROXY header is malformed");
    let mut client = Client::connect(&server);
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff");
    client.expect_end();
    server.wait_for_line("its PROXY header is longer than 4096 bytes");
    assert!(
        connection(&server, TEXT).contains("peer: 192.0.2.7:4711\n"),
        "it goes on"
    );
}

fn a_missing_header_closes_the_connection_where_it_is_required(class: &[&str]) {
    for (protocol, begin) in [("required", &b"GET /"[..]), ("v1", BINARY), ("v2", TEXT)] {
        let mut server = start(class, &["--proxy-protocol", protocol]);
        let mut client = Client::connect(&server);
        client.send(begin);
        client.expect_end();
        server.wait_for_line("it does not begin with a PROXY header");
    }
}

fn a_sender_that_is_not_allowed_is_no_proxy(class: &[&str]) {
    let allowed = ["--proxy-allow-from", "10.0.0.0/8", "--proxy-protocol"];
    let server = start(class, &[&allowed[..], &["auto"]].concat());
    assert!(connection(&server, b"").contains("peer: 127.0.0.1:"));
    let mut client = Client::connect(&server);
    client.send([TEXT, REQUEST.as_bytes()].concat());
    assert_eq!(client.receive().status, 400, "its header is its request");
    let mut server = start(class, &[&allowed[..], &["required"]].concat());
    Client::connect(&server).expect_end();
    server.wait_for_line("it is not among --proxy-allow-from");
}

fn a_slow_header_closes_the_connection(class: &[&str]) {
    let server = start(
        class,
        &["--proxy-protocol", "required", "--header-timeout", "0.2"],
    );
    let mut client = Client::connect(&server);
    client.send("PROXY TCP4 ");
    client.expect_end();
}

/// What the application knows of a request with these fields.
fn with_fields(server: &Server, fields: &str) -> String {
    let mut client = Client::connect(server);
    client.send(format!(
        "GET /connection HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"
    ));
    client.receive().content
}

fn fields_of_a_trusted_proxy_tell_client_and_scheme(class: &[&str]) {
    let server = start(class, &[]);
    let answer = with_fields(
        &server,
        "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Forwarded-Port: 8443\r\n",
    );
    assert!(answer.contains("peer: 192.0.2.7\n"), "{answer}");
    assert!(answer.contains("scheme: https\n"), "{answer}");
    assert!(
        answer.contains("forwarded host: b.example:8443\n"),
        "{answer}"
    );
    let answer = with_fields(
        &server,
        "Forwarded: for=\"[2001:db8::7]:4711\";proto=https;host=b.example\r\n",
    );
    assert!(answer.contains("peer: [2001:db8::7]:4711\n"), "{answer}");
    assert!(answer.contains("scheme: https\n"), "{answer}");
    // The PROXY protocol says who the connection's client is, and that one is no trusted proxy.
    let server = start(class, &["--proxy-protocol", "auto"]);
    let mut client = Client::connect(&server);
    client.send(TEXT);
    client.send("GET /connection HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n");
    let answer = client.receive().content;
    assert!(answer.contains("peer: 192.0.2.7:4711\n"), "{answer}");
}

fn fields_of_others_are_ignored(class: &[&str]) {
    let server = start(class, &["--forwarded-allow-ips", "10.0.0.0/8"]);
    let answer = with_fields(
        &server,
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nForwarded: for=192.0.2.7\r\n",
    );
    assert!(answer.contains("peer: 127.0.0.1:"), "{answer}");
    assert!(answer.contains("scheme: http\n"), "{answer}");
    assert!(!answer.contains("forwarded host"), "{answer}");
}
