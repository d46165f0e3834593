//! Sleeping, and limits to waiting.

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::hook;
use crate::interrupt::Limits;

pub use crate::interrupt::{Elapsed, timeout};

/// Puts the green thread to sleep for at least `duration`; an OS thread sleeps as with
/// [`std::thread::sleep`]. Deadline scopes and cancellation cut it short; [`checkpoint`](crate::checkpoint) tells.
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
        // That it was cut short, `checkpoint` tells who wants to know.
        Some(section) => drop(section.sleep_until(Deadline::after(duration))),
        None => sleep_in_kernel(Deadline::after(duration)),
    }
}

/// The kernel's sleep, within the scopes of an OS thread.
fn sleep_in_kernel(deadline: Deadline) {
    let limits = Limits::new(Some(deadline));
    while limits.check().is_ok() {
        let until = limits.until().unwrap_or(deadline);
        std::thread::sleep(until.remaining());
    }
}

/// Puts the green thread to sleep until `deadline`.
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}
