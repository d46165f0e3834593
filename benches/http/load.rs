//! The load: `wrk` for requests, plain sockets for idle connections.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::process::Process;

/// Seconds that wrk loads a server before and while it is measured.
const WARM_UP: u64 = 1;
const MEASURED: u64 = 4;

/// Idle connections. Both ends count against limits on open files, and 20,000 are usual.
const IDLE: usize = 4000;

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Row {
    /// Microseconds of processor time a request, over so many connections that are kept alive.
    Requests(usize),
    /// Kibibytes of resident memory an idle connection.
    Idle,
}

impl Row {
    pub(crate) const ALL: [Row; 3] = [Row::Requests(64), Row::Requests(400), Row::Idle];

    pub(crate) fn name(self) -> String {
        match self {
            Row::Requests(connections) => format!("{connections} connections, µs CPU"),
            Row::Idle => "idle connection, KiB".to_owned(),
        }
    }

    pub(crate) fn measure(self, server: &Process, is_test: bool) -> Result<f64, Box<dyn Error>> {
        match self {
            Row::Requests(connections) if is_test => requests(
                server,
                connections.min(8),
                Duration::ZERO,
                Duration::from_millis(200),
            ),
            Row::Requests(connections) => requests(
                server,
                connections,
                Duration::from_secs(WARM_UP),
                Duration::from_secs(MEASURED),
            ),
            Row::Idle => idle(server, if is_test { 50 } else { IDLE }),
        }
    }
}

fn requests(
    server: &Process,
    connections: usize,
    warm_up: Duration,
    measured: Duration,
) -> Result<f64, Box<dyn Error>> {
    if !warm_up.is_zero() {
        wrk(server, connections, warm_up)?;
    }
    let before = server.processor_time()?;
    let answered = wrk(server, connections, measured)?;
    let used = server.processor_time()? - before;
    Ok(used as f64 / 1e3 / answered as f64)
}

/// Loads the server and gives how many requests it has answered. wrk tells of errors, and then nothing is measured.
fn wrk(server: &Process, connections: usize, duration: Duration) -> Result<u64, Box<dyn Error>> {
    let seconds = duration.as_secs().max(1);
    let last = thread::available_parallelism()?.get().saturating_sub(1);
    let output = Command::new("taskset")
        .args(["-c", &last.to_string(), "wrk", "-t1"])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}"))
        .arg(format!("http://{}/", server.address))
        .output()
        .map_err(|error| {
            format!("cannot run taskset and wrk: {error}; install util-linux and wrk")
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = text.contains("Socket errors") || text.contains("Non-2xx");
    let answered = text
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    match answered {
        Some(answered) if answered > 0 && !errors => Ok(answered),
        _ => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(format!("wrk failed; is it installed? {text}{complaint}").into())
        }
    }
}

fn idle(server: &Process, count: usize) -> Result<f64, Box<dyn Error>> {
    // What is made once, whatever the number of connections.
    let mut connections = vec![answered_connection(server)?];
    let before = server.resident()?;
    for _ in 0..count {
        connections.push(answered_connection(server)?);
    }
    let after = server.resident()?;
    Ok(after.saturating_sub(before) as f64 / 1024.0 / count as f64)
}

/// A connection on which one request has been answered.
fn answered_connection(server: &Process) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(crate::servers::CONTENT) {
        match stream.read(&mut piece)? {
            0 => return Err(format!("closed after {}", String::from_utf8_lossy(&answer)).into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(stream)
}
