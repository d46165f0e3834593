//! A server in a process of its own, and what the kernel tells of it.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::SERVER;

/// A server process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts the server of that name and waits until it listens.
    pub(crate) fn start(name: &str) -> Result<Process, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env(SERVER, name)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Process { child, address }),
            Err(_) => {
                // It has ended, or is of no use.
                let _ = child.kill();
                Err(format!(
                    "server '{name}' did not say where it listens; its end: {}",
                    child.wait()?
                )
                .into())
            }
        }
    }

    /// Nanoseconds of processor time that its threads have used. Those that have ended do not count, and none does here.
    pub(crate) fn processor_time(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            sum += first.ok_or_else(|| io::Error::other(format!("schedstat says '{text}'")))?;
        }
        Ok(sum)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other("the kernel does not tell the resident memory"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
