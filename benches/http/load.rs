//! The load: so many connections, on each of which the next request is sent as soon as the last one was answered.

use std::error::Error;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::process::Process;
use crate::servers::CONTENT;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// How long a server is loaded at once.
const TURN: Duration = Duration::from_secs(1);

/// Idle connections. Both ends count against limits on open files, and 20,000 are usual.
const IDLE: usize = 4000;

/// So many come at once, and then none for a while, about a thousand a second. Of a burst all would be new at the same time.
const AT_ONCE: usize = 100;
const BETWEEN: Duration = Duration::from_millis(100);

/// How long they are idle before the memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// Has the calling thread, and the processes that it starts, run on the last processor; servers go to the first.
pub(crate) fn stay_off_the_servers_processor() {
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let mut last = CpuSet::new();
    last.set(processors - 1);
    // Where it may not run there, it runs anywhere.
    let _ = sched_setaffinity(None, &last);
}

/// A server and its clients.
pub(crate) struct Load {
    turn: Duration,
    process: Process,
    /// What each response is like.
    response: Vec<u8>,
    clients: Vec<Client>,
    /// Those of the clients that have something to read.
    ready: OwnedFd,
}

struct Client {
    stream: TcpStream,
    /// Bytes of a response that have come.
    received: usize,
}

impl Load {
    /// Starts a server, connects so many clients, and has each of them answered once.
    pub(crate) fn on(
        server: &str,
        connections: usize,
        is_test: bool,
    ) -> Result<Load, Box<dyn Error>> {
        let process = Process::start(server)?;
        let (_, response) = connect(&process)?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::new();
        for number in 0..if is_test { 8 } else { connections } {
            let (stream, _) = connect(&process)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let number = EventData::new_u64(number as u64);
            epoll::add(&ready, &stream, number, EventFlags::IN)?;
            clients.push(Client {
                stream,
                received: 0,
            });
        }
        Ok(Load {
            turn: if is_test { TURN / 10 } else { TURN },
            process,
            response,
            clients,
            ready,
        })
    }

    /// Whether the server's responses are the same, but for the date and the order of the fields.
    pub(crate) fn is_answered_like(&self, other: &Load) -> bool {
        let lines = |response: &[u8]| {
            let text = String::from_utf8_lossy(response).to_ascii_lowercase();
            let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
            lines.retain(|line| !line.starts_with("date: "));
            lines.sort_unstable();
            lines
        };
        lines(&self.response) == lines(&other.response)
    }

    /// Loads the server for a turn; the microseconds of processor time that a request has taken it.
    pub(crate) fn processor_time(&mut self) -> Result<f64, Box<dyn Error>> {
        let before = self.process.processor_time()?;
        let answered = self.ask_until(Instant::now() + self.turn)?;
        let used = self.process.processor_time()? - before;
        Ok(used as f64 / 1e3 / answered as f64)
    }

    /// Sends one request after another on each connection; how many were answered. The last ones are sent before `end`.
    fn ask_until(&mut self, end: Instant) -> Result<u64, Box<dyn Error>> {
        for client in &mut self.clients {
            client.stream.write_all(REQUEST)?;
        }
        let mut under_way = self.clients.len();
        let mut answered = 0;
        let mut events = Vec::with_capacity(self.clients.len());
        while under_way > 0 {
            events.clear();
            epoll::wait(&self.ready, spare_capacity(&mut events), Some(&NO_TIME))?;
            let is_over = Instant::now() >= end;
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                if !client.receive(&self.response)? {
                    continue;
                }
                answered += 1;
                if is_over {
                    under_way -= 1;
                } else {
                    client.stream.write_all(REQUEST)?;
                }
            }
        }
        Ok(answered)
    }
}

/// Shows a response.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.response))
    }
}

impl Client {
    /// Takes what has come. True if it is a whole response, which must be as long as the others and have their content.
    fn receive(&mut self, response: &[u8]) -> Result<bool, Box<dyn Error>> {
        let mut piece = [0; 1024];
        let read = match self.stream.read(&mut piece) {
            Ok(0) => return Err("the server has closed a connection".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.received += read;
        if self.received < response.len() {
            return Ok(false);
        }
        if self.received > response.len() || !piece[..read].ends_with(CONTENT) {
            let piece = String::from_utf8_lossy(&piece[..read]);
            return Err(format!("a response is not like the first one: {piece}").into());
        }
        self.received = 0;
        Ok(true)
    }
}

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Starts a server; the kibibytes that an idle connection adds to it.
pub(crate) fn memory_of_idle(server: &str, is_test: bool) -> Result<f64, Box<dyn Error>> {
    let count = if is_test { 50 } else { IDLE };
    let process = Process::start(server)?;
    // What is made once, whatever the number of connections.
    let mut connections = vec![connect(&process)?];
    let before = process.resident()?;
    for number in 1..=count {
        connections.push(connect(&process)?);
        if number % AT_ONCE == 0 {
            thread::sleep(BETWEEN);
        }
    }
    thread::sleep(REST);
    let added = process.resident()?.saturating_sub(before);
    Ok(added as f64 / 1024.0 / count as f64)
}

/// A connection on which one request has been answered, and the response.
fn connect(server: &Process) -> Result<(TcpStream, Vec<u8>), Box<dyn Error>> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.write_all(REQUEST)?;
    let mut response = Vec::new();
    let mut piece = [0; 1024];
    while !response.ends_with(CONTENT) {
        match stream.read(&mut piece)? {
            0 => return Err(format!("closed after {}", String::from_utf8_lossy(&response)).into()),
            read => response.extend_from_slice(&piece[..read]),
        }
    }
    Ok((stream, response))
}
