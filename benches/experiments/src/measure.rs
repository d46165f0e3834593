//! Doing an experiment: rounds, in each of which every server has its turn.
//!
//! A server is started anew for each round and application, on a processor of its own, and loaded from the last one. While a case is
//! measured, the kernel tells what the server, its clients and everything else have used of the processors. A round in which
//! others had more than a limit is measured again; if none can be had, the least disturbed one counts, and is marked.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::arguments::Arguments;
use crate::experiment::{Case, Entry, Experiment};
use crate::load::{Load, Target};
use crate::machine::{Machine, Work};
use crate::outcome::{Outcome, Quantity};
use crate::place::Place;
use crate::process::{Running, free_address};
use crate::report::{self, Cell, Measured, Report};
use crate::server::{self, Application, Server};
use crate::statistics::Figure;
use crate::tool::{Tool, Workshop};

/// Does experiments.
pub(crate) struct Session {
    arguments: Arguments,
    place: Place,
    workshop: Workshop,
    machine: Machine,
    /// The directory of this session's logs.
    logs: PathBuf,
}

/// What has been found of a server in a case.
#[derive(Default)]
struct Findings {
    outcomes: Vec<Outcome>,
    thrown_away: usize,
    disturbed: usize,
    /// Why it is not measured any more.
    error: Option<String>,
}

/// A server, ready to be started.
struct Ready<'a> {
    entry: &'a Entry,
    server: &'static Server,
    /// What names in braces stand for, or why it cannot be started.
    names: std::result::Result<HashMap<&'static str, String>, String>,
}

impl Session {
    pub(crate) fn new(arguments: Arguments, place: Place) -> Result<Session> {
        let logs = place.work.join("logs");
        fs::create_dir_all(&logs)?;
        // 10,000 connections, and what else a process has open.
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
        let machine = Machine::look(&place.repository);
        Ok(Session {
            arguments,
            workshop: Workshop::new(place.clone()),
            place,
            machine,
            logs,
        })
    }

    /// Does an experiment.
    pub(crate) fn run(&mut self, experiment: &Experiment) -> Result<Report> {
        let began = Instant::now();
        let stamp = jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M UTC")
            .to_string();
        for load in experiment.cases.iter().map(|case| &case.load) {
            match load {
                Load::Wrk { .. } => self.workshop.get(Tool::Wrk)?,
                Load::Ab { .. } => self.workshop.get(Tool::Ab)?,
                Load::Order | Load::Users(_) => continue,
            };
        }
        let entries = experiment
            .entries
            .iter()
            .filter(|entry| self.arguments.wants_server(entry.server));
        let entries: Vec<&Entry> = entries.collect();
        let ready: Result<Vec<Ready>> = entries.iter().map(|entry| self.ready(entry)).collect();
        let ready = ready?;
        let cases = &experiment.cases;
        let mut findings: Vec<Vec<Findings>> = ready
            .iter()
            .map(|_| cases.iter().map(|_| Findings::default()).collect())
            .collect();
        let rounds = self.arguments.rounds.unwrap_or(experiment.rounds);
        let progress = ProgressBar::new((rounds * ready.len() * cases.len()) as u64);
        progress.set_style(ProgressStyle::with_template(
            "{prefix} {wide_bar} {pos}/{len} {eta} {msg:50}",
        )?);
        progress.set_prefix(experiment.name);
        for _ in 0..rounds {
            let mut first = 0;
            while let Some(case) = cases.get(first) {
                let same = cases[first..]
                    .iter()
                    .take_while(|other| other.application == case.application);
                let last = first + same.count();
                for (ready, findings) in ready.iter().zip(&mut findings) {
                    progress.set_message(ready.entry.label());
                    self.turn(ready, &cases[first..last], &mut findings[first..last]);
                    progress.inc((last - first) as u64);
                }
                first = last;
            }
        }
        progress.finish_and_clear();
        let mut machine = self.machine.clone();
        machine.versions.extend(self.python_versions());
        let mut rows = seed_rows(experiment);
        rows.extend(
            ready
                .iter()
                .zip(&findings)
                .map(|(ready, findings)| row(ready, cases, findings)),
        );
        Ok(Report {
            name: experiment.name.to_owned(),
            title: experiment.title.to_owned(),
            about: experiment.about.to_owned(),
            command: self.command(experiment),
            began: stamp,
            seconds: began.elapsed().as_secs_f64(),
            machine,
            layout: experiment.layout,
            cases: cases.iter().map(report_case).collect(),
            rows,
        })
    }

    /// How to do the experiment again.
    fn command(&self, experiment: &Experiment) -> String {
        let mut words = vec![
            "cargo bench -p greenpatch-experiments --bench experiments --",
            experiment.name,
        ];
        words.extend(self.arguments.full.then_some("--full"));
        words.join(" ")
    }

