//! Green threads that stay on one OS thread.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::sync::{Mutex, Semaphore};
use greenpatch_runtime::{Builder, JoinHandle, Runtime, blocking, spawn, time, yield_now};

/// Far longer than anything here should take.
const WATCHDOG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn spawn_pinned<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().pinned().spawn(f).unwrap()
}

fn os_thread() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Fails unless it is always called on the same OS thread.
struct SameThread(i32);

impl SameThread {
    fn here() -> SameThread {
        SameThread(os_thread())
    }

    fn check(&self) {
        assert_eq!(os_thread(), self.0, "the green thread has moved");
    }
}

/// Green threads that keep all workers busy until they are told to end.
fn make_load(over: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    (0..16)
        .map(|number| {
            let over = over.clone();
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match number % 4 {
                        0 => time::sleep(Duration::from_micros(50)),
                        1 => blocking(|| thread::sleep(Duration::from_micros(300))),
                        _ => (0..50).for_each(|_| yield_now()),
                    }
                }
            })
        })
        .collect()
}

#[test]
fn a_pinned_green_thread_stays_on_its_os_thread_whatever_it_waits_for() {
    const ROUNDS: usize = 500;
    runtime(4).run(|| {
        let over = Arc::new(AtomicBool::new(false));
        let load = make_load(&over);
        let lock = Arc::new(Mutex::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = spawn(move || {
            let servers: Vec<_> = (0..3)
                .map(|_| {
                    let (mut stream, _) = listener.accept().unwrap();
                    spawn(move || {
                        let mut byte = [0];
                        while stream.read(&mut byte).unwrap() == 1 {
                            stream.write_all(&byte).unwrap();
                        }
                    })
                })
                .collect();
            servers
                .into_iter()
                .for_each(|server| server.join().unwrap());
        });
        let pinned: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                spawn_pinned(move || {
                    let here = SameThread::here();
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..ROUNDS {
                        here.check();
                        yield_now();
                        here.check();
                        time::sleep(Duration::from_micros(20));
                        here.check();
                        let mut held = lock.lock().unwrap();
                        here.check();
                        *held += 1;
                        yield_now();
                        drop(held);
                        here.check();
                        stream.write_all(&[round as u8]).unwrap();
                        let mut answer = [0];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, [round as u8]);
                        here.check();
                        assert_eq!(spawn(|| 3).join().unwrap(), 3);
                    }
                })
            })
            .collect();
        for thread in pinned {
            thread.join().unwrap();
        }
        assert_eq!(*lock.lock().unwrap(), 3 * ROUNDS);
        echo.join().unwrap();
        over.store(true, Ordering::Relaxed);
        load.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A wake-up that reaches the wrong worker, or none, hangs the test.
#[test]
fn a_pinned_green_thread_wakes_on_a_runtime_that_sleeps() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let (ping, pong) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let pinned: Vec<_> = (0..2)
            .map(|_| {
                let (ping, pong) = (ping.clone(), pong.clone());
                runtime.spawn_with(Builder::new().pinned(), move || {
                    let here = SameThread::here();
                    for _ in 0..100 {
                        ping.acquire().forget();
                        here.check();
                        pong.release(1);
                    }
                })
            })
            .collect();
        let start = Instant::now();
        for round in 0..200 {
            if round % 20 == 0 {
                // All workers sleep by now.
                thread::sleep(Duration::from_millis(5));
            }
            ping.release(1);
            pong.acquire().forget();
            assert!(start.elapsed() < WATCHDOG);
        }
        for thread in pinned {
            thread.unwrap().join().unwrap();
        }
    }
}

#[test]
fn a_pinned_green_thread_sleeps_no_longer_than_others() {
    for workers in [1, 3] {
        runtime(workers).run(|| {
            let start = Instant::now();
            let sleepers: Vec<_> = (0..5)
                .map(|number| {
                    spawn_pinned(move || {
                        let here = SameThread::here();
                        time::sleep(Duration::from_millis(10 * (number + 1)));
                        here.check();
                    })
                })
                .collect();
            sleepers
                .into_iter()
                .for_each(|sleeper| sleeper.join().unwrap());
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(50) && took < WATCHDOG);
        });
    }
}

#[test]
fn neither_pinned_nor_other_green_threads_starve_the_others() {
    const TURNS: usize = 20_000;
    // A spare worker would serve some of them alone, should this one lose its processor for a while.
    let runtime = Runtime::builder().workers(1).compensation(false).build();
    runtime.unwrap().run(|| {
        let turns: Arc<[AtomicUsize; 4]> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (turns, over) = (turns.clone(), over.clone());
                let body = move || {
                    while !over.load(Ordering::Relaxed) {
                        if turns[number].fetch_add(1, Ordering::Relaxed) == TURNS {
                            over.store(true, Ordering::Relaxed);
                        }
                        yield_now();
                    }
                };
                if number < 2 {
                    spawn_pinned(body)
                } else {
                    spawn(body)
                }
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        for taken in turns.iter() {
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken > TURNS / 2, "{turns:?}");
        }
    });
}

#[test]
fn a_worker_stays_while_it_has_pinned_green_threads() {
    let runtime = runtime(1);
    runtime.run(|| {
        let go_on = Arc::new(Semaphore::new(0));
        let pinned: Vec<_> = (0..4)
            .map(|_| {
                let go_on = go_on.clone();
                // A blocked worker makes each of them first run on another one.
                let blocker = spawn(|| blocking(|| thread::sleep(Duration::from_millis(50))));
                yield_now();
                let pinned = spawn_pinned(move || {
                    let here = SameThread::here();
                    go_on.acquire().forget();
                    here.check();
                });
                blocker.join().unwrap();
                pinned
            })
            .collect();
        // Longer than a retired worker waits.
        time::sleep(Duration::from_secs(3));
        go_on.release(4);
        pinned.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn one_that_is_always_ready_leaves_turns_to_who_accepts() {
    runtime(1).run(|| {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let busy = spawn_pinned(move || {
            while !over.load(Ordering::SeqCst) {
                yield_now();
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = spawn(move || {
            for _ in 0..10 {
                listener.accept().unwrap();
            }
        });
        let clients = thread::spawn(move || {
            for _ in 0..10 {
                std::net::TcpStream::connect(address).unwrap();
            }
        });
        acceptor.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
        busy.join().unwrap();
        clients.join().unwrap();
    });
}
