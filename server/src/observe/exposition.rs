//! Figures as Prometheus and whoever speaks OpenMetrics reads them.
//!
//! The `prometheus-client` crate writes the text; its own counters are not used, since what is shown here is added up from
//! several processes. Counters carry no process id: they are sums over all workers there ever were, so they grow without a
//! break while workers come and go. Gauges are a worker's own, and carry it.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::observe::fleet::{Departure, WorkerState};
use crate::observe::histogram::Counts;
use crate::observe::metrics::CLASSES;
use crate::observe::snapshot::{Counters, Gauges, RuntimeGauges};

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus's text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// What somebody with this `Accept` field understands.
    pub(crate) fn accepted_by(accept: Option<&str>) -> Exposition {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Exposition::Prometheus,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Exposition::Prometheus => prometheus_text::CONTENT_TYPE,
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(crate) fn write(self, figures: Figures) -> String {
        let mut registry = Registry::with_prefix("greenpatch");
        registry.register_collector(Box::new(figures));
        let mut text = String::new();
        match self {
            Exposition::Prometheus => prometheus_text::encode(&mut text, &registry),
            Exposition::OpenMetrics => text::encode(&mut text, &registry),
        }
        .expect("memory can be written to");
        text
    }
}

/// All that is shown.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Of all workers, also of those that are gone.
    pub(crate) counters: Counters,
    /// Of each worker that has told its own, by process id.
    pub(crate) gauges: BTreeMap<u32, Gauges>,
    /// Of each worker, by process id.
    pub(crate) states: BTreeMap<u32, WorkerState>,
    pub(crate) departures: BTreeMap<Departure, u64>,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let text = env!("CARGO_PKG_VERSION");
        families.gauges("build_info", "The version of the server", |each| {
            each(&[("version", text)], 1.0)
        })?;
        self.requests(&mut families)?;
        self.connections(&mut families)?;
        self.processes(&mut families)?;
        self.green_threads(&mut families)
    }
}

impl Figures {
    fn requests(&self, families: &mut Families<'_>) -> fmt::Result {
        let counters = &self.counters;
        families.gauges_by_process(
            &self.gauges,
            "requests_in_flight",
            "Requests that have begun and not ended",
            |gauges| gauges.in_flight as f64,
        )?;
        families.counters(
            "requests",
            "Requests that have ended, by class of status; none: the client left first",
            |each| {
                for (route, counts) in &counters.routes {
                    for (method, by_class) in &counts.requests {
                        for (class, count) in CLASSES.iter().zip(by_class) {
                            if *count > 0 {
                                let labels =
                                    [("method", &**method), ("status", class), ("route", route)];
                                each(&labels, *count as f64)?;
                            }
                        }
                    }
                }
                Ok(())
            },
        )?;
        families.histograms(
            "request_duration_seconds",
            "From the end of a request's head to the end of the response",
            |each| {
                for (route, counts) in &counters.routes {
                    if counts.duration.count() > 0 {
                        each(&[("route", route)], &counts.duration)?;
                    }
                }
                Ok(())
            },
        )?;
        families.histograms(
            "request_queue_seconds",
            "How long requests waited for a thread, where the worker class has them wait",
            |each| each(&[], &counters.queue),
        )?;
        families.counter(
            "response_content_bytes",
            "Bytes of content in responses",
            counters.content as f64,
        )?;
        families.counter(
            "access_log_lines_dropped",
            "Lines of the access log that were lost, because the file did not take them",
            counters.lines_dropped as f64,
        )
    }

