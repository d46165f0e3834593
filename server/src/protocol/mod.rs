//! One connection, from its first byte to its last: hyper speaks HTTP, and what stands here is around it — the transport
//! below, and above it the limits and time-outs that hyper leaves to its user.
//!
//! | file | what |
//! |---|---|
//! | `entry`, `proxy`, `tls` | from the accepted socket to the first byte of HTTP |
//! | `stream`, `io`, `watched` | what hyper reads and writes |
//! | `connection` | a connection's future |
//! | `service`, `answer`, `received`, `exchange`, `piece` | one request, its content and its response |
//! | `fields`, `scan`, `strict`, `forwarded` | what a request must be, before and after hyper has read it, and what a proxy says of it |
//! | `refusal` | answers without a handler |
//! | `farewell` | the end of upgraded connections |
//! | `registry`, `clock`, `sweep` | all connections, and what becomes of those that take too long |

mod answer;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod entry;
pub(crate) mod exchange;
pub(crate) mod farewell;
pub(crate) mod fields;
pub(crate) mod forwarded;
mod io;
mod piece;
pub(crate) mod proxy;
pub(crate) mod received;
pub(crate) mod refusal;
pub(crate) mod registry;
pub(crate) mod scan;
pub(crate) mod service;
pub(crate) mod stream;
mod strict;
pub(crate) mod sweep;
#[cfg(feature = "tls")]
mod tls;
mod watched;

pub use entry::EntryError;
pub(crate) use entry::check_files;
#[cfg(feature = "tls")]
pub use tls::{TlsDetails, TlsError};
