//! The least that a server can do: a loop around epoll, a buffer, fixed bytes, no HTTP but the blank line at the end of a request.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::{Outcome, Settings, listener, respond};

/// The listener's number among the events; the connections have those of their descriptors.
const LISTENER: u64 = u64::MAX;

/// A loop, and a listener of its own, for each thread.
pub(crate) fn serve(settings: Settings) -> Outcome {
    let mut others = Vec::new();
    for _ in 1..settings.threads {
        let listener = listener(settings.address)?;
        others.push(thread::spawn(move || turn(&listener)));
    }
    Ok(turn(&listener(settings.address)?)?)
}

fn turn(listener: &TcpListener) -> std::io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    listener.set_nonblocking(true)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(
        &epoll,
        listener,
        epoll::EventData::new_u64(LISTENER),
        readable,
    )?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut buffer = [0; 4096];
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        rustix::io::retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let key = stream.as_raw_fd() as u64;
                    epoll::add(&epoll, &stream, epoll::EventData::new_u64(key), readable)?;
                    connections.insert(key, stream);
                }
            } else if let Some(stream) = connections.get_mut(&key)
                && !answer(stream, &mut buffer)
            {
                // Closing takes it out of epoll, too.
                connections.remove(&key);
            }
        }
    }
}

/// Answers what has come, and says whether the connection goes on.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // These clients send a request in one piece.
        Ok(read) if buffer[..read].ends_with(b"\r\n\r\n") => {
            let (response, is_last) = respond(&buffer[..read]);
            stream.write_all(response).is_ok() && !is_last
        }
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