    fn ready<'a>(&mut self, entry: &'a Entry) -> Result<Ready<'a>> {
        let server = server::find(entry.server);
        let server = server.ok_or_else(|| format!("there is no server '{}'", entry.server))?;
        let names = self.names(server, entry);
        Ok(Ready {
            entry,
            server,
            names,
        })
    }

    /// What names in braces stand for, but for those that change from start to start.
    fn names(
        &mut self,
        server: &Server,
        entry: &Entry,
    ) -> std::result::Result<HashMap<&'static str, String>, String> {
        let mut names = HashMap::from([("{workers}", entry.workers.to_string())]);
        for tool in server.tools() {
            let name = match tool {
                Tool::Ours => "{release}",
                Tool::Gunicorn25 | Tool::Gunicorn19 => "{python}",
                _ => "{tool}",
            };
            names.insert(name, self.workshop.get(tool)?.display().to_string());
        }
        Ok(names)
    }

    /// One server's turn with the cases of one application.
    fn turn(&self, ready: &Ready, cases: &[Case], findings: &mut [Findings]) {
        if findings.iter().all(|findings| findings.error.is_some()) {
            return;
        }
        let started = self.start(ready, &cases[0]);
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                let reason = error.to_string();
                findings
                    .iter_mut()
                    .for_each(|findings| findings.error = Some(reason.clone()));
                return;
            }
        };
        let mut is_cold = true;
        for (case, findings) in cases.iter().zip(findings) {
            if findings.error.is_none()
                && let Err(error) = self.measure(
                    &server,
                    ready.entry,
                    case,
                    std::mem::take(&mut is_cold),
                    findings,
                )
            {
                findings.error = Some(error.to_string());
            }
        }
    }

    fn start(&self, ready: &Ready, case: &Case) -> Result<Running> {
        let names = ready.names.as_ref().map_err(String::clone)?;
        let command = ready.server.command(case.application);
        let command = command.ok_or("it does not run this application")?;
        let address = free_address()?;
        let sleep = case.application.sleep();
        let fill = |word: &str| {
            let mut word = word.to_owned();
            for (name, value) in names {
                word = word.replace(name, value);
            }
            word.replace("{address}", &address.to_string())
                .replace("{port}", &address.port().to_string())
                .replace("{sleep}", &sleep.to_string())
        };
        let mut words = Self::launcher(ready.entry.pinned.then_some(0));
        words.extend(command.split_whitespace().map(fill));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(self.place.package.join("applications"));
        command
            .env("SLEEP", sleep.to_string())
            .env("WAIT_MS", (sleep * 1e3).to_string());
        // Nothing is written beside the sources.
        command.env("PYTHONPYCACHEPREFIX", self.place.work.join("pycache"));
        if matches!(case.load, Load::Order) {
            command.env("PYTHONUNBUFFERED", "1");
        }
        command.envs(ready.server.environment);
        let log = format!(
            "{}.log",
            ready.entry.label().replace([' ', ',', '\'', '/'], "-")
        );
        let server = Running::start(command, address, &self.logs.join(log))?;
        if case.application == (Application::Text { sleep: 0.0 }) {
            check_answer(address)?;
        }
        Ok(server)
    }

    /// What comes before a command so that it runs on that processor, if one is named.
    /// It ends with this process, however that ends.
    fn launcher(processor: Option<usize>) -> Vec<String> {
        let mut words = ["setpriv", "--pdeathsig", "KILL"]
            .map(str::to_owned)
            .to_vec();
        if let Some(processor) = processor {
            words.extend(["taskset", "-c", &processor.to_string()].map(str::to_owned));
        }
        words
    }

    /// Measures a case until it was not disturbed, or often enough.
    fn measure(
        &self,
        server: &Running,
        entry: &Entry,
        case: &Case,
        is_cold: bool,
        findings: &mut Findings,
    ) -> Result<()> {
        let processors = available_parallelism()?.get();
        let launcher = Self::launcher(entry.pinned.then_some(processors - 1));
        let target = Target {
            address: server.address,
            launcher: &launcher,
            log: &server.log,
            package: &self.place.package,
        };
        if is_cold && case.application.sleep() == 0.0 {
            case.load.warm_up(&target)?;
        }
        let mut best: Option<(f64, Outcome)> = None;
        // Two requests are a matter of order, not of speed, and the log has what they print.
        let attempts = if matches!(case.load, Load::Order) {
            1
        } else {
            self.arguments.attempts
        };
        for _ in 0..attempts.max(1) {
            let before = Work::now(server)?;
            let (outcome, memory) = server.watch_memory(|| case.load.run(&target));
            let mut outcome = outcome?;
            let after = Work::now(server)?;
            let used = (after.server - before.server).as_secs_f64() * 1e6;
            if let Some(requests) = outcome.get(Quantity::Requests)
                && requests > 0.0
            {
                outcome.set(Quantity::Processor, used / requests);
            }
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            outcome.set(Quantity::Memory, mebibytes(memory.proportional));
            outcome.set(Quantity::AddressSpace, mebibytes(memory.address_space));
            let others = before.of_others(&after, processors) * 100.0;
            let is_best = best.as_ref().is_none_or(|(least, _)| others < *least);
            if is_best {
                best = Some((others, outcome));
            }
            if attempts == 1 || others <= self.arguments.limit {
                break;
            }
            findings.thrown_away += 1;
        }
        if let Some((others, outcome)) = best {
            if attempts > 1 && others > self.arguments.limit {
                // One of those thrown away counts after all.
                findings.thrown_away -= 1;
                findings.disturbed += 1;
            }
            findings.outcomes.push(outcome);
        }
        Ok(())
    }

    /// The versions of Python's packages.
    fn python_versions(&mut self) -> Vec<(String, String)> {
        let mut versions = Vec::new();
        for tool in [Tool::Gunicorn25, Tool::Gunicorn19] {
            let Some(Ok(programs)) = self.workshop.known(tool) else {
                continue;
            };
            let Ok(text) = fs::read_to_string(programs.join("../requirements.txt")) else {
                continue;
            };
            versions.extend(text.lines().filter_map(|line| {
                let (name, version) = line.split_once("==")?;
                Some((
                    format!("{name} {}", version.split('.').next()?),
                    version.to_owned(),
                ))
            }));
        }
        versions
    }
}

