//! The file that tells the master's process id.
//!
//! A second master that was started by USR2 writes to the same path with `.2` at its end, and takes the path itself over when
//! the first one has gone, as in gunicorn.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::process::{Pid, test_kill_process};

/// A pid file of this process's; removed when dropped, if it is still this process's.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// If it names another process that lives, or cannot be written.
    pub(crate) fn create(path: &Path) -> Result<PidFile, PidFileError> {
        let fail = |reason| PidFileError {
            path: path.to_owned(),
            reason,
        };
        match read(path) {
            Ok(Some(other)) if other != own() && is_alive(other) => {
                return Err(fail(Reason::Lives(other.as_raw_nonzero().get())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(Reason::Io(error))),
        }
        write(path).map_err(|error| fail(Reason::Io(error)))?;
        Ok(PidFile {
            path: path.to_owned(),
        })
    }

    /// Where a second master writes.
    pub(crate) fn second(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".2");
        name.into()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to another path.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if matches!(read(&self.path), Ok(Some(pid)) if pid == own()) {
            // It may have been removed by hand in between.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn own() -> Pid {
    rustix::process::getpid()
}

/// The process that a file names.
fn read(path: &Path) -> io::Result<Option<Pid>> {
    let text = fs::read_to_string(path)?;
    Ok(text.trim().parse().ok().and_then(Pid::from_raw))
}

fn is_alive(pid: Pid) -> bool {
    // A process that we may not signal lives as well.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// Readers see the whole number or none: it is written beside the path, and then moved there.
fn write(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", process::id()));
    let beside = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&beside)?;
    let written = writeln!(file, "{}", process::id()).and_then(|()| fs::rename(&beside, path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// A pid file that cannot be had.
#[derive(Debug)]
pub(crate) struct PidFileError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Lives(i32),
    Io(io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            Reason::Lives(pid) => write!(
                f,
                "the pid file {path} names process {pid}, which lives; stop it or give another path by --pid"
            ),
            Reason::Io(error) => write!(
                f,
                "cannot write the pid file {path}: {error}; give a path by --pid that can be written to"
            ),
        }
    }
}

impl std::error::Error for PidFileError {}

#[cfg(test)]
mod tests {
    use harness::Directory;

    use super::*;

    #[test]
    fn it_names_this_process_and_goes_with_it() {
        let directory = Directory::new();
        let path = directory.path().join("pid");
        let mut file = PidFile::create(&path).expect("a directory of ours");
        let expected = format!("{}\n", process::id());
        assert_eq!(fs::read_to_string(&path).expect("written"), expected);
        let second = PidFile::second(&path);
        assert_eq!(second, directory.path().join("pid.2"));
        file.rename(&second).expect("the same directory");
        assert_eq!(file.path(), second);
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 0);
    }

    #[test]
    fn that_of_a_living_process_is_left_alone_and_that_of_a_dead_one_replaced() {
        let directory = Directory::new();
        let path = directory.path().join("pid");
        fs::write(&path, "1\n").expect("ours");
        let error = PidFile::create(&path)
            .expect_err("process 1 lives")
            .to_string();
        assert!(error.contains("names process 1, which lives"), "{error}");
        fs::write(&path, "2147483646\n").expect("ours");
        let file = PidFile::create(&path).expect("there is no such process");
        fs::write(&path, "1\n").expect("ours");
        drop(file);
        assert!(path.exists(), "by now it is another's");
        let error = PidFile::create(&directory.path().join("none/pid")).expect_err("no directory");
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
