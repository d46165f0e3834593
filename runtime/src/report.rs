//! What the runtime says without being asked: through the `tracing` crate where the program listens to it, on standard
//! error otherwise.
//!
//! A `tracing` subscriber is user code, which may take locks that a parked green thread holds. So nothing is reported in
//! a native section, nor by the monitor.

use std::fmt;

use tracing::subscriber::NoSubscriber;

/// Reports something that somebody should look at.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    let is_heard = tracing::dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>());
    if is_heard {
        tracing::warn!(target: "greenpatch", "{message}");
    } else {
        write_to_stderr(&format!("greenpatch: {message}\n"));
    }
}

/// Without std's lock on standard error.
fn write_to_stderr(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
