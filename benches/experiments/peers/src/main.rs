//! The Rust servers that greenpatch is measured beside: each answers every request with the same twelve bytes.
//!
//! `greenpatch-peers NAME ADDRESS THREADS` serves until it is killed. With `WAIT_MS` in the environment the handler waits so many
//! milliseconds first, by what its server offers for that.
//!
//! Each is written as its own documentation writes a first server, and has what that leaves out where another would lose by it: Nagle's
//! algorithm off, a listen queue of 2,048 as gunicorn's. hyper comes with and without the time-outs that a server on the open network needs.

mod actix;
mod axum;
mod epoll;
mod hyper;
mod loops;
mod minihttp;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// What all of them answer.
const CONTENT: &str = "hello world!";

/// The whole response, for those that have no library to make one. It is as long as hyper's.
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 12\r\n\
    date: Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\nhello world!";

/// The last response on a connection.
const LAST_RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 12\r\ndate: Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\nhello world!";

/// Where to listen, and how to serve.
#[derive(Clone, Copy)]
struct Settings {
    address: SocketAddr,
    /// OS threads that serve.
    threads: usize,
    /// How long the handler waits.
    wait: Duration,
}

type Outcome = Result<(), Box<dyn Error>>;

/// A server's name, and what it does for ever.
const PEERS: [(&str, fn(Settings) -> Outcome); 8] = [
    ("actix-web", actix::serve),
    ("axum", axum::serve),
    ("epoll", epoll::serve),
    ("hyper", hyper::serve),
    ("hyper-bare", hyper::serve_bare),
    ("may", loops::on_may),
    ("may_minihttp", minihttp::serve),
    ("threads", loops::on_threads),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greenpatch-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, address, threads] = &arguments[..] else {
        let names: Vec<&str> = PEERS.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "give NAME ADDRESS THREADS; the names are {}",
            names.join(", ")
        )
        .into());
    };
    let serve = PEERS.iter().find(|(known, _)| known == name);
    let (_, serve) = serve.ok_or_else(|| format!("there is no peer '{name}'"))?;
    let wait = match std::env::var("WAIT_MS") {
        Ok(text) => Duration::from_millis(text.parse()?),
        Err(_) => Duration::ZERO,
    };
    serve(Settings {
        address: address.parse()?,
        threads: threads.parse()?,
        wait,
    })
}

/// A listener with a queue of 2,048.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // For those that have a listener a thread.
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(2048)?;
    Ok(socket.into())
}

/// The response to a request, and whether it is the connection's last.
fn respond(request: &[u8]) -> (&'static [u8], bool) {
    match memchr::memmem::find(request, b"onnection: close") {
        Some(_) => (LAST_RESPONSE, true),
        None => (RESPONSE, false),
    }
}
