//! A server's processes: started, looked at, stopped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Result;

/// How long a server may take until it accepts connections, and until it has stopped.
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(3);

/// How often memory is looked at under load.
const LOOK: Duration = Duration::from_millis(50);

/// A server in a process group of its own; stopped when it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// What a server's memory was at most, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Proportional set size: what is shared counts in parts.
    pub(crate) proportional: u64,
    pub(crate) address_space: u64,
}

impl Running {
    /// Starts the server that the command tells of, which listens at the address, and waits until it accepts connections.
    pub(crate) fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Running> {
        let output = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let program = command.get_program().display().to_string();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot run {program}: {error}"))?;
        let mut server = Running {
            child,
            address,
            log: log.to_owned(),
        };
        let end = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("it ended with {status}: {}", server.last_words()).into());
            }
            if Instant::now() > end {
                return Err(format!("it does not listen: {}", server.last_words()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The last lines of its output.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(2)..].join(" | ")
    }

    /// Nanoseconds of processor time that its processes have used, those of threads that have ended included.
    pub(crate) fn processor_time(&self) -> u64 {
        self.processes()
            .into_iter()
            .filter_map(processor_time)
            .sum()
    }

    /// Its memory now.
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for process in self.processes() {
            // One that has just ended has none.
            let rollup =
                fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            memory.proportional += kibibytes(&rollup, "Pss:").unwrap_or(0) << 10;
            memory.address_space += kibibytes(&status, "VmSize:").unwrap_or(0) << 10;
        }
        memory
    }

    /// Does something, and looks meanwhile how much memory the server has at most.
    pub(crate) fn watch_memory<T>(&self, action: impl FnOnce() -> T) -> (T, Memory) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut most = Memory::default();
                loop {
                    let last = over.load(Ordering::Acquire);
                    let memory = self.memory();
                    most.proportional = most.proportional.max(memory.proportional);
                    most.address_space = most.address_space.max(memory.address_space);
                    if last {
                        return most;
                    }
                    thread::park_timeout(LOOK);
                }
            });
            let outcome = action();
            over.store(true, Ordering::Release);
            watcher.thread().unpark();
            (outcome, watcher.join().unwrap_or_default())
        })
    }

    /// The process that was started, and all that came of it.
    fn processes(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(process) = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            if let Some(parent) = parent(&stat) {
                children.entry(parent).or_default().push(process);
            }
        }
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(process) = family.get(next) {
            next += 1;
            if let Some(children) = children.remove(process) {
                family.extend(children);
            }
        }
        family
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // It fails only if all have ended.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        // What is left of the group, and what does not stop when asked.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn processor_time(process: u32) -> Option<u64> {
    let process = nix::unistd::Pid::from_raw(process.cast_signed());
    let time = ClockId::pid_cpu_clock_id(process).ok()?.now().ok()?;
    Some(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

/// The parent that a process's `stat` tells. The name before it is in parentheses, and may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The number of a line such as `Pss:   1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// An address of this machine at which nothing listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b (c) S 34 5 6"), Some(34));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn memory_is_read_from_its_line() {
        let text = "Rss:    100 kB\nPss:     42 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(42));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("experiments-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option; exit 3"]);
        let address = free_address().expect("there is a port");
        let error = Running::start(command, address, &log)
            .err()
            .expect("it has ended");
        let _ = fs::remove_file(log);
        let error = error.to_string();
        assert!(
            error.contains("no such option") && error.contains('3'),
            "{error}"
        );
    }
}
