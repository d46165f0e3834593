//! Two requests at once, and the order of the lines that their handler prints: `hello 0`, `world` and so on.
//!
//! The second request is sent when the log shows that the first has begun, so it arrives while the first one sleeps, whatever the
//! machine is doing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Target;
use crate::Result;
use crate::outcome::{Outcome, Quantity};

/// How long anything may take here. The longest handler sleeps ten seconds, and two of them may follow each other.
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) fn load(target: &Target) -> Result<Outcome> {
    let began = Instant::now();
    let first = request(target.address);
    while lines(target)?.is_empty() {
        if began.elapsed() > PATIENCE || first.is_finished() {
            return Err("the handler printed nothing".into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let answers = [first, request(target.address)].map(JoinHandle::join);
    let mut outcome = Outcome::default();
    outcome.set(Quantity::Seconds, began.elapsed().as_secs_f64());
    let mut failures = 0.0;
    for answer in answers {
        let status = answer.map_err(|_| "a client has panicked")??;
        failures += f64::from(status != 200);
    }
    outcome.set(Quantity::Failures, failures);
    // The line is printed before the answer is sent, but not by each server written before it.
    thread::sleep(Duration::from_millis(100));
    outcome.text = Some(lines(target)?.join(", "));
    Ok(outcome)
}

/// The handler's lines so far.
fn lines(target: &Target) -> Result<Vec<String>> {
    let log = fs::read_to_string(target.log)?;
    let is_handlers = |line: &&str| line.starts_with("hello ") || *line == "world";
    Ok(log.lines().filter(is_handlers).map(str::to_owned).collect())
}

/// Sends a request on a thread of its own, which gives the answer's status.
fn request(address: SocketAddr) -> JoinHandle<std::io::Result<u16>> {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer
            .get(9..12)
            .and_then(|status| str::from_utf8(status).ok());
        status
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| std::io::Error::other("the answer has no status"))
    })
}