    fn connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let counters = &self.counters;
        families.gauges_by_process(
            &self.gauges,
            "connections_open",
            "Connections that are open",
            |gauges| gauges.open as f64,
        )?;
        families.counter(
            "connections_accepted",
            "Connections that were accepted",
            counters.accepted as f64,
        )?;
        families.counters(
            "connections_refused",
            "Connections, or what came on them, that never became a request, by reason",
            |each| {
                for (reason, count) in &counters.refused {
                    each(&[("reason", reason)], *count as f64)?;
                }
                Ok(())
            },
        )?;
        families.counter(
            "accept_pauses",
            "How often accepting was stopped, since as many connections were open as may be",
            counters.pauses as f64,
        )?;
        // All workers see the same queues.
        let backlogs: BTreeMap<&str, u64> = (self.gauges.values())
            .flat_map(|gauges| &gauges.backlogs)
            .map(|backlog| (&*backlog.address, backlog.waiting))
            .collect();
        families.gauges(
            "listener_backlog",
            "Connections that wait in the kernel to be accepted, by listener; of TCP only",
            |each| {
                for (address, waiting) in &backlogs {
                    each(&[("address", address)], *waiting as f64)?;
                }
                Ok(())
            },
        )
    }

    fn processes(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges("workers", "Worker processes, by state", |each| {
            for state in WorkerState::ALL {
                let count = self.states.values().filter(|it| **it == state).count();
                each(&[("state", state.name())], count as f64)?;
            }
            Ok(())
        })?;
        families.counters(
            "worker_departures",
            "Worker processes that have ended, by how",
            |each| {
                for departure in Departure::ALL {
                    let count = self.departures.get(&departure).copied().unwrap_or(0);
                    each(&[("how", departure.name())], count as f64)?;
                }
                Ok(())
            },
        )?;
        families.counter(
            "process_cpu_seconds",
            "Processor time of all workers",
            self.counters.cpu_microseconds as f64 / 1e6,
        )?;
        for (name, help, value) in PROCESS_GAUGES {
            families.gauges_by_process(&self.gauges, name, help, value)?;
        }
        Ok(())
    }

    fn green_threads(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges("green_threads", "Green threads, by state", |each| {
            for (process, gauges) in &self.gauges {
                let process = process.to_string();
                let RuntimeGauges {
                    running,
                    runnable,
                    parked,
                    ..
                } = gauges.runtime;
                for (state, count) in [
                    ("running", running),
                    ("runnable", runnable),
                    ("parked", parked),
                ] {
                    each(&[("pid", &process), ("state", state)], count as f64)?;
                }
            }
            Ok(())
        })?;
        families.gauges(
            "stack_bytes",
            "Address space of stacks, in use by green threads and free; less is in memory",
            |each| {
                for (process, gauges) in &self.gauges {
                    let process = process.to_string();
                    let RuntimeGauges {
                        stacks_in_use,
                        stacks_pooled,
                        ..
                    } = gauges.runtime;
                    for (state, bytes) in [("in_use", stacks_in_use), ("pooled", stacks_pooled)] {
                        each(&[("pid", &process), ("state", state)], bytes as f64)?;
                    }
                }
                Ok(())
            },
        )?;
        for (name, help, value) in RUNTIME_GAUGES {
            families.gauges_by_process(&self.gauges, name, help, |gauges| {
                value(&gauges.runtime) as f64
            })?;
        }
        let counts = &self.counters.runtime;
        for (name, help, count) in [
            (
                "green_threads_spawned",
                "Green threads that were started",
                counts.spawned,
            ),
            (
                "switches",
                "How often a worker thread has switched to a green thread",
                counts.switches,
            ),
            (
                "blocking_sections",
                "Blocking sections that were entered",
                counts.blocking_sections,
            ),
            (
                "hogs",
                "How often a green thread kept its worker thread to itself for 10 ms or more",
                counts.hogs,
            ),
            (
                "spare_worker_threads_called",
                "How often a spare worker thread was called in for a blocked one",
                counts.spare_workers_called,
            ),
        ] {
            families.counter(name, help, count as f64)?;
        }
        Ok(())
    }
}

/// Name, help and value.
type GaugeRow<T, V> = (&'static str, &'static str, fn(&T) -> V);

const PROCESS_GAUGES: [GaugeRow<Gauges, f64>; 4] = [
    ("process_resident_bytes", "Memory of the process", |it| {
        it.process.resident as f64
    }),
    ("process_open_fds", "Open file descriptors", |it| {
        it.process.descriptors as f64
    }),
    (
        "process_max_fds",
        "File descriptors that may be open",
        |it| it.process.descriptors_limit as f64,
    ),
    ("process_threads", "OS threads of the process", |it| {
        it.process.threads as f64
    }),
];

const RUNTIME_GAUGES: [GaugeRow<RuntimeGauges, u64>; 3] = [
    (
        "worker_threads",
        "OS threads that run green threads",
        |it| it.workers,
    ),
    (
        "spare_worker_threads",
        "Of these, how many serve in place of blocked ones",
        |it| it.spare_workers,
    ),
    (
        "timers",
        "Sleeps and other waits with a deadline under way",
        |it| it.timers,
    ),
];

/// Writes families of metrics. A family of no members is left out.
struct Families<'a>(DescriptorEncoder<'a>);

type EachValue<'a> = &'a mut dyn FnMut(Labels<'_>, f64) -> fmt::Result;
type EachHistogram<'a> = &'a mut dyn FnMut(Labels<'_>, &Counts) -> fmt::Result;

impl Families<'_> {
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        members: impl FnOnce(EachValue<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        members(&mut |labels, value| {
            let no_exemplar = None::<&Exemplar<[(&str, &str); 0], f64>>;
            with_labels(&mut family, labels, |member| {
                member.encode_counter(&value, no_exemplar)
            })
        })
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.counters(name, help, |each| each(&[], value))
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        members: impl FnOnce(EachValue<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        members(&mut |labels, value| {
            with_labels(&mut family, labels, |member| member.encode_gauge(&value))
        })
    }

    fn gauges_by_process(
        &mut self,
        all: &BTreeMap<u32, Gauges>,
        name: &str,
        help: &str,
        value: impl Fn(&Gauges) -> f64,
    ) -> fmt::Result {
        self.gauges(name, help, |each| {
            for (process, gauges) in all {
                each(&[("pid", &process.to_string())], value(gauges))?;
            }
            Ok(())
        })
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        members: impl FnOnce(EachHistogram<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        members(&mut |labels, counts| {
            with_labels(&mut family, labels, |member| {
                let (sum, count) = (counts.seconds(), counts.count());
                member.encode_histogram::<[(&str, &str); 0]>(sum, count, &counts.buckets(), None)
            })
        })
    }
}

fn with_labels(
    family: &mut MetricEncoder<'_>,
    labels: Labels<'_>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    match labels {
        [] => write(family),
        [one] => write(&mut family.encode_family(&[*one])?),
        [one, two] => write(&mut family.encode_family(&[*one, *two])?),
        [one, two, three] => write(&mut family.encode_family(&[*one, *two, *three])?),
        more => unreachable!("no metric has {} labels", more.len()),
    }
}

#[cfg(test)]
mod tests;
