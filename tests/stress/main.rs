//! Random mixes of everything that waits, checked for what must not change.
//!
//! Each kind of work ([`work`]) is done by several green threads, round after round, with random numbers of their own
//! that come from one seed. Rounds are short, so a round that does not end is a lost wake-up: the watch says whose, with the
//! seed and a dump, and aborts. When the time is over, sums and counts must be what the rounds make them.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `GREENPATCH_STRESS_SECONDS` | how long each number of workers is kept busy | 2 |
//! | `GREENPATCH_STRESS_SEED` | the seed | the time |
//!
//! A seed repeats the choices of each green thread, not their order in time, which the kernel, the clock and the other
//! processes have a part in.

#![allow(
    clippy::print_stdout,
    reason = "the seed and the counts are of interest"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod work;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use greenpatch::{Builder, Runtime};
use harness::patched_runtime;
use work::{KINDS, Kind, World};

/// A round that takes longer has lost a wake-up. The machine may be busy with other things, too.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

#[test]
fn one_worker() {
    stress(1);
}

#[test]
fn two_workers() {
    stress(2);
}

#[test]
fn four_workers() {
    stress(4);
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is '{value}'; give it a number in digits")))
}

/// One green thread's work, and how far it is.
struct Actor {
    kind: &'static Kind,
    number: u64,
    rounds: AtomicU64,
}

fn stress(workers: usize) {
    let seconds = variable("GREENPATCH_STRESS_SECONDS").unwrap_or(2);
    let seed = variable("GREENPATCH_STRESS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("it is later than 1970").as_millis() as u64
    });
    println!("{workers} workers, {seconds} s: GREENPATCH_STRESS_SEED={seed}");
    let actors: Arc<[Actor]> = KINDS
        .iter()
        .flat_map(|kind| (0..kind.actors).map(move |number| (kind, number)))
        .map(|(kind, number)| Actor {
            kind,
            number,
            rounds: AtomicU64::new(0),
        })
        .collect();
    let runtime = Arc::new(patched_runtime(workers));
    let over = Arc::new(AtomicBool::new(false));
    let watch = watch(actors.clone(), runtime.clone(), seed, over.clone());
    runtime.run(|| {
        let world = Arc::new(World::new());
        let end = Instant::now() + Duration::from_secs(seconds);
        let threads: Vec<_> = (0..actors.len())
            .map(|index| {
                let (actors, world) = (actors.clone(), world.clone());
                let actor = &actors[index];
                let name = format!("{} {}", actor.kind.name, actor.number);
                let begun = Builder::new().name(name).spawn(move || {
                    let actor = &actors[index];
                    let mut random = Rng::with_seed(seed ^ (index as u64) << 32);
                    while Instant::now() < end {
                        (actor.kind.round)(&world, &mut random);
                        actor.rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
                begun.expect("there is memory for a stack")
            })
            .collect();
        for thread in threads {
            if let Err(payload) = thread.join() {
                println!("failed with GREENPATCH_STRESS_SEED={seed} on {workers} workers");
                std::panic::resume_unwind(payload);
            }
        }
        world.check();
    });
    over.store(true, Ordering::SeqCst);
    watch.join().expect("the watch does not panic");
    for kind in KINDS {
        let rounds: u64 = actors
            .iter()
            .filter(|actor| actor.kind.name == kind.name)
            .map(|actor| actor.rounds.load(Ordering::Relaxed))
            .sum();
        println!("{:>16} {rounds}", kind.name);
        assert!(rounds > 0, "no round of '{}' was done", kind.name);
    }
}

/// An OS thread that aborts when a round does not end.
fn watch(
    actors: Arc<[Actor]>,
    runtime: Arc<Runtime>,
    seed: u64,
    over: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let now = Instant::now();
        let mut seen: Vec<_> = actors.iter().map(|_| (0, now)).collect();
        while !over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
            for (actor, (rounds, since)) in actors.iter().zip(&mut seen) {
                let done = actor.rounds.load(Ordering::Relaxed);
                if done != *rounds {
                    (*rounds, *since) = (done, Instant::now());
                } else if since.elapsed() > LONGEST_ROUND {
                    let message = format!(
                        "round {done} of '{} {}' does not end; GREENPATCH_STRESS_SEED={seed}\n{}",
                        actor.kind.name,
                        actor.number,
                        runtime.dump(greenpatch::DumpOptions::new().backtraces(true)),
                    );
                    // Straight to the descriptor: what the test harness captured is lost in an abort.
                    let _ = std::io::stderr().write_all(message.as_bytes());
                    std::process::abort();
                }
            }
        }
    })
}
