//! A worker's figures at one moment, with names to them: what a worker tells its master, and what masters add up.
//!
//! [`Counters`] only grow while a worker lives, so those of several workers, also of gone ones, can be added. [`Gauges`] are a
//! worker's own. Both travel as JSON; a field that the other side does not know, or does not send, is no error, since a new
//! binary's workers and an old one's master may meet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observe::green_threads::{Group, Hog};
use crate::observe::histogram::Counts;
use crate::observe::metrics::{CLASSES, METHODS, Metrics, Refusal};
use crate::observe::process::{Backlog, ProcessFigures};

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
}

/// What only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    pub(crate) routes: BTreeMap<String, RouteCounts>,
    pub(crate) queue: Counts,
    pub(crate) content: u64,
    pub(crate) accepted: u64,
    pub(crate) pauses: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) cpu_microseconds: u64,
    pub(crate) lines_dropped: u64,
    pub(crate) runtime: RuntimeCounters,
}

/// What is counted by route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RouteCounts {
    /// By method, then by class of status.
    pub(crate) requests: BTreeMap<String, [u64; CLASSES.len()]>,
    pub(crate) duration: Counts,
}

/// What the runtime of green threads counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeCounters {
    pub(crate) spawned: u64,
    pub(crate) switches: u64,
    pub(crate) blocking_sections: u64,
    pub(crate) hogs: u64,
    pub(crate) spare_workers_called: u64,
}

/// What goes up and down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: u64,
    pub(crate) open: u64,
    pub(crate) backlogs: Vec<Backlog>,
    pub(crate) process: ProcessFigures,
    pub(crate) runtime: RuntimeGauges,
    /// Green threads by what they wait for, where somebody could look at them.
    pub(crate) waits: Vec<Group>,
    /// Green threads that have run for long without giving way, the last one first.
    pub(crate) hogs: Vec<Hog>,
}

/// The present state of the runtime of green threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeGauges {
    pub(crate) running: u64,
    pub(crate) runnable: u64,
    pub(crate) parked: u64,
    pub(crate) timers: u64,
    pub(crate) workers: u64,
    pub(crate) spare_workers: u64,
    /// Bytes of stack that are promised to living green threads, and to free slots that are kept for further ones.
    pub(crate) stacks_in_use: u64,
    pub(crate) stacks_pooled: u64,
}

impl Snapshot {
    /// What these have counted, and what the process and its runtimes use.
    pub(crate) fn of(metrics: &Metrics, runtimes: &[greenpatch::Metrics]) -> Snapshot {
        let process = ProcessFigures::now();
        let mut snapshot = Snapshot {
            counters: Counters {
                queue: metrics.queue.counts(),
                content: metrics.content.get(),
                accepted: metrics.accepted.get(),
                pauses: metrics.pauses.get(),
                cpu_microseconds: process.cpu_microseconds,
                ..Counters::default()
            },
            gauges: Gauges {
                in_flight: metrics.in_flight.get(),
                open: metrics.open.get(),
                process,
                ..Gauges::default()
            },
        };
        for (route, counts) in metrics.routes() {
            let by_method = METHODS.iter().zip(&counts.requests);
            let requests = by_method.map(|(method, counts)| {
                (
                    (*method).to_owned(),
                    counts.each_ref().map(|count| count.get()),
                )
            });
            let counts = RouteCounts {
                requests: requests
                    .filter(|(_, counts)| counts.iter().any(|it| *it > 0))
                    .collect(),
                duration: counts.duration.counts(),
            };
            let routes = &mut snapshot.counters.routes;
            routes.insert(route.name().to_owned(), counts);
        }
        for reason in Refusal::ALL {
            let refused = &mut snapshot.counters.refused;
            refused.insert(reason.name().to_owned(), metrics.refused(reason).get());
        }
        for runtime in runtimes {
            snapshot.counters.runtime.add(&RuntimeCounters::of(runtime));
            snapshot.gauges.runtime.add(runtime);
        }
        snapshot
    }
}

