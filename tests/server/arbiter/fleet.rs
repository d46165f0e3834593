//! A server with a master and workers, in processes of their own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// Longer than anything here takes, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A master and its workers; all are killed when dropped.
pub(crate) struct Fleet {
    master: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// `greenpatch serve` with these arguments.
pub(crate) fn serve(arguments: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_greenpatch")), arguments)
}

/// A copy of `greenpatch` that serves with these arguments.
pub(crate) fn program(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.arg("serve").args(arguments);
    command
}

impl Fleet {
    /// Starts a server on a free port, and waits until its workers have booted.
    pub(crate) fn start(arguments: &[&str]) -> Fleet {
        let fleet = Fleet::run(serve(&[&["--bind", "127.0.0.1:0"], arguments].concat()));
        fleet.wait_for("Booting worker with pid: ");
        fleet
    }

    /// Starts a server, and waits until it listens.
    pub(crate) fn run(command: Command) -> Fleet {
        let fleet = Fleet::launch(command);
        fleet.wait_for("Listening at: ");
        fleet
    }

    /// Starts a server, which may fail to.
    pub(crate) fn launch(mut command: Command) -> Fleet {
        let (reader, writer) = io::pipe().expect("a pipe");
        command
            .stdout(writer.try_clone().expect("a second writer"))
            .stderr(writer)
            .process_group(0);
        let master = command.spawn().expect("the program starts");
        // It holds the writers.
        drop(command);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let collected = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let mut lines = collected.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
            }
        });
        Fleet { master, lines }
    }

    /// What has been printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until `what` of the printed lines is something, and returns that.
    #[track_caller]
    pub(crate) fn wait_until<T>(&self, what: impl Fn(&[String]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if let Some(found) = what(&lines) {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it did not come, only: {lines:#?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(|lines| lines.iter().find(|line| line.contains(text)).cloned())
    }

    /// How many lines contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Waits until so many lines contain `text`.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, text: &str, count: usize) {
        self.wait_until(|lines| {
            let found = lines.iter().filter(|line| line.contains(text)).count();
            (found >= count).then_some(())
        });
    }

    /// The address after `scheme` in the line that tells where the server listens last.
    pub(crate) fn address(&self) -> SocketAddr {
        self.wait_until(|lines| {
            let line = lines.iter().rfind(|line| line.contains("Listening at: "))?;
            let rest = line.split("http://").nth(1)?;
            rest.split([' ', ',']).next()?.parse().ok()
        })
    }

    /// The master's process id.
    pub(crate) fn master(&self) -> u32 {
        self.master.id()
    }

    /// The workers that have been started, dead ones too.
    pub(crate) fn booted(&self) -> Vec<u32> {
        let pid = |line: &String| {
            line.split("Booting worker with pid: ")
                .nth(1)?
                .trim()
                .parse()
                .ok()
        };
        self.lines().iter().filter_map(pid).collect()
    }

    /// The workers that live.
    pub(crate) fn workers(&self) -> Vec<u32> {
        self.booted()
            .into_iter()
            .filter(|pid| is_alive(*pid))
            .collect()
    }

    /// Waits until so many workers have been started in all.
    #[track_caller]
    pub(crate) fn wait_for_booted(&self, count: usize) {
        self.wait_for_count("Booting worker with pid: ", count);
    }

    /// Waits until this process has ended.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, pid: u32) {
        let start = Instant::now();
        while is_alive(pid) {
            assert!(
                start.elapsed() < PATIENCE,
                "{pid} goes on: {:#?}",
                self.lines()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends the master a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.master(), signal);
    }

    /// Waits until the master has ended, and with it everybody who writes to its streams; returns how it ended, and every line.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.master.try_wait().expect("our child") {
                break status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it goes on: {:#?}",
                self.lines()
            );
            thread::sleep(Duration::from_millis(5));
        };
        while Arc::strong_count(&self.lines) > 1 && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        (status, self.lines())
    }

    /// Sends the master SIGTERM and waits until it has ended.
    #[track_caller]
    pub(crate) fn stop(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.master);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.master.wait();
    }
}

/// Sends a process a signal.
pub(crate) fn send(pid: u32, signal: Signal) {
    kill_process(process(pid), signal).expect("it lives");
}

/// Whether a process lives; one that has ended and was not reaped does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    test_kill_process(process(pid)).is_ok() && !matches!(state, Some('Z' | 'X'))
}

fn process(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("not zero")
}
