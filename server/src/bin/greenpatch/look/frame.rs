//! What is shown at one time: figures of all processes together, and rows in the order and with the filter that was asked for.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

use super::rates::{Change, History, Rates};
use super::told::{GreenThread, Runtime, State};
use super::watch::{Process, Sample};

/// How long a turn lasts that is one of a hog, in seconds.
const HOG: f64 = 0.01;

/// What green threads are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// How long they have been in their state, the longest first
    Time,
    /// Their number
    Id,
    /// Their name
    Name,
    /// What they do
    State,
    /// How much stack they have in memory, the most first
    Stack,
}

#[cfg(feature = "top")]
impl Sort {
    /// The next one, the first after the last.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Time => Sort::Id,
            Sort::Id => Sort::Name,
            Sort::Name => Sort::State,
            Sort::State => Sort::Stack,
            Sort::Stack => Sort::Time,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Time => "time",
            Sort::Id => "id",
            Sort::Name => "name",
            Sort::State => "state",
            Sort::Stack => "stack",
        }
    }
}

/// What is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Frame {
    pub(super) process: u32,
    pub(super) program: String,
    pub(super) version: String,
    /// Only of servers.
    pub(super) requests: Option<Requests>,
    pub(super) green_threads: Totals,
    /// Green threads by what they do: parked ones by what they wait for, the most first.
    pub(super) reasons: Vec<(String, usize)>,
    pub(super) processes: Vec<ProcessRow>,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) routes: Vec<RouteRow>,
    pub(super) threads: Vec<ThreadRow>,
    /// Why some processes are not shown.
    pub(super) troubles: Vec<String>,
}

/// Requests of a server.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Requests {
    pub(super) per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// How long requests took, in seconds; `None` if there were none, infinite beyond the last bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// Green threads of all processes.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) live: u64,
    pub(super) running: u64,
    pub(super) runnable: u64,
    pub(super) parked: u64,
    /// Those that are not among the threads, beyond the limit.
    pub(super) omitted: usize,
    pub(super) workers: u64,
    pub(super) spare_workers: u64,
    pub(super) switches_per_second: Option<f64>,
    /// Counted so far.
    pub(super) hogs: u64,
    pub(super) os_threads: u64,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProcessRow {
    pub(super) process: u32,
    pub(super) state: String,
    pub(super) requests_per_second: Option<f64>,
    pub(super) in_flight: Option<u64>,
    pub(super) connections: Option<u64>,
    /// Of one processor.
    pub(super) processor_share: Option<f64>,
    pub(super) resident: Option<u64>,
    pub(super) live: u64,
}

/// A worker thread of a runtime.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkerRow {
    pub(super) process: u32,
    pub(super) runtime: String,
    pub(super) number: u64,
    pub(super) os_thread: Option<i32>,
    pub(super) queued: u64,
    /// What it does, in words.
    pub(super) state: String,
    pub(super) green_thread: Option<u64>,
    pub(super) name: Option<String>,
    pub(super) for_seconds: Option<f64>,
    pub(super) is_hog: bool,
}

/// A route of a server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteRow {
    pub(super) route: String,
    pub(super) per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// A green thread.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ThreadRow {
    pub(super) process: u32,
    pub(super) runtime: String,
    pub(super) id: u64,
    pub(super) name: Option<String>,
    /// What it does, in words.
    pub(super) state: String,
    pub(super) for_seconds: Option<f64>,
    pub(super) seconds_left: Option<f64>,
    pub(super) is_hog: bool,
    pub(super) spawned_at: Option<String>,
    pub(super) stack_size: u64,
    pub(super) stack_high_water: u64,
}

impl ThreadRow {
    /// Whether one of its texts holds `wanted`, in whatever case.
    fn matches(&self, wanted: &str) -> bool {
        let texts = [
            self.name.as_deref(),
            Some(&*self.state),
            self.spawned_at.as_deref(),
        ];
        let id = self.id.to_string();
        texts
            .into_iter()
            .flatten()
            .chain([&*id])
            .any(|text| text.to_lowercase().contains(wanted))
    }
}

impl Frame {
    /// What is shown of a sample, which the history has as its last.
    pub(super) fn new(sample: &Sample, history: &History, view: &View) -> Frame {
        let mut frame = Frame {
            troubles: sample.troubles.clone(),
            ..Frame::default()
        };
        let mut total = Rates::default();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for (index, process) in sample.processes.iter().enumerate() {
            if index == 0 {
                frame.process = process.process;
                frame.program = process.program.clone();
                frame.version = process.version.clone();
            }
            let change = history.change(process.process);
            frame.add_totals(process);
            frame.add_process(process, change.as_ref());
            if !process.is_master {
                total.add(process, change.as_ref());
            }
            for runtime in &process.runtimes {
                frame.add_runtime(process.process, runtime);
                for green in &runtime.green_threads {
                    *reasons.entry(reason(green)).or_default() += 1;
                }
            }
        }
        frame.green_threads.switches_per_second = total.switches;
        frame.requests = total.requests(&sample.processes);
        frame.routes = total.routes();
        frame.reasons = reasons.into_iter().collect();
        frame
            .reasons
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        view.apply(&mut frame.threads);
        frame
    }

