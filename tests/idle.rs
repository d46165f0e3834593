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
    let mut windows = Vec::new();
    while windows.len() < WINDOWS {
        let before = Usage::now();
        thread::sleep(WINDOW);
        let after = Usage::now();
        let (cpu, waits) = (after.cpu - before.cpu, after.waits - before.waits);
        windows.push((cpu, waits));
        if cpu <= TICK && waits <= WAKE_UPS {
            break;
        }
    }
    drop(end);
    main.join().unwrap();
    println!("processor time and wake-ups in each window: {windows:?}");
    let (cpu, waits) = windows[windows.len() - 1];
    assert!(
        cpu <= TICK && waits <= WAKE_UPS,
        "processor time and wake-ups: {windows:?}"
    );
    // Some green threads wait for ever, and the runtime would wait for them.
    std::mem::forget(runtime);
}

#[test]
fn waiting_green_threads_use_no_processor() {
    child::succeeds("waiting_green_threads_use_no_processor", stay_idle);
}
