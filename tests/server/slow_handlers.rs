//! Handlers that take long: they are ended when their time is over, and when their client has left.

#[macro_use]
mod server;

use std::time::{Duration, Instant};

use server::{Client, Server};

in_each_class! { {
    gthread: ["-k", "gthread", "--threads", "2"],
    green: ["-k", "green"],
    green_with_two_workers: ["-k", "green", "--green-workers", "2"],
    event_loop: ["-k", "async"],
} {
    a_handler_that_takes_too_long_is_answered_503
    the_time_of_a_request_counts_anew_for_each
} }

fn start(class: &[&str], arguments: &[&str]) -> Server {
    Server::start(&[class, arguments].concat())
}

fn a_handler_that_takes_too_long_is_answered_503(class: &[&str]) {
    let arguments = [
        "--app",
        "hello",
        "--sleep",
        "20",
        "--request-timeout",
        "0.3",
    ];
    let server = start(class, &arguments);
    let began = Instant::now();
    let mut client = Client::connect(&server);
    let response = client.get();
    assert_eq!(response.status, 503);
    assert_eq!(
        response.content,
        "503 Service Unavailable: the handler took too long\n"
    );
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(response.field("connection"), None, "the connection goes on");
}

fn the_time_of_a_request_counts_anew_for_each(class: &[&str]) {
    let arguments = ["--app", "hello", "--sleep", "0.3", "--request-timeout", "2"];
    let server = start(class, &arguments);
    let mut client = Client::connect(&server);
    for _ in 0..10 {
        assert_eq!(client.get().status, 200);
    }
}

/// What the handler waits for is cut short, so it goes on at once.
#[test]
fn green_cancels_the_handler_whose_time_is_over() {
    let arguments = [
        "--app",
        "hello",
        "--sleep",
        "3600",
        "--request-timeout",
        "0.3",
    ];
    let mut server = start(&["-k", "green"], &arguments);
    assert_eq!(Client::connect(&server).get().status, 503);
    server.wait_for_line("world");
}

#[test]
fn green_cancels_the_handler_whose_client_has_left() {
    let mut server = start(&["-k", "green"], &["--app", "hello", "--sleep", "3600"]);
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    drop(client);
    server.wait_for_line("world");
    // The driver that it ran on serves others, which are not cancelled.
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 1");
    drop(client);
    server.wait_for_line("world");
}

/// Such a client may still read.
#[test]
fn green_lets_a_handler_go_on_whose_client_has_ended_its_side_if_told_to() {
    let arguments = ["--app", "hello", "--sleep", "0.7", "--half-close"];
    let server = start(&["-k", "green"], &arguments);
    let mut client = Client::connect(&server);
    client.send_get();
    client.end();
    assert_eq!(client.receive().status, 200);
}
