//! Sleeping, and limits to waiting.

use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::hook;
use crate::wait::interrupt::{End, Interrupted, Limits};

pub use crate::wait::interrupt::{Elapsed, timeout};

/// Puts the green thread to sleep for at least `duration`; an OS thread sleeps as with
/// [`std::thread::sleep`]. A duration of zero lets other green threads run. Deadline scopes and cancellation cut it short; [`checkpoint`](crate::checkpoint) tells.
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
    let _ = sleep_within_limits(Deadline::after(duration));
}

/// Sleeps until `deadline`, or fails if a deadline scope or a cancellation cuts that short.
pub(crate) fn sleep_within_limits(deadline: Deadline) -> Result<(), Interrupted> {
    match hook::enter_own() {
        Some(section) => section.sleep_until(deadline),
        None => sleep_in_kernel(deadline),
    }
}

/// The kernel's sleep, within the scopes of an OS thread.
fn sleep_in_kernel(deadline: Deadline) -> Result<(), Interrupted> {
    let limits = Limits::new(Some(deadline));
    loop {
        match limits.check() {
            Ok(()) => {}
            Err(End::Deadline) => return Ok(()),
            Err(End::Interrupted(interrupted)) => return Err(interrupted),
        }
        let until = limits.until().unwrap_or(deadline);
        std::thread::sleep(until.remaining());
    }
}

/// Puts the green thread to sleep until `deadline`.
pub fn sleep_until(deadline: Instant) {
    sleep(deadline.saturating_duration_since(Instant::now()));
}
