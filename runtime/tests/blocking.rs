//! Blocking sections, long computations, and the spare workers that serve meanwhile.

use std::io::{Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_runtime::{JoinHandle, Runtime, blocking, net, spawn, sync, time, yield_now};
use harness::eventually;
use harness::process::os_threads;

/// Far longer than anything here should take.
const WATCHDOG: Duration = Duration::from_secs(60);

fn compute(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

fn join_all<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) {
    threads
        .into_iter()
        .for_each(|thread| drop(thread.join().unwrap()));
}

/// How often a green thread that sleeps 10 ms at a time gets to run while two others occupy the only worker.
fn ticks_beside_blocked_and_busy_green_threads(compensation: bool) -> usize {
    let runtime = Runtime::builder()
        .workers(1)
        .compensation(compensation)
        .build()
        .unwrap();
    runtime.run(|| {
        let second = Duration::from_secs(1);
        let ticks = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let ticker = {
            let (ticks, over) = (ticks.clone(), over.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    time::sleep(Duration::from_millis(10));
                    ticks.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        time::sleep(Duration::from_millis(50));
        let before = ticks.load(Ordering::Relaxed);
        join_all([
            spawn(move || blocking(|| thread::sleep(second))),
            spawn(move || compute(second)),
        ]);
        let counted = ticks.load(Ordering::Relaxed) - before;
        over.store(true, Ordering::Relaxed);
        ticker.join().unwrap();
        counted
    })
}

#[test]
fn neither_a_blocked_nor_a_busy_green_thread_stops_the_others() {
    let ticks = ticks_beside_blocked_and_busy_green_threads(true);
    assert!(ticks >= 30, "{ticks} ticks");
}

#[test]
fn without_compensation_they_do() {
    let ticks = ticks_beside_blocked_and_busy_green_threads(false);
    assert!(ticks <= 6, "{ticks} ticks in two seconds");
}

#[test]
fn a_call_that_nobody_announced_is_compensated_too() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        // The other green thread ends the wait, on another worker: this one is blocked in the kernel.
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = shared.clone();
        let other = spawn(move || {
            *theirs.0.lock().unwrap() = true;
            theirs.1.notify_all();
        });
        let (done, changed) = &*shared;
        let outcome = changed
            .wait_timeout_while(done.lock().unwrap(), WATCHDOG, |done| !*done)
            .unwrap();
        assert!(!outcome.1.timed_out(), "nobody else was served");
        drop(outcome);
        other.join().unwrap();
    });
}

/// Keeps the calling OS thread on the first processor that it may use.
fn stay_on_one_processor() {
    // SAFETY: a set of processors is plain numbers, and the calls get a valid one with its size.
    unsafe {
        let size = size_of::<libc::cpu_set_t>();
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size, &mut allowed), 0);
        let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &allowed));
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first.unwrap(), &mut one);
        assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
    }
}

#[test]
fn a_worker_that_has_merely_lost_its_processor_is_neither_replaced_nor_reported() {
    let reports = Arc::new(AtomicUsize::new(0));
    let theirs = reports.clone();
    let runtime = Runtime::builder()
        .workers(1)
        .max_blocking_time(Duration::from_millis(50))
        .on_blocked(move |_| {
            theirs.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let yielders: Vec<_> = (0..2)
        .map(|_| {
            let (over, begun) = (over.clone(), begun.clone());
            runtime.spawn(move || {
                stay_on_one_processor();
                // Only while nobody else wants the processor.
                // SAFETY: plain numbers, of the calling OS thread.
                unsafe {
                    let parameters = std::mem::zeroed::<libc::sched_param>();
                    assert_eq!(
                        libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters),
                        0
                    );
                }
                begun.fetch_add(1, Ordering::Relaxed);
                while !over.load(Ordering::Relaxed) {
                    yield_now();
                }
            })
        })
        .collect();
    eventually(|| begun.load(Ordering::Relaxed) == 2);
    let before = runtime.metrics().spare_workers_called;
    let reported = reports.load(Ordering::Relaxed);
    let hog = thread::spawn(|| {
        stay_on_one_processor();
        compute(Duration::from_secs(2));
    });
    hog.join().unwrap();
    let called = runtime.metrics().spare_workers_called - before;
    over.store(true, Ordering::Relaxed);
    join_all(yielders);
    assert_eq!(called, 0);
    assert_eq!(reports.load(Ordering::Relaxed), reported);
}

#[test]
fn sockets_are_served_while_every_worker_is_blocked() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(&word).unwrap();
        });
        let released = Arc::new((Mutex::new(false), Condvar::new()));
        let blocked: Vec<_> = (0..4)
            .map(|_| {
                let released = released.clone();
                spawn(move || {
                    blocking(|| {
                        let outcome = released
                            .1
                            .wait_timeout_while(released.0.lock().unwrap(), WATCHDOG, |go| !*go)
                            .unwrap();
                        assert!(!outcome.1.timed_out(), "the sockets were not served");
                    })
                })
            })
            .collect();
        // Off the runtime: only what the green threads do depends on it.
        let client = thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            thread::sleep(Duration::from_millis(50));
            stream.write_all(b"ping").unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            *released.0.lock().unwrap() = true;
            released.1.notify_all();
            word
        });
        join_all(blocked);
        server.join().unwrap();
        assert_eq!(&client.join().unwrap(), b"ping");
    });
}

