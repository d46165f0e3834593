//! The loads: wrk, ab, users that think between requests, and the two requests whose order is looked at.

mod ab;
mod order;
mod users;
mod wrk;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) use users::client;

use crate::Result;
use crate::outcome::Outcome;

/// What loads a server.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Two requests at once; the order of the lines that their handler prints.
    Order,
    /// wrk.
    Wrk {
        path: &'static str,
        connections: usize,
        seconds: u64,
        /// Whether every tenth request asks for its connection to be closed.
        reconnecting: bool,
    },
    /// ab.
    Ab {
        method: &'static str,
        path: &'static str,
        requests: usize,
        at_once: usize,
    },
    /// Users that send a request, think, and send the next.
    Users(Users),
}

/// Users that come one after the other, and each sends a request, thinks, and sends the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users {
    pub(crate) users: usize,
    /// Seconds within which they come, evenly.
    pub(crate) ramp: f64,
    /// The least and the most seconds that they think.
    pub(crate) think: (f64, f64),
    /// Seconds from the first one's coming until no more requests are sent.
    pub(crate) seconds: f64,
}

/// A server to load, and how its clients are started.
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    /// Words that come before a client's command: on which processor.
    pub(crate) launcher: &'a [String],
    /// Where the server's output goes.
    pub(crate) log: &'a Path,
    /// This package's directory.
    pub(crate) package: &'a Path,
}

impl Target<'_> {
    /// A command that runs this program as the launcher says.
    fn client(&self, program: &str) -> Command {
        let mut words = self.launcher.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }
}

impl Load {
    /// Loads the target, and tells what came of it.
    pub(crate) fn run(&self, target: &Target) -> Result<Outcome> {
        match *self {
            Load::Order => order::load(target),
            Load::Wrk {
                path,
                connections,
                seconds,
                reconnecting,
            } => wrk::load(target, path, connections, seconds, reconnecting),
            Load::Ab {
                method,
                path,
                requests,
                at_once,
            } => ab::load(target, method, path, requests, at_once),
            Load::Users(users) => users::load(target, &users),
        }
    }

    /// A second of the same, before what counts; nothing where users come one after the other.
    pub(crate) fn warm_up(&self, target: &Target) -> Result<()> {
        match *self {
            Load::Wrk {
                path, connections, ..
            } => wrk::load(target, path, connections, 1, false),
            // Python compiles on the first request.
            Load::Ab { method, path, .. } => ab::load(target, method, path, 1, 1),
            Load::Order | Load::Users(_) => return Ok(()),
        }
        .map(drop)
    }
}

/// Runs a client to its end; gives what it prints, or what it complains of.
fn run(command: &mut Command) -> std::result::Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "it ended with {}: {}",
        output.status,
        complaint.trim()
    ))
}
