//! One row of the demonstration: a server process, two requests, and what came of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::server_process::{ServerProcess, address_in};

/// A server to try, and what should come of it.
pub(super) struct Row {
    /// The arguments of `greenpatch serve`, but for those that are the same in all rows.
    pub(super) arguments: &'static [&'static str],
    /// The Python servers that do the same.
    pub(super) peer: &'static str,
    /// How the requests should run.
    pub(super) expected: Course,
}

/// The rows of the table.
pub(super) const ROWS: [Row; 7] = [
    Row {
        arguments: &["-k", "sync", "--patch", "none"],
        peer: "gunicorn sync",
        expected: Course::Serial,
    },
    Row {
        arguments: &["-k", "gthread", "--threads", "4"],
        peer: "gunicorn gthread",
        expected: Course::Concurrent,
    },
    Row {
        arguments: &["-k", "green", "--patch", "none"],
        peer: "eventlet, not patched",
        expected: Course::Serial,
    },
    Row {
        arguments: &["-k", "green", "--patch", "all"],
        peer: "eventlet patched, gevent",
        expected: Course::Concurrent,
    },
    Row {
        arguments: &["-k", "sync", "--patch", "all"],
        peer: "gunicorn sync, patched",
        expected: Course::Serial,
    },
    Row {
        arguments: &["-k", "async", "--async-sleep", "blocking"],
        peer: "Sanic, time.sleep",
        expected: Course::Serial,
    },
    Row {
        arguments: &["-k", "async", "--async-sleep", "async"],
        peer: "Sanic, asyncio.sleep",
        expected: Course::Concurrent,
    },
];

/// How two requests ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// One after the other.
    Serial,
    /// At the same time.
    Concurrent,
}

impl Course {
    /// The lines that the handler prints when its two calls run so.
    pub(super) fn log_lines(self) -> [&'static str; 4] {
        match self {
            Course::Serial => ["hello 0", "world", "hello 1", "world"],
            Course::Concurrent => ["hello 0", "hello 1", "world", "world"],
        }
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Course::Serial => "one after the other",
            Course::Concurrent => "at the same time",
        })
    }
}

/// What came of a row.
pub(super) struct Outcome {
    /// What the handler printed.
    pub(super) log_lines: Vec<String>,
    /// From the first request to the last response.
    pub(super) wall: Duration,
}

impl Outcome {
    /// Whether the requests ran as expected: by the log lines, and by a wall time of clearly less
    /// than two sleeps or of about two. The error tells what was different.
    pub(super) fn verdict(&self, expected: Course, sleep: Duration) -> Result<(), String> {
        if self.log_lines != expected.log_lines() {
            return Err(format!("NOT {expected}"));
        }
        let in_time = match expected {
            Course::Serial => self.wall > sleep.mul_f64(1.9),
            Course::Concurrent => self.wall < sleep.mul_f64(1.7),
        };
        if in_time {
            Ok(())
        } else {
            Err(format!("{expected}, but NOT in the time for it"))
        }
    }
}

impl Row {
    /// Starts the server, sends two requests, stops the server.
    pub(super) fn run(&self, program: &Path, sleep: Duration) -> Result<Outcome, Box<dyn Error>> {
        let patience = sleep * 3 + Duration::from_secs(20);
        let mut server = RunningServer::start(program, self.arguments, sleep)?;
        let address = server.address(patience)?;

        let began = Instant::now();
        let (sender, ends) = channel();
        let send_request = || {
            let (sender, address) = (sender.clone(), address.clone());
            let ask = move || Exchange::begin(&address, "/", patience)?.finish();
            thread::spawn(move || sender.send(ask().map(|()| Instant::now())));
        };
        send_request();
        server.wait_for_line(patience, |line| line == "hello 0")?;
        send_request();
        let first = ends.recv_timeout(patience)??;
        let last = ends.recv_timeout(patience)??;

        let mut log_lines = server.stop(patience)?;
        log_lines.retain(|line| line.starts_with("hello") || line.starts_with("world"));
        Ok(Outcome {
            log_lines,
            wall: last.max(first) - began,
        })
    }
}

/// A server process, and the lines that it has printed so far.
struct RunningServer {
    process: ServerProcess,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl RunningServer {
    fn start(program: &Path, arguments: &[&str], sleep: Duration) -> io::Result<RunningServer> {
        let mut command = Command::new(program);
        command
            .args([
                "serve",
                "--bind",
                "127.0.0.1:0",
                "--app",
                "hello",
                "--sleep",
            ])
            .arg(sleep.as_secs_f64().to_string())
            .args(arguments);
        let (sender, lines) = channel();
        let heard = move |line| {
            if let Some(line) = line {
                // Nobody listens any more when the row is done.
                let _ = sender.send(line);
            }
        };
        Ok(RunningServer {
            process: ServerProcess::start(command, |mut command| command.spawn(), heard)?,
            lines,
            seen: Vec::new(),
        })
    }

    /// Where the server listens, as it says itself.
    fn address(&mut self, patience: Duration) -> Result<String, Box<dyn Error>> {
        let line = self.wait_for_line(patience, |line| address_in(line).is_some())?;
        Ok(address_in(&line).ok_or("the server does not say where it listens")?)
    }

    /// Waits for a line, and keeps it and those before it.
    fn wait_for_line(
        &mut self,
        patience: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<String, Box<dyn Error>> {
        let end = Instant::now() + patience;
        loop {
            let Ok(line) = self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            else {
                let printed = self.seen.join(" | ");
                return Err(format!("the server printed only: {printed}").into());
            };
            self.seen.push(line.clone());
            if is_it(&line) {
                return Ok(line);
            }
        }
    }

    /// Asks the server to stop, waits until it has, and returns all it printed.
    fn stop(mut self, patience: Duration) -> Result<Vec<String>, Box<dyn Error>> {
        self.process.ask_to_stop()?;
        let end = Instant::now() + patience;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                // The process has closed its outputs, that is, it exits.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err("the server did not stop".into()),
            }
        }
        let status = self.process.wait()?;
        if status.success() {
            Ok(std::mem::take(&mut self.seen))
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}
