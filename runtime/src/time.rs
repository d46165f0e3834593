//! Sleeping, and limits to waiting.

use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::wait::sleep;

pub use crate::wait::interrupt::{Elapsed, timeout};

/// Puts the green thread to sleep for at least `duration`; an OS thread sleeps as with [`std::thread::sleep`]. A duration
/// of zero lets other green threads run. Deadline scopes and cancellation cut it short; [`checkpoint`](crate::checkpoint)
/// tells.
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
    // That it was cut short, `checkpoint` tells who wants to know.
    let _ = sleep::within_limits(Deadline::after(duration));
}

/// Puts the green thread to sleep until `deadline`.
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}
