//! Why a runtime could not be built.

use std::ffi::CStr;
use std::{error, fmt, io};

use crate::base::glibc;

/// Why a runtime could not be built: cause, value and remedy.
#[derive(Debug)]
pub struct BuildError {
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    MissingSymbol(&'static CStr),
    UnknownLayout(&'static str),
    System {
        action: &'static str,
        source: io::Error,
    },
    Setting {
        name: &'static str,
        value: String,
        remedy: &'static str,
    },
}

impl BuildError {
    pub(crate) fn missing_symbol(name: &'static CStr) -> BuildError {
        BuildError {
            cause: Cause::MissingSymbol(name),
        }
    }

    pub(crate) fn unknown_layout(what: &'static str) -> BuildError {
        BuildError {
            cause: Cause::UnknownLayout(what),
        }
    }

    pub(crate) fn system(action: &'static str, errno: i32) -> BuildError {
        BuildError::io(action, io::Error::from_raw_os_error(errno))
    }

    pub(crate) fn io(action: &'static str, source: impl Into<io::Error>) -> BuildError {
        BuildError {
            cause: Cause::System {
                action,
                source: source.into(),
            },
        }
    }

    pub(crate) fn setting(name: &'static str, value: String, remedy: &'static str) -> BuildError {
        BuildError {
            cause: Cause::Setting {
                name,
                value,
                remedy,
            },
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::MissingSymbol(name) => write!(
                f,
                "this C library (glibc {}) has no symbol '{}', which green threads need for their \
                 own thread-local storage; use glibc 2.34 or later, linked dynamically",
                glibc::version(),
                name.to_string_lossy()
            ),
            Cause::UnknownLayout(what) => write!(
                f,
                "this C library (glibc {}) lays out its {what} in a way this version does not know; \
                 use a later version of greenpatch",
                glibc::version()
            ),
            Cause::System { action, source } => write!(f, "cannot {action}: {source}"),
            Cause::Setting {
                name,
                value,
                remedy,
            } => {
                write!(f, "setting {name} cannot be '{value}'; {remedy}")
            }
        }
    }
}

impl error::Error for BuildError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.cause {
            Cause::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
