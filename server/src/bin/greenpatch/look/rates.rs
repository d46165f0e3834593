//! Rates and quantiles: what has changed in the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{Latency, Requests, RouteRow};
use super::told::{Counters, RouteCounts};
use super::watch::{Process, Sample};

/// Rates and quantiles are those of this time.
const SPAN: Duration = Duration::from_secs(10);

/// Samples of the last seconds, from which frames are made.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Moment>);

/// What is counted, by process.
#[derive(Clone, Debug)]
struct Moment {
    at: Instant,
    processes: BTreeMap<u32, Counted>,
}

#[derive(Clone, Debug, Default)]
struct Counted {
    switches: u64,
    counters: Counters,
    processor_time: Option<Duration>,
}

impl Counted {
    fn of(process: &Process) -> Counted {
        let server = process.server.as_ref();
        let switches = process.runtimes.iter().map(|it| it.metrics.switches);
        Counted {
            switches: switches.sum(),
            counters: server.map_or_else(Counters::default, |it| it.figures.counters.clone()),
            processor_time: process.usage.map(|usage| usage.processor_time),
        }
    }
}

/// What a process has counted since the first moment that it is known of, and in how many seconds.
pub(super) struct Change {
    pub(super) seconds: f64,
    switches: u64,
    pub(super) processor_time: Option<Duration>,
    pub(super) routes: BTreeMap<String, RouteChange>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RouteChange {
    pub(super) requests: u64,
    errors: u64,
    buckets: Vec<u64>,
}

impl RouteChange {
    fn add(&mut self, other: &RouteChange) {
        self.requests += other.requests;
        self.errors += other.errors;
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    fn between(before: Option<&RouteCounts>, after: &RouteCounts) -> RouteChange {
        // By class of status: none, 1xx to 5xx.
        let all = |counts: &RouteCounts| counts.requests.values().flatten().sum::<u64>();
        let failed = |counts: &RouteCounts| -> u64 {
            let classes = counts.requests.values();
            classes.filter_map(|classes| classes.get(5)).sum()
        };
        let old = |index: usize| -> u64 {
            let bucket = before.and_then(|before| before.duration.buckets.get(index));
            bucket.copied().unwrap_or(0)
        };
        let buckets = after.duration.buckets.iter().enumerate();
        RouteChange {
            requests: all(after).saturating_sub(before.map_or(0, all)),
            errors: failed(after).saturating_sub(before.map_or(0, failed)),
            buckets: buckets
                .map(|(index, count)| count.saturating_sub(old(index)))
                .collect(),
        }
    }
}

impl History {
    /// Adds a sample; older ones than are needed are let go.
    pub(super) fn add(&mut self, sample: &Sample) {
        let processes = sample.processes.iter();
        self.0.push_back(Moment {
            at: sample.at,
            processes: processes.map(|it| (it.process, Counted::of(it))).collect(),
        });
        while self.0.len() > 2 && sample.at - self.0[1].at >= SPAN {
            self.0.pop_front();
        }
    }

    /// What a process has counted, of which the last sample tells.
    pub(super) fn change(&self, process: u32) -> Option<Change> {
        let last = self.0.back()?;
        let first = (self.0.iter()).find(|moment| moment.processes.contains_key(&process))?;
        let (before, after) = (&first.processes[&process], last.processes.get(&process)?);
        let seconds = (last.at - first.at).as_secs_f64();
        let routes = after.counters.routes.iter().map(|(route, counts)| {
            let before = before.counters.routes.get(route);
            (route.clone(), RouteChange::between(before, counts))
        });
        (seconds > 0.0).then(|| Change {
            seconds,
            switches: after.switches.saturating_sub(before.switches),
            processor_time: after
                .processor_time
                .zip(before.processor_time)
                .map(|(after, before)| after.saturating_sub(before)),
            routes: routes.collect(),
        })
    }
}

/// Rates of all processes together.
#[derive(Default)]
pub(super) struct Rates {
    pub(super) switches: Option<f64>,
    /// By route: what has changed, and its requests and errors a second.
    routes: BTreeMap<String, (RouteChange, Option<(f64, f64)>)>,
    bounds: Vec<f64>,
}

impl Rates {
    /// Adds those of a process.
    pub(super) fn add(&mut self, process: &Process, change: Option<&Change>) {
        let Some(server) = &process.server else {
            return self.add_switches(change);
        };
        self.add_switches(change);
        if self.bounds.is_empty() {
            self.bounds.clone_from(&server.bounds);
        }
        for name in server.figures.counters.routes.keys() {
            let (sum, rates) = self.routes.entry(name.clone()).or_default();
            let Some(change) = change else { continue };
            let Some(route) = change.routes.get(name) else {
                continue;
            };
            sum.add(route);
            let (requests, errors) = rates.unwrap_or_default();
            *rates = Some((
                requests + route.requests as f64 / change.seconds,
                errors + route.errors as f64 / change.seconds,
            ));
        }
    }

    fn add_switches(&mut self, change: Option<&Change>) {
        if let Some(change) = change {
            let rate = change.switches as f64 / change.seconds;
            self.switches = Some(self.switches.unwrap_or(0.0) + rate);
        }
    }

    fn latency(&self, buckets: &[u64]) -> Latency {
        let at = |share| quantile(buckets, &self.bounds, share);
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }

