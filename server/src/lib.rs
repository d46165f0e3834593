//! An HTTP/1.1 server with gunicorn's worker classes, in plain blocking code.
//!
//! A handler is a function `Fn(Request) -> Response`. It, and the connection loop that calls it,
//! read and write as if they owned an operating-system thread; which thread that really is depends
//! on the worker class:
//!
//! | class | connections run on | at the same time |
//! |---|---|---|
//! | [`WorkerClass::Sync`] | one thread | one request |
//! | [`WorkerClass::Gthread`] | a pool of OS threads | as many as the pool has threads |
//! | [`WorkerClass::Green`] | a green thread each | up to `worker_connections` |
//! | [`WorkerClass::Async`] | tasks of one event loop, with [`AsyncHandler`]s | up to `worker_connections` |
//!
//! # How it is built
//!
//! The protocol knows nothing of sockets: [`head`] and [`framing`] turn bytes into requests,
//! [`encoding`] turns responses into bytes. Two loops drive it, [`exchange`] for blocking
//! connections and [`worker::event_loop`] for async ones. [`worker`] accepts connections and
//! decides where they run; [`presence`] keeps account of those that are open, so that a stop can
//! let requests finish and send idle connections away.
//!
//! # Example
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//!
//! use greenpatch_server::{Bytes, Request, Response, Server, Settings};
//!
//! fn hello(_request: Request<'_>) -> Response {
//!     std::thread::sleep(std::time::Duration::from_secs(1));
//!     Response::new(Bytes::from_static(b"hello\n"))
//! }
//!
//! let server = Server::bind("127.0.0.1:8000", Settings::default())?;
//! server.run_green(hello, NonZeroUsize::MIN, greenpatch::Patch::all())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![allow(rustdoc::private_intra_doc_links)]

pub mod application;
#[allow(dead_code, unused_imports, reason = "the worker will be run by it")]
mod arbiter;
mod buffer;
mod command;
mod connection;
#[cfg(test)]
mod corpus;
mod encoding;
mod exchange;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod head;
#[allow(dead_code, unused_imports, reason = "the worker will be built on it")]
mod observe;
mod presence;
mod protocol;
mod refusal;
mod server;
mod worker;

use command::settings;

pub use bytes::Bytes;
pub use command::bind::{Bind, InvalidBind};
pub use command::generate::Page;
pub use command::line::CommandLine;
pub use command::load::Loaded;
pub use command::networks::{Networks, UnknownNetwork};
pub use command::origin::{Origin, SettingsError};
pub use handler::{AsyncHandler, AsyncRequest, Body, Handler, Request, Response, ResponseFuture};
pub use http;
pub use observe::{RequestId, Route, access, log};
pub use protocol::EntryError;
#[cfg(feature = "tls")]
pub use protocol::{TlsDetails, TlsError};
pub use server::{BindError, ServeError, Server, StopHandle};
pub use settings::{
    ClientCerts, Group, Limits, LogFile, LogFormat, LogLevel, Logging, Process, Proxy,
    ProxyProtocol, Recycling, Settings, Timeouts, Tls, User,
};
pub use worker::{UnknownClass, WorkerClass};
