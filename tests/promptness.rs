//! Whoever can run does run soon, whatever the others do.
//!
//! A woken green thread runs at once if a worker is idle, while the one that woke it computes; and no green thread that
//! keeps computing, or keeps giving way, keeps another one from running.
//!
//! No test asserts a time. What has to come first is compared with what has to come later, and computing is measured in the
//! processor time of the OS thread, which stands still while other programs have the processor. Where the failure is to
//! wait for ever, [`compute_until`] gives up after a time that only a hang takes.

#![allow(clippy::print_stdout, reason = "the counts are of interest")]

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use greenpatch::Runtime;
use harness::{alone, compensated_runtime, patched_runtime};
use rustix::time::{ClockId, clock_gettime};

/// How long is waited for what should come within milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .expect("it is not negative")
}

/// Computes for so long, and makes no call that could yield.
fn compute(time: Duration) {
    let end = processor_time() + time;
    while processor_time() < end {
        std::hint::spin_loop();
    }
}

/// Computes until `is_so`, and makes no call that could yield. Says whether it became so.
fn compute_until(is_so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() > end {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

/// A thread that counts how often it was woken.
struct Sleeper {
    woken: Arc<AtomicU64>,
    wake: Box<dyn FnMut() + Send>,
    thread: JoinHandle<()>,
}

impl Sleeper {
    /// `wait` returns whether it was woken once more, or is to end.
    fn new(
        wake: impl FnMut() + Send + 'static,
        mut wait: impl FnMut() -> bool + Send + 'static,
    ) -> Sleeper {
        let woken = Arc::new(AtomicU64::new(0));
        let counter = woken.clone();
        let thread = thread::spawn(move || {
            while wait() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        let wake = Box::new(wake);
        Sleeper {
            woken,
            wake,
            thread,
        }
    }

    fn has_run(&self, rounds: u64) -> bool {
        self.woken.load(Ordering::SeqCst) >= rounds
    }
}

const ROUNDS: u64 = 50;

/// What the thread that wakes another one does afterwards: less than what makes its worker count as stuck, and a hundred
/// times as much as waking an idle worker takes.
const COMPUTING: Duration = Duration::from_millis(4);

/// Wakes `sleeper` and computes, again and again. The sleeper has to run before the computation is over, but for some rounds
/// in which the machine had no processor for it.
fn runs_while_its_waker_computes(name: &str, make: impl FnOnce() -> Sleeper + Send) {
    alone(|| {
        patched_runtime(2).run(|| {
            let mut sleeper = make();
            let mut prompt = 0;
            for round in 1..=ROUNDS {
                // It waits, and so does the other worker; if not yet, then the round is an easy one.
                thread::sleep(Duration::from_millis(1));
                (sleeper.wake)();
                compute(COMPUTING);
                prompt += u64::from(sleeper.has_run(round));
                while !sleeper.has_run(round) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            println!("{name}: ran while its waker computed in {prompt} of {ROUNDS} rounds");
            (sleeper.wake)();
            sleeper.thread.join().unwrap();
            assert!(
                prompt * 4 >= ROUNDS * 3,
                "it ran while its waker computed in {prompt} of {ROUNDS} rounds"
            );
        })
    });
}

/// Counts down the rounds, the last of which is the end.
fn rounds() -> impl FnMut() -> bool + Send {
    let mut left = ROUNDS + 1;
    move || {
        left -= 1;
        left > 0
    }
}

#[test]
fn a_receiver_of_std_runs_while_the_sender_computes() {
    runs_while_its_waker_computes("mpsc", || {
        let (sender, receiver) = mpsc::channel();
        let mut goes_on = rounds();
        Sleeper::new(
            move || sender.send(()).unwrap(),
            move || {
                receiver.recv().unwrap();
                goes_on()
            },
        )
    });
}

#[test]
fn an_unparked_thread_of_std_runs_while_the_other_computes() {
    runs_while_its_waker_computes("unpark", || {
        let (rung, bell) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let (heard, theirs) = (rung.clone(), bell.clone());
        let (mut seen, mut goes_on) = (0, rounds());
        let sleeper = Sleeper::new(
            move || {
                rung.fetch_add(1, Ordering::SeqCst);
                let thread: Option<thread::Thread> = bell.lock().unwrap().clone();
                if let Some(thread) = thread {
                    thread.unpark();
                }
            },
            move || {
                while heard.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                seen += 1;
                goes_on()
            },
        );
        *theirs.lock().unwrap() = Some(sleeper.thread.thread().clone());
        sleeper
    });
}

#[test]
fn one_that_waits_for_a_condition_of_std_runs_while_the_notifier_computes() {
    runs_while_its_waker_computes("condvar", || {
        let pair = Arc::new((Mutex::new(0_u64), Condvar::new()));
        let theirs = pair.clone();
        let mut goes_on = rounds();
        Sleeper::new(
            move || {
                *pair.0.lock().unwrap() += 1;
                pair.1.notify_one();
            },
            move || {
                let (lock, changed) = &*theirs;
                let guard = lock.lock().unwrap();
                *changed.wait_while(guard, |count| *count == 0).unwrap() -= 1;
                goes_on()
            },
        )
    });
}

#[test]
fn one_that_waits_for_a_semaphore_runs_while_the_releaser_computes() {
    runs_while_its_waker_computes("semaphore", || {
        let permits = Arc::new(greenpatch::sync::Semaphore::new(0));
        let theirs = permits.clone();
        let mut goes_on = rounds();
        Sleeper::new(
            move || permits.release(1),
            move || {
                theirs.acquire().forget();
                goes_on()
            },
        )
    });
}

#[test]
fn a_reader_runs_while_the_writer_computes() {
    runs_while_its_waker_computes("pipe", || {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let mut goes_on = rounds();
        Sleeper::new(
            move || writer.write_all(&[1]).unwrap(),
            move || {
                reader.read_exact(&mut [0]).unwrap();
                goes_on()
            },
        )
    });
}

#[test]
fn a_new_thread_runs_while_its_spawner_computes() {
    alone(|| {
        patched_runtime(2).run(|| {
            let mut prompt = 0;
            for _ in 0..ROUNDS {
                thread::sleep(Duration::from_millis(1));
                let has_run = Arc::new(AtomicBool::new(false));
                let theirs = has_run.clone();
                let thread = thread::spawn(move || theirs.store(true, Ordering::SeqCst));
                compute(COMPUTING);
                prompt += u64::from(has_run.load(Ordering::SeqCst));
                thread.join().unwrap();
            }
            println!("spawn: ran while its spawner computed in {prompt} of {ROUNDS} rounds");
            assert!(prompt * 4 >= ROUNDS * 3, "{prompt} of {ROUNDS} rounds");
        })
    });
}

/// The owner sleeps with the lock, and computes without it. An OS thread gets the lock at the first unlock.
fn a_mutex_held_across_a_sleep_is_got(workers: usize) {
    const MOST_ROUNDS: u64 = 50;
    alone(|| {
        patched_runtime(workers).run(|| {
            let mut worst = 0;
            for _ in 0..5 {
                let mutex = Arc::new(Mutex::new(()));
                let is_got = Arc::new(AtomicBool::new(false));
                let guard = mutex.lock().unwrap();
                let (theirs, got) = (mutex.clone(), is_got.clone());
                let other = thread::spawn(move || {
                    let _guard = theirs.lock().unwrap();
                    got.store(true, Ordering::SeqCst);
                });
                thread::sleep(Duration::from_millis(1));
                drop(guard);
                let mut rounds = 0;
                while !is_got.load(Ordering::SeqCst) && rounds < MOST_ROUNDS {
                    compute(Duration::from_micros(300));
                    let _guard = mutex.lock().unwrap();
                    thread::sleep(Duration::from_millis(1));
                    rounds += 1;
                }
                worst = worst.max(rounds);
                other.join().unwrap();
            }
            println!("another thread got the mutex after {worst} rounds at the most");
            assert!(
                worst < MOST_ROUNDS,
                "another thread did not get the mutex in {worst} rounds"
            );
        })
    });
}

#[test]
fn a_mutex_that_is_held_across_a_sleep_is_got_by_another_thread() {
    a_mutex_held_across_a_sleep_is_got(2);
}

/// The one worker goes on with the owner, which takes the lock again before the other has had a turn.
#[test]
fn a_mutex_that_is_held_across_a_sleep_is_got_by_another_thread_on_one_worker() {
    a_mutex_held_across_a_sleep_is_got(1);
}

/// Some threads give way again and again. Another one computes until other workers are busy with nothing but these; then it
/// starts one more, and computes until that has run.
fn one_more_runs(runtime: Runtime, yielding: usize) {
    alone(|| {
        runtime.run(|| {
            let is_over = Arc::new(AtomicBool::new(false));
            let turns: Arc<[AtomicU64]> = (0..yielding).map(|_| AtomicU64::new(0)).collect();
            let others: Vec<_> = (0..yielding)
                .map(|index| {
                    let (over, turns) = (is_over.clone(), turns.clone());
                    thread::spawn(move || {
                        while !over.load(Ordering::SeqCst) {
                            turns[index].fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            let are_elsewhere = compute_until(|| {
                turns
                    .iter()
                    .all(|turns| turns.load(Ordering::SeqCst) > 10_000)
            });
            let has_run = Arc::new(AtomicBool::new(false));
            let theirs = has_run.clone();
            let one_more = thread::spawn(move || theirs.store(true, Ordering::SeqCst));
            let ran = compute_until(|| has_run.load(Ordering::SeqCst));
            is_over.store(true, Ordering::SeqCst);
            for other in others {
                other.join().unwrap();
            }
            one_more.join().unwrap();
            assert!(are_elsewhere, "nobody runs while one computes");
            assert!(
                ran,
                "a new thread does not run while others give way and one computes"
            );
        })
    });
}

#[test]
fn one_that_yields_and_one_that_computes_let_a_third_run_on_one_worker() {
    one_more_runs(compensated_runtime(1), 1);
}

#[test]
fn two_that_yield_and_one_that_computes_let_a_fourth_run_on_two_workers() {
    one_more_runs(compensated_runtime(2), 2);
}

#[test]
fn one_that_yields_and_one_that_computes_let_a_third_run_on_two_workers_without_spare_ones() {
    one_more_runs(patched_runtime(2), 1);
}

/// Two threads try channels without room, over and over; a third sleeps, and then serves both. A fourth gives way.
fn try_loops_end(workers: usize) {
    alone(|| {
        compensated_runtime(workers).run(|| {
            for _ in 0..20 {
                let is_over = Arc::new(AtomicBool::new(false));
                let over = is_over.clone();
                let fourth = thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                });
                let (to_third, from_first) = mpsc::sync_channel(0);
                let (to_second, from_third) = mpsc::sync_channel(0);
                let first = thread::spawn(move || compute_until(|| to_third.try_send(1).is_ok()));
                let second =
                    thread::spawn(move || compute_until(|| from_third.try_recv() == Ok(2)));
                let third = thread::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    from_first.recv() == Ok(1) && to_second.send(2).is_ok()
                });
                let did = [first, second, third].map(|thread| thread.join().unwrap());
                is_over.store(true, Ordering::SeqCst);
                fourth.join().unwrap();
                assert_eq!(did, [true; 3], "who tries, who tries, and who sleeps");
            }
        })
    });
}

#[test]
fn loops_of_tries_let_a_third_thread_run_on_one_worker() {
    try_loops_end(1);
}

#[test]
fn loops_of_tries_let_a_third_thread_run_on_two_workers() {
    try_loops_end(2);
}

/// Sends back each byte until the other end is closed. The first byte is its own if it `begins`.
fn play(mut from: impl Read, mut to: impl Write, begins: bool, is_over: &AtomicBool) {
    let mut byte = [0];
    if begins && to.write_all(&byte).is_err() {
        return;
    }
    while !is_over.load(Ordering::SeqCst) && from.read_exact(&mut byte).is_ok() {
        if to.write_all(&byte).is_err() {
            return;
        }
    }
}

fn a_new_thread_runs_beside_pairs(workers: usize) {
    const PAIRS: usize = 90;
    alone(|| {
        compensated_runtime(workers).run(|| {
            let is_over = Arc::new(AtomicBool::new(false));
            let mut players = Vec::new();
            for _ in 0..PAIRS {
                let (from_ping, to_pong) = std::io::pipe().unwrap();
                let (from_pong, to_ping) = std::io::pipe().unwrap();
                let over = is_over.clone();
                players.push(thread::spawn(move || {
                    play(from_pong, to_pong, true, &over);
                }));
                let over = is_over.clone();
                players.push(thread::spawn(move || {
                    play(from_ping, to_ping, false, &over);
                }));
            }
            thread::sleep(Duration::from_millis(50));
            let has_run = Arc::new(AtomicBool::new(false));
            let theirs = has_run.clone();
            let new = thread::spawn(move || theirs.store(true, Ordering::SeqCst));
            let ran = compute_until(|| has_run.load(Ordering::SeqCst));
            is_over.store(true, Ordering::SeqCst);
            for player in players {
                player.join().unwrap();
            }
            new.join().unwrap();
            assert!(
                ran,
                "a new thread does not run while its spawner computes and others play ping-pong"
            );
        })
    });
}

#[test]
fn ninety_pairs_on_pipes_keep_no_new_thread_from_running_on_one_worker() {
    a_new_thread_runs_beside_pairs(1);
}

#[test]
fn ninety_pairs_on_pipes_keep_no_new_thread_from_running_on_two_workers() {
    a_new_thread_runs_beside_pairs(2);
}
