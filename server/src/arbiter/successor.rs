//! A second master, which USR2 starts from the program as it is on disk now, beside the first one.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::stdio::stdin;

use super::admin::Admin;
use super::channel::Channel;
use super::generation::Generation;
use super::message::{Handed, Start, VARIABLE, VERSION};
use super::service;
use super::sockets::Activated;

/// A second master that this one has started.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    /// Its other end tells the second master that this one lives.
    _life: Channel,
}

impl Successor {
    /// Starts one in this directory, and hands the sockets down to it.
    ///
    /// # Errors
    ///
    /// If the program cannot be executed, or the sockets not be handed down.
    pub(crate) fn start(
        generation: &Generation,
        admin: &Admin,
        activated: &Activated,
        directory: &Path,
    ) -> io::Result<Successor> {
        let (life, theirs) = Channel::pair()?;
        let own = generation.sockets();
        let sockets = own.iter().map(|it| (it, false));
        let sockets: Vec<_> = sockets
            .chain(admin.sockets().iter().map(|it| (it, true)))
            .collect();
        let handed = sockets.iter().map(|(listening, is_admin)| Handed {
            bind: listening.bind.to_string(),
            file: listening.file().cloned(),
            is_admin: *is_admin,
        });
        let start = Start::Master {
            sockets: handed.collect(),
            activated: activated.numbers().to_vec(),
        };
        let mut descriptors = vec![stdin()];
        descriptors.extend(
            sockets
                .iter()
                .map(|(listening, _)| listening.socket.as_fd()),
        );
        life.send(&start, &descriptors)?;
        let executable = generation.executable.latest()?;
        let mut command = executable.command();
        command
            .stdin(Stdio::from(theirs.into_descriptor()))
            .env(VARIABLE, VERSION)
            .current_dir(directory);
        service::hand_on_to(&mut command);
        Ok(Successor {
            child: command.spawn()?,
            _life: life,
        })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process, if it lives.
    pub(crate) fn living(&mut self) -> Option<u32> {
        matches!(self.child.try_wait(), Ok(None)).then(|| self.pid())
    }
}
