//! How durations are spread: a count for each of a few buckets, and their sum.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets but the last, in seconds: those of Prometheus's client libraries, and some more on either side,
/// since a response may take a tenth of their least, and a long poll longer than their last.
pub(crate) const BOUNDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// The same in nanoseconds.
const NANOSECONDS: [u64; BOUNDS.len()] = {
    let mut all = [0; BOUNDS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = (BOUNDS[at] * 1e9) as u64;
        at += 1;
    }
    all
};

/// A histogram that many threads add to.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(crate) fn add(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = NANOSECONDS.partition_point(|bound| *bound < nanoseconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            buckets: self.buckets.each_ref().map(|it| it.load(Ordering::Relaxed)),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// What a histogram, or several together, have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    buckets: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.nanoseconds = self.nanoseconds.saturating_add(other.nanoseconds);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the durations.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    /// Upper bounds, and how many are in each bucket.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for microseconds in [0, 500, 501, 1000, 60_000_000, 60_000_001] {
            histogram.add(Duration::from_micros(microseconds));
        }
        histogram.add(Duration::ZERO);
        let counts = histogram.counts();
        let of = |bound| counts.buckets().iter().find(|it| it.0 == bound).unwrap().1;
        assert_eq!((of(0.0005), of(0.001), of(0.0025)), (3, 2, 0));
        assert_eq!((of(60.0), of(f64::INFINITY)), (1, 1));
        assert_eq!(counts.count(), 7);
        assert_eq!(counts.seconds(), 120.002002);
    }

    #[test]
    fn a_duration_without_end_is_counted() {
        let histogram = Histogram::default();
        histogram.add(Duration::MAX);
        assert_eq!(histogram.counts().count(), 1);
    }
}
