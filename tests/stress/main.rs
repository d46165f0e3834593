//! Random mixes of everything that waits, checked for what must not change.
//!
//! Each kind of work ([`work`]) is done by several green threads, round after round, with random numbers of their own
//! that come from one seed. Rounds are short, so a round that does not end is a lost wake-up: the watch says whose, with the
//! seed and a dump, and aborts. When the time is over, sums and counts must be what the rounds make them.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `GREENPATCH_STRESS_SECONDS` | how long all of it takes: a quarter on OS threads, and on one, two and four workers each | 30 |
//! | `GREENPATCH_STRESS_SEED` | the seed | the time |
//! | `GREENPATCH_STRESS_KINDS` | the kinds of work that are done ([`kinds`]): those whose names have one of these parts, which commas divide | all |
//!
//! A seed repeats the choices of each green thread, not their order in time, which the kernel, the clock and the other
//! processes have a part in. Works that use std and C only are done on OS threads, too: if they fail there, the work is wrong.

#![allow(
    clippy::print_stdout,
    reason = "the seed and the counts are of interest"
)]

mod destruction;
mod kinds;
mod limits;
mod numbers;
mod stacks;
mod work;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use greenpatch::Runtime;
use harness::patched_runtime;
use kinds::{KINDS, Kind};
use work::World;

/// A round that takes longer has lost a wake-up. The machine may be busy with other things, too.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

#[test]
fn os_threads() {
    stress(None);
}

#[test]
fn one_worker() {
    stress(Some(1));
}

#[test]
fn two_workers() {
    stress(Some(2));
}

#[test]
fn four_workers() {
    stress(Some(4));
}

/// Each has the machine to itself.
static ALONE: Mutex<()> = Mutex::new(());

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is '{value}'; give it a number in digits")))
}

/// Whether the variable asks for this kind of work.
fn is_wanted(kind: &Kind) -> bool {
    match std::env::var("GREENPATCH_STRESS_KINDS") {
        Ok(parts) => parts.split(',').any(|part| kind.name.contains(part.trim())),
        Err(_) => true,
    }
}

/// One thread's work, and how far it is.
struct Actor {
    kind: &'static Kind,
    number: u64,
    random: Rng,
    rounds: AtomicU64,
}

impl Actor {
    /// All that are wanted; each has random numbers of its own, whoever else is there.
    fn all(seed: u64, on_os_threads: bool) -> Arc<[Actor]> {
        KINDS
            .iter()
            .flat_map(|kind| (0..kind.actors).map(move |number| (kind, number)))
            .enumerate()
            .map(|(index, (kind, number))| Actor {
                kind,
                number,
                random: Rng::with_seed(seed ^ (index as u64) << 32),
                rounds: AtomicU64::new(0),
            })
            .filter(|actor| is_wanted(actor.kind) && (actor.kind.anywhere || !on_os_threads))
            .collect()
    }

    fn work(&self, world: &Arc<World>, end: Instant) {
        let mut random = self.random.clone();
        while Instant::now() < end {
            (self.kind.round)(world, &mut random);
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Says something whatever becomes of the process: what the test harness captures is lost in an abort.
fn say(message: &str) {
    let _ = std::io::stderr().write_all(message.as_bytes());
}

/// Does all kinds of work at once, on a runtime with so many workers or on OS threads.
fn stress(workers: Option<usize>) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let time = Duration::from_secs(variable("GREENPATCH_STRESS_SECONDS").unwrap_or(30)) / 4;
    let seed = variable("GREENPATCH_STRESS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("it is later than 1970").as_millis() as u64
    });
    let place = workers.map_or("OS threads".to_owned(), |workers| {
        format!("{workers} workers")
    });
    let place = format!("{place}, GREENPATCH_STRESS_SEED={seed}");
    say(&format!("stress: {time:?} on {place}\n"));
    let actors = Actor::all(seed, workers.is_none());
    let runtime = workers.map(|workers| Arc::new(patched_runtime(workers)));
    let watch = Watch::start(actors.clone(), runtime.clone(), place.clone());
    let all = || {
        let world = Arc::new(World::new(workers.is_some()));
        let end = Instant::now() + time;
        let threads: Vec<_> = (0..actors.len())
            .map(|index| {
                let (actors, world) = (actors.clone(), world.clone());
                // The kernel's names have room for fifteen letters.
                let name = format!("{} {}", actors[index].number, actors[index].kind.name);
                let builder = std::thread::Builder::new().name(name);
                let begun = builder.spawn(move || actors[index].work(&world, end));
                begun.expect("there is memory for a stack")
            })
            .collect();
        for thread in threads {
            if let Err(payload) = thread.join() {
                say(&format!("failed on {place}\n"));
                std::panic::resume_unwind(payload);
            }
        }
        world.check();
    };
    match &runtime {
        Some(runtime) => runtime.run(all),
        None => all(),
    }
    drop(watch);
    for kind in KINDS {
        let mut rounds = None;
        for actor in actors.iter().filter(|actor| actor.kind.name == kind.name) {
            *rounds.get_or_insert(0) += actor.rounds.load(Ordering::Relaxed);
        }
        if let Some(rounds) = rounds {
            println!("{:>20} {rounds}", kind.name);
            assert!(rounds > 0, "no round of '{}' was done", kind.name);
        }
    }
}

/// An OS thread that aborts when a round does not end; until it is dropped.
struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(actors: Arc<[Actor]>, runtime: Option<Arc<Runtime>>, place: String) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = std::thread::spawn(move || watch(&actors, runtime, &place, &is_over));
        Watch {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watch does not panic");
        }
    }
}

fn watch(actors: &[Actor], runtime: Option<Arc<Runtime>>, place: &str, is_over: &AtomicBool) {
    let now = Instant::now();
    let mut seen: Vec<_> = actors.iter().map(|_| (0, now)).collect();
    while !is_over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
        for (actor, (rounds, since)) in actors.iter().zip(&mut seen) {
            let done = actor.rounds.load(Ordering::Relaxed);
            if done != *rounds {
                (*rounds, *since) = (done, Instant::now());
            } else if since.elapsed() > LONGEST_ROUND {
                let options = greenpatch::DumpOptions::new().backtraces(true);
                let dump = runtime.map(|runtime| runtime.dump(options).to_string());
                say(&format!(
                    "round {done} of '{} {}' does not end on {place}\n{}\n",
                    actor.kind.name,
                    actor.number,
                    dump.unwrap_or_default(),
                ));
                std::process::abort();
            }
        }
    }
}
