//! The side of who attaches: the request, and the way to the socket that is opened for it.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{SIGNAL, THREAD, peer, socket_name};
use crate::base::signal;
use crate::sched::context::{NativeSection, OwnWork};

/// How long the process may take to open its socket, and how often it is asked: a signal is lost that comes while the one of
/// another client is pending.
const TIMEOUT: Duration = Duration::from_secs(5);
const REPEAT: Duration = Duration::from_millis(250);

/// The first and the longest time between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Why nobody could attach to a process.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no such process, or none that the caller may see.
    NoProcess {
        /// The number that was given.
        process: u32,
    },
    /// The number is that of a thread.
    Thread {
        /// The number that was given.
        thread: u32,
        /// The thread's process.
        process: u32,
    },
    /// The process has ended, and its parent has not been told yet.
    Ended {
        /// The process.
        process: u32,
    },
    /// The process has no thread that waits for requests.
    NoGreenThreads {
        /// The process.
        process: u32,
        /// The name of its program, as the kernel shows it.
        name: String,
    },
    /// The process is another user's.
    Foreign {
        /// The process.
        process: u32,
        /// The user, by number.
        owner: u32,
    },
    /// The process is stopped, by a signal or a debugger.
    Stopped {
        /// The process.
        process: u32,
    },
    /// The process has not opened its socket in time.
    Silent {
        /// The process.
        process: u32,
    },
    /// The process is in a network namespace that the caller cannot enter.
    Namespace {
        /// The process.
        process: u32,
        /// What the kernel says.
        error: io::Error,
    },
    /// Another process has the socket.
    Impostor {
        /// The process.
        process: u32,
        /// Whose socket it is.
        other: u32,
    },
    /// Something else that the kernel did not do.
    Io {
        /// The process.
        process: u32,
        /// What was to be done.
        what: &'static str,
        /// What the kernel says.
        error: io::Error,
    },
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoProcess { process } => write!(
                f,
                "there is no process {process}, or none that this user may see; 'ps -e' lists those there are"
            ),
            AttachError::Thread { thread, process } => write!(
                f,
                "{thread} is a thread of process {process}; give the process's number"
            ),
            AttachError::Ended { process } => write!(f, "process {process} has ended"),
            AttachError::NoGreenThreads { process, name } => write!(
                f,
                "process {process} ({name}) runs no green threads that can be looked at: it is not linked with greenpatch nor \
                 run by 'greenpatch run', or has not created a thread yet, or its greenpatch is older than this one, or the \
                 setting attach is off"
            ),
            AttachError::Foreign { process, owner } => write!(
                f,
                "process {process} is user {owner}'s; only that user and root may look into it, so try \
                 'sudo -u \\#{owner} greenpatch'"
            ),
            AttachError::Stopped { process } => write!(
                f,
                "process {process} is stopped, by a signal or a debugger, and cannot answer; 'kill -CONT {process}' lets it \
                 go on"
            ),
            AttachError::Silent { process } => write!(
                f,
                "process {process} has not opened its socket within {} s: it may have {} clients already, be kept from using \
                 Unix sockets, or not get any processor time; try again",
                TIMEOUT.as_secs(),
                super::CLIENTS,
            ),
            AttachError::Namespace { process, error } => write!(
                f,
                "process {process} is in another network namespace, which this process cannot enter ({error}); run greenpatch \
                 as root, or inside the container"
            ),
            AttachError::Impostor { process, other } => write!(
                f,
                "the socket of process {process} belongs to process {other}, which is not asked; try again"
            ),
            AttachError::Io {
                process,
                what,
                error,
            } => write!(f, "cannot {what} of process {process}: {error}"),
        }
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AttachError::Namespace { error, .. } | AttachError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Connects to a process that runs green threads, by its number. What is said then, [the module's page](super) tells. Waits for
/// some seconds at most. The process need not be a child, nor stand in any relation to the caller but the user.
///
/// # Errors
///
/// If there is no such process, it is another user's, runs no green threads or does not answer: see [`AttachError`].
pub fn connect(process: u32) -> Result<UnixStream, AttachError> {
    let _native = NativeSection::enter();
    let _own = OwnWork::enter();
    let target = Target { process };
    let status = target.status()?;
    if status.group != process {
        return Err(AttachError::Thread {
            thread: process,
            process: status.group,
        });
    }
    let caller = geteuid();
    if !caller.is_root() && caller.as_raw() != status.owner {
        let owner = status.owner;
        return Err(AttachError::Foreign { process, owner });
    }
    let start = Instant::now();
    let number = RandomState::new().build_hasher().finish();
    let mut thread = None;
    let mut asked_at: Option<Instant> = None;
    let mut pause = PAUSE;
    loop {
        let status = target.status()?;
        thread = match thread {
            None => target.thread()?,
            known => known,
        };
        match thread {
            None if start.elapsed() >= REPEAT => {
                let name = status.name;
                return Err(AttachError::NoGreenThreads { process, name });
            }
            // It may be about to begin.
            None => {}
            Some(thread) => {
                if asked_at.is_none_or(|at| at.elapsed() >= REPEAT) {
                    target.ask(thread, number, &status)?;
                    asked_at = Some(Instant::now());
                }
                if let Some(connection) = target.try_connect(number)? {
                    target.check(&connection)?;
                    return Ok(UnixStream::from(connection));
                }
            }
        }
        if start.elapsed() >= TIMEOUT {
            return Err(match status.is_stopped {
                true => AttachError::Stopped { process },
                false => AttachError::Silent { process },
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The process that is to be attached to.
struct Target {
    process: u32,
}

/// What the kernel says of a process.
struct Status {
    name: String,
    /// The process that a thread belongs to.
    group: u32,
    /// The effective user.
    owner: u32,
    is_stopped: bool,
}

impl Target {
    fn path(&self, rest: &str) -> PathBuf {
        format!("/proc/{}/{rest}", self.process).into()
    }

    fn error(&self, what: &'static str, error: io::Error) -> AttachError {
        let process = self.process;
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::SRCH) => AttachError::NoProcess { process },
            _ => AttachError::Io {
                process,
                what,
                error,
            },
        }
    }

    fn status(&self) -> Result<Status, AttachError> {
        let process = self.process;
        let text = fs::read_to_string(self.path("status"))
            .map_err(|error| self.error("read the status", error))?;
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
        let state = field("State").and_then(|state| state.chars().next());
        if matches!(state, Some('Z' | 'X')) {
            return Err(AttachError::Ended { process });
        }
        let owner = field("Uid").and_then(|ids| ids.split_whitespace().nth(1));
        let (Some(group), Some(owner)) = (number(field("Tgid")), number(owner)) else {
            let error = io::Error::from(ErrorKind::InvalidData);
            return Err(self.error("understand the status", error));
        };
        Ok(Status {
            // A process may call itself something that makes a terminal do things.
            name: field("Name")
                .unwrap_or_default()
                .replace(char::is_control, "\u{fffd}"),
            group,
            owner,
            is_stopped: matches!(state, Some('T' | 't')),
        })
    }

    /// The thread that waits for requests, if there is one and it has blocked its signals. While it waits for one of them, the
    /// kernel shows that one as not blocked.
    fn thread(&self) -> Result<Option<i32>, AttachError> {
        let entries = fs::read_dir(self.path("task"))
            .map_err(|error| self.error("list the threads", error))?;
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // Threads end while they are looked at.
        let read = |thread: i32, file: &str| {
            fs::read_to_string(self.path(&format!("task/{thread}/{file}"))).unwrap_or_default()
        };
        let mut named = numbers.filter(|&thread| read(thread, "comm").trim_end() == THREAD);
        Ok(named.find(|&thread| {
            let status = read(thread, "status");
            let mut lines = status.lines();
            let blocked = lines.find_map(|line| line.strip_prefix("SigBlk:"));
            let blocked = blocked.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
            let others = [libc::SIGHUP, libc::SIGTERM, libc::SIGUSR1];
            let is_blocked = |set: u64| others.iter().all(|signal| set & 1 << (signal - 1) != 0);
            blocked.is_some_and(is_blocked)
        }))
    }

    /// Asks the process to open a socket.
    fn ask(&self, thread: i32, number: u64, status: &Status) -> Result<(), AttachError> {
        let process = self.process;
        let asked = signal::queue_at(process.cast_signed(), thread, SIGNAL, number as usize);
        asked.map_err(|error| match error {
            Errno::PERM => AttachError::Foreign {
                process,
                owner: status.owner,
            },
            Errno::SRCH => AttachError::NoProcess { process },
            _ => self.error("ask the thread green-attach", error.into()),
        })
    }

    /// Connects if the socket is there.
    fn try_connect(&self, number: u64) -> Result<Option<OwnedFd>, AttachError> {
        let socket = || {
            socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
        };
        let socket = match self.other_network()? {
            None => socket(),
            Some(network) => self.within(&network, socket)?,
        };
        let socket =
            socket.map_err(|error| self.error("make a socket for the one", error.into()))?;
        let address = SocketAddrUnix::new_abstract_name(socket_name(number).as_bytes())
            .map_err(|error| self.error("name the socket", error.into()))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => Ok(Some(socket)),
            Err(Errno::CONNREFUSED | Errno::NOENT | Errno::INTR) => Ok(None),
            Err(error) => Err(self.error("connect to the socket", error.into())),
        }
    }

    /// The process's network namespace, if that is not the caller's. If the kernel does not tell, it is taken for the same.
    fn other_network(&self) -> Result<Option<File>, AttachError> {
        const PLACE: &str = "ns/net";
        let theirs = fs::read_link(self.path(PLACE));
        let ours = fs::read_link(PathBuf::from("/proc/self").join(PLACE));
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) if theirs != ours => {
                let file = File::open(self.path(PLACE));
                file.map(Some).map_err(|error| self.namespace(error))
            }
            _ => Ok(None),
        }
    }

    fn namespace(&self, error: io::Error) -> AttachError {
        AttachError::Namespace {
            process: self.process,
            error,
        }
    }

    /// Calls `make` in another network namespace: on a thread of its own, which ends there.
    fn within<T: Send>(
        &self,
        network: &File,
        make: impl FnOnce() -> T + Send,
    ) -> Result<T, AttachError> {
        let made = thread::scope(|scope| {
            let enters = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(network.as_fd(), kind)?;
                Ok::<T, Errno>(make())
            });
            enters.join().unwrap_or(Err(Errno::IO))
        });
        made.map_err(|error| self.namespace(error.into()))
    }

    /// Sees whether the socket is the process's.
    fn check(&self, connection: &OwnedFd) -> Result<(), AttachError> {
        let peer = peer(connection).map_err(|error| self.error("tell the socket", error.into()))?;
        let other = peer.pid.cast_unsigned();
        if other == self.process {
            return Ok(());
        }
        let process = self.process;
        Err(AttachError::Impostor { process, other })
    }
}