    /// All requests together, if there is a server.
    pub(super) fn requests(&self, processes: &[Process]) -> Option<Requests> {
        let servers = processes.iter().filter(|process| process.server.is_some());
        let serving: Vec<&Process> = servers.filter(|process| !process.is_master).collect();
        if serving.is_empty() {
            return None;
        }
        let mut sum = RouteChange::default();
        let mut rates: Option<(f64, f64)> = None;
        for (change, rate) in self.routes.values() {
            sum.add(change);
            if let Some((requests, errors)) = rate {
                let before = rates.unwrap_or_default();
                rates = Some((before.0 + requests, before.1 + errors));
            }
        }
        // Without a route nothing was asked for yet.
        let is_measured = self.switches.is_some();
        let rates = rates.or(is_measured.then_some((0.0, 0.0)));
        let gauges = serving.iter().filter_map(|process| process.server.as_ref());
        let gauges: Vec<_> = gauges.flat_map(|it| it.figures.gauges.values()).collect();
        Some(Requests {
            per_second: rates.map(|rates| rates.0),
            errors_per_second: rates.map(|rates| rates.1),
            in_flight: gauges.iter().map(|gauges| gauges.in_flight).sum(),
            connections: gauges.iter().map(|gauges| gauges.open).sum(),
            latency: self.latency(&sum.buckets),
        })
    }

    /// Requests by route.
    pub(super) fn routes(&self) -> Vec<RouteRow> {
        let rows = self.routes.iter().map(|(name, (change, rates))| RouteRow {
            route: match name.is_empty() {
                true => "(none)".to_owned(),
                false => name.clone(),
            },
            per_second: rates.map(|rates| rates.0),
            errors_per_second: rates.map(|rates| rates.1),
            latency: self.latency(&change.buckets),
        });
        rows.collect()
    }
}

/// Where in its bucket a value lies is not known; it is taken to be spread evenly.
fn quantile(buckets: &[u64], bounds: &[f64], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = share * all as f64;
    let mut before = 0.0;
    for (index, &count) in buckets.iter().enumerate() {
        let count = count as f64;
        if count > 0.0 && before + count >= wanted {
            let Some(high) = bounds.get(index) else {
                return Some(f64::INFINITY);
            };
            let low = match index {
                0 => 0.0,
                _ => bounds[index - 1],
            };
            return Some(low + (high - low) * (wanted - before) / count);
        }
        before += count;
    }
    Some(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::frame::{Frame, Sort, View};
    use crate::look::told::{Counts, Figures, Metrics, Runtime, Server};

    fn view() -> View {
        View {
            sort: Sort::Id,
            is_reversed: false,
            filter: String::new(),
        }
    }

    fn server(requests: u64, failed: u64, buckets: [u64; 3]) -> Server {
        let counts = RouteCounts {
            requests: [(
                "GET".to_owned(),
                vec![0, 0, requests - failed, 0, 0, failed],
            )]
            .into(),
            duration: Counts {
                buckets: buckets.into(),
            },
        };
        Server {
            bounds: vec![0.1, 0.2],
            figures: Figures {
                counters: Counters {
                    routes: [("/a".to_owned(), counts)].into(),
                },
                ..Figures::default()
            },
            ..Server::default()
        }
    }

    #[test]
    fn rates_and_quantiles_are_those_of_the_time_between_samples() {
        let start = Instant::now();
        let at = |seconds: u64, server: Server, switches: u64| {
            let process = Process {
                process: 7,
                runtimes: vec![Runtime {
                    metrics: Metrics {
                        switches,
                        ..Metrics::default()
                    },
                    ..Runtime::default()
                }],
                server: Some(server),
                ..Process::default()
            };
            Sample {
                at: start + Duration::from_secs(seconds),
                processes: vec![process],
                troubles: Vec::new(),
            }
        };
        let mut history = History::default();
        let first = at(0, server(100, 10, [100, 0, 0]), 1000);
        history.add(&first);
        let requests = Frame::new(&first, &history, &view())
            .requests
            .expect("a server");
        assert_eq!(requests.per_second, None, "one sample has no rate");
        let second = at(2, server(120, 14, [110, 10, 0]), 1500);
        history.add(&second);
        let frame = Frame::new(&second, &history, &view());
        let requests = frame.requests.expect("a server");
        assert_eq!(requests.per_second, Some(10.0));
        assert_eq!(requests.errors_per_second, Some(2.0));
        assert_eq!(requests.latency.p50, Some(0.1));
        assert_eq!(frame.green_threads.switches_per_second, Some(250.0));
        assert_eq!(frame.routes[0].per_second, Some(10.0));
        // After the span what was before does not count.
        for seconds in 3..15 {
            history.add(&at(seconds, server(120, 14, [110, 10, 0]), 1500));
        }
        let last = at(15, server(120, 14, [110, 10, 0]), 1500);
        history.add(&last);
        let requests = Frame::new(&last, &history, &view()).requests;
        let requests = requests.expect("a server");
        assert_eq!(requests.per_second, Some(0.0));
        assert_eq!(requests.latency, Latency::default());
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let bounds = [1.0, 2.0];
        assert_eq!(quantile(&[0, 0, 0], &bounds, 0.5), None);
        assert_eq!(quantile(&[0, 10, 0], &bounds, 0.5), Some(1.5));
        assert_eq!(quantile(&[10, 0, 10], &bounds, 0.5), Some(1.0));
        assert_eq!(quantile(&[0, 0, 1], &bounds, 0.5), Some(f64::INFINITY));
    }
}