#[test]
fn a_section_gives_the_value_passes_the_panic_on_and_nests() {
    assert_eq!(blocking(|| 1), 1, "off the runtime it is a plain call");
    Runtime::builder().workers(1).build().unwrap().run(|| {
        assert_eq!(blocking(|| blocking(|| 2) + 1), 3);
        let outcome = panic::catch_unwind(|| blocking(|| panic!("inside")));
        assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
        // What was outermost still is.
        let outcome = blocking(|| panic::catch_unwind(AssertUnwindSafe(|| blocking(|| panic!()))));
        assert!(outcome.is_err());
    });
}

#[test]
fn a_green_thread_may_park_inside_a_section_and_go_on_elsewhere() {
    for workers in [1, 2, 4] {
        Runtime::builder()
            .workers(workers)
            .build()
            .unwrap()
            .run(|| {
                let semaphore = Arc::new(sync::Semaphore::new(1));
                join_all((0..50).map(|number| {
                    let semaphore = semaphore.clone();
                    spawn(move || {
                        for _ in 0..20 {
                            blocking(|| {
                                let _permit = semaphore.acquire();
                                yield_now();
                                blocking(|| {
                                    if number % 5 == 0 {
                                        time::sleep(Duration::from_micros(200));
                                    }
                                });
                                yield_now();
                            });
                            yield_now();
                        }
                    })
                }));
            });
    }
}

#[test]
fn a_storm_of_sections_loses_nothing_and_leaves_no_spare_workers_behind() {
    const GREEN_THREADS: usize = 100;
    const ROUNDS: usize = 20;
    const SPARE: usize = 16;
    for workers in [1, 2, 4] {
        let name = format!("storm{workers}");
        let runtime = Runtime::builder()
            .workers(workers)
            .max_spare_workers(SPARE)
            .name(&name)
            .build()
            .unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..GREEN_THREADS)
            .map(|seed| {
                let (done, most, name) = (done.clone(), most.clone(), name.clone());
                runtime.spawn(move || {
                    let mut random = seed as u64 * 2 + 1;
                    for round in 0..ROUNDS {
                        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                        let micros = (random >> 40) % 3000;
                        match (seed + round) % 3 {
                            0 => blocking(|| thread::sleep(Duration::from_micros(micros))),
                            1 => {
                                blocking(|| compute(Duration::from_micros(micros / 10)));
                                time::sleep(Duration::from_micros(micros));
                            }
                            _ => (0..micros / 100).for_each(|_| yield_now()),
                        }
                        if seed == 0 {
                            most.fetch_max(os_threads(&name), Ordering::Relaxed);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        join_all(threads);
        assert_eq!(done.load(Ordering::Relaxed), GREEN_THREADS * ROUNDS);
        // The monitor is one more.
        let limit = workers + SPARE + 1;
        assert!(most.load(Ordering::Relaxed) <= limit, "{most:?} OS threads");
        eventually(|| os_threads(&name) <= workers + 1);
        assert_eq!(
            os_threads(&name),
            workers + 1,
            "as many workers as there should be are left"
        );
        // They work.
        assert_eq!(runtime.run(|| spawn(|| 7).join().unwrap()), 7);
        drop(runtime);
        eventually(|| os_threads(&name) == 0);
    }
}

#[test]
fn a_runtime_that_ends_takes_its_retired_workers_along() {
    let runtime = Runtime::builder()
        .workers(1)
        .name("retire")
        .build()
        .unwrap();
    runtime.run(|| {
        join_all((0..8).map(|_| spawn(|| blocking(|| thread::sleep(Duration::from_millis(50))))));
    });
    drop(runtime);
    eventually(|| os_threads("retire") == 0);
}

#[test]
fn a_forked_child_leaves_a_section_unharmed() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let status = blocking(|| {
            // SAFETY: the child only returns from the section and exits.
            let child = unsafe { libc::fork() };
            if child == 0 {
                return None;
            }
            let mut status = 0;
            // SAFETY: a valid place for the status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            Some(status)
        });
        let Some(status) = status else {
            let sum = blocking(|| 2) + 2;
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(sum) };
        };
        assert_eq!(libc::WEXITSTATUS(status), 4);
    });
}

#[test]
fn a_child_forked_while_spare_workers_serve_has_a_runtime_of_its_own() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let blocked: Vec<_> = (0..4)
            .map(|_| spawn(|| blocking(|| thread::sleep(Duration::from_millis(200)))))
            .collect();
        time::sleep(Duration::from_millis(50));
        // SAFETY: the child builds a runtime, and exits by itself.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let sum = Runtime::builder().workers(1).build().map_or(0, |runtime| {
                runtime.run(|| {
                    let blocked = spawn(|| blocking(|| thread::sleep(Duration::from_millis(100))));
                    let other = spawn(|| 7);
                    blocked.join().unwrap();
                    other.join().unwrap()
                })
            });
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(sum) };
        }
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let waited = blocking(|| unsafe { libc::waitpid(child, &mut status, 0) });
        assert_eq!((waited, libc::WEXITSTATUS(status)), (child, 7));
        join_all(blocked);
    });
}
