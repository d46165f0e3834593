//! Programs that people use, unmodified: curl, wrk, ab, h2load, and what a browser does.

#[macro_use]
mod server;
mod certificates;

use std::process::{Command, Output};
use std::thread;

use certificates::Authority;
use harness::Directory;
use server::{Client, Server};

in_each_class! { {
    gthread: ["-k", "gthread", "--threads", "8"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    curl_reuses_its_connection
    curl_sends_content_in_every_way
    curl_speaks_http_1_0
    wrk_gets_an_answer_to_every_request
    ab_gets_an_answer_to_every_request
    ab_keeps_its_connections
    h2load_speaks_http_1
    h2load_speaks_http_2
    curl_speaks_http_2
    all_of_them_speak_tls
    a_unix_socket_is_as_good
    a_browser_uses_several_connections_and_one_for_later
} }

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, arguments].concat())
}

/// What a program prints when it is run so; it must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is not installed (tests/run does it): {error}"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{program}: {status}\n{stdout}\n{stderr}");
    stdout
}

fn curl(arguments: &[&str]) -> String {
    let always = ["--silent", "--show-error", "--fail", "--max-time", "30"];
    run("curl", &[&always, arguments].concat())
}

fn curl_reuses_its_connection(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let url = server.url();
    let output = curl(&["--write-out", "%{num_connects} ", &url, &url, &url]);
    let expected = "Hello, World!\n1 Hello, World!\n0 Hello, World!\n0 ";
    assert_eq!(output, expected);
    let head = curl(&["--head", &url]);
    assert!(head.contains("content-length: 14\r\n"), "{head}");
}

fn curl_sends_content_in_every_way(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let url = server.url();
    let text = "x".repeat(100_000);
    assert_eq!(curl(&["--data", "a=1", &url]), "a=1");
    // More than a kilobyte, so curl waits for 100 Continue.
    let expects = ["--header", "Expect: 100-continue", "--data", &text, &url];
    assert!(curl(&expects) == text);
    let chunked = [
        "--header",
        "Transfer-Encoding: chunked",
        "--data",
        &text,
        &url,
    ];
    assert!(curl(&chunked) == text);
    assert_eq!(curl(&["--request", "PUT", "--data", "b", &url]), "b");
}

fn curl_speaks_http_1_0(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let url = server.url();
    let output = curl(&["--http1.0", "--write-out", "%{num_connects} ", &url, &url]);
    assert_eq!(output, "Hello, World!\n1 Hello, World!\n1 ");
}

fn wrk_gets_an_answer_to_every_request(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    check_wrk(&server.url());
}

fn check_wrk(url: &str) {
    let output = run("wrk", &["-t1", "-c32", "-d1s", url]);
    assert!(!output.contains("Non-2xx"), "{output}");
    assert!(!output.contains("Socket errors"), "{output}");
    assert!(!output.contains("\n  0 requests in"), "{output}");
}

fn ab_gets_an_answer_to_every_request(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    check_ab(&server.url(), &[]);
}

fn ab_keeps_its_connections(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    let output = check_ab(&server.url(), &["-k"]);
    assert!(figure(&output, "Keep-Alive requests:") > 900, "{output}");
}

/// It speaks HTTP/1.0.
fn check_ab(url: &str, arguments: &[&str]) -> String {
    let output = run(
        "ab",
        &[&["-q", "-n", "1000", "-c", "16"], arguments, &[url]].concat(),
    );
    assert_eq!(figure(&output, "Complete requests:"), 1000, "{output}");
    assert_eq!(figure(&output, "Failed requests:"), 0, "{output}");
    assert!(!output.contains("Non-2xx"), "{output}");
    output
}

/// The number that follows `name`.
fn figure(output: &str, name: &str) -> u64 {
    let rest = output
        .split(name)
        .nth(1)
        .and_then(|it| it.split_whitespace().next());
    rest.and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no figure '{name}' in:\n{output}"))
}

