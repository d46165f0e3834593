//! The experiments: which servers, which loads, and what the seeds measured. A row here is all there is to an experiment.

use crate::load::{Load, Users};
use crate::outcome::Quantity::{self, *};
use crate::server::Application;

/// An experiment.
pub(crate) struct Experiment {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What a reader should know of it.
    pub(crate) about: &'static str,
    pub(crate) entries: Vec<Entry>,
    pub(crate) cases: Vec<Case>,
    pub(crate) layout: Layout,
    /// How often each case is measured on each server.
    pub(crate) rounds: usize,
    /// What the seed measured, in its author's day and on his machine.
    pub(crate) seed: Vec<SeedRow>,
}

/// What is in a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Layout {
    /// A server; the columns are quantities.
    ServersDown,
    /// A case; the columns are servers, with all quantities in a cell.
    ServersAcross,
}

/// A server that takes part, and how.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// A name in the table of servers.
    pub(crate) server: &'static str,
    pub(crate) workers: usize,
    /// Whether the server has a processor, and the load another. Without it both have all.
    pub(crate) pinned: bool,
}

impl Entry {
    /// How tables name it.
    pub(crate) fn label(&self) -> String {
        match (self.workers, self.pinned) {
            (1, _) => self.server.to_owned(),
            (workers, true) => format!("{}, {workers} workers", self.server),
            (workers, false) => format!("{}, {workers} workers, not pinned", self.server),
        }
    }
}

/// What is measured of each server.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) label: String,
    pub(crate) application: Application,
    pub(crate) load: Load,
    pub(crate) shown: &'static [Quantity],
}

/// A row that a seed has.
pub(crate) struct SeedRow {
    pub(crate) label: &'static str,
    /// The beginning of a case's label, and what the seed says of it.
    pub(crate) cells: &'static [(&'static str, &'static str)],
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// About a minute an experiment.
    Quick,
    /// Medians of several rounds.
    Full,
}

impl Mode {
    fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Mode::Quick => quick,
            Mode::Full => full,
        }
    }
}

/// All experiments.
pub(crate) fn all(mode: Mode) -> Vec<Experiment> {
    vec![
        order(mode),
        wrk(mode),
        upload(mode),
        rand(mode),
        users(mode),
        run(mode),
        hello(mode),
        ten_thousand(mode),
        fairness(mode),
    ]
}

