//! What can be seen of a server: access log, its own log, metrics, and the admin listener that shows them.
//!
//! | file | what |
//! |---|---|
//! | `observer` | what a worker sees: the door for the protocol and the worker |
//! | `access` | the access log, its formats |
//! | `log` | the server's own log, through the `tracing` crate |
//! | `lines` | a file of lines that one thread writes for many |
//! | `request_id`, `route` | what a request is called |
//! | `metrics`, `histogram`, `process` | what is counted, and what the kernel says |
//! | `green_threads` | green threads in groups, and hogs |
//! | `snapshot`, `fleet` | figures on their way to the master, and the sum of all workers' |
//! | `exposition`, `admin` | how they are shown |
//! | `attached` | the same for who attaches to the process: `greenpatch top` |
//!
//! Counting is a few atomic additions a request, in no lock and without a look at a name. Nothing that is observed can stop
//! who is observed: a log whose disk is full drops lines, and says so.

pub mod access;
pub(crate) mod admin;
pub(crate) mod attached;
pub(crate) mod exposition;
pub(crate) mod fleet;
mod green_threads;
mod histogram;
mod lines;
pub mod log;
mod metrics;
mod observer;
mod process;
pub(crate) mod request_id;
mod route;
pub(crate) mod snapshot;

pub(crate) use metrics::Refusal;
pub(crate) use observer::{Observation, Observe, Observer, OpenConnection};
pub use request_id::RequestId;
#[cfg(feature = "test")]
pub(crate) use request_id::RequestIds;
pub use route::Route;
