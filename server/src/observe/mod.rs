//! What can be seen of a server: access log, its own log, metrics, and the admin listener that shows them.
//!
//! | file | what |
//! |---|---|
//! | `access` | the access log, its formats |
//! | `log` | the server's own log, through the `tracing` crate |
//! | `lines` | a file of lines that one thread writes for many |
//! | `request_id`, `route` | what a request is called |

pub mod access;
mod lines;
pub mod log;
pub(crate) mod request_id;
mod route;

pub use request_id::RequestId;
pub use route::Route;