impl Counters {
    pub(crate) fn add(&mut self, other: &Counters) {
        for (route, counts) in &other.routes {
            self.routes.entry(route.clone()).or_default().add(counts);
        }
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        self.queue.add(&other.queue);
        self.content += other.content;
        self.accepted += other.accepted;
        self.pauses += other.pauses;
        self.cpu_microseconds += other.cpu_microseconds;
        self.lines_dropped += other.lines_dropped;
        self.runtime.add(&other.runtime);
    }
}

impl RouteCounts {
    fn add(&mut self, other: &RouteCounts) {
        for (method, counts) in &other.requests {
            let mine = self.requests.entry(method.clone()).or_default();
            for (mine, theirs) in mine.iter_mut().zip(counts) {
                *mine += theirs;
            }
        }
        self.duration.add(&other.duration);
    }
}

impl RuntimeCounters {
    fn of(runtime: &greenpatch::Metrics) -> RuntimeCounters {
        RuntimeCounters {
            spawned: runtime.spawned,
            switches: runtime.switches,
            blocking_sections: runtime.blocking_sections,
            hogs: runtime.hogs,
            spare_workers_called: runtime.spare_workers_called,
        }
    }

    fn add(&mut self, other: &RuntimeCounters) {
        self.spawned += other.spawned;
        self.switches += other.switches;
        self.blocking_sections += other.blocking_sections;
        self.hogs += other.hogs;
        self.spare_workers_called += other.spare_workers_called;
    }
}

impl RuntimeGauges {
    fn add(&mut self, runtime: &greenpatch::Metrics) {
        self.running += runtime.running as u64;
        self.runnable += runtime.runnable as u64;
        self.parked += runtime.parked as u64;
        self.timers += runtime.timers as u64;
        self.workers += runtime.workers as u64;
        self.spare_workers += runtime.spare_workers as u64;
        // Slots are the process's, whichever runtime tells of them.
        let bytes = |count: fn(&greenpatch::SlotMetrics) -> usize| -> u64 {
            let slots = runtime.slots.iter();
            slots.map(|it| (it.stack_size * count(it)) as u64).sum()
        };
        self.stacks_in_use = bytes(|slots| slots.in_use);
        self.stacks_pooled = bytes(|slots| slots.pooled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::route::Route;

    #[test]
    fn it_travels_as_json() {
        let metrics = Metrics::new();
        metrics.in_flight.enter();
        metrics.accepted.add(7);
        let route = metrics.of_route(Route::new("/snapshot-test"));
        route.requests[0][2].add(5);
        route.duration.add(std::time::Duration::from_millis(3));
        let snapshot = Snapshot::of(&metrics, &[]);
        let json = serde_json::to_string(&snapshot).unwrap();
        let back: Snapshot = serde_json::from_str(&json).unwrap();
        assert_eq!(back, snapshot);
        assert_eq!(back.counters.routes["/snapshot-test"].requests["GET"][2], 5);
        assert_eq!((back.gauges.in_flight, back.counters.accepted), (1, 7));
    }

    #[test]
    fn another_versions_fields_are_no_error() {
        let json = r#"{"counters": {"accepted": 3, "of_next_year": 1}, "more": []}"#;
        let snapshot: Snapshot = serde_json::from_str(json).unwrap();
        assert_eq!(snapshot.counters.accepted, 3);
    }

    #[test]
    fn a_runtimes_figures_are_in_it() {
        let runtime = greenpatch::Runtime::builder().workers(1).build().unwrap();
        let figures = runtime.run(|| greenpatch::metrics().unwrap());
        let snapshot = Snapshot::of(&Metrics::new(), &[figures]);
        let RuntimeGauges {
            running,
            workers,
            stacks_in_use,
            ..
        } = snapshot.gauges.runtime;
        assert_eq!((running, workers), (1, 1));
        assert!(stacks_in_use >= 64 << 10);
        assert_eq!(snapshot.counters.runtime.spawned, 1);
    }
}