/// One worker each.
fn one_worker(servers: &[&'static str]) -> Vec<Entry> {
    with_workers(servers, &[1])
}

/// Each server with each number of workers.
fn with_workers(servers: &[&'static str], workers: &[usize]) -> Vec<Entry> {
    let entry = |server, workers| Entry {
        server,
        workers,
        pinned: true,
    };
    let servers = servers.iter();
    servers
        .flat_map(|server| workers.iter().map(move |workers| entry(*server, *workers)))
        .collect()
}

/// The servers of the first seed, in its order, with ours and what the years have added.
const FIRST_SEED: [&str; 19] = [
    "gunicorn 25 sync",
    "gunicorn 25 gthread, 4 threads",
    "gunicorn 25 gevent",
    "gunicorn 19 eventlet",
    "gunicorn 19 eventlet, monkey_patch",
    "gunicorn 25 eventlet",
    "gunicorn 25 eventlet, monkey_patch",
    "gunicorn 19 sync, monkey_patch",
    "gunicorn 25 sync, monkey_patch",
    "Sanic, time.sleep",
    "Sanic, await time.sleep",
    "Sanic",
    "ours, sync",
    "ours, gthread, 4 threads",
    "ours, green, not patched",
    "ours, green",
    "ours, sync, patched",
    "ours, async, std's sleep",
    "ours, async, async sleep",
];

fn order(mode: Mode) -> Experiment {
    Experiment {
        name: "order",
        title: "The order of two requests at once",
        about: "The first seed's experiment: a handler prints `hello N`, sleeps, prints `world`. Whether two requests run at the same time \
                shows in the order of the lines.",
        entries: one_worker(&FIRST_SEED),
        cases: vec![Case {
            label: mode.pick("sleep 1 sec", "sleep 10 sec").to_owned(),
            application: Application::Order {
                sleep: mode.pick(1.0, 10.0),
            },
            load: Load::Order,
            shown: &[Seconds, Failures],
        }],
        layout: Layout::ServersDown,
        rounds: 1,
        seed: vec![
            SeedRow {
                label: "flask gunicorn gevent",
                cells: &[("sleep ", "hello 0, hello 1, world, world")],
            },
            SeedRow {
                label: "flask gunicorn eventlet",
                cells: &[("sleep ", "hello 0, world, hello 1, world")],
            },
            SeedRow {
                label: "flask gunicorn eventlet, monkey_patch",
                cells: &[("sleep ", "hello 0, hello 1, world, world")],
            },
            SeedRow {
                label: "flask gunicorn sync, monkey_patch",
                cells: &[("sleep ", "hello 0, world, hello 1, world")],
            },
            SeedRow {
                label: "sanic, await time.sleep",
                cells: &[("sleep ", "hello 0, hello 1")],
            },
            SeedRow {
                label: "sanic, asyncio.sleep",
                cells: &[("sleep ", "hello 0, hello 1, world, world")],
            },
        ],
    }
}

fn wrk(mode: Mode) -> Experiment {
    let case = |label: &str, sleep, seconds| Case {
        label: label.to_owned(),
        application: Application::Order { sleep },
        load: Load::Wrk {
            path: "/",
            connections: 400,
            seconds,
            reconnecting: false,
        },
        shown: &[Requests, Rate, Processor, Percentile99, Failures, Memory],
    };
    Experiment {
        name: "wrk",
        title: "wrk with 400 connections",
        about: "The first seed's benchmark, with its handler. The seed's numbers are requests in 30 s, from twelve threads of wrk.",
        entries: one_worker(&FIRST_SEED),
        cases: vec![
            mode.pick(case("sleep 1 sec", 1.0, 2), case("sleep ", 10.0, 30)),
            case("w/o sleep", 0.0, mode.pick(1, 10)),
        ],
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 3),
        seed: vec![
            SeedRow {
                label: "flask gunicorn sync",
                cells: &[("sleep ", "3"), ("w/o sleep", "13,284")],
            },
            SeedRow {
                label: "flask gunicorn async(eventlet)",
                cells: &[("sleep ", "814"), ("w/o sleep", "35,448")],
            },
            SeedRow {
                label: "flask gunicorn async(gevent)",
                cells: &[("sleep ", "842"), ("w/o sleep", "37,746")],
            },
            SeedRow {
                label: "sanic",
                cells: &[("sleep ", "817"), ("w/o sleep", "126,538")],
            },
            SeedRow {
                label: "sanic gunicorn",
                cells: &[("w/o sleep", "51,573")],
            },
        ],
    }
}

fn upload(mode: Mode) -> Experiment {
    let upload = |at_once: usize| Case {
        label: format!("{at_once} uploads"),
        application: Application::Uploader,
        load: Load::Ab {
            method: "POST",
            path: "/upload",
            requests: at_once,
            at_once,
        },
        shown: &[Seconds, Memory, AddressSpace],
    };
    let mut cases: Vec<Case> = mode
        .pick(&[10, 50][..], &[10, 20, 30, 40, 50])
        .iter()
        .map(|&n| upload(n))
        .collect();
    cases.push(Case {
        label: "/calc".to_owned(),
        application: Application::Uploader,
        load: Load::Ab {
            method: "GET",
            path: "/calc",
            requests: mode.pick(20, 100),
            at_once: 10,
        },
        shown: &[Rate, Processor],
    });
    Experiment {
        name: "upload",
        title: "ImageUploader",
        about: "The second seed's experiment: an upload takes 100 to 200 ms, and five may run at once. The address space is what the seed \
                plots as memory; PSS is what a server really takes.",
        entries: one_worker(&[
            "Flask, one thread",
            "Flask, threaded",
            "Sanic",
            "gunicorn 25 gevent",
            "ours, sync",
            "ours, green",
            "ours, green, axum",
        ]),
        cases,
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 5),
        seed: vec![
            SeedRow {
                label: "Flask, threaded=False",
                cells: &[("50 uploads", "7.33")],
            },
            SeedRow {
                label: "Sanic",
                cells: &[("50 uploads", "1.73")],
            },
        ],
    }
}

