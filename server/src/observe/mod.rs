//! What can be seen of a server: access log, its own log, metrics, and the admin listener that shows them.
//!
//! | file | what |
//! |---|---|
//! | `log` | the server's own log, through the `tracing` crate |
//! | `lines` | a file of lines that one thread writes for many |
//! | `request_id` | what a request is called |

mod lines;
pub mod log;
pub(crate) mod request_id;

pub use request_id::RequestId;
