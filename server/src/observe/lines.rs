//! A file of lines that many threads append to and one OS thread writes.
//!
//! Appending formats a line into a buffer under a lock; no thread that serves requests ever makes a system call for it, but
//! for the one that wakes the writer, ten times a second at most. The writer takes the buffer when it is [`PERIOD`] old or
//! holds [`BATCH`] bytes. Its states are in [`State::writer`]:
//!
//! | state | what it waits for | who ends that |
//! |---|---|---|
//! | `Idle` | a line | who appends the first one, and notifies |
//! | `Collecting` | the end of the period | time; who fills the batch, flushes, reopens or closes notifies |
//! | `Writing` | the kernel | the kernel; appending goes on meanwhile, into the other buffer |
//!
//! A disk that is slow or full stops nobody: what cannot be written is tried again each [`RETRY`], up to [`MOST`] bytes are
//! kept, further lines are counted and dropped, and the count is logged once lines go through again.
//!
//! Lines stay whole though several processes write the file: it is open for appending and a buffer is one write. To what is
//! not a regular file, a pipe say, no write is larger than [`PIPE_BUF`], which the kernel does not tear apart.

use std::collections::TryReserveError;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::settings::LogFile;
use crate::observe::log;

/// A line is written this long after it was appended, or sooner.
const PERIOD: Duration = Duration::from_millis(100);
/// Bytes that are written without waiting for the end of the period.
const BATCH: usize = 64 << 10;
/// Bytes that are kept while the file takes none.
const MOST: usize = 8 << 20;
/// Until a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// POSIX lets the kernel tear larger writes to a pipe apart; Linux has this number in `limits.h`.
const PIPE_BUF: usize = 4096;

/// Opens a log's file for appending; it is made if need be. Lines for `-` go to `standard`.
pub(crate) fn open(file: &LogFile, standard: impl AsFd) -> io::Result<File> {
    match file {
        LogFile::Standard => Ok(File::from(standard.as_fd().try_clone_to_owned()?)),
        LogFile::Path(path) => OpenOptions::new().append(true).create(true).open(path),
    }
}

/// The file, and the thread that writes it. Dropping it writes what is there, for [`Lines::LAST_WAIT`] at most.
#[derive(Debug)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What the lines are, for messages.
    what: &'static str,
    destination: LogFile,
    state: Mutex<State>,
    /// The writer waits for it.
    work: Condvar,
    /// Who flushes waits for it.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    writer: Writer,
    /// Bytes that were ever appended, and of these, how many are with the kernel or given up.
    appended: u64,
    done: u64,
    /// Lines that had no room, ever; and how many of them have been told of.
    dropped: u64,
    told: u64,
    hurry: bool,
    reopen: bool,
    closing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    Idle,
    Collecting,
    #[default]
    Writing,
}

impl Lines {
    /// How long dropping waits for the file to take what is left.
    const LAST_WAIT: Duration = Duration::from_secs(2);

