//! A blocking loop a connection, as a thread and as a coroutine of may's.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::{Outcome, Settings, listener, respond};

/// An OS thread a connection.
pub(crate) fn on_threads(settings: Settings) -> Outcome {
    let listener = listener(settings.address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        // What is not touched costs no memory, but address space and page tables.
        let thread = thread::Builder::new().stack_size(64 << 10);
        let wait = settings.wait;
        thread.spawn(move || talk(stream, wait, thread::sleep))?;
    }
    Ok(())
}

/// A coroutine a connection.
pub(crate) fn on_may(settings: Settings) -> Outcome {
    may::config().set_workers(settings.threads);
    let listener = may::net::TcpListener::bind(settings.address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        let wait = settings.wait;
        may::go!(move || talk(stream, wait, may::coroutine::sleep));
    }
    Ok(())
}

/// Answers until the client goes.
fn talk(mut stream: impl Read + Write, wait: Duration, sleep: impl Fn(Duration)) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if !wait.is_zero() {
            sleep(wait);
        }
        let (response, is_last) = respond(&buffer[..read]);
        if stream.write_all(response).is_err() || is_last {
            break;
        }
    }
}
