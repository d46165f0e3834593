//! The monitor: an OS thread that sees to what no worker can see to itself.
//!
//! - A worker that makes no progress, be it marked as in a blocking section or not, is *stuck*. The monitor lets
//!   others steal from its run-next slot, and calls in a spare worker (see `spare_workers.rs`), which serves reactor and
//!   timers and finds the rest of the stuck worker's work in its queue. Surplus workers are told to retire.
//! - A worker whose turns are so long that it has not looked around since the last look is asked to.
//! - A green thread that has run for longer than `max_blocking_time` is reported (see `blocked.rs`).
//! - Stack memory of slots that nobody uses any more goes back to the kernel, and that of green threads that wait for long (see
//!   `trim.rs`).
//! - A deadlock is reported (see `deadlock.rs`).
//!
//! **Who is stuck.** A worker is stuck if it has looked the same for [`MARKED`] while it is in a blocking section, or for
//! [`UNMARKED`] while it is not: not asleep, and no turn further. The monitor looks at least twice, and waits longer for workers
//! outside a section, because a worker that has merely lost its processor for a while looks just the same.
//!
//! **When spare workers are called in.** If no worker makes progress, one is called in any case, because events and timers
//! cannot be foreseen. If some do, but fewer than the runtime should have, as many as are missing are called in if there is work
//! that no sleeping worker could take up. Before that the kernel is asked of each stuck worker whether it is merely *preempted*:
//! whether it could run, but has not had the processor for half of that time. Such a worker goes on as soon as the machine lets
//! it, and one more OS thread would not have the processor any sooner. Both questions are needed to tell: a worker that waits for
//! the kernel could not run, and one that computes uses up processor time.
//!
//! (Rejected: spare workers for stuck ones without regard to work. A runtime of many workers with one blocked for long would wake
//! an OS thread for nothing.)
//!
//! **Looks** are [`PERIOD`] apart while some worker is awake, and [`QUICK_PERIOD`] while blocking sections come and go.
//! Once nothing has moved for a moment ([`SETTLED`]), the monitor waits on a [`WaitFlag`] until the next worker that wakes notifies
//! it: an idle process uses no CPU, and one that does something once a second next to none. What needs a longer quiet limits the
//! first wait: unused memory goes back, and a deadlock is looked for. A stuck worker does not notify when it gets on; while
//! there is one, the wait is limited as well.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::counters::OutsideCounters;
use crate::base::deadline::Deadline;
use crate::base::os_thread;
use crate::base::thread_counts::CountedThread;
use crate::base::wait_flag::WaitFlag;
use crate::body::slot_pool;
use crate::sched::context::OwnWork;
use crate::sched::progress::ProgressSnapshot;
use crate::sched::scheduler::Shared;
use crate::sched::shard::Shard;
use crate::sched::trim::MemoryWatch;

/// The time from one look to the next.
const PERIOD: Duration = Duration::from_millis(5);

/// The same while blocking sections come and go.
const QUICK_PERIOD: Duration = Duration::from_millis(1);

/// How long the quick looks go on after the last blocking section was seen to begin or end.
const QUICK_FOR: Duration = Duration::from_millis(100);

/// How long a worker stays as it is before it counts as stuck: in a blocking section, and otherwise.
const MARKED: Duration = Duration::from_micros(900);
const UNMARKED: Duration = Duration::from_millis(9);

/// How long all must be quiet before the monitor waits to be notified: so long that who wakes at short intervals need not notify
/// it each time.
const SETTLED: Duration = Duration::from_millis(50);

/// How long it waits at most while some worker is stuck.
const DOZE: Duration = Duration::from_millis(100);

/// How long all must be quiet before a deadlock is looked for.
const QUIET: Duration = Duration::from_secs(2);

/// The time between two returns of unused stack memory.
const TRIM_PERIOD: Duration = Duration::from_secs(1);

/// The time from a failure to start an OS thread to the next attempt.
const RETRY_PERIOD: Duration = Duration::from_millis(200);

