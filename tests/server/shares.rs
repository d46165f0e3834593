//! Busy clients get equal shares of one green worker.

#![allow(clippy::print_stdout, reason = "the figures are of interest")]

mod server;

use std::cell::Cell;
use std::rc::Rc;

use server::{PATIENCE, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

const CLIENTS: usize = 400;

/// Answers to all of them together.
const ANSWERS: usize = 50 * CLIENTS;

#[test]
fn green_gives_400_busy_clients_shares_within_a_factor_of_two() {
    check(&["-k", "green"]);
}

#[test]
fn green_without_patch_gives_400_busy_clients_shares_within_a_factor_of_two() {
    check(&["-k", "green", "--patch", "none"]);
}

fn check(class: &[&str]) {
    // On a slow machine clients may pause for long.
    let server = Server::start(&[class, &["--app", "plain", "--keep-alive", "60"]].concat());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    let mut answers = LocalSet::new().block_on(&runtime, drive(&server));
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

/// Lets all clients ask until there are enough answers; returns how many each got.
async fn drive(server: &Server) -> Vec<usize> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(
            TcpStream::connect(server.address())
                .await
                .expect("the server listens"),
        );
    }
    let all = Rc::new(Cell::new(0));
    let clients: Vec<_> = connections
        .into_iter()
        .map(|stream| tokio::task::spawn_local(ask(stream, all.clone())))
        .collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("no client fails"));
    }
    answers
}

/// Asks again and again on one connection, until `all` clients together have got enough; returns the number of answers.
async fn ask(mut stream: TcpStream, all: Rc<Cell<usize>>) -> usize {
    let mut answers = 0;
    let mut received = Vec::new();
    while all.get() < ANSWERS {
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
        all.set(all.get() + 1);
    }
    answers
}