fn h2load_speaks_http_1(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    check_h2load(&["--h1", &server.url()]);
}

fn h2load_speaks_http_2(class: &[&str]) {
    let server = start(class, &["--app", "plain"]);
    check_h2load(&["-m", "10", &server.url()]);
}

fn curl_speaks_http_2(class: &[&str]) {
    let server = start(class, &["--app", "echo"]);
    let url = server.url();
    let text = "x".repeat(100_000);
    let output = curl(&["--http2-prior-knowledge", "--data", &text, &url]);
    assert!(output == text);
}

fn all_of_them_speak_tls(class: &[&str]) {
    let authority = Authority::new();
    authority.issue("localhost", "localhost");
    let certificate = authority.argument("localhost.pem");
    let key = authority.argument("localhost.key");
    let tls = ["--certfile", &certificate, "--keyfile", &key];
    let server = start(class, &[&["--app", "plain"], &tls[..]].concat());
    let url = format!("https://localhost:{}/", server.address().port());

    let root = authority.argument("ca.pem");
    for (version, expected) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = curl(&["--cacert", &root, version, "-w", "%{http_version}", &url]);
        assert_eq!(output, format!("Hello, World!\n{expected}"));
    }
    check_h2load(&["-m", "10", &url]);
    check_h2load(&["--h1", &url]);
    check_wrk(&url);
    check_ab(&url, &["-k"]);
}

fn a_unix_socket_is_as_good(class: &[&str]) {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let path = path.to_str().expect("UTF-8");
    let bind = format!("unix:{path}");
    let _server = start(class, &["--app", "plain", "--bind", &bind]);
    let output = curl(&["--unix-socket", path, "http://localhost/"]);
    assert_eq!(output, "Hello, World!\n");
    check_h2load(&["--h1", "--base-uri", &bind, "http://localhost/"]);
}

/// Sends a thousand requests, all of which must succeed.
fn check_h2load(arguments: &[&str]) {
    let output = run("h2load", &[&["-n", "1000", "-c", "8"], arguments].concat());
    assert!(
        output.contains("1000 succeeded, 0 failed, 0 errored"),
        "{output}"
    );
    assert!(output.contains("1000 2xx"), "{output}");
}

/// A page, then what belongs to it over six connections, while one that was opened in advance is never used.
fn a_browser_uses_several_connections_and_one_for_later(class: &[&str]) {
    let server = start(class, &["--app", "inspect"]);
    let unused = Client::connect(&server);
    let mut first = Client::connect(&server);
    load(&mut first, "/", "document");
    let mut others: Vec<Client> = (0..5).map(|_| Client::connect(&server)).collect();
    thread::scope(|scope| {
        for client in others.iter_mut().chain([&mut first]) {
            scope.spawn(|| {
                for number in 0..5 {
                    load(
                        client,
                        &format!("/static/{number}.js?v=%20{number}"),
                        "script",
                    );
                }
            });
        }
    });
    load(&mut first, "/favicon.ico", "image");
    drop(unused);
}

/// Sends what Chromium sends for a resource, and receives it.
fn load(client: &mut Client, path: &str, kind: &str) {
    client.send(format!(
        "GET {path} HTTP/1.1\r\n\
         Host: test\r\n\
         Connection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"156\", \"Not/A)Brand\";v=\"24\"\r\n\
         sec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Linux\"\r\n\
         Upgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
         Sec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: no-cors\r\n\
         Sec-Fetch-Dest: {kind}\r\n\
         Referer: http://test/\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: de-DE,de;q=0.9,en;q=0.8\r\n\
         Cookie: session=0123456789abcdef; theme=dark\r\n\
         If-None-Match: \"abc\"\r\n\
         \r\n"
    ));
    let response = client.receive();
    assert_eq!(response.status, 200);
    assert!(
        response
            .content
            .starts_with(&format!("GET {path} HTTP/1.1\n")),
        "{response:?}"
    );
}
