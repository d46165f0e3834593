//! A connection to a process: its greeting, requests and answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use greenpatch::attach::{self, AttachError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dump::harmless;
use super::told::{Greeting, Server};

/// How long a process may take to answer: to read the names of a large program's functions takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The request that servers answer.
pub(super) const SERVER: &str = "server";

/// A process that was attached to.
#[derive(Debug)]
pub(super) struct Session {
    process: u32,
    connection: BufReader<UnixStream>,
    greeting: Greeting,
}

/// Why a process could not be asked.
#[derive(Debug)]
pub(crate) enum SessionError {
    /// Nobody could attach to it.
    Attach(AttachError),
    /// It has ended, or has closed the connection.
    Gone {
        /// The process.
        process: u32,
    },
    /// It has not answered in time.
    Silent {
        /// The process.
        process: u32,
    },
    /// It speaks another version of the protocol.
    Version {
        /// The process.
        process: u32,
        /// Its greenpatch.
        version: String,
        /// The version of its protocol.
        protocol: u32,
    },
    /// It has refused, and says why.
    Refused {
        /// The process.
        process: u32,
        /// Why.
        text: String,
    },
    /// What it says cannot be understood.
    Garbled {
        /// The process.
        process: u32,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The connection has failed.
    Io {
        /// The process.
        process: u32,
        /// What the kernel says.
        error: io::Error,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Attach(error) => error.fmt(f),
            SessionError::Gone { process } => write!(f, "process {process} has ended"),
            SessionError::Silent { process } => write!(
                f,
                "process {process} has not answered within {} s; if 'ps -o stat {process}' shows T, it is stopped, and \
                 'kill -CONT {process}' lets it go on",
                TIMEOUT.as_secs()
            ),
            SessionError::Version {
                process,
                version,
                protocol,
            } => write!(
                f,
                "process {process} has greenpatch {version}, which speaks version {protocol} of the protocol, and this is \
                 {}, which speaks version {}; use the greenpatch command that the process was built with",
                env!("CARGO_PKG_VERSION"),
                attach::PROTOCOL
            ),
            SessionError::Refused { process, text } => {
                write!(f, "process {process} does not answer: {text}")
            }
            SessionError::Garbled { process, error } => write!(
                f,
                "what process {process} says cannot be understood: {error}; use the greenpatch command that the process was \
                 built with"
            ),
            SessionError::Io { process, error } => {
                write!(f, "the connection to process {process} has failed: {error}")
            }
        }
    }
}

impl Error for SessionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SessionError::Attach(error) => Some(error),
            SessionError::Garbled { error, .. } => Some(error),
            SessionError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What every answer can be instead of what was asked for.
#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
}

impl Session {
    /// Attaches to a process.
    pub(super) fn open(process: u32) -> Result<Session, SessionError> {
        let connection = attach::connect(process).map_err(SessionError::Attach)?;
        let fail = |error| SessionError::Io { process, error };
        connection.set_read_timeout(Some(TIMEOUT)).map_err(fail)?;
        connection.set_write_timeout(Some(TIMEOUT)).map_err(fail)?;
        let mut session = Session {
            process,
            connection: BufReader::new(connection),
            greeting: Greeting::default(),
        };
        session.greeting = session.receive()?;
        if session.greeting.protocol != attach::PROTOCOL {
            return Err(SessionError::Version {
                process,
                version: harmless(&session.greeting.version),
                protocol: session.greeting.protocol,
            });
        }
        Ok(session)
    }

    /// The process, as this process knows it.
    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// What the process has said first.
    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Whether the process answers requests of this name.
    pub(super) fn knows(&self, request: &str) -> bool {
        self.greeting.requests.iter().any(|known| known == request)
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, SessionError> {
        let line = format!("{request}\n");
        let sent = self.connection.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| self.failed(error))?;
        self.receive()
    }

    /// The other processes of a server that this one tells of, its workers if it is a master, with their states. In
    /// a container the server knows them by other numbers.
    pub(super) fn others(&self, server: &Server) -> BTreeMap<u32, String> {
        let states = server.figures.states.iter();
        let others = states.filter(|(process, _)| **process != self.greeting.process);
        let is_same_namespace = self.greeting.process == self.process;
        let children = match is_same_namespace {
            true => BTreeMap::new(),
            false => children(self.process),
        };
        let seen_here = others.filter_map(|(process, state)| {
            let number = match is_same_namespace {
                true => *process,
                false => *children.get(process)?,
            };
            Some((number, state.clone()))
        });
        seen_here.collect()
    }

    fn failed(&self, error: io::Error) -> SessionError {
        let process = self.process;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => SessionError::Silent { process },
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => SessionError::Gone { process },
            _ => SessionError::Io { process, error },
        }
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<T, SessionError> {
        let process = self.process;
        let mut line = String::new();
        let read = self.connection.read_line(&mut line);
        read.map_err(|error| self.failed(error))?;
        if !line.ends_with('\n') {
            return Err(SessionError::Gone { process });
        }
        let garbled = |error| SessionError::Garbled { process, error };
        let refusal: Refusal = serde_json::from_str(&line).map_err(garbled)?;
        if let Some(text) = refusal.error {
            let text = harmless(&text);
            return Err(SessionError::Refused { process, text });
        }
        serde_json::from_str(&line).map_err(garbled)
    }
}

/// The children of a process in another namespace: by their numbers there, their numbers here.
fn children(parent: u32) -> BTreeMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let child = |here: u32| {
        let status = fs::read_to_string(format!("/proc/{here}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let is_child = field("PPid:")?.trim().parse() == Ok(parent);
        let there = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
        is_child.then_some((there, here))
    };
    numbers.filter_map(child).collect()
}
