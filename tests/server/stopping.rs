//! SIGTERM and SIGINT let requests finish; errors at the start say what to do.

#[macro_use]
mod server;

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use server::{Client, Server};

in_each_class! { {
    sync: ["-k", "sync"],
    sync_patched: ["-k", "sync", "--patch", "all"],
    gthread: ["-k", "gthread", "--threads", "4"],
    green: ["-k", "green"],
    green_without_patch: ["-k", "green", "--patch", "none"],
    event_loop: ["-k", "async"],
} {
    stops_at_once_when_nothing_is_under_way
    finishes_the_request_under_way
    serves_connections_that_came_before_the_signal
    closes_idle_connections_at_once
    cuts_off_what_outlasts_the_graceful_timeout
    ends_at_once_at_the_second_signal
} }

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, arguments].concat())
}

fn stops_at_once_when_nothing_is_under_way(class: &[&str]) {
    for signal in [Signal::TERM, Signal::INT] {
        let server = start(class, &["--app", "plain"]);
        assert_eq!(Client::connect(&server).get().status, 200);
        server.signal(signal);
        let began = Instant::now();
        let (status, lines) = server.wait();
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("[INFO] Shutting down: Master")),
            "{lines:#?}"
        );
    }
}

fn finishes_the_request_under_way(class: &[&str]) {
    let mut server = start(class, &["--app", "hello", "--sleep", "1"]);
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    server.signal(Signal::TERM);
    server.wait_for_line("Handling signal: term");
    let response = client.receive();
    assert_eq!(response.status, 200);
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_end();
    let (status, lines) = server.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

fn serves_connections_that_came_before_the_signal(class: &[&str]) {
    let mut server = start(class, &["--app", "hello", "--sleep", "0.5"]);
    let mut first = Client::connect(&server);
    first.send_get();
    server.wait_for_line("hello 0");
    let mut second = Client::connect(&server);
    second.send_get();
    server.signal(Signal::TERM);
    assert_eq!(first.receive().status, 200);
    assert_eq!(second.receive().status, 200);
    let (status, lines) = server.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

fn closes_idle_connections_at_once(class: &[&str]) {
    let server = start(
        class,
        &[
            "--app",
            "plain",
            "--keep-alive",
            "60",
            "--header-timeout",
            "60",
        ],
    );
    let mut silent = Client::connect(&server);
    if class != ["-k", "sync"] && class != ["-k", "sync", "--patch", "all"] {
        let mut idle = Client::connect(&server);
        assert_eq!(idle.get().status, 200);
    }
    let began = Instant::now();
    let (status, lines) = server.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    silent.expect_end();
}

fn cuts_off_what_outlasts_the_graceful_timeout(class: &[&str]) {
    let arguments = [
        "--app",
        "hello",
        "--sleep",
        "20",
        "--graceful-timeout",
        "0.2",
    ];
    let mut server = start(class, &arguments);
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    let began = Instant::now();
    let (status, lines) = server.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("raise --graceful-timeout")),
        "{lines:#?}"
    );
}

fn ends_at_once_at_the_second_signal(class: &[&str]) {
    let mut server = start(class, &["--app", "hello", "--sleep", "20"]);
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    server.signal(Signal::TERM);
    server.wait_for_line("Handling signal: term");
    server.signal(Signal::TERM);
    let began = Instant::now();
    let (status, lines) = server.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_address_in_use_is_named_with_its_remedy() {
    let server = Server::start(&["--app", "plain"]);
    let address = server.address().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_greenpatch"))
        .args(["serve", "--bind", &address])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = format!(
        "[ERROR] cannot listen on {address}: Address already in use (os error 98); \
         stop the program that listens there or choose another port\n"
    );
    assert!(errors.ends_with(&expected), "{errors}");
}

#[test]
fn gthread_says_that_it_ignores_the_patch() {
    let (_, lines) = Server::start(&["-k", "gthread", "--patch", "all"]).stop();
    let warning = "[WARNING] patch (command line) changes nothing: worker class gthread";
    assert!(
        lines.iter().any(|line| line.contains(warning)),
        "{lines:#?}"
    );
}
