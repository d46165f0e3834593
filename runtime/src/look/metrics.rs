//! Figures of a runtime: always counted, added up when somebody asks.
//!
//! What is counted stands in `base/counters.rs`. The figures of one [`Metrics`] are read one after the other, not at one
//! instant: what happens meanwhile may be in some and not in others.

use std::fmt;

#[cfg(feature = "json")]
use serde::Serialize;

use crate::base::counters::{Counter, Counters};
use crate::body::slot;
use crate::body::slot_pool::{self, SlotMetrics};
use crate::sched::context::{self, NativeSection};
use crate::sched::green::{GreenRef, GreenSnapshot};
use crate::sched::scheduler::Shared;

/// Figures of a runtime, and of its process where they say so.
///
/// Counts begin with the runtime; all else is as it was when asked for. Displayed, it is a few aligned lines.
///
/// ```
/// use greenpatch_runtime::{Runtime, spawn, yield_now};
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let figures = runtime.run(|| {
///     let parked = spawn(greenpatch_runtime::thread::park);
///     yield_now();
///     let figures = greenpatch_runtime::metrics().expect("this is a green thread");
///     parked.thread().unpark();
///     parked.join().unwrap();
///     figures
/// });
/// assert_eq!((figures.live, figures.running, figures.parked), (2, 1, 1));
/// println!("{figures}");
/// # Ok::<(), greenpatch_runtime::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Metrics {
    /// Green threads that were started and have not ended.
    pub live: usize,
    /// The most there were at once.
    pub peak_live: usize,
    /// Of the living ones, how many a worker runs.
    pub running: usize,
    /// Of these, how many wait in a run queue for a worker.
    pub runnable: usize,
    /// Of these, how many wait for something else.
    pub parked: usize,
    /// Green threads that were ever started.
    pub spawned: u64,
    /// Turns: how often a worker has switched to a green thread.
    pub switches: u64,
    /// How often a parked green thread was made ready to run.
    pub unparks: u64,
    /// How often a worker has taken green threads from another worker's queue.
    pub steals: u64,
    /// How often a worker has looked for events of descriptors, or waited for them.
    pub reactor_polls: u64,
    /// Sleeps and other waits with a deadline that are under way.
    pub timers: usize,
    /// [Blocking sections](crate::blocking) that were entered on workers.
    pub blocking_sections: u64,
    /// How often a green thread was found to keep its worker to itself, outside a blocking section: for ten milliseconds or
    /// more.
    pub hogs: u64,
    /// Workers that serve, spare ones among them.
    pub workers: usize,
    /// How many more serve than the runtime was built with, in place of blocked ones.
    pub spare_workers: usize,
    /// How often a spare worker was called in.
    pub spare_workers_called: u64,
    /// Slots of stack, by the size of stack that they promise; of the process.
    pub slots: Vec<SlotMetrics>,
    /// OS threads of the process; 0 if the kernel does not tell.
    pub os_threads: usize,
}

impl Metrics {
    pub(crate) fn of(shared: &Shared) -> Metrics {
        let sum = |count: fn(&Counters) -> &Counter| -> u64 {
            let counts = shared
                .shards
                .iter()
                .map(|shard| count(&shard.counters).get());
            counts.sum()
        };
        let live = shared.live();
        let running = shared
            .shards
            .iter()
            .filter(|shard| shard.running().is_some());
        let running = running.count().min(live);
        let runnable = shared.injector.len()
            + shared
                .shards
                .iter()
                .map(|shard| shard.queued())
                .sum::<usize>();
        let runnable = runnable.min(live - running);
        let workers = shared.worker_count.serving();
        let base_workers = shared.settings.workers;
        Metrics {
            live,
            peak_live: shared.peak_live(),
            running,
            runnable,
            parked: live - running - runnable,
            spawned: sum(|counters| &counters.spawns) + shared.counters.spawns.get(),
            switches: sum(|counters| &counters.switches),
            unparks: sum(|counters| &counters.unparks) + shared.counters.unparks.get(),
            steals: sum(|counters| &counters.steals),
            reactor_polls: sum(|counters| &counters.reactor_polls),
            timers: shared.shards.iter().map(|shard| shard.timers()).sum(),
            blocking_sections: sum(|counters| &counters.blocking_sections),
            hogs: shared.counters.hogs.get(),
            workers,
            spare_workers: workers.saturating_sub(base_workers),
            spare_workers_called: (shared.counters.workers_called.get())
                .saturating_sub(base_workers as u64),
            slots: slot_pool::metrics().into(),
            os_threads: os_threads(),
        }
    }

    /// The fields as a JSON object of their names. With the feature `json` only.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers can be written as JSON")
    }
}

/// OS threads of this process.
fn os_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: fmt::Arguments<'_>| writeln!(f, "{name:<18}{text}");
        line(
            "green threads",
            format_args!(
                "{} live: {} running, {} runnable, {} parked; {} spawned so far, {} at once at most",
                self.live, self.running, self.runnable, self.parked, self.spawned, self.peak_live
            ),
        )?;
        line("switches", format_args!("{}", self.switches))?;
        line("unparks", format_args!("{}", self.unparks))?;
        line("steals", format_args!("{}", self.steals))?;
        line("reactor polls", format_args!("{}", self.reactor_polls))?;
        line("timers", format_args!("{}", self.timers))?;
        line(
            "blocking sections",
            format_args!("{}", self.blocking_sections),
        )?;
        line("hogs", format_args!("{}", self.hogs))?;
        line(
            "workers",
            format_args!(
                "{}, {} of them spare; {} spare called in so far",
                self.workers, self.spare_workers, self.spare_workers_called
            ),
        )?;
        for slots in &self.slots {
            if slots.in_use + slots.pooled + slots.trimmed > 0 {
                line(
                    &format!("slots of {} KiB", slots.stack_size / 1024),
                    format_args!(
                        "{} in use, {} pooled, {} trimmed",
                        slots.in_use, slots.pooled, slots.trimmed
                    ),
                )?;
            }
        }
        write!(f, "{:<18}{}", "OS threads", self.os_threads)
    }
}

/// The most stack that any living green thread of this runtime has in memory, in bytes.
pub(crate) fn stack_high_water(shared: &Shared) -> usize {
    GreenRef::all()
        .filter(|green| green.is_of(shared))
        .filter_map(GreenRef::snapshot)
        .map(|GreenSnapshot { stack, .. }| slot::deepest_use(stack.0, stack.1))
        .max()
        .unwrap_or(0)
}

/// Figures of the caller's runtime; `None` off a green thread. See [`Runtime::metrics`](crate::Runtime::metrics).
pub fn metrics() -> Option<Metrics> {
    let green = context::green()?;
    let _native = NativeSection::enter();
    Some(Metrics::of(&green.life().shared))
}