fn rand(mode: Mode) -> Experiment {
    let case = |label: &str, application, path| Case {
        label: label.to_owned(),
        application,
        load: Load::Ab {
            method: "GET",
            path,
            requests: mode.pick(1_000, 10_000),
            at_once: 100,
        },
        shown: &[Rate, Processor, Failures],
    };
    let kept = |label: &str, application, path| Case {
        label: label.to_owned(),
        application,
        load: Load::Wrk {
            path,
            connections: 100,
            seconds: mode.pick(1, 5),
            reconnecting: false,
        },
        shown: &[Rate, Processor, Failures],
    };
    Experiment {
        name: "rand",
        title: "hello and /rand",
        about: "The third seed's experiment: ab with 100 requests at once, each on a connection of its own; and wrk with as many connections, which are kept.",
        entries: with_workers(
            &[
                "gunicorn 25 sync",
                "gunicorn 25 gevent",
                "Sanic",
                "ours, green",
                "ours, green, axum",
            ],
            &[1, 4],
        ),
        cases: vec![
            case("hello", Application::Json, "/"),
            kept("keep-alive, hello", Application::Json, "/"),
            case("/rand", Application::Pyaday, "/rand"),
            kept("keep-alive, /rand", Application::Pyaday, "/rand"),
        ],
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 5),
        seed: vec![
            SeedRow {
                label: "Flask (development server)",
                cells: &[("hello", "755")],
            },
            SeedRow {
                label: "Sanic",
                cells: &[("hello", "2,500")],
            },
            SeedRow {
                label: "Flask, gunicorn -w 4",
                cells: &[("/rand", "1,019")],
            },
            SeedRow {
                label: "Sanic, gunicorn -w 4, uvicorn",
                cells: &[("/rand", "6,445")],
            },
        ],
    }
}

