//! What the application hello can wait for: one kind of call for each family that a patch set has, all of them as std, or the
//! most usual crate, makes it.
//!
//! Each returns after the time that it was given. Whether others run meanwhile depends on where the handler runs, and on the
//! patch set. There is none for names: to look one up takes as long as others need to answer.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

/// What a handler waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// For time to pass: `thread::sleep`
    #[default]
    Time,
    /// For a peer that says nothing: a `read` of a socket with a time-out
    Socket,
    /// For the same by `poll`
    Select,
    /// For what nobody does: `Condvar::wait_timeout`
    Lock,
    /// For a thread that sleeps: `JoinHandle::join`
    Thread,
    /// For the end of a pipe from a program that sleeps: `read`
    Os,
    /// For a program that sleeps: `Command::status`
    Process,
}

impl Wait {
    /// Waits for so long.
    ///
    /// # Errors
    ///
    /// The kernel gives no descriptor, thread or process.
    pub(crate) fn wait(self, time: Duration) -> io::Result<()> {
        match self {
            Wait::Time => thread::sleep(time),
            Wait::Socket => {
                let (mut stream, _silent) = UnixStream::pair()?;
                // Zero would be no time-out at all.
                stream.set_read_timeout(Some(time.max(Duration::from_micros(1))))?;
                match stream.read(&mut [0]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => other.map(|_| ())?,
                }
            }
            Wait::Select => {
                let (stream, _silent) = UnixStream::pair()?;
                let limit = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
                poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], limit)?;
            }
            Wait::Lock => {
                let (nothing, never) = (Mutex::new(()), Condvar::new());
                let guard = nothing.lock().expect("nobody else has it");
                let waited = never.wait_timeout_while(guard, time, |()| true);
                drop(waited.expect("nobody else has it"));
            }
            Wait::Thread => {
                let sleeper = thread::Builder::new().spawn(move || thread::sleep(time))?;
                sleeper.join().expect("it only sleeps");
            }
            Wait::Os => {
                let mut sleeper = sleeper(time).stdout(Stdio::piped()).spawn()?;
                let output = sleeper.stdout.take().expect("it is piped");
                io::copy(&mut { output }, &mut io::sink())?;
                // To collect the program is another wait, of another family, which is not to be part of this one.
                thread::Builder::new().spawn(move || sleeper.wait())?;
            }
            Wait::Process => {
                sleeper(time).status()?;
            }
        }
        Ok(())
    }
}

fn sleeper(time: Duration) -> Command {
    let mut command = Command::new("sleep");
    command.arg(time.as_secs_f64().to_string());
    command
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn each_takes_the_time_that_it_was_given() {
        let time = Duration::from_millis(30);
        for wait in Wait::value_variants() {
            let start = Instant::now();
            wait.wait(time).unwrap();
            let taken = start.elapsed();
            assert!(taken >= time, "{wait:?}: {taken:?}");
        }
    }
}
