//! Busy clients get equal shares of one green worker.

#![allow(clippy::print_stdout, reason = "the figures are of interest")]

mod server;

use std::time::Duration;

use server::{PATIENCE, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const CLIENTS: usize = 400;
const RUN: Duration = Duration::from_secs(4);

#[test]
fn green_gives_400_busy_clients_shares_within_a_factor_of_two() {
    check(&["-k", "green"]);
}

#[test]
fn green_without_patch_gives_400_busy_clients_shares_within_a_factor_of_two() {
    check(&["-k", "green", "--patch", "none"]);
}

fn check(class: &[&str]) {
    let server = Server::start(&[class, &["--app", "plain"]].concat());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut answers = runtime.expect("an event loop").block_on(drive(&server));
    answers.sort_unstable();
    let (least, median, most) = (answers[0], answers[CLIENTS / 2], answers[CLIENTS - 1]);
    println!(
        "answers to the least, the median and the most served client: {least}, {median}, {most}"
    );
    assert!(
        least > 0 && most <= 2 * least,
        "of {CLIENTS} clients the least served got {least} answers, the median {median}, \
         the most served {most}"
    );
}

/// Lets all clients ask for as long as the run lasts; returns how many answers each got.
async fn drive(server: &Server) -> Vec<u32> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(
            TcpStream::connect(server.address())
                .await
                .expect("the server listens"),
        );
    }
    let end = Instant::now() + RUN;
    let clients: Vec<_> = connections
        .into_iter()
        .map(|stream| tokio::spawn(ask_until(stream, end)))
        .collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("no client fails"));
    }
    answers
}

/// Asks again and again on one connection; returns the number of answers.
async fn ask_until(mut stream: TcpStream, end: Instant) -> u32 {
    let mut answers = 0;
    let mut received = Vec::new();
    while Instant::now() < end {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .expect("it takes all");
        received.clear();
        while !received.ends_with(b"\r\n\r\nHello, World!\n") {
            let read = timeout(PATIENCE, stream.read_buf(&mut received)).await;
            let count = read.expect("an answer comes in time").expect("no error");
            assert!(count > 0, "the server closed the connection");
        }
        answers += 1;
    }
    answers
}
