//! Looking into processes that run green threads: `greenpatch top` and `greenpatch dump`.
//!
//! | file | what |
//! |---|---|
//! | `session` | a connection to a process, and its requests |
//! | `told` | what processes tell, as far as it is shown |
//! | `dump` | `greenpatch dump` |
//! | `watch` | one process, or a server's master and its workers, asked again and again |
//! | `frame`, `rates` | what is shown at one time: rows in order, rates and quantiles |
//! | `units` | numbers for people |
//! | `text` | a frame as text, for `--once` and where standard output is no terminal |
//! | `screen`, `keys` | a frame on a terminal, and what keys do |
//! | `top` | `greenpatch top` |
//!
//! The way into a process is the runtime's: see [`greenpatch::attach`].

pub(crate) mod dump;
mod frame;
#[cfg(feature = "top")]
mod keys;
mod rates;
#[cfg(feature = "top")]
mod screen;
mod session;
mod text;
mod told;
pub(crate) mod top;
mod units;
mod watch;

pub(crate) use frame::Sort;
