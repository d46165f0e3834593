//! The `tracing` span in which the code of a green thread runs, with the feature `tracing`; without it, nothing.
//!
//! `tracing` keeps the spans that are entered in thread-local storage, and a green thread has its own; so a span is
//! entered once, as the code begins, and switches leave it alone. Without a subscriber that is a look at one word.

use std::ffi::CStr;

#[cfg(feature = "tracing")]
use tracing::{Metadata, Span, field::Empty, info_span};

#[cfg(feature = "tracing")]
const TARGET: &str = "greenpatch";
#[cfg(feature = "tracing")]
const NAME: &str = "green_thread";

/// Runs `f`, the code of the green thread with this id and name, in its span; a name may be
/// [recorded](record_name) later.
#[cfg(feature = "tracing")]
pub(crate) fn enter<T>(id: u64, name: Option<&str>, f: impl FnOnce() -> T) -> T {
    let span = match name {
        Some(name) => info_span!(target: TARGET, NAME, id, name),
        None => info_span!(target: TARGET, NAME, id, name = Empty),
    };
    span.in_scope(f)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn enter<T>(_id: u64, _name: Option<&str>, f: impl FnOnce() -> T) -> T {
    f()
}

/// The calling green thread has given itself a name: std's threads do so as they begin.
#[cfg(feature = "tracing")]
pub(crate) fn record_name(name: &CStr) {
    let span = Span::current();
    let is_ours = |metadata: &Metadata<'_>| metadata.target() == TARGET && metadata.name() == NAME;
    if span.metadata().is_some_and(is_ours)
        && let Ok(name) = name.to_str()
    {
        span.record("name", name);
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn record_name(_name: &CStr) {}
