//! What one load of a server came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What can be told of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Quantity {
    /// Requests that were answered.
    Requests,
    /// Requests answered in a second.
    Rate,
    /// Seconds that all requests took together.
    Seconds,
    /// Microseconds of the server's processor time for a request.
    Processor,
    /// Milliseconds within which half of the requests were answered.
    Median,
    /// The same for 95 %.
    Percentile95,
    /// The same for 99 %.
    Percentile99,
    /// The same for 99.9 %.
    Percentile999,
    /// Requests that were not answered, or not well.
    Failures,
    /// The most mebibytes of memory of the server's, by proportional set size.
    Memory,
    /// The most mebibytes of address space of the server's.
    AddressSpace,
    /// The most requests that one connection had answered, to the fewest.
    Inequality,
}

impl Quantity {
    /// How a column says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Requests => "requests",
            Quantity::Rate => "requests/s",
            Quantity::Seconds => "s",
            Quantity::Processor => "CPU µs a request",
            Quantity::Median => "p50 ms",
            Quantity::Percentile95 => "p95 ms",
            Quantity::Percentile99 => "p99 ms",
            Quantity::Percentile999 => "p99.9 ms",
            Quantity::Failures => "failures",
            Quantity::Memory => "PSS MiB",
            Quantity::AddressSpace => "address space MiB",
            Quantity::Inequality => "most : fewest",
        }
    }
}

/// What one load of a server came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) values: BTreeMap<Quantity, f64>,
    /// What a load tells in words.
    pub(crate) text: Option<String>,
}

impl Outcome {
    pub(crate) fn set(&mut self, quantity: Quantity, value: f64) {
        self.values.insert(quantity, value);
    }

    pub(crate) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.values.get(&quantity).copied()
    }
}
