//! Trying again after a while, where nothing tells that there may be something.

use std::time::Duration;

use rustix::io::Errno;

use super::call::Patience;
use super::sleep;
use crate::base::deadline::Deadline;

/// As [`Call::retry`](super::call::Call::retry) for the calls whose `EAGAIN` no readiness event ends: looks again after 0.5 ms,
/// then after ever longer times up to 10 ms. Sleeps in between, on threads of either kind.
///
/// # Errors
///
/// What `attempt` gives; what `patience` gives; `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts the
/// wait short.
pub fn retry_by_timer<T>(
    patience: impl FnOnce() -> Patience,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    const FIRST: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(10);

    let outcome = attempt();
    if !matches!(outcome, Err(Errno::AGAIN)) {
        return outcome;
    }
    let deadline = patience()?;
    let mut pause = FIRST;
    loop {
        let next = Deadline::after(pause);
        sleep::within_limits(deadline.map_or(next, |deadline| deadline.min(next)))?;
        let outcome = attempt();
        let again = matches!(outcome, Err(Errno::AGAIN));
        if !again || deadline.is_some_and(Deadline::has_passed) {
            return outcome;
        }
        pause = (pause * 2).min(LONGEST);
    }
}