fn users(mode: Mode) -> Experiment {
    let case = |users: usize, sleep: f64| Case {
        label: format!(
            "{users} users, {}",
            if sleep > 0.0 { "1 s" } else { "constant" }
        ),
        application: Application::Text { sleep },
        load: Load::Users(Users {
            users,
            ramp: mode.pick(4.0, 10.0),
            think: (5.0, 15.0),
            seconds: mode.pick(9.0, 40.0),
        }),
        shown: &[Median, Percentile95, Percentile99, Rate, Failures, Memory],
    };
    let numbers = mode.pick(&[10_000][..], &[10, 100, 1_000, 10_000]);
    const GEVENT: &str = "gunicorn 25 gevent, 12,000 connections";
    const POOL: &str = "gunicorn 25 gthread, 250 threads";
    let mut entries = with_workers(&[GEVENT, "ours, green"], mode.pick(&[1][..], &[1, 4, 12]));
    let with_four: &[&str] = mode.pick(
        &[POOL],
        &[
            "gunicorn 25 gevent",
            "gunicorn 25 sync",
            "gunicorn 25 gthread, 4 threads",
            POOL,
            "gunicorn 25 tornado",
        ],
    );
    entries.extend(with_workers(with_four, &[4]));
    Experiment {
        name: "users",
        title: "Users that think 5 to 15 s between requests",
        about: "The fourth seed's experiment, with a client of ours for locust. Users come within ten seconds; what counts begins then.",
        entries,
        cases: [0.0, 1.0]
            .iter()
            .flat_map(|&sleep| numbers.iter().map(move |&users| case(users, sleep)))
            .collect(),
        layout: Layout::ServersAcross,
        rounds: 1,
        seed: vec![
            SeedRow {
                label: "gevent (1 worker, 1000 connections)",
                cells: &[
                    ("10 users, constant", "8ms - 9ms; 1 Req/s"),
                    ("100 users, constant", "8ms - 9ms; 10 Req/s"),
                    ("1000 users, constant", "8ms - 12ms; 100 Req/s"),
                    ("10000 users, constant", "8100ms - 41000ms; 220 - 440 Req/s"),
                    ("1000 users, 1 s", "1000ms; 1000-1100ms"),
                    ("10000 users, 1 s", "2.4s-8.5s; 28s - 132s"),
                ],
            },
            SeedRow {
                label: "gevent (12 workers, 1000 connections)",
                cells: &[
                    ("10 users, constant", "6ms - 9ms; 1 Req/s"),
                    ("100 users, constant", "8ms - 9ms; 10 Req/s"),
                    ("1000 users, constant", "5ms - 12ms; 100 Req/s"),
                    ("10000 users, constant", "150ms - 96000ms; 130 - 410 Req/s"),
                    ("1000 users, 1 s", "1000ms; 1s-1.1ms"),
                    ("10000 users, 1 s", "1.8s - 11s; 6.7s - 150s"),
                ],
            },
            SeedRow {
                label: "sync (4 workers)",
                cells: &[
                    ("10 users, constant", "7ms - 9ms; 1 Req/s"),
                    ("100 users, constant", "7ms - 9ms; 10 Req/s"),
                    ("1000 users, constant", "6ms - 8ms; 100 Req/s"),
                    ("10000 users, constant", "81ms - 101000ms; 220 - 750 Req/s"),
                    ("1000 users, 1 s", "32s-37s;35s-97s"),
                    ("10000 users, 1 s", "29s - 131s;45s-183s"),
                ],
            },
        ],
    }
}

fn run(mode: Mode) -> Experiment {
    let case = |connections: usize, sleep: f64, seconds| Case {
        label: format!(
            "{connections} connections, {}",
            if sleep > 0.0 { "1 s" } else { "constant" }
        ),
        application: Application::Text { sleep },
        load: Load::Wrk {
            path: "/",
            connections,
            seconds,
            reconnecting: false,
        },
        shown: &[Rate, Processor, Percentile99, Failures, Memory],
    };
    let mut cases = vec![
        case(64, 0.0, mode.pick(1, 5)),
        // Some take more than a second to start their threads.
        case(400, 1.0, mode.pick(5, 10)),
    ];
    if mode == Mode::Full {
        cases.push(case(4_000, 1.0, 15));
    }
    Experiment {
        name: "run",
        title: "Unmodified servers under `greenpatch run`",
        about: "gunicorn's thread workers, Flask's own server, puma and Java, with their threads green and as they are, beside gevent and Granian.",
        entries: one_worker(&[
            "gunicorn 25 gthread, 500 threads",
            "greenpatch run, gthread, 500 threads",
            "gunicorn 25 gthread, 4,000 threads",
            "greenpatch run, gthread, 4,000 threads",
            "Flask, threaded",
            "greenpatch run, Flask, threaded",
            "gunicorn 25 gevent, 12,000 connections",
            "Granian",
            "Granian, 500 threads",
            "puma, 500 threads",
            "greenpatch run, puma, 500 threads",
            "Java's HttpServer, 500 threads",
            "greenpatch run, Java's HttpServer, 500 threads",
        ]),
        cases,
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 3),
        seed: Vec::new(),
    }
}