    fn add_totals(&mut self, process: &Process) {
        let totals = &mut self.green_threads;
        for Runtime {
            metrics, omitted, ..
        } in &process.runtimes
        {
            totals.live += metrics.live;
            totals.running += metrics.running;
            totals.runnable += metrics.runnable;
            totals.parked += metrics.parked;
            totals.workers += metrics.workers;
            totals.spare_workers += metrics.spare_workers;
            totals.hogs += metrics.hogs;
            totals.omitted += omitted;
        }
        // Of the process, whichever runtime tells of them.
        let os_threads = process.runtimes.first().map(|it| it.metrics.os_threads);
        totals.os_threads += os_threads.unwrap_or(0);
    }

    fn add_process(&mut self, process: &Process, change: Option<&Change>) {
        let server = process.server.as_ref();
        let gauges = server.and_then(|it| it.figures.gauges.values().next());
        let gauges = gauges.filter(|_| !process.is_master);
        let state = match (&process.state, process.is_master, server) {
            (Some(state), ..) => state.clone(),
            (None, true, _) => "master".to_owned(),
            (None, false, Some(server)) => server.readiness.clone(),
            (None, false, None) => String::new(),
        };
        let is_serving = server.is_some() && !process.is_master;
        let rate = change.filter(|_| is_serving).map(|change| {
            let requests = change.routes.values().map(|it| it.requests);
            requests.sum::<u64>() as f64 / change.seconds
        });
        let share = change.and_then(|change| {
            let used = change.processor_time?;
            Some(used.as_secs_f64() / change.seconds)
        });
        self.processes.push(ProcessRow {
            process: process.process,
            state,
            requests_per_second: rate,
            in_flight: gauges.map(|gauges| gauges.in_flight),
            connections: gauges.map(|gauges| gauges.open),
            processor_share: share,
            resident: process.usage.map(|usage| usage.resident),
            live: process.runtimes.iter().map(|it| it.metrics.live).sum(),
        });
    }

    fn add_runtime(&mut self, process: u32, runtime: &Runtime) {
        for worker in &runtime.workers {
            let turn = worker.turn.as_ref();
            let is_hog = turn.is_some_and(|turn| !turn.is_blocking && turn.for_seconds >= HOG);
            let state = match turn {
                None if worker.is_asleep => "asleep",
                None => "between two green threads",
                Some(turn) if turn.is_blocking => "in a blocking section of",
                Some(_) if is_hog => "kept by",
                Some(_) => "runs",
            };
            self.workers.push(WorkerRow {
                process,
                runtime: runtime.runtime.clone(),
                number: worker.number,
                os_thread: worker.os_thread,
                queued: worker.queued,
                state: state.to_owned(),
                green_thread: turn.map(|turn| turn.green_thread),
                name: turn.and_then(|turn| turn.name.clone()),
                for_seconds: turn.map(|turn| turn.for_seconds),
                is_hog,
            });
        }
        for green in &runtime.green_threads {
            let turns = runtime.workers.iter().filter_map(|it| it.turn.as_ref());
            let mut turns = turns.filter(|turn| turn.green_thread == green.id);
            let turn = turns.next();
            let (for_seconds, seconds_left) = match &green.state {
                State::Parked {
                    for_seconds,
                    seconds_left,
                    ..
                } => (Some(*for_seconds), *seconds_left),
                _ => (turn.map(|turn| turn.for_seconds), None),
            };
            self.threads.push(ThreadRow {
                process,
                runtime: runtime.runtime.clone(),
                id: green.id,
                name: green.name.clone(),
                state: words(&green.state, turn.is_some_and(|turn| turn.is_blocking)),
                for_seconds,
                seconds_left,
                is_hog: turn.is_some_and(|turn| !turn.is_blocking && turn.for_seconds >= HOG),
                spawned_at: green.spawned_at.clone(),
                stack_size: green.stack_size,
                stack_high_water: green.stack_high_water,
            });
        }
    }
}

/// What a green thread does, without what tells those that wait alike apart.
fn reason(green: &GreenThread) -> String {
    match &green.state {
        State::Running { .. } => "running".to_owned(),
        State::Runnable => "runnable".to_owned(),
        State::Parked { reason, .. } => match reason.kind.as_str() {
            "park" => "unpark".to_owned(),
            kind => kind.to_owned(),
        },
    }
}

