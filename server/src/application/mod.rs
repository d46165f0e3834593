//! What an application is made of: requests, responses, their content, and the ways to write a handler.
//!
//! An application is a tower service from [`http::Request`] to [`http::Response`]. A plain function becomes one that blocks
//! while it is called. Nothing here knows where a handler runs; that is the worker class's affair.
//!
//! | file | what |
//! |---|---|
//! | `service` | what can be served: tower services, async functions, plain functions |
//! | `handler` | plain functions |
//! | `router` | plain functions by path and method |
//! | `body` | the content of requests and responses |
//! | `extensions` | what the server knows of a request besides the message |
//! | `producer` | content that is made while it is sent: readers and writer closures |
//! | `response`, `error` | what handlers return |
//! | `parameters` | the parameters of a path, and the query |
//! | `events` | server-sent events |
//! | `websocket` | WebSockets |
//! | `ambient`, `thread` | what a handler finds around it, and threads that inherit it |
//! | `wait` | how a plain function waits for a future |
//! | `file`, `part`, `directory`, `conditional` | files as responses |

mod ambient;
mod body;
mod conditional;
mod directory;
mod error;
mod events;
mod extensions;
mod file;
mod handler;
mod parameters;
mod part;
mod producer;
pub mod response;
mod router;
mod service;
mod thread;
mod wait;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use crate::protocol::farewell::Farewell;
pub(crate) use ambient::{Ambient, inherit};
pub use body::{Body, BoxError};
pub use directory::Directory;
pub use error::{BadContent, HttpError};
pub use events::{Event, EventSender, EventStream};
pub use extensions::{ForwardedHost, Peer, PeerAddress, Scheme};
pub use file::file;
pub use handler::{Handler, function};
pub use parameters::{BadParameter, RequestExt};
pub(crate) use producer::Streams;
pub use producer::Writer;
pub use response::{IntoResponse, Json, ResponseExt};
pub use router::{Next, Router};
pub use service::{Application, IntoApplication, marker};
pub use service::{Async, AsyncCall, Blocking, Call, TowerApplication, TowerFuture};

/// A request: its content is read as it arrives, by `Read` in blocking code or as an [`http_body::Body`].
pub type Request = http::Request<Body>;

/// A response. The server adds `Content-Length` where it is known, `Date` and `Server`.
pub type Response = http::Response<Body>;