fn hello(mode: Mode) -> Experiment {
    let case = |connections: usize, reconnecting: bool| Case {
        label: format!(
            "{connections} connections{}",
            if reconnecting {
                ", a new one every 10"
            } else {
                ""
            }
        ),
        application: Application::Text { sleep: 0.0 },
        load: Load::Wrk {
            path: "/",
            connections,
            seconds: mode.pick(1, 5),
            reconnecting,
        },
        shown: &[Processor, Rate, Percentile99, Failures],
    };
    let servers = [
        "ours, green",
        "ours, green, axum",
        "ours, ten lines over std types",
        "hyper",
        "hyper, no time-outs",
        "axum",
        "actix-web",
        "may",
        "may_minihttp",
        "epoll loop",
        "OS threads",
        "Go net/http",
        "Granian, no framework",
    ];
    let mut entries = one_worker(&servers);
    if mode == Mode::Full {
        entries.extend(servers.map(|server| Entry {
            server,
            workers: 2,
            pinned: false,
        }));
    }
    Experiment {
        name: "hello",
        title: "Twelve bytes over HTTP",
        about: "wrk as fast as it can. Where wrk itself is the limit, the processor time a request tells the servers apart.",
        entries,
        cases: vec![
            case(64, false),
            case(400, false),
            case(4_000, false),
            case(64, true),
            case(400, true),
        ],
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 5),
        seed: Vec::new(),
    }
}

fn ten_thousand(mode: Mode) -> Experiment {
    let (ramp, seconds) = mode.pick((3.0, 7.0), (5.0, 25.0));
    Experiment {
        name: "ten_thousand",
        title: "10,000 connections, a handler that waits 10 ms",
        about: "Each connection carries a request about every second, so that what is measured is the wait, not a full processor. \
                ClickHouse's Silk states 10.2, 10.8 and 12.6 ms for its own, OS threads 12.0, 34 and 39.",
        entries: one_worker(&[
            "ours, green",
            "ours, green, axum",
            "hyper",
            "OS threads",
            "Go net/http",
        ]),
        cases: vec![Case {
            label: "10 ms".to_owned(),
            application: Application::Text { sleep: 0.01 },
            load: Load::Users(Users {
                users: 10_000,
                ramp,
                think: (0.5, 1.5),
                seconds,
            }),
            shown: &[
                Median,
                Percentile99,
                Percentile999,
                Rate,
                Processor,
                Failures,
                Memory,
            ],
        }],
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 5),
        seed: Vec::new(),
    }
}

fn fairness(mode: Mode) -> Experiment {
    Experiment {
        name: "fairness",
        title: "400 busy clients: who gets how much",
        about: "Each client sends its next request as soon as it has the answer. The client that had the most answers, to the one that had the fewest.",
        entries: one_worker(&[
            "ours, green",
            "ours, green, axum",
            "hyper",
            "Go net/http",
            "may",
            "gunicorn 25 gevent",
            "gunicorn 25 eventlet",
        ]),
        cases: vec![Case {
            label: "400 clients".to_owned(),
            application: Application::Text { sleep: 0.0 },
            load: Load::Users(Users {
                users: 400,
                ramp: 1.0,
                think: (0.0, 0.0),
                seconds: mode.pick(4.0, 11.0),
            }),
            shown: &[Inequality, Rate, Percentile99, Failures],
        }],
        layout: Layout::ServersDown,
        rounds: mode.pick(1, 5),
        seed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server;

    #[test]
    fn each_entry_is_a_server_that_runs_an_application_of_its_experiment() {
        for mode in [Mode::Quick, Mode::Full] {
            for experiment in all(mode) {
                for entry in &experiment.entries {
                    let server = server::find(entry.server);
                    let server =
                        server.unwrap_or_else(|| panic!("there is no server '{}'", entry.server));
                    let runs = experiment
                        .cases
                        .iter()
                        .any(|case| server.command(case.application).is_some());
                    assert!(
                        runs,
                        "'{}' takes no part in {}",
                        entry.server, experiment.name
                    );
                }
            }
        }
    }

    #[test]
    fn what_a_seed_says_is_said_of_one_case() {
        for experiment in all(Mode::Full) {
            let labels: Vec<&str> = experiment
                .cases
                .iter()
                .map(|case| &case.label[..])
                .collect();
            for row in &experiment.seed {
                for (case, _) in row.cells {
                    let meant = labels.iter().filter(|label| label.starts_with(case));
                    assert_eq!(meant.count(), 1, "{}: '{case}'", experiment.name);
                }
            }
        }
    }
}
