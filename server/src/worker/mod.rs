//! The worker classes: where connections are accepted and on what they run.

pub(crate) mod event_loop;
mod green;
mod gthread;
mod sync;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::str::FromStr;
use std::time::Duration;

use crate::log;
use crate::presence::Connections;

/// Which kind of worker serves the connections; the names are gunicorn's, except that `green`
/// stands for its `eventlet` and `gevent`, and `async` for what Sanic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request at a time, one request a connection.
    Sync,
    /// A pool of OS threads.
    Gthread,
    /// A green thread for each connection.
    Green,
    /// Async handlers on one event loop.
    Async,
}

impl WorkerClass {
    /// Every class.
    pub const ALL: [WorkerClass; 4] = [
        WorkerClass::Sync,
        WorkerClass::Gthread,
        WorkerClass::Green,
        WorkerClass::Async,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WorkerClass::Sync => "sync",
            WorkerClass::Gthread => "gthread",
            WorkerClass::Green => "green",
            WorkerClass::Async => "async",
        }
    }
}

impl fmt::Display for WorkerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no worker class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownClass(String);

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no worker class; use sync, gthread, green or async",
            self.0
        )
    }
}

impl std::error::Error for UnknownClass {}

impl FromStr for WorkerClass {
    type Err = UnknownClass;

    fn from_str(name: &str) -> Result<WorkerClass, UnknownClass> {
        let class = WorkerClass::ALL
            .into_iter()
            .find(|class| class.name() == name);
        class.ok_or_else(|| UnknownClass(name.to_owned()))
    }
}

/// A listening socket that blocks its thread, green or not, until a connection comes.
trait Listener {
    /// What it accepts.
    type Stream;

    /// Waits for a connection and accepts it.
    fn accept(&self) -> io::Result<Self::Stream>;

    /// Makes `accept` return `WouldBlock` instead of waiting.
    fn set_nonblocking(&self) -> io::Result<()>;

    /// Sleeps, as the threads of this class do.
    fn pause(&self, duration: Duration);
}

impl Listener for TcpListener {
    type Stream = std::net::TcpStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        TcpListener::accept(self).map(|(stream, _)| stream)
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        TcpListener::set_nonblocking(self, true)
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Accepts connections and hands them to `admit`, until the server stops; then those that had come
/// before, at most `backlog` of them.
fn accept_until_stopped<L: Listener>(
    listener: &L,
    connections: &Connections,
    backlog: u32,
    mut admit: impl FnMut(L::Stream),
) -> io::Result<()> {
    while !connections.is_stopping() {
        match listener.accept() {
            Ok(stream) => admit(stream),
            Err(error) => {
                if let Some(pause) = pause_after(&error) {
                    listener.pause(pause);
                }
            }
        }
    }
    listener.set_nonblocking()?;
    for _ in 0..backlog {
        match listener.accept() {
            Ok(stream) => admit(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => {
                pause_after(&error);
            }
        }
    }
    Ok(())
}

/// How long to wait after a failed accept: not at all when only that connection failed, else long
/// enough for connections to end and give their descriptors back.
fn pause_after(error: &io::Error) -> Option<Duration> {
    const PAUSE: Duration = Duration::from_millis(100);
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => None,
        _ => {
            log::error(format_args!(
                "cannot accept a connection: {error}; \
                 raise the limit on open files (ulimit -n) or lower --worker-connections"
            ));
            Some(PAUSE)
        }
    }
}
