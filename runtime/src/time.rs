//! Sleeping.

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::hook;

/// Puts the green thread to sleep for at least `duration`; an OS thread sleeps as with
/// [`std::thread::sleep`].
///
/// ```
/// use std::time::{Duration, Instant};
///
/// greenpatch_runtime::run(|| {
///     let start = Instant::now();
///     greenpatch_runtime::time::sleep(Duration::from_millis(5));
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
pub fn sleep(duration: Duration) {
    match hook::enter_own() {
        Some(section) => section.sleep_until(Deadline::after(duration)),
        None => std::thread::sleep(duration),
    }
}

/// Puts the green thread to sleep until `deadline`.
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}
