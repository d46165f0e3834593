//! Another process can look into one that runs green threads, whatever that is at, and without being felt by it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::id as own_process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::attach::{self, AttachError};
use greenpatch_runtime::sync::{Barrier, Mutex};
use greenpatch_runtime::{Builder, Runtime, thread};
use harness::{Watchdog, child, eventually, unpatched, until_parked};
use serde_json::Value;

/// A client that has been greeted.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect() -> Client {
        let stream = attach::connect(own_process()).expect("it waits");
        let mut client = Client(BufReader::new(stream));
        let greeting = client.receive();
        assert_eq!(greeting["protocol"], attach::PROTOCOL);
        assert_eq!(greeting["process"], own_process());
        client
    }

    fn send(&mut self, request: &str) {
        writeln!(self.0.get_mut(), "{request}").expect("it reads");
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn ask(&mut self, request: &str) -> Value {
        self.send(request);
        self.receive()
    }

    /// The runtime of this name, of which there may be others in this process.
    fn runtime(&mut self, name: &str, options: &str) -> Value {
        let answer = self.ask(&format!("dump {options}"));
        let runtimes = answer["runtimes"].as_array().expect("a list");
        let found = runtimes.iter().find(|it| it["runtime"] == name);
        found.cloned().unwrap_or_default()
    }
}

fn runtime(name: &str, workers: usize) -> Runtime {
    let builder = Runtime::builder().name(name).workers(workers);
    builder.compensation(false).build().expect("a runtime")
}

fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

#[test]
fn a_deadlock_is_seen_from_outside_with_names_and_call_stacks() {
    let _watchdog = Watchdog::start();
    let runtime = runtime("deadlocked", 1);
    let locks = Arc::new((Mutex::new(()), Mutex::new(()), Barrier::new(2)));
    for name in ["first", "second"] {
        let locks = locks.clone();
        let lock_both = move || {
            let (one, other) = match name {
                "first" => (&locks.0, &locks.1),
                _ => (&locks.1, &locks.0),
            };
            let _one = one.lock();
            locks.2.wait();
            let _other = other.lock();
            std::hint::black_box(());
        };
        drop(runtime.spawn_with(named(name), lock_both).unwrap());
    }
    until_parked(&runtime, 2);
    let mut client = Client::connect();
    let told = client.runtime("deadlocked", "backtraces patience=60000");
    let green_threads = told["green_threads"].as_array().expect("a list");
    for (green, name) in green_threads.iter().zip(["first", "second"]) {
        assert_eq!(green["name"], name);
        assert_eq!(green["state"]["reason"]["kind"], "futex");
        let place = green["spawned_at"].as_str().expect("a place");
        assert!(place.contains("attach.rs"), "{place}");
        let backtrace = green["backtrace"].to_string();
        // Optimized, functions within functions bear no name of ours.
        assert!(backtrace.contains("tests/attach.rs"), "{backtrace}");
    }
    // Who has just given its call stack may not be parked again yet.
    eventually(|| {
        let text = client.ask("text backtraces patience=60000")["text"].to_string();
        text.contains("green threads (0 running, 0 runnable, 2 parked) on 1 workers")
    });
}