/// Sees that a server answers with the twelve bytes.
fn check_answer(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: experiments\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"hello world!") {
        match stream.read(&mut piece)? {
            0 => return Err(format!("it answers {}", answer.escape_ascii()).into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(())
}

fn report_case(case: &Case) -> report::Case {
    report::Case {
        label: case.label.clone(),
        quantities: case.shown.to_vec(),
        words: matches!(case.load, Load::Order).then(|| "log lines".to_owned()),
    }
}

fn seed_rows(experiment: &Experiment) -> Vec<report::Row> {
    let rows = experiment.seed.iter();
    rows.map(|row| report::Row {
        label: row.label.to_owned(),
        command: String::new(),
        cells: experiment
            .cases
            .iter()
            .map(|case| {
                let cell = row
                    .cells
                    .iter()
                    .find(|(label, _)| case.label.starts_with(label));
                Cell::Seed(cell.map_or(String::new(), |(_, text)| (*text).to_owned()))
            })
            .collect(),
    })
    .collect()
}

fn row(ready: &Ready, cases: &[Case], findings: &[Findings]) -> report::Row {
    let command = cases
        .iter()
        .find_map(|case| ready.server.command(case.application));
    report::Row {
        label: ready.entry.label(),
        command: command.unwrap_or_default(),
        cells: cases
            .iter()
            .zip(findings)
            .map(|(case, findings)| cell(case, findings))
            .collect(),
    }
}

fn cell(case: &Case, findings: &Findings) -> Cell {
    if findings.outcomes.is_empty() {
        return Cell::Missing(
            findings
                .error
                .clone()
                .unwrap_or("it was not measured".to_owned()),
        );
    }
    let figure = |quantity: &Quantity| {
        let values: Vec<f64> = findings
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.get(*quantity))
            .collect();
        Figure::of(&values)
    };
    Cell::Measured(Measured {
        figures: case.shown.iter().map(figure).collect(),
        text: findings
            .outcomes
            .last()
            .and_then(|outcome| outcome.text.clone()),
        thrown_away: findings.thrown_away,
        disturbed: findings.disturbed,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::experiment::{self, Mode};

    const SERIAL: &str = "hello 0, world, hello 1, world";
    const CONCURRENT: &str = "hello 0, hello 1, world, world";

    /// The log lines of two requests at once to each of our servers.
    #[test]
    fn the_order_of_two_requests_is_what_the_class_and_the_patch_say() {
        let work = std::env::temp_dir().join(format!("experiments-{}", std::process::id()));
        // Cargo puts a test into `deps`, beside which the programs are.
        let built = std::env::current_exe().expect("a test has a path");
        let built = built.ancestors().nth(2).expect("it is in deps");
        assert!(
            built.join("greenpatch").exists(),
            "build the server first, with cargo build -p greenpatch-server"
        );
        let place = Place::new(Some(&work), Some(built));
        let arguments = Arguments::parse_from(["experiments", "--server", "ours"]);
        let mut experiment = experiment::all(Mode::Quick).swap_remove(0);
        experiment.cases[0].application = Application::Order { sleep: 0.3 };
        let mut session = Session::new(arguments, place).expect("there is a directory");
        let report = session.run(&experiment).expect("it runs");
        report.write(&work).expect("it can be written");
        let page = report::publish(&work, &[experiment.name], &work).expect("there is a report");
        let page = fs::read_to_string(page).expect("it has been written");
        let plot = fs::read_to_string(work.join("plots/order.svg")).expect("it has been written");
        let _ = fs::remove_dir_all(&work);
        for (server, order) in [
            ("ours, sync", SERIAL),
            ("ours, gthread, 4 threads", CONCURRENT),
            ("ours, green, not patched", SERIAL),
            ("ours, green", CONCURRENT),
            ("ours, sync, patched", SERIAL),
            ("ours, async, std's sleep", SERIAL),
            ("ours, async, async sleep", CONCURRENT),
        ] {
            assert!(
                page.contains(&format!("| **{server}** | {order} |")),
                "{server}: {page}"
            );
            assert!(
                plot.contains(&format!(">\n{server}\n<")),
                "{server}: {plot}"
            );
        }
    }
}
