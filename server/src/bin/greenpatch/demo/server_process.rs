//! A `greenpatch serve` in a process of its own, and what it prints.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A server process; killed if it is dropped before it has stopped.
pub(super) struct ServerProcess {
    process: Child,
}

impl ServerProcess {
    /// Starts a server by `spawn`. Each line that it prints, on both outputs in order, is given to `heard` on a thread of its
    /// own, and `None` when it has closed them, that is, when it exits.
    ///
    /// # Errors
    ///
    /// The kernel gives no process, no pipe or no thread.
    pub(super) fn start(
        mut command: Command,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
        heard: impl FnMut(Option<String>) + Send + 'static,
    ) -> io::Result<ServerProcess> {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let server = ServerProcess {
            process: spawn(command)?,
        };
        thread::Builder::new().spawn(move || read_lines(reader, heard))?;
        Ok(server)
    }

    /// The process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to stop; it goes on with the requests that it has.
    pub(super) fn ask_to_stop(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::TERM)?)
    }

    /// Asks it to end at once, whatever it is at.
    pub(super) fn ask_to_quit(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::QUIT)?)
    }

    /// Waits until it has ended.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_lines(reader: PipeReader, mut heard: impl FnMut(Option<String>)) {
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        heard(Some(line));
    }
    heard(None);
}

/// Where a server listens, if this line of its log says so.
pub(super) fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Listening at: http://")?;
    rest.split(' ').next().map(str::to_owned)
}
