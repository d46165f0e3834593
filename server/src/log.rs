//! Log lines on standard error, in gunicorn's shape:
//! `[2026-01-01 12:00:00 +0000] [4711] [INFO] Starting greenpatch 0.1.0`.

use std::fmt;
use std::io::{self, Write};
use std::process;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something usual.
    Info,
    /// Something that the operator should look at.
    Warning,
    /// Something that went wrong.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        })
    }
}

/// Writes one line, whole, so that lines of several threads do not mix.
///
/// A standard error that cannot be written to is no reason to stop serving: the line is lost.
pub fn line(level: Level, message: impl fmt::Display) {
    let now = jiff::Zoned::now();
    let text = format!(
        "[{}] [{}] [{level}] {message}\n",
        now.strftime("%Y-%m-%d %H:%M:%S %z"),
        process::id(),
    );
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes a line of level [`Level::Info`].
pub fn info(message: impl fmt::Display) {
    line(Level::Info, message);
}

/// Writes a line of level [`Level::Warning`].
pub fn warning(message: impl fmt::Display) {
    line(Level::Warning, message);
}

/// Writes a line of level [`Level::Error`].
pub fn error(message: impl fmt::Display) {
    line(Level::Error, message);
}
