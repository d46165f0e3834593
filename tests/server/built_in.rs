//! The applications that come with `greenpatch serve`, each in the forms that it has.

mod server;

use std::fs;

use harness::Directory;
use server::{Client, Response, Server};

/// What one request is answered with.
fn ask(arguments: &[&str], request: &str) -> Response {
    let server = Server::start(arguments);
    let mut client = Client::connect(&server);
    client.send(request);
    client.receive()
}

const CLASSES: [&str; 4] = ["sync", "gthread", "green", "async"];
const FORMS: [&str; 2] = ["function", "async"];
const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn either_form_answers_in_every_class() {
    for class in CLASSES {
        for form in FORMS {
            let answer = |application: &str, request| {
                let response = ask(&["-k", class, application, "--handler", form], request);
                (response.status, response.content)
            };
            let plain = (200, "Hello, World!\n".to_owned());
            assert_eq!(answer("plain", GET), plain, "{class}, {form}");
            assert_eq!(
                answer("echo", POST),
                (200, "abc".to_owned()),
                "{class}, {form}"
            );
            assert_eq!(answer("plain", POST).0, 405, "{class}, {form}");
        }
    }
}

#[test]
fn hello_prints_before_and_after_it_sleeps() {
    for class in CLASSES {
        for form in FORMS {
            let arguments = ["-k", class, "hello", "--sleep", "0.05", "--handler", form];
            let mut server = Server::start(&arguments);
            let mut client = Client::connect(&server);
            assert_eq!(client.get().content, "{}\n", "{class}, {form}");
            server.wait_for_line("hello 0");
            server.wait_for_line("world");
        }
    }
}

#[test]
fn inspect_says_how_the_request_was_understood() {
    let expected = "POST / HTTP/1.1\nhost: test\ncontent-length: 3\n3 bytes: abc\n";
    for form in FORMS {
        let response = ask(&["inspect", "--handler", form], POST);
        assert_eq!(response.content, expected, "{form}");
    }
}

#[test]
fn files_answers_with_those_of_a_directory() {
    let directory = Directory::new();
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("the directory can be written to");
    };
    write("home.html", "<p>home");
    write(".hidden", "hidden");
    let path = directory.path().to_str().expect("text");
    let server = Server::start(&["-k", "green", "files", path, "--index", "home.html"]);
    let mut client = Client::connect(&server);
    let home = client.get();
    assert_eq!(home.content, "<p>home");
    assert_eq!(home.field("content-type"), Some("text/html; charset=utf-8"));
    for (target, status) in [("/.hidden", 404), ("/missing", 404), ("/home.html", 200)] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.receive().status, status, "{target}");
    }
    drop(server);
    let server = Server::start(&["-k", "green", "files", path, "--hidden"]);
    let mut client = Client::connect(&server);
    client.send("GET /.hidden HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive().content, "hidden");
}
