//! One connection, from its first byte to its last: hyper speaks HTTP, and what stands here is around it — the transport
//! below, and above it the limits and time-outs that hyper leaves to its user.

#[allow(dead_code, reason = "until the workers use it")]
pub(crate) mod entry;
#[allow(dead_code, reason = "until the workers use it")]
pub(crate) mod forwarded;
#[allow(dead_code, reason = "until the workers use it")]
mod io;
#[allow(dead_code, reason = "until the workers use it")]
pub(crate) mod proxy;
#[allow(dead_code, reason = "until the workers use it")]
mod stream;
#[cfg(feature = "tls")]
#[allow(dead_code, reason = "until the workers use it")]
mod tls;

pub use entry::EntryError;
pub(crate) use entry::check_files;
#[cfg(feature = "tls")]
pub use tls::{TlsDetails, TlsError};
