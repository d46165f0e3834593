//! What every green thread is doing, for people who wonder.
//!
//! A dump is taken while the runtime goes on: each green thread is seen at a moment of its own. The list comes from the
//! slots (`slot.rs`), so it needs no register that spawning would have to keep; a green thread that lives all the time
//! is never left out. Call stacks are taken by the green threads themselves (`probe.rs`) and given names at the end, by an
//! OS thread (`trace.rs`).
//!
//! ```
//! use greenpatch_runtime::{DumpOptions, Runtime, sync::Mutex};
//! use std::sync::Arc;
//!
//! let runtime = Runtime::builder().build()?;
//! let lock = Arc::new(Mutex::new(()));
//! let held = lock.lock();
//! let theirs = lock.clone();
//! let waiting = runtime.spawn(move || drop(theirs.lock()));
//! # while runtime.metrics().parked == 0 {}
//! let dump = runtime.dump(DumpOptions::new().backtraces(true));
//! println!("{dump}");
//! assert_eq!(dump.green_threads[0].id, waiting.id());
//! drop(held);
//! # waiting.join().unwrap();
//! # Ok::<(), greenpatch_runtime::BuildError>(())
//! ```

use std::fmt;
use std::panic::Location;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::{Serialize, Serializer};

use crate::base::reason::WaitReason;
use crate::look::label::Label;
use crate::look::metrics::Metrics;

pub use crate::look::trace::Frame;
pub(crate) use gate::reset_after_fork;
pub(crate) use take::of;
pub use take::{dump, dump_all};

mod gate;
mod owners;
mod take;

/// How long green threads are waited for that do not give their stacks.
const DEFAULT_PATIENCE: Duration = Duration::from_millis(200);

/// How long a turn lasts that is shown as one of a hog, and a blocking section that is shown.
const HOG: Duration = Duration::from_millis(10);

/// What a dump shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpOptions {
    backtraces: bool,
    running: bool,
    only: Option<u64>,
    limit: usize,
    patience: Duration,
}

impl Default for DumpOptions {
    fn default() -> DumpOptions {
        DumpOptions::new()
    }
}

impl DumpOptions {
    /// All green threads, without backtraces.
    pub fn new() -> DumpOptions {
        DumpOptions {
            backtraces: false,
            running: false,
            only: None,
            limit: usize::MAX,
            patience: DEFAULT_PATIENCE,
        }
    }

    /// Whether parked green threads are asked where they wait. Each is woken for that, takes its own call stack, and goes
    /// on waiting.
    pub fn backtraces(mut self, backtraces: bool) -> DumpOptions {
        self.backtraces = backtraces;
        self
    }

    /// Whether backtraces are also taken of green threads that have kept a worker for ten milliseconds or more, by computing or
    /// by a call that no shim reaches. To learn where one is, its OS thread is sent SIGURG, as
    /// [`max_blocking_time`](crate::RuntimeBuilder::max_blocking_time) does and with what is said there. Only together with
    /// [`backtraces`](Self::backtraces), and not if a green thread takes the dump.
    pub fn running(mut self, running: bool) -> DumpOptions {
        self.running = running;
        self
    }

    /// Only the green thread with this id is listed.
    pub fn only(mut self, id: u64) -> DumpOptions {
        self.only = Some(id);
        self
    }

    /// How many green threads of a runtime are listed at most.
    pub fn limit(mut self, limit: usize) -> DumpOptions {
        self.limit = limit;
        self
    }

    /// How long, all in all, green threads are waited for that do not answer, because every worker is busy for long, say;
    /// 200 ms by default. They are listed without backtrace.
    pub fn patience(mut self, patience: Duration) -> DumpOptions {
        self.patience = patience;
        self
    }
}

/// The green threads of a runtime, and its figures. Displayed, it is text for people.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Dump {
    /// The runtime's [name](crate::RuntimeBuilder::name).
    pub runtime: String,
    /// Its figures, read after the green threads.
    pub metrics: Metrics,
    /// The workers that serve, by number.
    pub workers: Vec<Worker>,
    /// The green threads, by id.
    pub green_threads: Vec<GreenThread>,
    /// How many more there are, beyond the limit.
    pub omitted: usize,
}

/// A worker of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Worker {
    /// Its number, from 0.
    pub number: usize,
    /// The kernel's number for the OS thread that it is; `None` while that is being started.
    pub os_thread: Option<i32>,
    /// Whether it waits for something to do.
    pub is_asleep: bool,
    /// How many green threads wait for a turn of it.
    pub queued: usize,
    /// What it runs, if it runs a green thread.
    pub turn: Option<Turn>,
}

/// A green thread's turn on a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Turn {
    /// Its id.
    pub green_thread: u64,
    /// Its name.
    pub name: Option<String>,
    /// How long it has run without giving way, to some milliseconds; zero if not for long.
    #[cfg_attr(
        feature = "json",
        serde(rename = "for_seconds", serialize_with = "as_seconds")
    )]
    pub duration: Duration,
    /// Whether it is in a [blocking section](crate::blocking), or a shim has entered one for it.
    pub is_blocking: bool,
}

