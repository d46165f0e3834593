//! The program that workers run: the file as it was when their generation began.
//!
//! A file that is opened once and executed through `/proc/self/fd` stays the same when a new build takes its place on disk. So
//! all workers of a generation run the same program, also those that replace dead ones later, and a new generation (HUP) or a
//! new master (USR2) is what brings a new build in.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};

/// What the kernel adds to the name of a program whose file is no longer there.
const DELETED: &[u8] = b" (deleted)";

/// A program's open file, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    file: Arc<File>,
    path: PathBuf,
}

impl Executable {
    /// The program that this process runs, even if its file has been removed or replaced.
    pub(crate) fn own() -> io::Result<Executable> {
        let file = open_program(Path::new("/proc/self/exe"))?;
        let path = env::current_exe()?.into_os_string().into_vec();
        let path = path.strip_suffix(DELETED).unwrap_or(&path).to_vec();
        Ok(Executable {
            file: Arc::new(file),
            path: OsString::from_vec(path).into(),
        })
    }

    /// The program that is in the same place now.
    pub(crate) fn latest(&self) -> io::Result<Executable> {
        Ok(Executable {
            file: Arc::new(open_program(&self.path)?),
            path: self.path.clone(),
        })
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file's name.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        String::from_utf8_lossy(name.as_bytes()).into_owned()
    }

    /// Whether both are the same build: the same file, unchanged.
    pub(crate) fn is(&self, other: &Executable) -> bool {
        let data = |file: &File| {
            let data = file.metadata().ok()?;
            Some((
                data.dev(),
                data.ino(),
                data.mtime(),
                data.mtime_nsec(),
                data.len(),
            ))
        };
        data(&self.file) == data(&other.file)
    }

    /// A command that executes it with this process's arguments, for as long as this value lives.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments);
        command
    }
}

/// Opens it without reading it, which one may not be allowed to who may execute it.
fn open_program(path: &Path) -> io::Result<File> {
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use harness::Directory;

    use super::*;

    #[test]
    fn a_program_stays_the_same_when_its_file_is_replaced() {
        let directory = Directory::new();
        let path = directory.path().join("program");
        fs::copy("/bin/true", &path).expect("a program");
        let first = Executable {
            file: Arc::new(open_program(&path).expect("it is there")),
            path: path.clone(),
        };
        assert!(first.is(&first.latest().expect("it is there")));

        let other = directory.path().join("new");
        fs::copy("/bin/false", &other).expect("a program");
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("ours");
        fs::rename(&other, &path).expect("the same directory");
        let second = first.latest().expect("it is there");
        assert!(!first.is(&second));
        let succeeds = |program: &Executable| {
            let status = Command::new(program.command().get_program()).status();
            status.expect("it can be executed").success()
        };
        assert!(succeeds(&first));
        assert!(!succeeds(&second));
    }

    #[test]
    fn the_own_program_is_known_by_name() {
        let own = Executable::own().expect("proc is mounted");
        assert_eq!(own.path(), env::current_exe().expect("proc is mounted"));
        assert!(own.path().ends_with(own.name()));
    }
}
