//! What a master and its workers say to each other.
//!
//! A worker may run a later build than its master, since HUP takes a new build for new workers only. So a change to what stands
//! here, or to what [`channel`](super::channel) sends, takes a new [`VERSION`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sockets::SocketFile;
use crate::observe::snapshot::Snapshot;

/// Names, in the environment, the version of this protocol that the starting process speaks on standard input.
pub(crate) const VARIABLE: &str = "GREENPATCH_CHANNEL";

/// The version of this protocol.
pub(crate) const VERSION: &str = "1";

/// The first message: what the process that was started is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Start {
    /// A worker. The descriptors are the true standard input, then the sockets.
    Worker {
        /// The settings, as text.
        settings: String,
    },
    /// A second master. The descriptors are the true standard input, then the sockets.
    Master {
        /// What the sockets are.
        sockets: Vec<Handed>,
        /// The numbers of the descriptors that a service manager had handed down.
        activated: Vec<i32>,
    },
}

/// A listening socket that goes from one master to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The address in the settings that it was made from.
    pub(crate) bind: String,
    /// Its file.
    pub(crate) file: Option<SocketFile>,
    /// It is the admin application's.
    pub(crate) is_admin: bool,
}

/// What a master says to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Finish what is under way and end.
    Drain,
    /// End at once.
    Quit,
    /// Open the log files anew.
    Reopen,
    /// Write to the log what each green thread is at, and say that it is done.
    Dump,
    /// Say what each green thread is at.
    Threads,
}

/// What a worker says to its master.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMaster {
    /// It accepts connections.
    Ready,
    /// Its loop turns.
    Beat,
    /// It has done enough: another one is to take its place.
    Retire(Reason),
    /// What was asked for is in the log.
    Dumped,
    /// What each green thread is at.
    Threads(String),
    /// What it has counted.
    Report(Box<Snapshot>),
}

/// Why a worker is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// It has had so many requests.
    Requests(u64),
    /// It holds so many bytes of memory.
    Memory(u64),
    /// It has lived for so many seconds.
    Lifetime(u64),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Requests(count) => write!(f, "{count} requests"),
            Reason::Memory(bytes) => write!(f, "{} MiB of memory", bytes >> 20),
            Reason::Lifetime(seconds) => write!(f, "{seconds} s of life"),
        }
    }
}