/// Waits until somebody notifies, for which the wait was prepared, or for `limit`, or less. True if `limit` has passed.
fn wait(flag: &WaitFlag, limit: Option<Duration>) -> bool {
    let (word, waiting, _) = flag.word();
    let limit = limit.map(timespec);
    let waited = futex::wait(word, futex::Flags::PRIVATE, waiting, limit.as_ref());
    waited == Err(Errno::TIMEDOUT)
}

/// Lets `period` pass, or less.
fn pause(flag: &WaitFlag, period: Duration) {
    let (word, _, awake) = flag.word();
    let period = timespec(period);
    let _ = futex::wait(word, futex::Flags::PRIVATE, awake, Some(&period));
}

/// A time of at most [`QUIET`] as system calls take it.
fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().min(QUIET.as_secs()).cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// A worker whose green thread has run for longer than `max_blocking_time`.
pub(crate) struct BlockedWorker {
    pub(crate) shard: Arc<Shard>,
    pub(crate) progress: ProgressSnapshot,
    /// When it first looked so.
    pub(crate) since: Deadline,
}

/// Who is told of what the monitor sees. Called on the monitor's OS thread, so it must not wait for anybody.
pub(crate) trait Observer {
    /// A green thread has run for longer than `max_blocking_time`.
    fn blocked(&mut self, shared: &Shared, worker: BlockedWorker);

    /// All workers have slept for a while.
    fn all_asleep(&mut self, shared: &Arc<Shared>);
}

/// The body of the monitor's OS thread.
pub(crate) fn main(shared: Weak<Shared>, observer: impl Observer) {
    let _own = OwnWork::thread();
    let _counted = CountedThread::own_thread();
    let mut monitor = Monitor::new(observer);
    while let Some(shared) = shared.upgrade().filter(|shared| !shared.is_over()) {
        let summary = monitor.look(&shared);
        monitor.compensate(&shared, &summary);
        monitor.rest(&shared, &summary);
    }
}

/// What the monitor remembers of a worker.
#[derive(Clone, Copy)]
struct Watched {
    progress: ProgressSnapshot,
    /// When it first looked so.
    since: Deadline,
    is_stuck: bool,
    /// It was found not to be merely preempted.
    is_confirmed: bool,
    /// It was counted in the metrics as one of the `hogs`.
    is_counted: bool,
    /// Processor time that its OS thread had used when it was first found to look the same again.
    processor_time: Option<Duration>,
    /// When it is reported next, if it stays so.
    reported_at: Option<Deadline>,
    /// How often it had looked at the reactor.
    polls: u64,
}

/// The workers at one look.
#[derive(Default)]
struct Summary {
    /// They do not get on.
    stuck: usize,
    /// They sleep, in the reactor or on standby.
    asleep: usize,
    /// They could retire.
    retirable: usize,
    /// Some worker is in a section and not stuck yet.
    is_undecided: bool,
}

struct Monitor<O> {
    observer: O,
    watched: Vec<Option<Watched>>,
    now: Deadline,
    /// Blocking sections are about until then.
    quick_until: Deadline,
    quiet_since: Option<Deadline>,
    trims_at: Deadline,
    memory: MemoryWatch,
    /// Some worker should have retired at the last look.
    had_surplus: bool,
    /// No OS thread could be started; not before then is it tried again.
    starts_from: Deadline,
}

impl<O: Observer> Monitor<O> {
    fn new(observer: O) -> Monitor<O> {
        let now = Deadline::now();
        Monitor {
            observer,
            watched: Vec::new(),
            now,
            quick_until: now,
            quiet_since: None,
            trims_at: now.plus(TRIM_PERIOD),
            memory: MemoryWatch::new(),
            had_surplus: false,
            starts_from: now,
        }
    }

    /// Looks at every worker, and frees the run-next slots of stuck ones.
    fn look(&mut self, shared: &Shared) -> Summary {
        self.now = Deadline::now();
        let mut summary = Summary::default();
        self.watched.resize(shared.shards.len(), None);
        for (index, shard) in shared.shards.iter().enumerate() {
            self.look_at(index, shard, &shared.counters, &mut summary);
            if let Some(limit) = shared.settings.max_blocking_time {
                self.report(index, shard, limit, shared);
            }
            if shard.is_stuck() && shard.has_work() {
                shared.notify();
            }
        }
        summary
    }