    /// Opens the file and starts the thread.
    ///
    /// # Errors
    ///
    /// The kernel's, naming the file.
    pub(crate) fn open(what: &'static str, destination: LogFile) -> io::Result<Lines> {
        let file = open(&destination, io::stdout()).map_err(|error| {
            let text = format!(
                "cannot open the {what} {destination} for appending: {error}; name a file in a directory that the \
                 server's user may write to, or - for standard output"
            );
            io::Error::new(error.kind(), text)
        })?;
        let shared = Arc::new(Shared {
            what,
            destination,
            state: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = thread::Builder::new().name(what.replace(' ', "-")).spawn({
            let shared = shared.clone();
            move || shared.write_on(file)
        })?;
        Ok(Lines {
            shared,
            writer: Some(writer),
        })
    }

    /// Appends what `format` writes, which is whole lines; or counts it as dropped.
    pub(crate) fn append(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.state();
        if state.buffer.len() >= MOST || reserve(&mut state.buffer).is_err() {
            state.dropped += 1;
            return;
        }
        let before = state.buffer.len();
        format(&mut state.buffer);
        let length = state.buffer.len();
        state.appended += (length - before) as u64;
        let is_awaited = match state.writer {
            Writer::Idle => true,
            Writer::Collecting => before < BATCH && length >= BATCH,
            Writer::Writing => false,
        };
        if is_awaited {
            // It is awake from now on, as far as the next who appends is concerned.
            state.writer = Writer::Collecting;
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Lines that were dropped because the file did not take them.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.state().dropped
    }

    /// Waits until all that was appended is written, or the time is over; says whether it is written.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let mut state = self.shared.state();
        let ticket = state.appended;
        state.hurry = true;
        self.shared.work.notify_one();
        let begin = Instant::now();
        while state.done < ticket {
            let Some(left) = patience.checked_sub(begin.elapsed()) else {
                return false;
            };
            state = (self.shared.written.wait_timeout(state, left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Has the file opened again, after what was appended so far has gone to the old one: a program that rotates logs has
    /// given that another name.
    pub(crate) fn reopen(&self) {
        self.shared.state().reopen = true;
        self.shared.work.notify_one();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let is_written = self.flush(Self::LAST_WAIT);
        self.shared.state().closing = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take()
            && is_written
        {
            // A panic in there has been reported.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's life.
    fn write_on(&self, mut file: File) {
        let mut batch = Vec::new();
        let mut state = self.state();
        loop {
            state = self.collect(state);
            if state.closing && state.buffer.is_empty() {
                return;
            }
            mem::swap(&mut state.buffer, &mut batch);
            let (reopen, dropped) = (mem::take(&mut state.reopen), state.dropped);
            let untold = dropped - mem::replace(&mut state.told, dropped);
            state.hurry = false;
            state.writer = Writer::Writing;
            drop(state);

            let given_up = self.write(&mut file, &batch);
            if reopen {
                self.reopen(&mut file);
            }
            if untold > 0 {
                log::warning(format_args!(
                    "{} {}: {untold} lines were dropped, which came faster than the file takes them",
                    self.what, self.destination
                ));
            }

            state = self.state();
            state.done += batch.len() as u64;
            state.dropped += given_up;
            batch.clear();
            batch.shrink_to(2 * BATCH);
            self.written.notify_all();
        }
    }

    /// Waits until there is something to do.
    fn collect<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let is_urgent = |state: &State| state.closing || state.reopen || state.hurry;
        while state.buffer.is_empty() && !is_urgent(&state) {
            state.writer = Writer::Idle;
            state = (self.work.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Collecting;
        let begin = Instant::now();
        while !is_urgent(&state)
            && state.buffer.len() < BATCH
            && let Some(left) = PERIOD.checked_sub(begin.elapsed())
        {
            state = (self.work.wait_timeout(state, left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state
    }

    /// Writes whole lines, for as long as it takes; gives up when the log is being closed, and says how many lines it has
    /// not written.
    fn write(&self, file: &mut File, batch: &[u8]) -> u64 {
        let largest = match file.metadata() {
            Ok(metadata) if metadata.is_file() => usize::MAX,
            _ => PIPE_BUF,
        };
        let mut rest = batch;
        let mut is_failing = false;
        while !rest.is_empty() {
            let piece = &rest[..whole_lines(rest, largest)];
            match file.write(piece) {
                Ok(0) => {}
                Ok(written) => {
                    rest = &rest[written..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if !is_failing => {
                    is_failing = true;
                    log::error(format_args!(
                        "cannot write the {} {}: {error}; up to {} MiB of lines are kept until it can be written",
                        self.what,
                        self.destination,
                        MOST >> 20
                    ));
                }
                Err(_) => {}
            }
            let state = self.state();
            let wait = self
                .work
                .wait_timeout_while(state, RETRY, |state| !state.closing && !state.reopen);
            let mut state = wait.unwrap_or_else(PoisonError::into_inner).0;
            if state.closing {
                return rest.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            let reopen = mem::take(&mut state.reopen);
            drop(state);
            if reopen {
                self.reopen(file);
            }
        }
        0
    }

    fn reopen(&self, file: &mut File) {
        if let LogFile::Path(path) = &self.destination {
            match open(&self.destination, io::stdout()) {
                Ok(new) => *file = new,
                Err(error) => log::error(format_args!(
                    "cannot open the {} {} again: {error}; lines go on to the old file",
                    self.what,
                    path.display()
                )),
            }
        }
    }
}

/// Room for a usual line, so that a process without memory drops it instead of ending.
fn reserve(buffer: &mut Vec<u8>) -> Result<(), TryReserveError> {
    match buffer.capacity() - buffer.len() {
        room if room < 1024 => buffer.try_reserve(buffer.len().max(4096)),
        _ => Ok(()),
    }
}

/// How many bytes from the beginning are as many whole lines as `largest` bytes hold, but at least one.
fn whole_lines(bytes: &[u8], largest: usize) -> usize {
    if bytes.len() <= largest {
        return bytes.len();
    }
    match memchr::memrchr(b'\n', &bytes[..largest]) {
        Some(end) => end + 1,
        None => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::fs;
    use std::io::Read;
    use std::path::PathBuf;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("greenpatch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn append(lines: &Lines, line: impl fmt::Display) {
        lines.append(|buffer| writeln!(buffer, "{line}").unwrap());
    }

    #[test]
    fn lines_come_without_being_asked_for() {
        let directory = directory("lines-come");
        let path = directory.join("log");
        let lines = Lines::open("test log", LogFile::Path(path.clone())).unwrap();
        append(&lines, "one");
        while fs::read_to_string(&path).unwrap() != "one\n" {
            thread::yield_now();
        }
        append(&lines, "two");
        drop(lines);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn several_logs_of_one_file_do_not_tear_lines() {
        const WRITERS: usize = 3;
        const EACH: usize = 20_000;
        let directory = directory("lines-whole");
        let path = directory.join("log");
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let path = path.clone();
                scope.spawn(move || {
                    let lines = Lines::open("test log", LogFile::Path(path)).unwrap();
                    for i in 0..EACH {
                        append(&lines, format_args!("{writer} {i} {}", "x".repeat(i % 90)));
                    }
                    assert!(lines.flush(Duration::from_secs(60)));
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        let mut next = [0; WRITERS];
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let writer: usize = words.next().unwrap().parse().unwrap();
            let i: usize = words.next().unwrap().parse().unwrap();
            assert_eq!((i, words.next().unwrap().len()), (next[writer], i % 90));
            next[writer] += 1;
        }
        assert_eq!(next, [EACH; WRITERS]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_rotated_file_loses_nothing() {
        let directory = directory("lines-rotated");
        let path = directory.join("log");
        let lines = Lines::open("test log", LogFile::Path(path.clone())).unwrap();
        for i in 0..100 {
            append(&lines, i);
            if i % 10 == 9 {
                fs::rename(&path, directory.join(format!("log.{i:02}"))).unwrap();
                lines.reopen();
                while !path.exists() {
                    thread::yield_now();
                }
            }
        }
        drop(lines);
        let mut files: Vec<PathBuf> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        // The present one, `log`, is empty: the last line was followed by a rotation.
        files.sort();
        let text: String = files
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let expected: String = (0..100).map(|i| format!("{i}\n")).collect();
        assert_eq!(text, expected);
        assert_eq!(files.len(), 11);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_takes_nothing_stops_nobody() {
        let directory = directory("lines-stuck");
        let path = directory.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        // Open for both, so that opening does not wait; nobody reads until the end.
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let lines = Lines::open("test log", LogFile::Path(path)).unwrap();
        let line = "y".repeat(999);
        let mut appended = 0;
        while lines.dropped() < 10 {
            append(&lines, &line);
            appended += 1;
        }
        assert!(!lines.flush(Duration::ZERO));
        let kept = appended - 10;
        assert!(kept * 1000 >= MOST && kept * 1000 <= 2 * MOST + 1000 + 65536);

        let reading = thread::spawn(move || {
            let mut bytes = vec![0; kept * 1000];
            reader.read_exact(&mut bytes).unwrap();
            bytes
        });
        assert!(lines.flush(Duration::from_secs(60)));
        let bytes = reading.join().unwrap();
        assert!(
            bytes
                .split_inclusive(|byte| *byte == b'\n')
                .all(|it| it.len() == 1000)
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_told_and_given_up_at_the_end() {
        let lines = Lines::open("test log", LogFile::Path("/dev/full".into())).unwrap();
        append(&lines, "no room");
        assert!(!lines.flush(Duration::from_millis(1)));
        let shared = lines.shared.clone();
        drop(lines);
        while shared.state().dropped != 1 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Lines::open("test log", LogFile::Path("/no/such".into())).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("test log /no/such") && text.contains("No such file"),
            "{text}"
        );
    }

    #[test]
    fn writes_to_a_pipe_end_with_a_line() {
        assert_eq!(whole_lines(b"ab\ncd\nef\n", 7), 6);
        assert_eq!(whole_lines(b"ab\ncd\n", 6), 6);
        assert_eq!(whole_lines(b"abcdefgh\ncd\n", 4), 9);
    }
}
