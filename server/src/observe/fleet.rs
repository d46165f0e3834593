//! The master's view of its workers: their states, what they have told last, and what those that are gone had counted.
//!
//! Counters never go backwards: when a worker is gone, what it had told last stays in the sum. What it counted after that is
//! lost with it, if it was killed; a worker that drains tells its figures at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::observe::admin::{Readiness, Source};
use crate::observe::exposition::Figures;
use crate::observe::snapshot::{Counters, Snapshot};

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkerState {
    /// It was started, and serves nothing yet.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has.
    Draining,
}

impl WorkerState {
    pub(crate) const ALL: [WorkerState; 3] = [
        WorkerState::Starting,
        WorkerState::Ready,
        WorkerState::Draining,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            WorkerState::Starting => "starting",
            WorkerState::Ready => "ready",
            WorkerState::Draining => "draining",
        }
    }
}

/// How a worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Departure {
    /// As it was told to, or after as many requests as it shall serve.
    Exited,
    /// With an error, or by a signal that it sent itself.
    Failed,
    /// By SIGKILL: the master's, since it gave no sign of life, or the kernel's, since memory was short.
    Killed,
}

impl Departure {
    pub(crate) const ALL: [Departure; 3] =
        [Departure::Exited, Departure::Failed, Departure::Killed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Departure::Exited => "exited",
            Departure::Failed => "failed",
            Departure::Killed => "killed",
        }
    }
}

/// All workers of a master. Usable from any thread.
pub(crate) struct Fleet {
    workers: Mutex<Workers>,
    threads: Box<dyn Fn() -> String + Send + Sync>,
}

#[derive(Debug, Default)]
struct Workers {
    living: BTreeMap<u32, Worker>,
    /// What those that are gone had counted.
    gone: Counters,
    departures: BTreeMap<Departure, u64>,
    is_stopping: bool,
}

#[derive(Debug)]
struct Worker {
    state: WorkerState,
    told: Option<Snapshot>,
}

impl Fleet {
    /// `threads` asks the workers for their green threads, and makes a text of the answers.
    pub(crate) fn new(threads: impl Fn() -> String + Send + Sync + 'static) -> Arc<Fleet> {
        Arc::new(Fleet {
            workers: Mutex::default(),
            threads: Box::new(threads),
        })
    }

    /// A worker was started, and has this process id.
    pub(crate) fn started(&self, process: u32) {
        let worker = Worker {
            state: WorkerState::Starting,
            told: None,
        };
        let mut workers = self.lock();
        if let Some(before) = workers.living.insert(process, worker) {
            // Nobody has said that the former bearer of the number is gone.
            workers.retire(&before);
        }
    }

    /// The worker has come to another state.
    pub(crate) fn state(&self, process: u32, state: WorkerState) {
        if let Some(worker) = self.lock().living.get_mut(&process) {
            worker.state = state;
        }
    }

    /// The worker has told its figures. One that is not known, or no longer, is not heard: what it has counted is in the sum.
    pub(crate) fn report(&self, process: u32, snapshot: Snapshot) {
        if let Some(worker) = self.lock().living.get_mut(&process) {
            worker.told = Some(snapshot);
        }
    }

    /// The worker has ended.
    pub(crate) fn gone(&self, process: u32, how: Departure) {
        let mut workers = self.lock();
        if let Some(worker) = workers.living.remove(&process) {
            workers.retire(&worker);
            *workers.departures.entry(how).or_default() += 1;
        }
    }

    /// The master is being stopped, and with it all workers.
    pub(crate) fn stopping(&self) {
        self.lock().is_stopping = true;
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    fn retire(&mut self, worker: &Worker) {
        if let Some(snapshot) = &worker.told {
            self.gone.add(&snapshot.counters);
        }
    }
}

impl Source for Fleet {
    fn readiness(&self) -> Readiness {
        let workers = self.lock();
        let is_ready = |worker: &Worker| worker.state == WorkerState::Ready;
        match workers.is_stopping {
            true => Readiness::Draining,
            false if workers.living.values().any(is_ready) => Readiness::Ready,
            false => Readiness::Starting,
        }
    }

    fn figures(&self) -> Figures {
        let workers = self.lock();
        let mut figures = Figures {
            counters: workers.gone.clone(),
            departures: workers.departures.clone(),
            ..Figures::default()
        };
        for (process, worker) in &workers.living {
            figures.states.insert(*process, worker.state);
            if let Some(snapshot) = &worker.told {
                figures.counters.add(&snapshot.counters);
                figures.gauges.insert(*process, snapshot.gauges.clone());
            }
        }
        figures
    }

