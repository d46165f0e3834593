//! A process whose green threads all wait uses no processor time.

#![allow(clippy::print_stdout, reason = "the figures are of interest")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

// For its shims.
use greenpatch as _;
use harness::process::Usage;
use harness::{Watchdog, child, patched_runtime};

/// Green threads that wait in each of the ways.
const EACH: usize = 25;
const WINDOW: Duration = Duration::from_secs(1);
/// One tick of the kernel's clock.
const TICK: Duration = Duration::from_millis(10);
/// How often any thread may wake in a window; the one that measures is one of them.
const WAKE_UPS: i64 = 10;
const WINDOWS: usize = 5;

/// The same for a process in which something happens once a second.
const SELDOM_WAKE_UPS: i64 = 50;

fn stay_idle() {
    let _watchdog = Watchdog::start();
    let runtime = patched_runtime(2);
    let (end, ended) = mpsc::channel::<()>();
    let all_started = Arc::new(Barrier::new(3 * EACH + 2));
    let started = Arc::clone(&all_started);
    let main = runtime.spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peers = Vec::new();
        for _ in 0..EACH {
            let started_too = Arc::clone(&started);
            thread::spawn(move || {
                started_too.wait();
                thread::park();
            });
            let started_too = Arc::clone(&started);
            thread::spawn(move || {
                started_too.wait();
                thread::sleep(Duration::from_secs(3600));
            });
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            peers.push(listener.accept().unwrap());
            let started_too = Arc::clone(&started);
            thread::spawn(move || {
                started_too.wait();
                let _ = stream.read(&mut [0; 1]);
            });
        }
        started.wait();
        let _ = ended.recv();
    });
    all_started.wait();
    expect_a_window_with_at_most(WAKE_UPS);
    drop(end);
    main.join().unwrap();
    // Some green threads wait for ever, and the runtime would wait for them.
    std::mem::forget(runtime);
}

fn wake_seldom() {
    let _watchdog = Watchdog::start();
    let runtime = patched_runtime(2);
    runtime.spawn(|| {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    });
    expect_a_window_with_at_most(SELDOM_WAKE_UPS);
    // The green thread goes on for ever.
    std::mem::forget(runtime);
}

/// Measures some windows, until there is one in which hardly anything happens.
fn expect_a_window_with_at_most(wake_ups: i64) {
    let mut windows = Vec::new();
    let is_quiet = |(cpu, waits)| cpu <= TICK && waits <= wake_ups;
    while windows.len() < WINDOWS && !windows.last().copied().is_some_and(is_quiet) {
        let before = Usage::now();
        thread::sleep(WINDOW);
        let after = Usage::now();
        windows.push((after.cpu - before.cpu, after.waits - before.waits));
    }
    println!("processor time and wake-ups in each window: {windows:?}");
    assert!(
        windows.last().copied().is_some_and(is_quiet),
        "processor time and wake-ups: {windows:?}"
    );
}

#[test]
fn a_process_that_wakes_once_a_second_uses_next_to_no_processor() {
    child::succeeds(
        "a_process_that_wakes_once_a_second_uses_next_to_no_processor",
        wake_seldom,
    );
}

#[test]
fn waiting_green_threads_use_no_processor() {
    child::succeeds("waiting_green_threads_use_no_processor", stay_idle);
}