    fn look_at(
        &mut self,
        index: usize,
        shard: &Shard,
        counters: &OutsideCounters,
        summary: &mut Summary,
    ) {
        let progress = shard.progress.look();
        let before = self.watched[index];
        let fresh = Watched {
            progress,
            since: self.now,
            is_stuck: false,
            is_confirmed: false,
            is_counted: false,
            processor_time: None,
            reported_at: None,
            polls: shard.counters.reactor_polls.get(),
        };
        let is_serving = shard.worker_state.is_serving();
        if is_serving
            && !progress.asleep
            && before.is_some_and(|before| before.polls == fresh.polls)
        {
            shard.progress.set_look_due(true);
        }
        let unmoved = before.filter(|seen| is_serving && seen.progress == progress);
        let mut seen = unmoved.unwrap_or(fresh);
        if unmoved.is_none() {
            shard.steady.note(progress.turns, seen.since);
        }
        if before.is_some_and(|before| before.progress.section != progress.section) {
            self.quick_until = self.now.plus(QUICK_FOR);
        }
        summary.retirable += usize::from(is_serving && !shard.has_pinned());
        if progress.asleep {
            summary.asleep += 1;
        } else if is_serving {
            if unmoved.is_some() && seen.processor_time.is_none() {
                let os_thread = shard.progress.os_thread();
                seen.processor_time = os_thread.and_then(os_thread::processor_time);
            }
            seen.is_stuck = seen.since.plus(limit(progress)) <= self.now;
            if seen.is_stuck && !seen.is_counted && !progress.is_marked() {
                let least = limit(progress) / 2;
                seen.is_counted = !is_preempted(&seen, shard.progress.os_thread(), least);
                if seen.is_counted {
                    counters.hogs.add_shared();
                }
            }
            summary.stuck += usize::from(seen.is_stuck);
            summary.is_undecided |= progress.is_marked() && !seen.is_stuck;
        }
        if shard.is_stuck() != seen.is_stuck {
            shard.stuck.store(seen.is_stuck, Ordering::SeqCst);
        }
        self.watched[index] = Some(seen);
    }

    /// Has the worker's green thread reported if it has run for `limit`, and again whenever it has run twice as long. Not one
    /// whose worker has merely lost its processor.
    fn report(&mut self, index: usize, shard: &Arc<Shard>, limit: Duration, shared: &Shared) {
        let Some(seen) = &mut self.watched[index] else {
            return;
        };
        if seen.progress.asleep || seen.progress.is_marked() || !shard.worker_state.is_serving() {
            return;
        }
        let due = *seen.reported_at.get_or_insert(seen.since.plus(limit));
        if due <= self.now && !is_preempted(seen, shard.progress.os_thread(), limit / 2) {
            seen.reported_at = Some(self.now.plus(self.now.since(seen.since)));
            let worker = BlockedWorker {
                shard: shard.clone(),
                progress: seen.progress,
                since: seen.since,
            };
            self.observer.blocked(shared, worker);
        }
    }

