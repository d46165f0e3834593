//! A thread-per-connection echo server: ordinary std code, on green threads.
//!
//! Nothing in `serve` knows of green threads. Under `greenpatch::run` each `thread::spawn` starts
//! one, and `accept`, `read` and `write` park it where they used to block a kernel thread.
//!
//! ```text
//! cargo run --release -p greenpatch --example echo                 # listens on 127.0.0.1:7007
//! nc 127.0.0.1 7007                                  # type, and read it back
//! cargo run --release -p greenpatch --example echo -- --check      # a thousand clients in this process
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

const CLIENTS: usize = 1_000;
const LINES: usize = 20;

fn main() -> io::Result<()> {
    let check = std::env::args().any(|argument| argument == "--check");
    if check {
        allow_open_files(4 * CLIENTS as u64)?;
    }
    greenpatch::run(move || {
        let listener = TcpListener::bind(if check {
            "127.0.0.1:0"
        } else {
            "127.0.0.1:7007"
        })?;
        let address = listener.local_addr()?;
        println!("listening on {address}");
        if !check {
            return serve(&listener);
        }
        thread::spawn(move || serve(&listener));
        check_with_clients(address)
    })
}

/// One thread per connection, for ever.
fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            let mut reader = stream.try_clone()?;
            io::copy(&mut reader, &mut stream)
        });
    }
}

/// Talks to the server with all clients at once.
fn check_with_clients(address: SocketAddr) -> io::Result<()> {
    let started = Instant::now();
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        // One after the other, since the kernel keeps no more than 128 connections for a listener
        // of std's, and lets one more wait for a second.
        let stream = TcpStream::connect(address)?;
        clients.push(thread::spawn(move || talk(stream, client)));
    }
    for client in clients {
        client.join().expect("a client does not panic")?;
    }
    println!(
        "{CLIENTS} clients got their {LINES} lines back in {:.2?}",
        started.elapsed()
    );
    Ok(())
}

fn talk(mut stream: TcpStream, client: usize) -> io::Result<()> {
    let mut replies = BufReader::new(stream.try_clone()?);
    for number in 0..LINES {
        let line = format!("line {number} of client {client}\n");
        stream.write_all(line.as_bytes())?;
        let mut reply = String::new();
        replies.read_line(&mut reply)?;
        if reply != line {
            return Err(io::Error::other(format!("sent {line:?}, got {reply:?}")));
        }
    }
    Ok(())
}

/// Raises the soft limit on open files: the check holds both ends of each connection, twice.
fn allow_open_files(wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(wanted + 100));
    // SAFETY: `limit` is readable.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
