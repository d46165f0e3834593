//! Sleeping within the limits of deadline scopes and cancellation, on threads of either kind.

use super::interrupt::{Interrupted, Limits, WaitEnd};
use super::section::{self, Section};
use crate::base::deadline::Deadline;
use crate::base::reason::Packed;

/// Sleeps until `deadline`, or fails if a deadline scope or a cancellation cuts that short.
pub(crate) fn within_limits(deadline: Deadline) -> Result<(), Interrupted> {
    match section::enter_own() {
        Some(section) => section.sleep_until(deadline),
        None => in_kernel(deadline),
    }
}

impl Section {
    /// Puts the green thread to sleep until `deadline`; if that has passed, lets others run.
    ///
    /// # Errors
    ///
    /// Returns early if a deadline scope or a cancellation cuts the sleep short. Others run before that in any case.
    pub fn sleep_until(&self, deadline: Deadline) -> Result<(), Interrupted> {
        let green = self.green();
        let limits = Limits::new(Some(deadline));
        if let Err(cancelled) = limits.check_cancelled() {
            green.yield_now();
            return Err(cancelled);
        }
        if deadline.has_passed() {
            green.yield_now();
        }
        while !deadline.has_passed() {
            green.park_until(green, limits.until(), Packed::SLEEP);
            match limits.check() {
                Ok(()) => {}
                Err(WaitEnd::Deadline) => return Ok(()),
                Err(WaitEnd::Interrupted(interrupted)) => return Err(interrupted),
            }
        }
        Ok(())
    }

    /// As [`sleep_until`](Self::sleep_until), and not cut short: between two looks at something that is not to be
    /// interrupted.
    pub fn pause_until(&self, deadline: Deadline) {
        let green = self.green();
        while !deadline.has_passed() {
            green.park_until(green, Some(deadline), Packed::SLEEP);
        }
    }
}

/// The kernel's sleep, within the scopes of an OS thread.
fn in_kernel(deadline: Deadline) -> Result<(), Interrupted> {
    let limits = Limits::new(Some(deadline));
    loop {
        match limits.check() {
            Ok(()) => {}
            Err(WaitEnd::Deadline) => return Ok(()),
            Err(WaitEnd::Interrupted(interrupted)) => return Err(interrupted),
        }
        let until = limits.until().unwrap_or(deadline);
        std::thread::sleep(until.remaining());
    }
}
