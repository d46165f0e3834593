//! What a process finds that was started by a master: its role, and with it the listening sockets.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::stdio::{dup2_stdin, stdin};

use super::channel::Channel;
use super::message::{Handed, Start, VARIABLE, VERSION};
use super::sockets::{Listening, Socket};

/// The lowest descriptor that the channel may get: those of the standard streams are not for it.
const ABOVE_STANDARD_STREAMS: i32 = 3;

/// A process that was started by a master.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// A worker.
    Worker(Inheritance),
    /// A second master, beside the one that has started it.
    Master {
        /// The sockets that the first one listens on for its workers.
        sockets: Vec<Listening>,
        /// Those of its admin application.
        admin: Vec<Listening>,
        /// The numbers of the descriptors that a service manager had handed down to it.
        activated: Vec<i32>,
        /// Open for as long as the first one lives.
        first: Channel,
    },
}

/// What a worker is given.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The settings, as the master sent them.
    pub(crate) settings: String,
    /// The listening sockets, in the order of the settings.
    pub(crate) sockets: Vec<Socket>,
    /// To the master.
    pub(crate) channel: Channel,
}

impl Inherited {
    /// Takes what the process was started with, and gives it back its true standard input. `None` if no master has started it.
    ///
    /// # Errors
    ///
    /// If the master is of a build that speaks otherwise, or has died.
    pub(crate) fn take() -> Result<Option<Inherited>, InheritError> {
        let Ok(version) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        // A worker's own children have the variable too, but not the channel.
        if !matches!(socket_type(stdin()), Ok(SocketType::SEQPACKET)) {
            return Ok(None);
        }
        if version != VERSION {
            return Err(InheritError::Version(version));
        }
        let channel = fcntl_dupfd_cloexec(stdin(), ABOVE_STANDARD_STREAMS);
        let channel = Channel::from_descriptor(channel.map_err(io::Error::from)?);
        dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?;
        let (start, descriptors) = channel.receive()?.ok_or(InheritError::MasterGone)?;
        let mut descriptors = descriptors.into_iter();
        let input = descriptors.next().ok_or(InheritError::MasterGone)?;
        dup2_stdin(&input).map_err(io::Error::from)?;
        match start {
            Start::Worker { settings } => {
                let sockets = descriptors.map(socket).collect::<Result<_, _>>()?;
                Ok(Some(Inherited::Worker(Inheritance {
                    settings,
                    sockets,
                    channel,
                })))
            }
            Start::Master { sockets, activated } => {
                let (mut own, mut admin) = (Vec::new(), Vec::new());
                for (handed, descriptor) in sockets.into_iter().zip(descriptors) {
                    let place = if handed.is_admin {
                        &mut admin
                    } else {
                        &mut own
                    };
                    place.push(listening(handed, descriptor)?);
                }
                Ok(Some(Inherited::Master {
                    sockets: own,
                    admin,
                    activated,
                    first: channel,
                }))
            }
        }
    }
}

fn socket(descriptor: OwnedFd) -> Result<Socket, InheritError> {
    Ok(Socket::from_descriptor(descriptor).map_err(io::Error::other)?)
}

fn listening(handed: Handed, descriptor: OwnedFd) -> Result<Listening, InheritError> {
    let bind = handed.bind.parse().map_err(io::Error::other)?;
    Ok(Listening::shared(socket(descriptor)?, bind, handed.file))
}

/// A process that cannot be what its master has started it for.
#[derive(Debug)]
pub(crate) enum InheritError {
    /// Master and worker speak different versions.
    Version(String),
    /// There is no master any more.
    MasterGone,
    /// The channel or a descriptor cannot be used.
    Io(io::Error),
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritError::Version(version) => write!(
                f,
                "the master speaks version {version} with its workers and this build version {VERSION}; \
                 bring the new build in with USR2 instead of HUP, or restart the server"
            ),
            InheritError::MasterGone => {
                f.write_str("the master has gone before it said what is to be done")
            }
            InheritError::Io(error) => {
                write!(f, "cannot take over what the master hands down: {error}")
            }
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InheritError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for InheritError {
    fn from(error: io::Error) -> InheritError {
        InheritError::Io(error)
    }
}
