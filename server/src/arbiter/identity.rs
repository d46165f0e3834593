//! As whom workers run: user, group, the permissions that their files lack, and what the process is called.
//!
//! The master stays who it is, as in gunicorn, so that it can listen on ports below 1024 and write its pid file. Workers become
//! somebody else before the application is built. What the master opens for them beforehand, Unix sockets and log files, is
//! given to that user.

use std::ffi::CString;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use nix::unistd::{Gid, Uid, getgid, getuid, initgroups, setgid, setuid};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::settings::{Group, LogFile, Logging, Process, User};

/// The longest name that the kernel keeps of a process, without the zero byte (its `TASK_COMM_LEN`).
const NAME_LENGTH: usize = 15;

/// A user and a group, as far as they are set.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: Option<User>,
    group: Option<Group>,
}

impl Identity {
    /// What the settings say.
    pub(crate) fn of(process: &Process) -> Identity {
        Identity {
            user: process.user.clone(),
            group: process.group.clone(),
        }
    }

    /// The user's number, if one is set.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// The group's number: the one that is set, or else the user's.
    pub(crate) fn gid(&self) -> Option<u32> {
        let group = self.group.as_ref().map(|group| group.gid);
        group.or(self.user.as_ref().map(|user| user.gid))
    }

    /// Whether it is another one than this process's.
    pub(crate) fn differs(&self) -> bool {
        self.uid().is_some_and(|uid| uid != getuid().as_raw())
            || self.gid().is_some_and(|gid| gid != getgid().as_raw())
    }

    /// Makes this process run as it says, for ever.
    ///
    /// # Errors
    ///
    /// If this process may not do that.
    pub(crate) fn assume(&self) -> Result<(), Refused> {
        if !self.differs() {
            return Ok(());
        }
        let refused = |what, error: nix::Error| Refused {
            what,
            identity: self.clone(),
            source: error.into(),
        };
        if let Some(gid) = self.gid().map(Gid::from_raw) {
            if let Some(user) = &self.user {
                // A name has no zero byte: it was found in the table of users.
                let name = CString::new(user.name.as_str()).unwrap_or_default();
                initgroups(&name, gid).map_err(|error| refused("groups", error))?;
            }
            setgid(gid).map_err(|error| refused("group", error))?;
        }
        if let Some(uid) = self.uid() {
            setuid(Uid::from_raw(uid)).map_err(|error| refused("user", error))?;
        }
        Ok(())
    }

    /// Makes sure that the user can write the log files, which may be in a directory where only the master can make files.
    ///
    /// # Errors
    ///
    /// If a file cannot be opened or given away.
    pub(crate) fn own_logs(&self, logging: &Logging) -> io::Result<()> {
        if !self.differs() {
            return Ok(());
        }
        let files = [Some(&logging.error_file), logging.access_file.as_ref()];
        for file in files.into_iter().flatten() {
            if let LogFile::Path(path) = file {
                self.own(path).map_err(|error| {
                    let text = format!("cannot give {} to the workers: {error}", path.display());
                    io::Error::new(error.kind(), text)
                })?;
            }
        }
        Ok(())
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        fchown(file, self.uid(), self.gid())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| user.name.as_str());
        let group = self.group.as_ref().map(|group| group.name.as_str());
        match (user, group) {
            (Some(user), Some(group)) => write!(f, "user {user} and group {group}"),
            (Some(user), None) => write!(f, "user {user}"),
            (None, group) => write!(f, "group {}", group.unwrap_or("as it is")),
        }
    }
}

/// A worker that cannot run as it should.
#[derive(Debug)]
pub(crate) struct Refused {
    what: &'static str,
    identity: Identity,
    source: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot run as {}: changing the {} failed: {}; start the server as root, or without --user and --group",
            self.identity, self.what, self.source
        )
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// From now on this process's new files lack the permissions that are set.
pub(crate) fn set_umask(process: &Process) {
    if let Some(mask) = process.umask {
        umask(Mode::from_raw_mode(mask));
    }
}

/// From now on the calling thread, the process's first one, is called as set, or else by the program's name. It shows in `ps`
/// and `top`; without this a process that was executed through `/proc` is called by a number there.
pub(crate) fn set_name(process: &Process, program: &str) {
    let name = process.name.as_deref().unwrap_or(program);
    let bytes: Vec<u8> = name
        .bytes()
        .filter(|byte| *byte != 0)
        .take(NAME_LENGTH)
        .collect();
    if let Ok(name) = CString::new(bytes) {
        // It only shows.
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_user_or_with_the_present_one_nothing_changes() {
        let mut process = Process::default();
        let identity = Identity::of(&process);
        assert!(!identity.differs());
        identity.assume().expect("nothing is to be done");
        process.user = Some(User {
            name: "me".to_owned(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
        });
        assert!(!Identity::of(&process).differs());
    }

    #[test]
    fn a_group_that_is_set_goes_before_the_users() {
        let mut process = Process {
            user: Some(User {
                name: "web".to_owned(),
                uid: 33,
                gid: 34,
            }),
            ..Process::default()
        };
        assert_eq!(Identity::of(&process).gid(), Some(34));
        assert_eq!(Identity::of(&process).to_string(), "user web");
        process.group = Some(Group {
            name: "files".to_owned(),
            gid: 35,
        });
        let identity = Identity::of(&process);
        assert_eq!((identity.uid(), identity.gid()), (Some(33), Some(35)));
        assert_eq!(identity.to_string(), "user web and group files");
    }
}
