//! What a worker counts as it serves. Every count is an atomic of its own, found by number and not by name, so that counting a
//! request costs a few additions; names are put to them when somebody asks ([`snapshot`](crate::observe::snapshot)).

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};

use crate::observe::histogram::Histogram;
use crate::observe::route::{MOST, Route};

/// The methods that are told apart, and what others are called: a client may invent any number of them.
pub(crate) const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "other",
];

/// Where a method stands among [`METHODS`].
pub(crate) fn method_number(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::PATCH => 5,
        Method::OPTIONS => 6,
        Method::CONNECT => 7,
        Method::TRACE => 8,
        _ => 9,
    }
}

/// Classes of status codes, 1xx to 5xx, and requests that got no answer.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where a status stands among [`CLASSES`].
pub(crate) fn class_number(status: Option<StatusCode>) -> usize {
    match status {
        Some(status) => usize::from(status.as_u16() / 100).min(5),
        None => 0,
    }
}

/// Why a connection, or what came on it, never became a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The process or the machine has no more file descriptors.
    Descriptors,
    /// The kernel has no memory for it.
    Memory,
    /// The TLS handshake failed.
    Tls,
    /// The PROXY protocol's header was missing, malformed, or from somebody who may not send one.
    Proxy,
    /// No head of a request came in time.
    Timeout,
    /// The head of a request was malformed.
    Malformed,
    /// A limit was exceeded.
    Limit,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 7] = [
        Refusal::Descriptors,
        Refusal::Memory,
        Refusal::Tls,
        Refusal::Proxy,
        Refusal::Timeout,
        Refusal::Malformed,
        Refusal::Limit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Descriptors => "descriptors",
            Refusal::Memory => "memory",
            Refusal::Tls => "tls",
            Refusal::Proxy => "proxy",
            Refusal::Timeout => "timeout",
            Refusal::Malformed => "malformed",
            Refusal::Limit => "limit",
        }
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are at present.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Undoes one [`Gauge::enter`].
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A worker's counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Requests whose head is there and whose response has not ended.
    pub(crate) in_flight: Gauge,
    /// From the head of a request to the beginning of its handler, where it waited for a thread.
    pub(crate) queue: Histogram,
    /// Bytes of content in responses.
    pub(crate) content: Counter,
    /// Connections.
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    /// How often accepting was stopped, since there were as many connections as there may be.
    pub(crate) pauses: Counter,
    refused: [Counter; Refusal::ALL.len()],
    /// By the number of the route; made when it has answered something.
    routes: Box<[OnceLock<Box<RouteMetrics>>]>,
}

/// What is counted by route.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    /// By method and class of status.
    pub(crate) requests: [[Counter; CLASSES.len()]; METHODS.len()],
    /// From a request's head to the end of its response; empty where nobody measures.
    pub(crate) duration: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics {
            in_flight: Gauge::default(),
            queue: Histogram::default(),
            content: Counter::default(),
            open: Gauge::default(),
            accepted: Counter::default(),
            pauses: Counter::default(),
            refused: array::from_fn(|_| Counter::default()),
            routes: (0..MOST).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(crate) fn of_route(&self, route: Route) -> &RouteMetrics {
        self.routes[route.number()].get_or_init(Box::default)
    }

    /// Those that have answered something.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Route, &RouteMetrics)> {
        let all = self.routes.iter().enumerate();
        all.filter_map(|(number, place)| Some((Route::numbered(number), &**place.get()?)))
    }

    pub(crate) fn refused(&self, reason: Refusal) -> &Counter {
        &self.refused[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_among_the_names() {
        for (number, name) in METHODS.into_iter().enumerate() {
            assert_eq!(method_number(&name.parse().unwrap()), number);
        }
        assert_eq!(method_number(&"BREW".parse().unwrap()), METHODS.len() - 1);
        for (status, name) in [(101, "1xx"), (204, "2xx"), (404, "4xx"), (599, "5xx")] {
            let status = StatusCode::from_u16(status).ok();
            assert_eq!(CLASSES[class_number(status)], name);
        }
        assert_eq!(CLASSES[class_number(None)], "none");
        assert_eq!(CLASSES[class_number(StatusCode::from_u16(999).ok())], "5xx");
    }

    #[test]
    fn reasons_are_told_apart() {
        let metrics = Metrics::new();
        for (times, reason) in Refusal::ALL.into_iter().enumerate() {
            metrics.refused(reason).add(times as u64);
        }
        let counts = Refusal::ALL.map(|reason| metrics.refused(reason).get());
        assert_eq!(counts, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn routes_that_have_answered_nothing_are_not_listed() {
        let metrics = Metrics::new();
        let [used, _unused] = ["/metrics-test/used", "/metrics-test/unused"].map(Route::new);
        metrics.of_route(used).requests[0][2].add(3);
        let listed: Vec<_> = (metrics.routes())
            .map(|(route, metrics)| (route, metrics.requests[0][2].get()))
            .collect();
        assert_eq!(listed, [(used, 3)]);
    }
}
