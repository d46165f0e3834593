//! The `tracing` span in which the code of a green thread runs.
//!
//! `tracing` keeps the spans that are entered in thread-local storage, and a green thread has its own; so a span is
//! entered once, as the code begins, and switches leave it alone. Without a subscriber that is a look at one word.

use std::ffi::CStr;

use tracing::field::Empty;
use tracing::{Span, info_span};

const TARGET: &str = "greenpatch";
const NAME: &str = "green_thread";

/// The span of the green thread with this id and name; a name may be [recorded](record_name) later.
pub(crate) fn of(id: u64, name: Option<&str>) -> Span {
    match name {
        Some(name) => info_span!(target: TARGET, NAME, id, name),
        None => info_span!(target: TARGET, NAME, id, name = Empty),
    }
}

/// The calling green thread has given itself a name: std's threads do so as they begin.
pub(crate) fn record_name(name: &CStr) {
    let span = Span::current();
    let is_ours =
        |metadata: &tracing::Metadata<'_>| metadata.target() == TARGET && metadata.name() == NAME;
    if span.metadata().is_some_and(is_ours)
        && let Ok(name) = name.to_str()
    {
        span.record("name", name);
    }
}
