//! What the runtime says without being asked: through the `tracing` crate, with the feature of that name and where the
//! program listens to it, on standard error otherwise.
//!
//! A `tracing` subscriber is user code, which may take locks that a parked green thread holds. So nothing is reported in
//! a native section, nor by the monitor.

use std::fmt;
#[cfg(feature = "tracing")]
use std::panic::{self, AssertUnwindSafe};

#[cfg(feature = "tracing")]
use tracing::subscriber::NoSubscriber;

/// Reports something that somebody should look at.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    if is_heard() {
        tell(|| tracing::warn!(target: "greenpatch", "{message}"));
        return;
    }
    write_to_stderr(&format!("greenpatch: {message}\n"));
}

/// Calls the program's subscriber. A panic in there has been reported by std, and concerns nobody else.
#[cfg(feature = "tracing")]
pub(crate) fn tell(warn: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(warn));
}

/// Whether the program listens to the `tracing` crate's events.
#[cfg(feature = "tracing")]
pub(crate) fn is_heard() -> bool {
    tracing::dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}

/// Without std's lock on standard error.
pub(crate) fn write_to_stderr(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
