//! What an application is made of: requests, responses, their content, and the ways to write a handler.
//!
//! An application is a tower service from [`http::Request`] to [`http::Response`]. A plain function becomes one that blocks
//! while it is called. Nothing here knows where a handler runs; that is the worker class's affair.
//!
//! | file | what |
//! |---|---|
//! | `body` | the content of requests and responses |
//! | `producer` | content that is made while it is sent: readers and writer closures |

pub mod body;
mod producer;

pub use body::{BadContent, Body, BoxError};
pub use producer::Writer;
#[allow(unused_imports, reason = "for the worker classes")]
pub(crate) use producer::{Producer, Streams};

/// A request: its content is read as it arrives, by `Read` in blocking code or as an [`http_body::Body`].
pub type Request = http::Request<Body>;

/// A response. The server adds `Content-Length` where it is known, `Date` and `Server`.
pub type Response = http::Response<Body>;
