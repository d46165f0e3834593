//! How a dump is taken: the living green threads are looked at, asked for their stacks, and described.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::gate::{DumpLock, Gate};
use super::owners::Owners;
use super::{Dump, DumpOptions, GreenThread, HOG, State, Turn, Wait, Worker};
use crate::base::call_stack::CallStack;
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::base::reason::WaitReason;
use crate::body::slot;
use crate::look::metrics::Metrics;
use crate::look::sample;
use crate::look::trace::Names;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::{Green, GreenRef, GreenSnapshot};
use crate::sched::park::ThreadState;
use crate::sched::probe::Probe;
use crate::sched::scheduler::Shared;
use crate::wait::section;

/// Green threads that are asked for their stacks at a time.
const BATCH: usize = 256;

/// As [`Runtime::dump`](crate::Runtime::dump), in a native section or on an OS thread.
pub(crate) fn of(shared: &Arc<Shared>, options: &DumpOptions) -> Dump {
    let nothing = || Seen::nothing_of(shared);
    let dump = take(Some(shared), options).pop();
    dump.unwrap_or_else(|| describe(nothing(), &Owners::none(), &mut Names::default()))
}

/// What each green thread of the caller's runtime is doing; `None` off a green thread. See
/// [`Runtime::dump`](crate::Runtime::dump).
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
    /// As of before anybody is woken to take its stack.
    metrics: Metrics,
    green_threads: Vec<SeenGreen>,
    omitted: usize,
}

struct SeenGreen {
    green: GreenRef,
    snapshot: GreenSnapshot,
    stack: Option<Box<[usize]>>,
}

impl SeenGreen {
    fn id(&self) -> u64 {
        self.snapshot.task.header().id
    }

    fn is_alive(&self) -> bool {
        let now = self.green.snapshot();
        now.is_some_and(|now| now.task.header().id == self.id())
    }
}

impl Seen {
    fn nothing_of(shared: &Arc<Shared>) -> Seen {
        Seen {
            shared: shared.clone(),
            metrics: Metrics::of(shared),
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
    for green in GreenRef::all().filter(|green| of.is_none_or(|shared| green.is_of(shared))) {
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
        let id = snapshot.task.header().id;
        if options.only.is_some_and(|only| only != id) {
            continue;
        }
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
        .then(|| DumpLock::take(Deadline::after(patience)));
    let mut runtimes = look(of, options);
    if let Some(Some(_turn)) = turn {
        take_stacks(&mut runtimes, patience);
        if options.running && context::green().is_none() {
            sample_stacks(&mut runtimes, Deadline::after(patience));
        }
    }
    let everyone = runtimes.iter().flat_map(|seen| &seen.green_threads);
    let owners = Owners::find(everyone.map(|seen| &seen.snapshot));
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
    let Some(section) = section::enter_own() else {
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
        } else if seen.snapshot.thread_state == ThreadState::Parked {
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

/// Takes the stacks of green threads that have kept their worker for long, until the deadline. On an OS thread.
fn sample_stacks(runtimes: &mut [Seen], deadline: Deadline) {
    for seen in runtimes {
        for shard in seen.shared.shards.iter() {
            let turns = shard.progress.look().turns;
            let is_long = (shard.steady.since(turns)).is_some_and(|since| since.elapsed() >= HOG);
            if !is_long || deadline.has_passed() {
                continue;
            }
            let running = shard.running();
            let mut green_threads = seen.green_threads.iter_mut();
            let Some(seen) = green_threads.find(|seen| Some(seen.green) == running) else {
                continue;
            };
            let stack = sample::take(shard, turns);
            if shard.running() == Some(seen.green) && seen.is_alive() {
                seen.stack = stack.ok();
            }
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

fn describe(seen: Seen, owners: &Owners, names: &mut Names) -> Dump {
    let shared = &seen.shared;
    let now = Deadline::now();
    let workers: HashMap<*const Green, usize> = shared
        .shards
        .iter()
        .enumerate()
        .filter_map(|(index, shard)| {
            let green: *const Green = shard.running()?.as_ptr();
            Some((green, index))
        })
        .collect();
    let mut green_threads: Vec<GreenThread> = seen
        .green_threads
        .into_iter()
        .map(|seen| {
            let backtrace = seen.stack.as_ref().map(|stack| names.resolve(stack));
            let GreenSnapshot {
                task,
                name,
                thread_state,
                waiting,
                stack: (limit, base),
                stack_size,
                ..
            } = seen.snapshot;
            let worker = workers.get(&ptr::from_ref(&*seen.green));
            let state = match (thread_state, waiting.reason.unpack(), worker) {
                (ThreadState::Parked, Some(reason), _) => State::Parked(Wait {
                    reason,
                    duration: now.since(waiting.since),
                    time_left: waiting.until.map(|until| until.since(now)),
                    owner: match reason {
                        WaitReason::Mutex(address) => owners.of(address),
                        _ => None,
                    },
                }),
                (ThreadState::Running, _, Some(&worker)) => State::Running { worker },
                _ => State::Runnable,
            };
            GreenThread {
                id: task.header().id,
                name: name.to_text(),
                spawned_at: task.header().spawned_at,
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
        metrics: seen.metrics,
        workers: workers_of(shared),
        green_threads,
        omitted: seen.omitted,
    }
}

/// The workers that serve, each as it is at a moment of its own.
fn workers_of(shared: &Shared) -> Vec<Worker> {
    let now = Deadline::now();
    let shards = shared.shards.iter().enumerate();
    shards
        .filter(|(_, shard)| shard.worker_state.is_serving())
        .map(|(number, shard)| {
            let progress = shard.progress.look();
            let running = || {
                let snapshot = shard.running()?.snapshot()?;
                let is_running = snapshot.thread_state == ThreadState::Running;
                (is_running && !progress.asleep && !shard.progress.is_looking_around())
                    .then_some(snapshot)
            };
            let turn = running().map(|snapshot| Turn {
                green_thread: snapshot.task.header().id,
                name: snapshot.name.to_text(),
                duration: (shard.steady.since(progress.turns))
                    .map_or(Duration::ZERO, |since| now.since(since)),
                is_blocking: progress.is_marked(),
            });
            Worker {
                number,
                os_thread: shard.progress.os_thread(),
                is_asleep: progress.asleep,
                queued: shard.queued(),
                // Of a turn that has ended meanwhile nothing is told.
                turn: turn.filter(|_| shard.progress.look().turns == progress.turns),
            }
        })
        .collect()
}
