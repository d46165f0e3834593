//! The access log: a line for each request that was answered, in gunicorn's formats or as JSON.
//!
//! [`format`](self::format) knows how a line looks, [`lines`](crate::observe::lines) how it gets to its file without keeping
//! the request's thread.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::HeaderValue;
use http::{Method, StatusCode, Uri, Version};
use jiff::{Timestamp, Zoned};

use crate::command::settings::LogFile;
use crate::observe::lines::Lines;
use crate::observe::request_id::RequestId;
use crate::observe::route::Route;

pub use format::{DEFAULT_FORMAT, Format, FormatError};

mod format;

/// What a request that is over tells.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The client; `None` at a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// What it asked for; `None` if that was never understood.
    pub(crate) head: Option<Head>,
    /// The fields of the request that the format asks for, in its order ([`Format::request_fields`]).
    pub(crate) request_fields: Vec<Option<HeaderValue>>,
    /// The same of the response.
    pub(crate) response_fields: Vec<Option<HeaderValue>>,
    /// `None` if the client left before it had an answer.
    pub(crate) status: Option<StatusCode>,
    /// Of content.
    pub(crate) bytes: u64,
    /// Whether the response's content was sent to its end.
    pub(crate) is_complete: bool,
    /// From the request's head to the end of the response.
    pub(crate) duration: Duration,
    /// Of this, until the handler began.
    pub(crate) queued: Duration,
    pub(crate) id: RequestId,
    pub(crate) route: Route,
}

/// The first line of a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
}

/// The log of the requests that were answered.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    lines: Lines,
    clock: Mutex<Clock>,
}

impl AccessLog {
    /// Opens the file, and starts the thread that writes it.
    ///
    /// # Errors
    ///
    /// The kernel's, naming the file.
    pub(crate) fn open(file: LogFile, format: Format) -> io::Result<AccessLog> {
        Ok(AccessLog {
            format,
            lines: Lines::open("access log", file)?,
            clock: Mutex::default(),
        })
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }

    pub(crate) fn write(&self, record: &Record) {
        self.lines.append(|buffer| {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.read();
            self.format.write(record, &clock, buffer);
        });
    }

    /// Opens the file again, for a program that rotates logs.
    pub(crate) fn reopen(&self) {
        self.lines.reopen();
    }

    /// Waits until all lines are written; says whether they are.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        self.lines.flush(patience)
    }

    /// Lines that were lost because the file did not take them.
    pub(crate) fn dropped(&self) -> u64 {
        self.lines.dropped()
    }
}

/// The time, and how it is written in log lines: made anew once a second.
#[derive(Debug, Default)]
struct Clock {
    now: Timestamp,
    /// As the Common Log Format has it: `[10/Oct/2000:13:55:36 -0700]`.
    local: String,
}

impl Clock {
    fn read(&mut self) {
        let before = self.now.as_second();
        self.now = Timestamp::now();
        if self.local.is_empty() || self.now.as_second() != before {
            let local = Zoned::new(self.now, jiff::tz::TimeZone::system());
            self.local = local.strftime("[%d/%b/%Y:%H:%M:%S %z]").to_string();
        }
    }
}

#[cfg(test)]
mod tests;
