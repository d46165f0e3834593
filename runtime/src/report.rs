//! What the runtime says without being asked: through the `tracing` crate where the program listens to it, on standard
//! error otherwise.
//!
//! A `tracing` subscriber is user code, which may take locks that a parked green thread holds. So nothing is reported in
//! a native section, nor by the monitor.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use tracing::subscriber::NoSubscriber;

use crate::hog::Blocked;

/// Reports something that somebody should look at.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    if is_heard() {
        tell(|| tracing::warn!(target: "greenpatch", "{message}"));
    } else {
        write_to_stderr(&format!("greenpatch: {message}\n"));
    }
}

/// Reports a green thread that keeps its worker to itself.
pub(crate) fn warn_of(blocked: &Blocked) {
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
    } else {
        warn(format_args!("{blocked}"));
    }
}

/// Calls the program's subscriber. If that panics, which std has reported, it concerns nobody else.
fn tell(warn: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(warn));
}

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
