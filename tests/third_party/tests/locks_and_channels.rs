//! Locks, channels, pools of threads, and child processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use greenpatch_third_party::threads::{join, threads};
use harness::{eventually, on_one_worker};

const THREADS: usize = 100;

#[test]
fn parking_lot_waits() {
    use parking_lot::{Condvar, Mutex, RwLock};

    on_one_worker(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new(), RwLock::new(0)));
        let all = threads(THREADS, {
            let shared = shared.clone();
            move |_| {
                let (arrived, everybody, sum) = &*shared;
                let mut count = arrived.lock();
                *count += 1;
                everybody.notify_all();
                everybody.wait_while(&mut count, |count| *count < THREADS);
                drop(count);
                for _ in 0..50 {
                    let mut sum = sum.write();
                    let before = *sum;
                    thread::yield_now();
                    *sum = before + 1;
                }
            }
        });
        join(all);
        assert_eq!(*shared.2.read(), THREADS * 50);
    });
}

#[test]
fn crossbeam_channels_hand_over() {
    use crossbeam_channel::{bounded, select, unbounded};

    on_one_worker(|| {
        let (ask, asked) = bounded(0);
        let (answer, answered) = unbounded();
        let (stop, stopped) = bounded::<()>(0);
        let servers = threads(THREADS, move |_| {
            let mut served = 0;
            loop {
                select! {
                    recv(asked) -> number => {
                        let number: usize = number.unwrap();
                        answer.send(number * 2).unwrap();
                        served += 1;
                    }
                    recv(stopped) -> _ => return served,
                }
            }
        });
        let clients = threads(THREADS, {
            let ask = ask.clone();
            move |number| {
                for round in 0..20 {
                    ask.send(number * 20 + round).unwrap();
                }
            }
        });
        let total = THREADS * 20;
        let sum: usize = answered.iter().take(total).sum();
        assert_eq!(sum, total * (total - 1));
        join(clients);
        drop(stop);
        assert_eq!(join(servers).into_iter().sum::<usize>(), total);
    });
}

#[test]
fn flume_channels_hand_over() {
    on_one_worker(|| {
        let (ask, asked) = flume::bounded(0);
        let servers = threads(THREADS, move |_| {
            let mut sum = 0;
            while let Ok(number) = asked.recv() {
                sum += number;
            }
            sum
        });
        let clients = threads(THREADS, move |number| {
            for round in 0..20 {
                ask.send(number * 20 + round).unwrap();
            }
        });
        join(clients);
        let total = THREADS * 20;
        assert_eq!(
            join(servers).into_iter().sum::<usize>(),
            total * (total - 1) / 2
        );
    });
}

#[test]
fn a_channel_between_a_green_thread_and_an_os_thread() {
    let (to_green, from_os) = flume::bounded(1);
    let (to_os, from_green) = crossbeam_channel::bounded(1);
    let os_thread = thread::spawn(move || {
        for number in 0..10_000 {
            to_green.send(number).unwrap();
            assert_eq!(from_green.recv(), Ok(number));
        }
    });
    on_one_worker(move || {
        let green = thread::spawn(move || {
            while let Ok(number) = from_os.recv() {
                to_os.send(number).unwrap();
            }
        });
        green.join().unwrap();
    });
    os_thread.join().unwrap();
}

#[test]
fn rayon_computes_and_waits() {
    use rayon::prelude::*;

    on_one_worker(|| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(8)
            .build()
            .unwrap();
        let sum: u64 = pool.install(|| (0..1_000_000_u64).into_par_iter().map(|n| n ^ 1).sum());
        assert_eq!(sum, (0..1_000_000_u64).sum::<u64>());
        let all_here = Barrier::new(8);
        let leaders = pool.broadcast(|_| all_here.wait().is_leader());
        assert_eq!(leaders.into_iter().filter(|leads| *leads).count(), 1);
    });
}

#[test]
fn children_are_fed_read_and_waited_for() {
    const CHILDREN: usize = 40;

    on_one_worker(|| {
        let started = Arc::new(AtomicUsize::new(0));
        let keepers = threads(CHILDREN, {
            let started = started.clone();
            move |number| {
                let mut child = Command::new("sh")
                    .args(["-c", "echo ready; read word; echo got $word; exit $word"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut output = BufReader::new(child.stdout.take().unwrap());
                let mut line = String::new();
                output.read_line(&mut line).unwrap();
                assert_eq!(line, "ready\n");
                started.fetch_add(1, Ordering::Relaxed);
                eventually(|| started.load(Ordering::Relaxed) == CHILDREN);
                writeln!(child.stdin.take().unwrap(), "{number}").unwrap();
                line.clear();
                output.read_line(&mut line).unwrap();
                assert_eq!(line, format!("got {number}\n"));
                assert_eq!(child.wait().unwrap().code(), Some(number as i32));
            }
        });
        join(keepers);
    });
}

#[test]
fn a_pipeline_of_programs() {
    on_one_worker(|| {
        let mut sort = Command::new("sort")
            .arg("-n")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut uniq = Command::new("uniq")
            .stdin(sort.stdout.take().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = sort.stdin.take().unwrap();
        let feeder = thread::spawn(move || {
            for number in (0..200_000).rev() {
                writeln!(input, "{}", number / 2).unwrap();
            }
        });
        let mut output = String::new();
        uniq.stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        feeder.join().unwrap();
        let expected: String = (0..100_000).map(|number| format!("{number}\n")).collect();
        assert!(output == expected);
        assert!(sort.wait().unwrap().success());
        assert!(uniq.wait().unwrap().success());
    });
}