impl Turn {
    /// Whether the green thread keeps the worker to itself: see [`Metrics::hogs`].
    pub fn is_hog(&self) -> bool {
        !self.is_blocking && self.duration >= HOG
    }
}

/// A living green thread.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct GreenThread {
    /// Its id, as of [`Thread::id`](crate::thread::Thread::id).
    pub id: u64,
    /// The name it was spawned with or has given itself.
    pub name: Option<String>,
    /// Where in the source it was spawned; `None` if by `pthread_create`.
    #[cfg_attr(feature = "json", serde(serialize_with = "as_text"))]
    pub spawned_at: Option<&'static Location<'static>>,
    /// Bytes of stack it may use; 0 if nobody knows, as where [`run`](crate::run) was called on a stack of the program's
    /// own making.
    pub stack_size: usize,
    /// Bytes of stack that are in memory: see [`Runtime::stack_high_water`](crate::Runtime::stack_high_water).
    pub stack_high_water: usize,
    /// What it does.
    pub state: State,
    /// Where it waits or [runs](DumpOptions::running), the innermost frame first, without those of the runtime and std above and
    /// below its own code. Empty if that has no frame, because the wait at its end was compiled to a jump; `None` if that was
    /// not asked for, if it did not wait, or did not answer in time.
    pub backtrace: Option<Vec<Frame>>,
}

/// What a green thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case", tag = "is"))]
#[non_exhaustive]
pub enum State {
    /// A worker runs it.
    Running {
        /// The worker's number.
        worker: usize,
    },
    /// It waits for a worker.
    Runnable,
    /// It waits for something else.
    Parked(Wait),
}

/// A green thread's wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Wait {
    /// What for.
    pub reason: WaitReason,
    /// How long already, to some milliseconds.
    #[cfg_attr(
        feature = "json",
        serde(rename = "for_seconds", serialize_with = "as_seconds")
    )]
    pub duration: Duration,
    /// How long still at most; `None` without a deadline.
    #[cfg_attr(
        feature = "json",
        serde(rename = "seconds_left", serialize_with = "as_seconds_or_null")
    )]
    pub time_left: Option<Duration>,
    /// Who holds what it waits for, where that is known: pthread mutexes have an owner, std's locks and ours do not.
    pub owner: Option<Owner>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Owner {
    /// A green thread.
    GreenThread {
        /// Its id.
        id: u64,
        /// Its name.
        name: Option<String>,
    },
    /// An OS thread, by the kernel's number for it; or a green thread that has ended.
    OsThread(i32),
}

#[cfg(feature = "json")]
fn as_text<S: Serializer>(
    place: &Option<&'static Location<'static>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match place {
        Some(place) => serializer.collect_str(place),
        None => serializer.serialize_none(),
    }
}

#[cfg(feature = "json")]
fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(feature = "json")]
fn as_seconds_or_null<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(serializer)
}

impl Dump {
    /// The fields as a JSON object of their names. With the feature `json` only.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text can be written as JSON")
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metrics {
            live,
            running,
            runnable,
            parked,
            workers,
            ..
        } = self.metrics;
        writeln!(
            f,
            "runtime '{}': {live} green threads ({running} running, {runnable} runnable, {parked} parked) on {workers} \
             workers",
            self.runtime
        )?;
        for worker in &self.workers {
            let long = worker.turn.as_ref().filter(|turn| turn.duration >= HOG);
            if let Some(turn) = long {
                writeln!(f, "worker {}: {turn}", worker.number)?;
            }
        }
        for green in &self.green_threads {
            write!(f, "{green}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => writeln!(f, "and {omitted} more"),
        }
    }
}

impl fmt::Display for GreenThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "green thread {}", Label(self.id, self.name.as_deref()))?;
        if let Some(place) = self.spawned_at {
            write!(f, ", spawned at {place}")?;
        }
        writeln!(
            f,
            ", {} of {} KiB of stack",
            self.stack_high_water.div_ceil(1024),
            self.stack_size / 1024
        )?;
        writeln!(f, "    {}", self.state)?;
        for frame in self.backtrace.iter().flatten() {
            writeln!(f, "        {frame}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = Label(self.green_thread, self.name.as_deref());
        let how = if self.is_blocking {
            "been in a blocking section"
        } else {
            "run without giving way"
        };
        write!(
            f,
            "green thread {label} has {how} for {:.1?}",
            self.duration
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Running { worker } => write!(f, "running on worker {worker}"),
            State::Runnable => f.write_str("runnable"),
            State::Parked(wait) => write!(f, "parked for {wait}"),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?}: {}", self.duration, self.reason)?;
        if let Some(owner) = &self.owner {
            write!(f, ", owned by {owner}")?;
        }
        match self.time_left {
            Some(time_left) => write!(f, ", for at most {time_left:.1?} more"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::GreenThread { id, name } => {
                write!(f, "green thread {}", Label(*id, name.as_deref()))
            }
            Owner::OsThread(id) => write!(f, "OS thread {id}"),
        }
    }
}
