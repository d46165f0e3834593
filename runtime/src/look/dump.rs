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

use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::{Serialize, Serializer};

use crate::base::call_stack::CallStack;
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::base::reason::WaitReason;
use crate::body::slot;
use crate::body::tls;
use crate::hook;
use crate::look::metrics::Metrics;
use crate::look::trace::Names;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::{Green, GreenRef, Snapshot};
use crate::sched::park::Sight;
use crate::sched::probe::{Gate, Probe, Turn};
use crate::sched::scheduler::Shared;
use crate::wait::futex;

pub use crate::look::trace::Frame;

/// Green threads that are asked for their stacks at a time.
const BATCH: usize = 256;

/// How long green threads are waited for that do not give their stacks.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a dump shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpOptions {
    backtraces: bool,
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
            limit: usize::MAX,
            patience: PATIENCE,
        }
    }

    /// Whether parked green threads are asked where they wait. Each is woken for that, takes its own call stack, and goes
    /// on waiting.
    pub fn backtraces(mut self, backtraces: bool) -> DumpOptions {
        self.backtraces = backtraces;
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
    /// The green threads, by id.
    pub green_threads: Vec<GreenThread>,
    /// How many more there are, beyond the limit.
    pub omitted: usize,
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
    /// Bytes of stack it may use; 0 if nobody knows, as where [`run`](crate::run) was called on a stack of the program's own making.
    pub stack_size: usize,
    /// Bytes of stack that are in memory: see [`Runtime::stack_high_water`](crate::Runtime::stack_high_water).
    pub stack_high_water: usize,
    /// What it does.
    pub state: State,
    /// Where it waits, the innermost frame first, without those of the runtime and std above and below its own code.
    /// Empty if that has no frame, because the wait at its end was compiled to a jump; `None` if that was not asked for, if it did not wait, or did not answer in time.
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

/// A green thread in a sentence: `12 'conn-17'`.
pub(crate) struct Label<'a>(pub(crate) u64, pub(crate) Option<&'a str>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(name) => write!(f, "{} '{name}'", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// As [`Runtime::dump`](crate::Runtime::dump), in a native section or on an OS thread.
pub(crate) fn of(shared: &Arc<Shared>, options: &DumpOptions) -> Dump {
    let nothing = || Seen::nothing_of(shared);
    let dump = take(Some(shared), options).pop();
    dump.unwrap_or_else(|| describe(nothing(), &Owners::none(), &mut Names::default()))
}

/// What each green thread of the caller's runtime is doing; `None` off a green thread. See [`Runtime::dump`](crate::Runtime::dump).
///
/// # Panics
///
/// As [`Runtime::dump`](crate::Runtime::dump).
pub fn dump(options: DumpOptions) -> Option<Dump> {
    let green = context::green()?;
    let _native = NativeSection::enter();
    take(Some(&green.life().shared), &options).pop()
}

/// As [`Runtime::dump`](crate::Runtime::dump), of all runtimes of this process that have green threads.
///
/// # Panics
///
/// As [`Runtime::dump`](crate::Runtime::dump).
pub fn dump_all(options: DumpOptions) -> Vec<Dump> {
    let _native = NativeSection::enter();
    take(None, &options)
}

/// What was seen of one runtime.
struct Seen {
    shared: Arc<Shared>,
    green_threads: Vec<SeenGreen>,
    omitted: usize,
}

struct SeenGreen {
    green: GreenRef,
    snapshot: Snapshot,
    stack: Option<Box<[usize]>>,
}

impl SeenGreen {
    fn id(&self) -> u64 {
        self.snapshot.task.head().id
    }

    fn is_alive(&self) -> bool {
        let now = self.green.snapshot();
        now.is_some_and(|now| now.task.head().id == self.id())
    }
}

impl Seen {
    fn nothing_of(shared: &Arc<Shared>) -> Seen {
        Seen {
            shared: shared.clone(),
            green_threads: Vec::new(),
            omitted: 0,
        }
    }
}

/// The living green threads, by runtime: of one, or of all.
fn look(of: Option<&Arc<Shared>>, options: &DumpOptions) -> Vec<Seen> {
    let mut runtimes: Vec<Seen> = Vec::new();
    if process::is_passive() {
        return runtimes;
    }
    for green in slot::all().filter(|green| of.is_none_or(|shared| green.is_of(shared))) {
        let Some(snapshot) = green.snapshot() else {
            continue;
        };
        let shared = &snapshot.shared;
        if of.is_some_and(|of| !Arc::ptr_eq(of, shared)) {
            continue;
        }
        let known = runtimes
            .iter()
            .position(|seen| Arc::ptr_eq(&seen.shared, shared));
        let index = known.unwrap_or_else(|| {
            runtimes.push(Seen::nothing_of(shared));
            runtimes.len() - 1
        });
        let seen = &mut runtimes[index];
        if seen.green_threads.len() < options.limit {
            seen.green_threads.push(SeenGreen {
                green,
                snapshot,
                stack: None,
            });
        } else {
            seen.omitted += 1;
        }
    }
    runtimes
}

/// Looks at one runtime, or at all, asks for stacks, gives names to everything, and puts it in order.
fn take(of: Option<&Arc<Shared>>, options: &DumpOptions) -> Vec<Dump> {
    let patience = options.patience;
    // Who has just answered another dumper is not parked again yet; so the turn comes before the look.
    let turn = options
        .backtraces
        .then(|| Turn::take(Deadline::after(patience)));
    let mut runtimes = look(of, options);
    if let Some(Some(_turn)) = turn {
        take_stacks(&mut runtimes, patience);
    }
    let owners = Owners::find(&runtimes);
    let resolve = || {
        let mut names = Names::default();
        let dump_of = |seen: Seen| describe(seen, &owners, &mut names);
        runtimes.into_iter().map(dump_of).collect()
    };
    if options.backtraces {
        on_os_thread(resolve)
    } else {
        resolve()
    }
}

/// Reading debug information takes more stack than a green thread need have.
fn on_os_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let Some(section) = hook::enter_own() else {
        return work();
    };
    section.blocking(|| {
        thread::scope(|scope| {
            let helper = scope.spawn(work);
            helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Takes the caller's own stack, and asks parked green threads for theirs. Stops once those that do not answer have
/// used up `patience`.
fn take_stacks(runtimes: &mut [Seen], mut patience: Duration) {
    let caller = context::green();
    let everyone = runtimes
        .iter_mut()
        .flat_map(|seen| seen.green_threads.iter_mut());
    let mut parked = Vec::new();
    for seen in everyone {
        if caller == Some(seen.green) {
            let mut stack = Box::new(CallStack::new());
            stack.capture(seen.green.entry_frame());
            seen.stack = Some(stack.pointers().into());
        } else if seen.snapshot.sight == Sight::Parked {
            parked.push(seen);
        }
    }
    for batch in parked.chunks_mut(BATCH) {
        if patience.is_zero() {
            return;
        }
        let start = Deadline::now();
        let all_answered = probe(batch, start.plus(patience));
        if !all_answered {
            patience = patience.saturating_sub(start.elapsed());
        }
    }
}

/// Asks some green threads for their stacks; whether all have answered in time.
fn probe(batch: &mut [&mut SeenGreen], deadline: Deadline) -> bool {
    let gate = Arc::new(Gate::new());
    let mut probes = Vec::with_capacity(batch.len());
    for seen in batch.iter_mut() {
        let probe = Arc::new(Probe::new(gate.clone()));
        if !seen.green.probe.offer(&probe) {
            continue;
        }
        // It may have ended, and somebody else may live there.
        if seen.is_alive() || !seen.green.probe.withdraw(&probe) {
            seen.green.unpark();
            probes.push((seen, probe));
        }
    }
    let asked = probes.len() as u32;
    let answered = gate.wait(asked, deadline);
    for (seen, probe) in probes {
        seen.green.probe.withdraw(&probe);
        let stack = probe.stack_of(seen.id());
        seen.stack = stack.map(|stack| stack.pointers().into());
    }
    answered >= asked
}

/// Who holds the mutexes that are waited for.
struct Owners(HashMap<usize, Owner>);

impl Owners {
    fn none() -> Owners {
        Owners(HashMap::new())
    }

    fn find(runtimes: &[Seen]) -> Owners {
        let everyone = runtimes.iter().flat_map(|seen| &seen.green_threads);
        let mut ids: HashMap<usize, i32> = HashMap::new();
        for seen in everyone {
            if let Some(WaitReason::Mutex(address)) = seen.snapshot.waiting.reason.unpack()
                && seen.snapshot.sight == Sight::Parked
                && !ids.contains_key(&address)
                && let Some(id) = futex::owner_of(address).filter(|&id| id != 0)
            {
                ids.insert(address, id);
            }
        }
        if ids.is_empty() {
            return Owners::none();
        }
        let layout = tls::layout();
        let mut owners: HashMap<i32, Owner> =
            ids.values().map(|&id| (id, Owner::OsThread(id))).collect();
        for green in slot::all() {
            if let Some(owner) = owners.get_mut(&green.block().thread_id(layout))
                && let Some(snapshot) = green.snapshot()
            {
                *owner = Owner::GreenThread {
                    id: snapshot.task.head().id,
                    name: snapshot.name.to_text(),
                };
            }
        }
        let named = ids.iter().filter_map(|(&address, id)| {
            let owner = owners.get(id)?.clone();
            Some((address, owner))
        });
        Owners(named.collect())
    }
}

fn describe(seen: Seen, owners: &Owners, names: &mut Names) -> Dump {
    let shared = &seen.shared;
    let now = Deadline::now();
    let workers: HashMap<*const Green, usize> = shared
        .shards
        .iter()
        .enumerate()
        .filter_map(|(index, shard)| {
            let green: *const Green = shard.progress.running()?.as_ptr();
            Some((green, index))
        })
        .collect();
    let mut green_threads: Vec<GreenThread> = seen
        .green_threads
        .into_iter()
        .map(|seen| {
            let backtrace = seen.stack.as_ref().map(|stack| names.resolve(stack));
            let Snapshot {
                task,
                name,
                sight,
                waiting,
                stack: (limit, base),
                stack_size,
                ..
            } = seen.snapshot;
            let worker = workers.get(&ptr::from_ref(&*seen.green));
            let state = match (sight, waiting.reason.unpack(), worker) {
                (Sight::Parked, Some(reason), _) => State::Parked(Wait {
                    reason,
                    duration: now.since(waiting.since),
                    time_left: waiting.until.map(|until| until.since(now)),
                    owner: match reason {
                        WaitReason::Mutex(address) => owners.0.get(&address).cloned(),
                        _ => None,
                    },
                }),
                (Sight::Running, _, Some(&worker)) => State::Running { worker },
                _ => State::Runnable,
            };
            GreenThread {
                id: task.head().id,
                name: name.to_text(),
                spawned_at: task.head().spawned_at,
                stack_size,
                stack_high_water: slot::deepest_use(limit, base),
                state,
                backtrace,
            }
        })
        .collect();
    green_threads.sort_unstable_by_key(|green| green.id);
    Dump {
        runtime: shared.settings.name.clone(),
        metrics: Metrics::of(shared),
        green_threads,
        omitted: seen.omitted,
    }
}
