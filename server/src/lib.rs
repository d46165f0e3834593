//! An HTTP server with gunicorn's worker classes, for handlers that block and for any tower service.
//!
//! An [application](application::Application) is a plain function `Fn(Request) -> impl IntoResponse`, an async one, or a tower
//! service such as axum's `Router`. hyper speaks HTTP/1.1 and HTTP/2. Where a request's handler runs depends on the worker
//! class, and nothing else does:
//!
//! | class | a handler runs on | at the same time |
//! |---|---|---|
//! | [`WorkerClass::Sync`] | the worker's one thread | one request |
//! | [`WorkerClass::Gthread`] | a pool of OS threads | as many as the pool has threads |
//! | [`WorkerClass::Green`] | green threads: what blocks parks that request alone | up to `worker_connections` |
//! | [`WorkerClass::Async`] | the event loop | up to `worker_connections`, if none blocks |
//!
//! # How it is built
//!
//! | room | what |
//! |---|---|
//! | [`application`] | what handlers are given and give back |
//! | [`protocol`] | one connection, around hyper |
//! | [`worker`] | many connections, and where handlers run |
//! | [`arbiter`] | many workers |
//! | [`command`] | settings, from options, environment and a file |
//! | [`observe`] | what is told about all that |
//!
//! [`guide`] has pages to read: from gunicorn, all settings, deployment. [`mod@test`] asks an application without a server.
//!
//! # Example
//!
//! ```no_run
//! use greenpatch_server::{Request, Server, Settings, WorkerClass};
//!
//! fn hello(request: Request) -> String {
//!     std::thread::sleep(std::time::Duration::from_secs(1));
//!     format!("hello, {}\n", request.uri().path())
//! }
//!
//! let settings = Settings { worker_class: WorkerClass::Green, ..Settings::default() };
//! let server = Server::bind("127.0.0.1:8000", settings)?;
//! server.serve(hello)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![allow(rustdoc::private_intra_doc_links)]

pub mod application;
mod arbiter;
mod command;
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod observe;
mod program;
mod protocol;
mod server;
#[cfg(feature = "test")]
pub mod test;
mod worker;

use command::settings;

pub use application::{Body, Request, Response};
pub use bytes::Bytes;
pub use command::bind::{Bind, InvalidBind};
pub use command::generate::Page;
pub use command::line::CommandLine;
pub use command::load::Loaded;
pub use command::networks::{Networks, UnknownNetwork};
pub use command::origin::{Origin, SettingsError};
pub use http;
pub use observe::{RequestId, Route, access, log};
pub use program::{Program, main};
pub use protocol::EntryError;
#[cfg(feature = "tls")]
pub use protocol::{TlsDetails, TlsError};
pub use server::{BindError, ServeError, Server};
pub use settings::{
    ClientCerts, Group, Limits, LogFile, LogFormat, LogLevel, Logging, Process, Proxy,
    ProxyProtocol, Recycling, Settings, Timeouts, Tls, User,
};
pub use worker::{StopHandle, UnknownClass, WorkerClass};

/// The examples of the page that a package index shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
