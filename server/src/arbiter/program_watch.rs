//! `--reload`: the program's file and the extra files, watched for changes.
//!
//! What is watched are their directories, since a build puts a new file in the old one's place. A change counts when nothing
//! more has happened for a while, so that a program which is still being written is not executed.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, recommended_watcher};

use super::generation::Generation;

/// How long nothing must have happened. Linkers write for longer than that only where they do not write at all in between.
const QUIET: Duration = Duration::from_millis(500);

/// A watch over some files.
pub(crate) struct ProgramWatch {
    files: Vec<PathBuf>,
    changes: Receiver<PathBuf>,
    /// Can be read when there are changes.
    signal: UnixStream,
    /// The last change, and when it counts.
    changed: Option<(PathBuf, Instant)>,
    _watcher: RecommendedWatcher,
}

impl ProgramWatch {
    /// Begins to watch what the generation's settings say; `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// If a file's directory cannot be watched.
    pub(crate) fn start(generation: &Generation) -> Result<Option<ProgramWatch>, WatchError> {
        let settings = &generation.settings().process;
        if !settings.reload {
            return Ok(None);
        }
        let program = generation.executable.path();
        let extra = settings.reload_extra_files.iter().map(PathBuf::as_path);
        ProgramWatch::over([program].into_iter().chain(extra)).map(Some)
    }

    fn over<'a>(files: impl Iterator<Item = &'a Path>) -> Result<ProgramWatch, WatchError> {
        let (signal, mut sender) =
            UnixStream::pair().map_err(|error| fail(Path::new(""), error))?;
        let nonblocking = signal
            .set_nonblocking(true)
            .and(sender.set_nonblocking(true));
        nonblocking.map_err(|error| fail(Path::new(""), error))?;
        let (changed, changes) = channel();
        let watcher = recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                // Nobody listens any more, as the watch ends.
                let _ = changed.send(path);
            }
            // If it is full, it can be read.
            let _ = sender.write(&[0]);
        });
        let mut watcher = watcher.map_err(|error| fail(Path::new(""), error))?;
        let mut watched = Vec::new();
        for file in files {
            let file = std::path::absolute(file).map_err(|error| fail(file, error))?;
            let directory = file.parent().unwrap_or(Path::new("/"));
            watcher
                .watch(directory, RecursiveMode::NonRecursive)
                .map_err(|error| fail(&file, error))?;
            watched.push(file);
        }
        Ok(ProgramWatch {
            files: watched,
            changes,
            signal,
            changed: None,
            _watcher: watcher,
        })
    }

    /// Takes what has happened. Returns a file that has changed, once nothing has happened since for a while.
    pub(crate) fn changed(&mut self, now: Instant) -> Option<PathBuf> {
        let mut bytes = [0; 64];
        while matches!(self.signal.read(&mut bytes), Ok(1..)) {}
        for path in self.changes.try_iter() {
            if self.files.contains(&path) {
                self.changed = Some((path, now + QUIET));
            }
        }
        let (path, _) = self
            .changed
            .take_if(|(path, due)| now >= *due && path.exists())?;
        Some(path)
    }

    /// When the change counts that has been seen.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (path, due) = self.changed.as_ref()?;
        // What is gone is waited for: its return is another change.
        path.exists().then_some(*due)
    }
}

impl AsFd for ProgramWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

fn fail(file: &Path, source: impl std::error::Error + Send + Sync + 'static) -> WatchError {
    WatchError {
        file: file.to_owned(),
        source: Box::new(source),
    }
}

/// A file that cannot be watched.
#[derive(Debug)]
pub(crate) struct WatchError {
    file: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot watch {} for --reload: {}; name files in directories that exist, or raise fs.inotify.max_user_watches",
            self.file.display(),
            self.source
        )
    }
}

impl std::error::Error for WatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use harness::Directory;

    use super::super::events::wait_readable;
    use super::*;

    #[test]
    fn a_file_that_is_written_or_replaced_has_changed_once_it_rests() {
        let directory = Directory::new();
        let file = directory.path().join("program");
        fs::write(&file, "1").expect("ours");
        let mut watch = ProgramWatch::over([file.as_path()].into_iter()).expect("it is there");
        assert_eq!(watch.due(), None);
        let other = directory.path().join("progra2");
        fs::write(&other, "2").expect("ours");
        for change in 0..2 {
            match change {
                0 => fs::write(&file, "3").expect("ours"),
                _ => fs::rename(&other, &file).expect("ours"),
            }
            let now = Instant::now();
            while watch.due().is_none() {
                wait_readable(&[watch.as_fd()], None).expect("it is open");
                assert_eq!(watch.changed(now), None, "it may be written to still");
            }
            assert_eq!(watch.changed(now + QUIET), Some(file.clone()));
            assert_eq!(watch.due(), None);
        }
    }

    #[test]
    fn a_file_without_a_directory_is_named() {
        let error = ProgramWatch::over([Path::new("/none/file")].into_iter()).err();
        let text = error.expect("there is no such directory").to_string();
        assert!(text.contains("/none/file"), "{text}");
    }
}