    fn threads(&self) -> String {
        (self.threads)()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fleet").field(&*self.lock()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::exposition::Exposition;
    use crate::observe::metrics::{Metrics, Refusal};
    use crate::observe::route::Route;

    /// A worker of which everything that counts has counted something.
    fn count_something(metrics: &Metrics, random: &mut fastrand::Rng) {
        metrics.accepted.add(random.u64(..5));
        metrics.content.add(random.u64(..5000));
        metrics.pauses.add(random.u64(..2));
        metrics.refused(random.choice(Refusal::ALL).unwrap()).add(1);
        metrics
            .queue
            .add(Duration::from_micros(random.u64(..100_000)));
        let names = ["", "/fleet/a", "/fleet/b"];
        let route = metrics.of_route(Route::new(random.choice(names).unwrap()));
        route.requests[random.usize(..3)][random.usize(..6)].add(1);
        route
            .duration
            .add(Duration::from_micros(random.u64(..100_000)));
    }

    /// Every counter and bucket of a text of Prometheus's, by name and labels.
    fn counters(text: &str) -> BTreeMap<String, f64> {
        let mut counters = BTreeMap::new();
        let mut is_counter = false;
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                is_counter = !family.ends_with(" gauge");
            } else if is_counter && !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                counters.insert(name.to_owned(), value.parse().unwrap());
            }
        }
        counters
    }

    #[test]
    fn counters_never_go_backwards_while_workers_come_and_go() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let fleet = Fleet::new(String::new);
            let mut living: Vec<(u32, Metrics)> = Vec::new();
            let mut last = counters(&Exposition::Prometheus.write(fleet.figures()));
            let mut accepted = 0;
            for step in 0..200 {
                match random.u32(..4) {
                    0 if living.len() < 4 => {
                        // Numbers are used again, as the kernel's are.
                        let process = (1..).find(|it| living.iter().all(|(used, _)| used != it));
                        fleet.started(process.unwrap());
                        living.push((process.unwrap(), Metrics::new()));
                    }
                    1 if !living.is_empty() => {
                        let (process, metrics) = living.swap_remove(random.usize(..living.len()));
                        let last_words = Snapshot::of(&metrics, &[]);
                        fleet.report(process, last_words.clone());
                        fleet.gone(process, random.choice(Departure::ALL).unwrap());
                        // What is said after that is in the sum already.
                        fleet.report(process, last_words);
                        accepted += metrics.accepted.get();
                    }
                    _ => {
                        for (process, metrics) in &living {
                            count_something(metrics, &mut random);
                            if random.bool() {
                                fleet.report(*process, Snapshot::of(metrics, &[]));
                            }
                        }
                    }
                }
                let now = counters(&Exposition::Prometheus.write(fleet.figures()));
                for (name, before) in &last {
                    let value = now.get(name).copied();
                    assert!(
                        value >= Some(*before),
                        "seed {seed}, step {step}: {name} went from {before} to {value:?}"
                    );
                }
                last = now;
            }
            for (process, metrics) in &living {
                fleet.report(*process, Snapshot::of(metrics, &[]));
                accepted += metrics.accepted.get();
            }
            let sum = counters(&Exposition::Prometheus.write(fleet.figures()));
            let name = "greenpatch_connections_accepted_total";
            assert_eq!(sum[name], accepted as f64, "seed {seed}");
        }
    }

    #[test]
    fn a_fleet_is_ready_as_long_as_a_worker_is() {
        let fleet = Fleet::new(String::new);
        assert_eq!(fleet.readiness(), Readiness::Starting);
        fleet.started(1);
        fleet.started(2);
        assert_eq!(fleet.readiness(), Readiness::Starting);
        fleet.state(1, WorkerState::Ready);
        assert_eq!(fleet.readiness(), Readiness::Ready);
        fleet.state(2, WorkerState::Ready);
        fleet.state(1, WorkerState::Draining);
        fleet.gone(1, Departure::Exited);
        assert_eq!(fleet.readiness(), Readiness::Ready);
        fleet.stopping();
        assert_eq!(fleet.readiness(), Readiness::Draining);
    }

    #[test]
    fn states_and_departures_are_shown() {
        let fleet = Fleet::new(String::new);
        for process in 1..=4 {
            fleet.started(process);
        }
        fleet.state(1, WorkerState::Ready);
        fleet.gone(4, Departure::Killed);
        fleet.gone(4, Departure::Killed);
        let text = Exposition::Prometheus.write(fleet.figures());
        for line in [
            "greenpatch_workers{state=\"starting\"} 2",
            "greenpatch_workers{state=\"ready\"} 1",
            "greenpatch_workers{state=\"draining\"} 0",
            "greenpatch_worker_departures_total{how=\"killed\"} 1",
            "greenpatch_worker_departures_total{how=\"exited\"} 0",
        ] {
            assert!(
                text.lines().any(|it| it.starts_with(line)),
                "{line} is not in\n{text}"
            );
        }
    }
}
