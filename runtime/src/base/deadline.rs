//! Points in time on the monotonic clock.
//!
//! Everything that waits takes an `Option<Deadline>`; `None` waits without limit.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A point on `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// The present moment.
    pub fn now() -> Deadline {
        Deadline::from_monotonic(clock_gettime(ClockId::Monotonic))
    }

    /// The present moment as of the kernel's last tick: some milliseconds old, and cheap.
    pub(crate) fn now_coarse() -> Deadline {
        Deadline::from_monotonic(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// `duration` from now; durations too long to count saturate at some 584 years.
    pub fn after(duration: Duration) -> Deadline {
        Deadline::now().plus(duration)
    }

    /// `duration` later; saturates as [`after`](Self::after).
    pub(crate) fn plus(self, duration: Duration) -> Deadline {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline(self.0.saturating_add(nanos))
    }

    /// A reading of `CLOCK_MONOTONIC`; readings before its start count as its start.
    pub fn from_monotonic(time: Timespec) -> Deadline {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Deadline(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// A reading of `CLOCK_REALTIME`, carried over to the monotonic clock as the two stand now.
    ///
    /// A later step of the real-time clock does not move the deadline.
    pub fn from_realtime(time: Timespec) -> Deadline {
        let target = Deadline::from_monotonic(time).0;
        let real = Deadline::from_monotonic(clock_gettime(ClockId::Realtime)).0;
        Deadline(
            Deadline::now()
                .0
                .saturating_add(target.saturating_sub(real)),
        )
    }

    /// Nanoseconds since the start of the monotonic clock.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The deadline at this many nanoseconds of the monotonic clock.
    pub fn from_nanos(nanos: u64) -> Deadline {
        Deadline(nanos)
    }

    /// How long after `earlier` this is; zero if it is not.
    pub(crate) fn since(self, earlier: Deadline) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it is past.
    pub(crate) fn elapsed(self) -> Duration {
        Deadline::now().since(self)
    }

    /// How long until the deadline; zero if it has passed.
    pub fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Deadline::now().0))
    }

    /// How long until the deadline, as system calls take it.
    pub(crate) fn timeout(self) -> Timespec {
        let remaining = self.remaining();
        Timespec {
            tv_sec: i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: remaining.subsec_nanos().into(),
        }
    }

    /// Whether the deadline has passed.
    pub fn has_passed(self) -> bool {
        self <= Deadline::now()
    }
}
