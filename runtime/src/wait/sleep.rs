//! Sleeping within the limits of deadline scopes and cancellation, on threads of either kind.

use super::interrupt::{End, Interrupted, Limits};
use super::section;
use crate::base::deadline::Deadline;

/// Sleeps until `deadline`, or fails if a deadline scope or a cancellation cuts that short.
pub(crate) fn within_limits(deadline: Deadline) -> Result<(), Interrupted> {
    match section::enter_own() {
        Some(section) => section.sleep_until(deadline),
        None => in_kernel(deadline),
    }
}

/// The kernel's sleep, within the scopes of an OS thread.
fn in_kernel(deadline: Deadline) -> Result<(), Interrupted> {
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
