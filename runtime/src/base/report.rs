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

use crate::look::hog::Blocked;

/// Reports something that somebody should look at.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    if is_heard() {
        tell(|| tracing::warn!(target: "greenpatch", "{message}"));
        return;
    }
    write_to_stderr(&format!("greenpatch: {message}\n"));
}

/// Reports a green thread that keeps its worker to itself.
pub(crate) fn warn_of(blocked: &Blocked) {
    #[cfg(feature = "tracing")]
    if is_heard() {
        tell(|| {
            tracing::warn!(
                target: "greenpatch",
                id = blocked.id(),
                name = blocked.name(),
                spawned_at = blocked.spawned_at().map(tracing::field::display),
                milliseconds = blocked.duration().as_millis() as u64,
                "{blocked}"
            );
        });
        return;
    }
    warn(format_args!("{blocked}"));
}

/// Calls the program's subscriber. If that panics, which std has reported, it concerns nobody else.
#[cfg(feature = "tracing")]
fn tell(warn: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(warn));
}

#[cfg(feature = "tracing")]
fn is_heard() -> bool {
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