    /// Sees to it that as many workers get on as the runtime should have.
    fn compensate(&mut self, shared: &Arc<Shared>, summary: &Summary) {
        let settings = &shared.settings;
        if settings.spare_workers() == 0 {
            return;
        }
        shared
            .worker_count
            .set_target(settings.workers + summary.stuck);
        let mut moving = shared.worker_count.serving().saturating_sub(summary.stuck);
        let mut wanted = self.wanted(shared, summary, moving);
        if wanted > 0 && summary.stuck > 0 {
            moving += self.preempted(shared);
            wanted = self.wanted(shared, summary, moving);
        }
        for _ in 0..wanted {
            if self.now < self.starts_from {
                break;
            }
            match shared.add_worker() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => self.starts_from = self.now.plus(RETRY_PERIOD),
            }
        }
        // A surplus worker that sleeps in the reactor does not know; one on standby goes there.
        let has_surplus = summary.retirable > 0 && shared.worker_count.has_surplus();
        if has_surplus && self.had_surplus {
            shared.reactor.signal();
        }
        self.had_surplus = has_surplus;
    }

    /// How many more workers should be called in while so many get on.
    fn wanted(&self, shared: &Shared, summary: &Summary, moving: usize) -> usize {
        let missing = shared.settings.workers.saturating_sub(moving);
        if summary.asleep == 0 && self.has_work(shared) {
            missing
        } else {
            missing.min(usize::from(moving == 0))
        }
    }

    /// How many of the stuck workers have merely lost their processor.
    fn preempted(&mut self, shared: &Shared) -> usize {
        let watched = self.watched.iter_mut().flatten();
        let stuck = watched
            .zip(shared.shards.iter())
            .filter(|(seen, _)| seen.is_stuck && !seen.is_confirmed);
        let mut preempted = 0;
        for (seen, shard) in stuck {
            let least = limit(seen.progress) / 2;
            seen.is_confirmed = !is_preempted(seen, shard.progress.os_thread(), least);
            preempted += usize::from(!seen.is_confirmed);
        }
        preempted
    }

    /// Whether something waits to be run.
    fn has_work(&self, shared: &Shared) -> bool {
        shared.has_work() || Deadline::from_nanos(shared.next_timer()) <= self.now
    }

    /// Waits until the next look is due.
    fn rest(&mut self, shared: &Arc<Shared>, summary: &Summary) {
        if self.trims_at <= self.now {
            self.trims_at = self.now.plus(TRIM_PERIOD);
            slot_pool::trim();
            self.memory.look(shared, self.now);
        }
        let is_quick = summary.is_undecided || self.now < self.quick_until;
        let limit = shared.settings.max_blocking_time;
        let period = if is_quick { QUICK_PERIOD } else { PERIOD };
        let period = limit.map_or(period, |limit| period.min(limit / 4).max(QUICK_PERIOD));
        if !is_quiet(shared, summary) || self.had_surplus {
            self.quiet_since = None;
            return pause(&shared.monitor_waits, period);
        }
        let since = *self.quiet_since.get_or_insert(self.now);
        let reports = limit.is_some() && summary.stuck > 0;
        if self.now < since.plus(SETTLED) || reports {
            return pause(&shared.monitor_waits, period);
        }
        let is_long = since.plus(QUIET) <= self.now;
        if is_long && summary.stuck == 0 {
            self.observer.all_asleep(shared);
        }
        let limit = match (summary.stuck, is_long) {
            (0, true) => None,
            (0, false) => Some(since.plus(QUIET).min(self.trims_at).since(self.now)),
            _ => Some(DOZE),
        };
        shared.monitor_waits.prepare_wait();
        let mut goes_on = false;
        if is_quiet(shared, summary) && !shared.is_over() {
            goes_on = wait(&shared.monitor_waits, limit);
        }
        shared.monitor_waits.cancel_wait();
        if summary.stuck == 0 && !goes_on {
            self.quiet_since = None;
        }
    }
}

/// How long a worker may look the same before it counts as stuck.
fn limit(progress: ProgressSnapshot) -> Duration {
    if progress.is_marked() {
        MARKED
    } else {
        UNMARKED
    }
}

/// Whether a worker that looks the same could run, and has had the processor for less than `least` since. False if the
/// kernel does not tell.
fn is_preempted(seen: &Watched, os_thread: Option<i32>, least: Duration) -> bool {
    let Some(os_thread) = os_thread else {
        // It was called in, and has not even begun.
        return true;
    };
    let (Some(before), Some(now)) = (seen.processor_time, os_thread::processor_time(os_thread))
    else {
        return false;
    };
    now.saturating_sub(before) < least && os_thread::state(os_thread) == Some('R')
}

/// Whether every worker sleeps, or was stuck at the last look.
fn is_quiet(shared: &Shared, summary: &Summary) -> bool {
    !summary.is_undecided && shared.sleeping() + summary.stuck >= shared.worker_count.serving()
}
