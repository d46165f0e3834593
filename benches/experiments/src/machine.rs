//! On what the experiments run, and what else runs there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::process::Running;

/// The machine, and the versions of what was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// By name.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub(crate) fn look(repository: &Path) -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok());
        let mut git = Command::new("git");
        git.current_dir(repository).args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ]);
        let versions = [
            ("rustc", first_line(Command::new("rustc").arg("--version"))),
            ("go", first_line(Command::new("go").arg("version"))),
            ("ab", first_line(Command::new("ab").arg("-V"))),
            ("wrk", first_line(Command::new("wrk").arg("-v"))),
        ];
        let versions = versions
            .into_iter()
            .filter_map(|(name, version)| Some((name.to_owned(), version?)));
        Machine {
            processor: field("model name").unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            commit: first_line(&mut git).unwrap_or_default(),
            versions: versions.collect(),
        }
    }
}

/// The first line that a command prints, whatever its status: wrk gives its version with an error's.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}

/// What the processors have done until a moment, to be compared with a later one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    at: Instant,
    /// All processors, whoever had them.
    all: Duration,
    /// A server.
    pub(crate) server: Duration,
    /// This process and the clients that have ended.
    clients: Duration,
}

impl Work {
    /// Until now.
    pub(crate) fn now(server: &Running) -> Result<Work> {
        let mut clients = Duration::ZERO;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            let microseconds =
                usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            clients += Duration::from_micros(microseconds.cast_unsigned());
        }
        Ok(Work {
            at: Instant::now(),
            all: busy(&fs::read_to_string("/proc/stat")?)
                .ok_or("/proc/stat has no line of all processors")?,
            server: Duration::from_nanos(server.processor_time()),
            clients,
        })
    }

    /// The share of all processors that others had between this moment and a later one: neither the server nor its clients.
    pub(crate) fn of_others(&self, later: &Work, processors: usize) -> f64 {
        let there = (later.at - self.at).as_secs_f64() * processors as f64;
        let ours = (later.server - self.server) + (later.clients - self.clients);
        ((later.all - self.all).as_secs_f64() - ours.as_secs_f64()).max(0.0) / there.max(1e-3)
    }
}

/// How long all processors together were busy since the machine's start.
fn busy(stat: &str) -> Option<Duration> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already.
    let busy = [0, 1, 2, 5, 6, 7]
        .iter()
        .map(|&index| ticks.get(index).copied().unwrap_or(0))
        .sum::<u64>();
    Some(Duration::from_millis(
        busy * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_work_is_not_busy() {
        let stat = "cpu  100 10 40 9999 888 1 2 3 77 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(busy(stat), Some(Duration::from_millis(156 * 1000 / ticks)));
    }
}
