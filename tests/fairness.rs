//! A green thread that never has to wait does not keep the others waiting.
//!
//! The bounds leave room for a loaded machine, which takes a worker off its processor for tens of
//! milliseconds. An idle one shows delays well below a millisecond or two.

#![allow(clippy::print_stdout, reason = "the delays are of interest")]

use std::hint;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::{alone, patched_runtime};

const SAMPLES: usize = 60;
const TIMER: Duration = Duration::from_millis(5);
const MEDIAN: Duration = Duration::from_millis(50);
const WORST: Duration = Duration::from_millis(500);

fn check(what: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let median = delays[delays.len() / 2];
    let worst = delays[delays.len() - 1];
    println!("{what}: median {median:?}, worst {worst:?}");
    assert!(median < MEDIAN, "{what}: median {median:?}");
    assert!(worst < WORST, "{what}: worst {worst:?}");
}

/// By how much each of a row of timers is late.
fn timer_delays() -> Vec<Duration> {
    let sleep = |_| {
        let started = Instant::now();
        thread::sleep(TIMER);
        started.elapsed().saturating_sub(TIMER)
    };
    (0..SAMPLES).map(sleep).collect()
}

/// How long each of a row of one-byte round trips takes.
fn echo_delays(mut stream: TcpStream) -> Vec<Duration> {
    stream.set_nodelay(true).unwrap();
    let round_trip = |_| {
        let started = Instant::now();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        started.elapsed()
    };
    (0..SAMPLES).map(round_trip).collect()
}

/// Connects to an OS thread that answers each byte with a byte.
fn echo_on_an_os_thread() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let mut byte = [0; 1];
        while server.read(&mut byte).is_ok_and(|count| count == 1) {
            if server.write_all(&byte).is_err() {
                return;
            }
        }
    });
    client
}

/// Measures timers and echoes beside a green thread that does `busy_step` over and over.
fn measure_beside(what: &str, workers: usize, busy_step: impl FnMut() + Send + 'static) {
    let echo = echo_on_an_os_thread();
    let mut busy_step = busy_step;
    let (timers, echoes) = patched_runtime(workers).run(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let steps = Arc::new(AtomicU64::new(0));
        let busy = {
            let (stop, steps) = (Arc::clone(&stop), Arc::clone(&steps));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    busy_step();
                    steps.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let timers: JoinHandle<_> = thread::spawn(timer_delays);
        let echoes: JoinHandle<_> = thread::spawn(|| echo_delays(echo));
        let delays = (timers.join().unwrap(), echoes.join().unwrap());
        stop.store(true, Ordering::SeqCst);
        busy.join().unwrap();
        assert!(steps.load(Ordering::SeqCst) > 0);
        delays
    });
    check(&format!("timers beside {what}"), timers);
    check(&format!("echoes beside {what}"), echoes);
}

#[test]
fn a_loop_of_yields_delays_nobody_on_its_worker() {
    alone(|| measure_beside("a loop of yields", 1, thread::yield_now));
}

#[test]
fn an_always_ready_socket_delays_nobody_on_its_worker() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ready = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut source, _) = listener.accept().unwrap();
        let writer = thread::spawn(move || while source.write_all(&[1; 64 * 1024]).is_ok() {});
        measure_beside("an always ready socket", 1, move || {
            assert!(ready.read(&mut [0; 512]).unwrap() > 0);
        });
        writer.join().unwrap();
    });
}

#[test]
fn an_always_writable_socket_delays_nobody_on_its_worker() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writable = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut sink, _) = listener.accept().unwrap();
        let reader = thread::spawn(move || {
            let mut chunk = vec![0; 1 << 20];
            while sink.read(&mut chunk).is_ok_and(|count| count > 0) {}
        });
        measure_beside("an always writable socket", 1, move || {
            writable.write_all(&[1; 512]).unwrap();
        });
        reader.join().unwrap();
    });
}

#[test]
fn a_computation_delays_nobody_on_another_worker() {
    const COMPUTATION: Duration = Duration::from_secs(1);
    alone(|| {
        let delays = patched_runtime(2).run(|| {
            let computing = thread::spawn(|| {
                let started = Instant::now();
                while started.elapsed() < COMPUTATION {
                    hint::spin_loop();
                }
            });
            // Three, so that some of them are in the computing worker's queue.
            let timers: Vec<_> = (0..3).map(|_| thread::spawn(timer_delays)).collect();
            let delays = timers
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>();
            computing.join().unwrap();
            delays
        });
        check("timers beside a computation", delays);
    });
}

/// Green threads that are always ready, and how many turns they have had in all.
struct Busy {
    turns: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const BUSY: u64 = 1_000;

impl Busy {
    fn start() -> Busy {
        let (turns, is_over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let threads = (0..BUSY)
            .map(|_| {
                let (turns, is_over) = (turns.clone(), is_over.clone());
                thread::spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        turns.fetch_add(1, Ordering::SeqCst);
                        (0..200).for_each(|_| hint::spin_loop());
                        thread::yield_now();
                    }
                })
            })
            .collect();
        Busy {
            turns,
            is_over,
            threads,
        }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn clients_that_have_connected_wait_for_no_round_of_the_busy() {
    const CLIENTS: usize = 100;
    alone(|| {
        patched_runtime(1).run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            let busy = Busy::start();
            let turns = busy.turns.clone();
            let acceptor = thread::spawn(move || {
                let mut accepted = vec![listener.accept().unwrap()];
                let first = turns.load(Ordering::SeqCst);
                accepted.extend((1..CLIENTS).map(|_| listener.accept().unwrap()));
                turns.load(Ordering::SeqCst) - first
            });
            let turns = acceptor.join().unwrap();
            busy.stop();
            drop(clients);
            println!("{CLIENTS} accepts in {turns} turns of {BUSY} others");
            assert!(turns < BUSY, "{turns} turns of {BUSY} others");
        });
    });
}

#[test]
fn an_acceptor_is_woken_before_a_round_of_the_busy_is_over() {
    const CLIENTS: usize = 25;
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connect, connects) = std::sync::mpsc::channel::<Arc<AtomicU64>>();
        let connected_at = Arc::new(AtomicU64::new(0));
        let at = connected_at.clone();
        let client = thread::spawn(move || {
            for turns in connects {
                // By then the acceptor waits.
                thread::sleep(TIMER);
                at.store(turns.load(Ordering::SeqCst), Ordering::SeqCst);
                drop(TcpStream::connect(address).unwrap());
            }
        });
        let mut waits = patched_runtime(1).run(move || {
            let busy = Busy::start();
            let turns = busy.turns.clone();
            let acceptor = thread::spawn(move || {
                let accept = |_| {
                    connect.send(turns.clone()).unwrap();
                    listener.accept().unwrap();
                    turns.load(Ordering::SeqCst) - connected_at.load(Ordering::SeqCst)
                };
                (0..CLIENTS).map(accept).collect::<Vec<_>>()
            });
            let waits = acceptor.join().unwrap();
            busy.stop();
            waits
        });
        client.join().unwrap();
        waits.sort_unstable();
        let median = waits[CLIENTS / 2];
        println!("an accept waits for {median} turns of {BUSY} others");
        assert!(median < BUSY, "{median} turns of {BUSY} others");
    });
}
