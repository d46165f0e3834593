//! What processes tell, as far as it is shown. Fields that another version does not know are left out or have their default.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a process says first.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Greeting {
    #[serde(default)]
    pub(super) protocol: u32,
    #[serde(default)]
    pub(super) version: String,
    /// Its number as it knows it itself.
    #[serde(default)]
    pub(super) process: u32,
    #[serde(default)]
    pub(super) program: String,
    #[serde(default)]
    pub(super) requests: Vec<String>,
}

/// The answer to `text`.
#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) text: String,
}

/// The answer to `dump`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Runtimes {
    pub(super) runtimes: Vec<Runtime>,
}

/// A runtime: `greenpatch::Dump`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Runtime {
    pub(super) runtime: String,
    pub(super) metrics: Metrics,
    pub(super) workers: Vec<Worker>,
    pub(super) green_threads: Vec<GreenThread>,
    pub(super) omitted: usize,
}

/// Figures of a runtime: `greenpatch::Metrics`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Metrics {
    pub(super) live: u64,
    pub(super) running: u64,
    pub(super) runnable: u64,
    pub(super) parked: u64,
    pub(super) spawned: u64,
    pub(super) switches: u64,
    pub(super) blocking_sections: u64,
    pub(super) hogs: u64,
    pub(super) workers: u64,
    pub(super) spare_workers: u64,
    pub(super) os_threads: u64,
}

/// A worker of a runtime: `greenpatch::dump::Worker`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Worker {
    pub(super) number: u64,
    pub(super) os_thread: Option<i32>,
    pub(super) is_asleep: bool,
    pub(super) queued: u64,
    pub(super) turn: Option<Turn>,
}

/// What a worker runs: `greenpatch::dump::Turn`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Turn {
    pub(super) green_thread: u64,
    pub(super) name: Option<String>,
    pub(super) for_seconds: f64,
    pub(super) is_blocking: bool,
}

/// A green thread: `greenpatch::dump::GreenThread`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct GreenThread {
    pub(super) id: u64,
    pub(super) name: Option<String>,
    pub(super) spawned_at: Option<String>,
    pub(super) stack_size: u64,
    pub(super) stack_high_water: u64,
    pub(super) state: State,
    pub(super) backtrace: Option<Vec<Frame>>,
}

/// What a green thread does.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub(super) enum State {
    Running {
        worker: u64,
    },
    Parked {
        reason: Reason,
        for_seconds: f64,
        seconds_left: Option<f64>,
        owner: Option<Owner>,
    },
    #[default]
    #[serde(other)]
    Runnable,
}

/// What is waited for, and its number or address.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Reason {
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<u64>,
}

/// Who holds what is waited for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    GreenThread { id: u64, name: Option<String> },
    OsThread(i32),
}

/// A frame of a call stack.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Frame {
    pub(super) address: u64,
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.on) {
            ("read", Some(descriptor)) => write!(f, "read on descriptor {descriptor}"),
            ("write", Some(descriptor)) => write!(f, "write on descriptor {descriptor}"),
            ("poll", Some(count)) => write!(f, "poll of {count} descriptors"),
            ("join", Some(id)) => write!(f, "join of green thread {id}"),
            ("park", _) => f.write_str("unpark"),
            (kind, Some(address)) => write!(f, "{kind} at {address:#x}"),
            (kind, None) => f.write_str(kind),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::GreenThread { id, name: None } => write!(f, "green thread {id}"),
            Owner::GreenThread {
                id,
                name: Some(name),
            } => write!(f, "green thread {id} '{name}'"),
            Owner::OsThread(id) => write!(f, "OS thread {id}"),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => f.write_str(function)?,
            None => write!(f, "{:#x}", self.address)?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            _ => Ok(()),
        }
    }
}

/// The answer of a server to `server`: what its status page is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) readiness: String,
    /// Upper bounds of the histograms' buckets, in seconds; one bucket more has none.
    pub(super) bounds: Vec<f64>,
    pub(super) figures: Figures,
}

/// A server's figures.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Figures {
    pub(super) counters: Counters,
    /// By process id, as the server knows it.
    pub(super) gauges: BTreeMap<u32, Gauges>,
    pub(super) states: BTreeMap<u32, String>,
}

/// What a server has counted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counters {
    pub(super) routes: BTreeMap<String, RouteCounts>,
}

/// What is counted by route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteCounts {
    /// By method, then by class of status: none, 1xx to 5xx.
    pub(super) requests: BTreeMap<String, Vec<u64>>,
    pub(super) duration: Counts,
}

/// A histogram.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) buckets: Vec<u64>,
}

/// What goes up and down in a server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gauges {
    pub(super) in_flight: u64,
    pub(super) open: u64,
}
