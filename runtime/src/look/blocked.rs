//! Green threads that keep their worker to themselves, and who is told of them.
//!
//! The monitor finds them (`monitor.rs`): a worker that has taken no turn for longer than `max_blocking_time`, has not
//! merely lost its processor, and is not in a blocking section, which says itself that it may block. The *reporter*, an OS
//! thread that is started when there is first something to report, then finds out which green thread it is and where
//! (`sample.rs`), gives names to the call stack, which can take long, and reports. Reports run the user's code, so the
//! monitor cannot make them: it would wait for whatever that code waits for.
//!
//! A green thread is reported once, and again each time it has run twice as long.

use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

use crate::base::report;
use crate::look::label::Label;
use crate::look::sample::{self, Missing};
use crate::look::trace::{Frame, Names};
use crate::sched::context::OwnWork;
use crate::sched::monitor::BlockedWorker;
use crate::sched::park;
use crate::sync::mpmc;

/// How many blocked workers may wait for the reporter.
const QUEUED: usize = 16;

/// Frames of a call stack that a report shows as text.
const SHOWN: usize = 12;

/// A green thread that has kept its worker for longer than
/// [`max_blocking_time`](crate::RuntimeBuilder::max_blocking_time), by computing or by a call that no shim reaches.
///
/// Displayed, it is a text of some lines, the first of which stands for itself.
#[derive(Clone, Debug)]
pub struct Blocked {
    id: u64,
    name: Option<String>,
    spawned_at: Option<&'static Location<'static>>,
    duration: Duration,
    os_thread: i32,
    backtrace: Result<Vec<Frame>, Missing>,
}

impl Blocked {
    /// The green thread's id, as of [`Thread::id`](crate::thread::Thread::id).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name it was spawned with or has given itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where in the source it was spawned; `None` if by `pthread_create`.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.spawned_at
    }

    /// How long it has run without giving way by now, to some milliseconds.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The kernel's number for the OS thread that it occupies.
    pub fn os_thread(&self) -> i32 {
        self.os_thread
    }

    /// Where it was when it was found, the innermost frame first, without those of the runtime and std above and below
    /// its own code. Empty if its stack could not be looked at.
    pub fn backtrace(&self) -> &[Frame] {
        self.backtrace.as_deref().unwrap_or(&[])
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "green thread {}", Label(self.id, self.name()))?;
        if let Some(place) = self.spawned_at {
            write!(f, ", spawned at {place},")?;
        }
        write!(
            f,
            " has run for {} ms without giving way; call yield_now now and then, or wrap what blocks in \
             greenpatch::blocking",
            self.duration.as_millis()
        )?;
        match &self.backtrace {
            Ok(frames) => {
                for frame in frames.iter().take(SHOWN) {
                    write!(f, "\n    {frame}")?;
                }
                if frames.len() > SHOWN {
                    write!(f, "\n    and {} more", frames.len() - SHOWN)?;
                }
                Ok(())
            }
            Err(missing) => write!(f, "\n    no backtrace: {missing}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Over => write!(f, "it had gone on"),
            Missing::Inside(library) => {
                write!(f, "it was in {library}, where its stack must be left alone")
            }
            Missing::Elsewhere => write!(f, "it was not on its own stack"),
            Missing::Silent => write!(f, "its OS thread did not answer SIGURG"),
        }
    }
}

/// Whom to tell of blocked green threads.
#[derive(Clone)]
pub(crate) struct BlockedCallback(pub(crate) Arc<dyn Fn(&Blocked) + Send + Sync>);

impl fmt::Debug for BlockedCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockedCallback")
    }
}

/// The monitor's way to the reporter.
pub(crate) struct Reporter {
    callback: Option<BlockedCallback>,
    queue: Option<mpmc::Sender<BlockedWorker>>,
}

impl Reporter {
    pub(crate) fn new(callback: Option<BlockedCallback>) -> Reporter {
        Reporter {
            callback,
            queue: None,
        }
    }

    /// Has a worker reported. If no OS thread can be started for that, it is not, and the next call tries again.
    pub(crate) fn report(&mut self, runtime: &str, worker: BlockedWorker) {
        if self.queue.is_none() {
            let (sender, receiver) = mpmc::sync_channel(QUEUED);
            let callback = self.callback.clone();
            let started = thread::Builder::new()
                .name(format!("{runtime}-rep"))
                .spawn(move || main(&receiver, callback.as_ref()));
            self.queue = started.is_ok().then_some(sender);
        }
        if let Some(queue) = &self.queue {
            // If the queue is full, this block would be over before the reporter came to look at it.
            let _ = queue.try_send(worker);
        }
    }
}

/// The body of the reporter's OS thread.
fn main(queue: &mpmc::Receiver<BlockedWorker>, callback: Option<&BlockedCallback>) {
    let _own = OwnWork::thread();
    let mut names = Names::default();
    for worker in queue {
        let Some(blocked) = examine(&worker, &mut names) else {
            continue;
        };
        match callback {
            // A panic in there has been reported by std, and concerns nobody else.
            Some(BlockedCallback(callback)) => {
                drop(panic::catch_unwind(AssertUnwindSafe(|| callback(&blocked))))
            }
            None => warn_of(&blocked),
        }
    }
}

/// Reports it where no callback was given: as an event with fields, if the program listens to those.
fn warn_of(blocked: &Blocked) {
    #[cfg(feature = "tracing")]
    if report::is_heard() {
        report::tell(|| {
            tracing::warn!(
                target: "greenpatch",
                id = blocked.id(),
                name = blocked.name(),
                spawned_at = blocked.spawned_at().map(tracing::field::display),
                milliseconds = blocked.duration().as_millis() as u64,
                "{blocked}"
            );
        });
        return;
    }
    report::warn(format_args!("{blocked}"));
}

/// Which green thread it is and where; `None` if it has gone on meanwhile.
fn examine(worker: &BlockedWorker, names: &mut Names) -> Option<Blocked> {
    let (shard, turn) = (&worker.shard, worker.progress.turns);
    let green = shard.running()?;
    let snapshot = green.snapshot()?;
    let stack = sample::take(shard, turn);
    let duration = worker.since.elapsed();
    // It was this green thread all the time if the turn is still the same; unless its worker had not yet come to the turn, but
    // was still looking around.
    if shard.progress.look() != worker.progress
        || snapshot.thread_state != park::ThreadState::Running
        || shard.progress.is_looking_around()
    {
        return None;
    }
    let header = snapshot.task.header();
    Some(Blocked {
        id: header.id,
        name: snapshot.name.to_text(),
        spawned_at: header.spawned_at,
        duration,
        os_thread: shard.progress.os_thread()?,
        backtrace: stack.map(|stack| names.resolve(&stack)),
    })
}
