//! How long to wait before the next worker is started, after workers that died before they were ready.

use std::time::{Duration, Instant};

/// The wait after the first such death; each further one doubles it. Short enough that a worker which lost a race at its start
/// is back before anybody notices.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait. A worker that cannot start costs little then, and one that could again is not kept waiting for long.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits that get longer from one failure to the next, until there is a success.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// A worker died before it was ready. Returns how long no other is started.
    pub(crate) fn failed(&mut self, now: Instant) -> Duration {
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
        wait
    }

    /// A worker is ready.
    pub(crate) fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    /// Until when no worker is started, if not now.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(now), None);
        let waits: Vec<_> = (0..9).map(|_| backoff.failed(now).as_millis()).collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(backoff.until(now), Some(now + LONGEST));
        assert_eq!(backoff.until(now + LONGEST), None);
        backoff.succeeded();
        assert_eq!(backoff.until(now), None);
        assert_eq!(backoff.failed(now), FIRST);
    }
}