/// What a green thread does, in words.
pub(super) fn words(state: &State, is_blocking: bool) -> String {
    match state {
        State::Running { worker } if is_blocking => format!("blocking section on worker {worker}"),
        State::Running { worker } => format!("running on worker {worker}"),
        State::Runnable => "runnable".to_owned(),
        State::Parked {
            reason,
            owner: Some(owner),
            ..
        } => format!("{reason}, owned by {owner}"),
        State::Parked { reason, .. } => reason.to_string(),
    }
}

/// Which green threads are shown, and in which order.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// Only those are shown that hold it somewhere, in whatever case.
    pub(super) filter: String,
}

impl View {
    fn apply(&self, threads: &mut Vec<ThreadRow>) {
        let wanted = self.filter.to_lowercase();
        if !wanted.is_empty() {
            threads.retain(|thread| thread.matches(&wanted));
        }
        // Those that are equal stay in the order of their numbers.
        threads.sort_by_key(|thread| (thread.process, thread.id));
        let time = |thread: &ThreadRow| thread.for_seconds.unwrap_or(0.0);
        match self.sort {
            Sort::Time => threads.sort_by(|one, other| time(other).total_cmp(&time(one))),
            Sort::Id => {}
            // Those without a name come last.
            Sort::Name => threads.sort_by_key(|it| (it.name.is_none(), it.name.clone())),
            Sort::State => threads.sort_by_key(|it| it.state.clone()),
            Sort::Stack => threads.sort_by_key(|it| std::cmp::Reverse(it.stack_high_water)),
        }
        if self.is_reversed {
            threads.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use crate::look::told::{Reason, Turn, Worker};

    fn parked(id: u64, name: &str, kind: &str, for_seconds: f64) -> GreenThread {
        GreenThread {
            id,
            name: Some(name.to_owned()),
            state: State::Parked {
                reason: Reason {
                    kind: kind.to_owned(),
                    on: None,
                },
                for_seconds,
                seconds_left: None,
                owner: None,
            },
            ..GreenThread::default()
        }
    }

    fn view(sort: Sort, filter: &str) -> View {
        View {
            sort,
            is_reversed: false,
            filter: filter.to_owned(),
        }
    }

    fn sample(at: Instant, process: Process) -> Sample {
        Sample {
            at,
            processes: vec![process],
            troubles: Vec::new(),
        }
    }

    fn frame_of(process: Process, view: &View) -> Frame {
        let sample = sample(Instant::now(), process);
        let mut history = History::default();
        history.add(&sample);
        Frame::new(&sample, &history, view)
    }

    fn with_threads(green_threads: Vec<GreenThread>) -> Process {
        Process {
            process: 7,
            runtimes: vec![Runtime {
                green_threads,
                ..Runtime::default()
            }],
            ..Process::default()
        }
    }

    #[test]
    fn green_threads_are_shown_in_the_order_that_was_asked_for() {
        let threads = || {
            with_threads(vec![
                parked(1, "b", "sleep", 5.0),
                parked(2, "c", "read", 9.0),
                parked(3, "a", "futex", 1.0),
            ])
        };
        for (sort, order) in [
            (Sort::Time, [2, 1, 3]),
            (Sort::Id, [1, 2, 3]),
            (Sort::Name, [3, 1, 2]),
            (Sort::State, [3, 2, 1]),
        ] {
            let frame = frame_of(threads(), &view(sort, ""));
            let ids: Vec<u64> = frame.threads.iter().map(|it| it.id).collect();
            assert_eq!(ids, order, "{sort:?}");
        }
    }

    #[test]
    fn a_filter_looks_at_names_and_states_but_all_are_counted() {
        let threads = vec![
            parked(1, "Client", "sleep", 5.0),
            parked(2, "other", "read", 9.0),
        ];
        for (filter, id) in [("client", 1), ("READ", 2)] {
            let frame = frame_of(with_threads(threads.clone()), &view(Sort::Id, filter));
            let ids: Vec<u64> = frame.threads.iter().map(|it| it.id).collect();
            assert_eq!(ids, [id], "{filter}");
            assert_eq!(frame.reasons.len(), 2);
        }
    }

    #[test]
    fn a_green_thread_that_keeps_its_worker_is_a_hog_unless_it_is_in_a_blocking_section() {
        for (is_blocking, is_hog) in [(false, true), (true, false)] {
            let mut process = with_threads(vec![GreenThread {
                id: 3,
                state: State::Running { worker: 0 },
                ..GreenThread::default()
            }]);
            process.runtimes[0].workers.push(Worker {
                turn: Some(Turn {
                    green_thread: 3,
                    for_seconds: 2.0,
                    is_blocking,
                    ..Turn::default()
                }),
                ..Worker::default()
            });
            let frame = frame_of(process, &view(Sort::Id, ""));
            assert_eq!(frame.workers[0].is_hog, is_hog);
            assert_eq!(frame.threads[0].is_hog, is_hog);
            assert_eq!(frame.threads[0].for_seconds, Some(2.0));
        }
    }
}