#[inline(never)]
fn computes(until: &AtomicBool) {
    while !until.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_green_thread_that_keeps_the_only_worker_is_seen_with_its_time_and_call_stack() {
    let _watchdog = Watchdog::start();
    let runtime = runtime("hogged", 1);
    let until = Arc::new(AtomicBool::new(false));
    let theirs = until.clone();
    let hog = runtime
        .spawn_with(named("hog"), move || computes(&theirs))
        .unwrap();
    let mut client = Client::connect();
    let long = Duration::from_millis(50).as_secs_f64();
    let mut told = Value::Null;
    eventually(|| {
        told = client.runtime("hogged", "");
        told["workers"][0]["turn"]["for_seconds"].as_f64() >= Some(long)
    });
    let turn = &told["workers"][0]["turn"];
    assert_eq!(turn["name"], "hog");
    assert_eq!(turn["green_thread"], hog.id());
    assert_eq!(turn["is_blocking"], false);
    assert_eq!(told["green_threads"][0]["state"]["worker"], 0);
    let mut backtrace = String::new();
    eventually(|| {
        let told = client.runtime("hogged", "backtraces running patience=60000");
        backtrace = told["green_threads"][0]["backtrace"].to_string();
        backtrace.contains("computes")
    });
    let text = client.ask("text")["text"].to_string();
    assert!(
        text.contains("'hog' has run without giving way for"),
        "{text}"
    );
    until.store(true, Ordering::Relaxed);
    hog.join().unwrap();
}

#[test]
fn one_green_thread_is_asked_for_by_its_number() {
    let _watchdog = Watchdog::start();
    let runtime = runtime("numbered", 1);
    let parked: Vec<_> = (0..3).map(|_| runtime.spawn(thread::park)).collect();
    until_parked(&runtime, 3);
    let mut client = Client::connect();
    let id = parked[1].id();
    let told = client.runtime("numbered", &format!("backtraces only={id}"));
    let green_threads = told["green_threads"].as_array().expect("a list");
    assert_eq!(green_threads.len(), 1);
    assert_eq!(green_threads[0]["id"], id);
    assert!(green_threads[0]["backtrace"].is_array(), "{told}");
    let told = client.runtime("numbered", "limit=1");
    assert_eq!(told["omitted"], 2);
    for parked in parked {
        parked.thread().unpark();
        parked.join().unwrap();
    }
}

#[test]
fn a_client_that_does_not_read_keeps_nobody_waiting() {
    let _watchdog = Watchdog::start();
    let runtime = runtime("unheard", 1);
    let parked: Vec<_> = (0..100).map(|_| runtime.spawn(thread::park)).collect();
    until_parked(&runtime, 100);
    let mut deaf = Client::connect();
    // Many times what fits into a socket.
    deaf.send(&["dump"; 1000].join("\n"));
    let mut client = Client::connect();
    for _ in 0..20 {
        let told = client.runtime("unheard", "");
        // One that was joined may still be seen for a moment.
        let seen = told["green_threads"].as_array().map_or(0, Vec::len);
        assert!((100..=101).contains(&seen), "{seen}");
        let answer = runtime.spawn(|| 1).join().unwrap();
        assert_eq!(answer, 1);
    }
    for parked in parked {
        parked.thread().unpark();
        parked.join().unwrap();
    }
}

#[test]
fn a_request_that_is_too_long_ends_the_connection_with_the_reason() {
    let _watchdog = Watchdog::start();
    let _runtime = unpatched::runtime(1);
    let mut client = Client::connect();
    // It closes before it has read all, so the rest may be refused.
    let _ = client.0.get_mut().write_all(&[b'x'; 5000]);
    let mut rest = String::new();
    // It closes with bytes unread, which may be told as a reset.
    let _ = client.0.read_to_string(&mut rest);
    assert!(rest.contains("a request has at most 1024 bytes"), "{rest}");
    assert!(Client::connect().ask("dump").get("runtimes").is_some());
}

/// Signals that a program can catch.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn catch(_signal: i32) {
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

/// No handler runs, and no call is cut short: also those that no SA_RESTART makes go on.
#[test]
fn the_program_does_not_notice() {
    child::succeeds("the_program_does_not_notice", || {
        let _watchdog = Watchdog::start();
        let runtime = unpatched::runtime(1);
        for signal in SIGNALS.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
            // SAFETY: the handler is async-signal-safe, and the action is plain data.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = catch as *const () as usize;
                assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
            }
        }
        let sleeper = std::thread::spawn(|| {
            let time = libc::timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            // SAFETY: a valid time; how much is left is not asked for.
            unsafe { libc::nanosleep(&time, std::ptr::null_mut()) }
        });
        let parked = runtime.spawn(thread::park);
        until_parked(&runtime, 1);
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = descriptors();
        for _ in 0..20 {
            let mut client = Client::connect();
            client.ask("dump backtraces");
        }
        assert_eq!(sleeper.join().unwrap(), 0, "the sleep was interrupted");
        assert_eq!(CAUGHT.load(Ordering::SeqCst), 0);
        eventually(|| descriptors() == before);
        eventually(|| harness::process::os_threads("green-client") == 0);
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

#[test]
fn a_process_that_is_told_so_lets_nobody_in() {
    let variables = [("GREENPATCH_ATTACH", "off")];
    let name = "a_process_that_is_told_so_lets_nobody_in";
    child::succeeds_under(&variables, name, || {
        let _runtime = unpatched::runtime(1);
        attach::open().expect("it does nothing");
        let error = attach::connect(own_process()).expect_err("nobody waits");
        assert!(
            matches!(error, AttachError::NoGreenThreads { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("the setting attach is off"));
        let _open = Runtime::builder().attach(true).build().unwrap();
        assert_eq!(
            Client::connect().ask("dump")["runtimes"],
            Value::Array(Vec::new())
        );
    });
}

#[test]
fn a_forked_child_is_looked_into_once_it_has_a_runtime_of_its_own() {
    child::succeeds(
        "a_forked_child_is_looked_into_once_it_has_a_runtime_of_its_own",
        || {
            let _watchdog = Watchdog::start();
            let _runtime = unpatched::runtime(1);
            drop(Client::connect());
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            let (mut go_on, mut tell) = std::io::pipe().unwrap();
            // SAFETY: the child makes no use of what other threads of its parent may have left half done.
            let forked = unsafe { libc::fork() };
            if forked == 0 {
                drop((reader, tell));
                writer.write_all(b"1").unwrap();
                let _ = go_on.read(&mut [0]);
                let runtime = runtime("child", 1);
                drop(
                    runtime
                        .spawn_with(named("in-the-child"), thread::park)
                        .unwrap(),
                );
                until_parked(&runtime, 1);
                writer.write_all(b"2").unwrap();
                loop {
                    std::thread::park();
                }
            }
            let process = forked.cast_unsigned();
            reader.read_exact(&mut [0]).unwrap();
            let error = attach::connect(process).expect_err("it has no runtime");
            assert!(
                matches!(error, AttachError::NoGreenThreads { .. }),
                "{error}"
            );
            tell.write_all(b"x").unwrap();
            reader.read_exact(&mut [0]).unwrap();
            let mut client = Client(BufReader::new(
                attach::connect(process).expect("it has one"),
            ));
            assert_eq!(client.receive()["process"], process);
            let told = client.runtime("child", "");
            assert_eq!(told["green_threads"][0]["name"], "in-the-child");
            // SAFETY: our child, which has not been waited for.
            unsafe {
                libc::kill(forked, libc::SIGKILL);
                libc::waitpid(forked, std::ptr::null_mut(), 0);
            }
        },
    );
}

#[test]
fn eight_clients_are_served_at_once_and_a_ninth_when_one_has_left() {
    child::succeeds(
        "eight_clients_are_served_at_once_and_a_ninth_when_one_has_left",
        || {
            let _watchdog = Watchdog::start();
            let _runtime = unpatched::runtime(1);
            let mut clients: Vec<Client> = (0..8).map(|_| Client::connect()).collect();
            let error = attach::connect(own_process()).expect_err("there are eight");
            assert!(matches!(error, AttachError::Silent { .. }), "{error}");
            assert!(error.to_string().contains("8 clients already"), "{error}");
            drop(clients.pop());
            eventually(|| harness::process::os_threads("green-client") == 7);
            Client::connect().ask("dump");
        },
    );
}

#[test]
fn clients_that_ask_at_the_same_time_are_all_heard() {
    // In a process of its own: there the other tests' clients do not count.
    child::succeeds("clients_that_ask_at_the_same_time_are_all_heard", || {
        let _watchdog = Watchdog::start();
        let _runtime = unpatched::runtime(1);
        let ask = || {
            for _ in 0..25 {
                drop(Client::connect());
            }
        };
        let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(ask)).collect();
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn who_names_no_process_with_green_threads_is_told_what_it_is() {
    let _watchdog = Watchdog::start();
    let error = attach::connect(u32::MAX / 2).expect_err("there is none");
    assert!(matches!(error, AttachError::NoProcess { .. }), "{error}");
    let start = Instant::now();
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let error = attach::connect(other.id()).expect_err("it has no runtime");
    assert!(
        error.to_string().contains("(sleep) runs no green threads"),
        "{error}"
    );
    assert!(other.try_wait().unwrap().is_none(), "it lives on");
    other.kill().unwrap();
    eventually(|| matches!(attach::connect(other.id()), Err(AttachError::Ended { .. })));
    other.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(60));
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: plain.
        tell.send(unsafe { libc::gettid() }).unwrap();
        let _ = ends.recv();
    });
    let number = told.recv().unwrap().cast_unsigned();
    let error = attach::connect(number).expect_err("it is a thread");
    assert!(
        error
            .to_string()
            .contains(&format!("a thread of process {}", own_process()))
    );
    drop(end);
    thread.join().unwrap();
}
