//! Green threads that keep their worker to themselves are reported; others are not.

use std::fmt;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_runtime::net::UnixStream;
use greenpatch_runtime::{
    Blocked, Builder, OnDrop, Runtime, RuntimeBuilder, blocking, spawn, time, yield_now,
};
use harness::{Watchdog, eventually};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A runtime that reports after 50 ms, and the place where its reports go.
fn watching(builder: RuntimeBuilder) -> (Runtime, Arc<Mutex<Vec<Blocked>>>) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let theirs = reports.clone();
    let runtime = builder
        .workers(2)
        .max_blocking_time(Duration::from_millis(50))
        .on_blocked(move |blocked| theirs.lock().unwrap().push(blocked.clone()))
        .build()
        .unwrap();
    (runtime, reports)
}

/// Long enough to be reported, however the monitor is delayed: it goes on until it is told that it was.
#[inline(never)]
fn spins_in_a_named_function(until: impl Fn() -> bool) {
    let mut number = 1_u64;
    while !until() {
        for _ in 0..1_000_000 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
    }
}

#[inline(never)]
fn sleeps_in_the_kernel(until: impl Fn() -> bool) {
    while !until() {
        thread::sleep(Duration::from_millis(300));
    }
}

fn holds(blocked: &Blocked, function: &str) -> bool {
    let functions = blocked
        .backtrace()
        .iter()
        .filter_map(|frame| frame.function.as_ref());
    functions.into_iter().any(|name| name.contains(function))
}

#[test]
fn a_green_thread_that_computes_for_long_is_reported_with_its_name_and_place() {
    let _watchdog = Watchdog::start();
    let (runtime, reports) = watching(Runtime::builder());
    let theirs = reports.clone();
    let until = move || {
        let reports = theirs.lock().unwrap();
        reports
            .iter()
            .any(|report| holds(report, "spins_in_a_named_function"))
    };
    let builder = Builder::new().name("hog".to_owned());
    let hog = runtime
        .spawn_with(builder, move || spins_in_a_named_function(until))
        .unwrap();
    let id = hog.id();
    hog.join().unwrap();
    for report in reports.lock().unwrap().iter() {
        assert_eq!((report.id(), report.name()), (id, Some("hog")));
        assert!(report.duration() >= Duration::from_millis(50));
        assert!(report.spawned_at().unwrap().file().ends_with("hogs.rs"));
        assert!(report.os_thread() > 0);
        let text = report.to_string();
        assert!(
            text.contains("'hog'") && text.contains("blocking"),
            "{text}"
        );
    }
}

#[test]
fn a_call_that_blocks_the_os_thread_is_reported_with_its_caller() {
    let _watchdog = Watchdog::start();
    let (runtime, reports) = watching(Runtime::builder());
    let theirs = reports.clone();
    let until = move || !theirs.lock().unwrap().is_empty();
    let hog = runtime.spawn(move || sleeps_in_the_kernel(until));
    let id = hog.id();
    hog.join().unwrap();
    let reports = reports.lock().unwrap();
    assert_eq!((reports[0].id(), reports[0].name()), (id, None));
    let text = reports[0].to_string();
    assert!(
        holds(&reports[0], "sleeps_in_the_kernel") || text.contains("no backtrace"),
        "{text}"
    );
}

#[test]
fn a_turn_is_reported_again_only_when_it_has_lasted_twice_as_long() {
    let _watchdog = Watchdog::start();
    let (runtime, reports) = watching(Runtime::builder());
    let theirs = reports.clone();
    let hog = runtime.spawn(move || {
        spins_in_a_named_function(|| theirs.lock().unwrap().len() == 3);
    });
    hog.join().unwrap();
    let reports = reports.lock().unwrap();
    let times: Vec<_> = reports.iter().map(Blocked::duration).collect();
    assert!(times[1] >= Duration::from_millis(100), "{times:?}");
    assert!(times[2] >= Duration::from_millis(200), "{times:?}");
}

#[test]
fn sections_and_green_threads_that_give_way_are_not_reported() {
    let _watchdog = Watchdog::start();
    const TIME: Duration = Duration::from_millis(2500);
    // With a limit so long that no delay of the machine looks like a hog.
    let reports = Arc::new(Mutex::new(Vec::new()));
    let theirs = reports.clone();
    let runtime = Runtime::builder()
        .workers(2)
        .max_blocking_time(Duration::from_secs(2))
        .on_blocked(move |blocked| theirs.lock().unwrap().push(blocked.clone()))
        .build()
        .unwrap();
    runtime.run(|| {
        let section = spawn(|| blocking(|| thread::sleep(TIME)));
        let sleeper = spawn(|| time::sleep(TIME));
        let start = Instant::now();
        while start.elapsed() < TIME {
            yield_now();
        }
        section.join().unwrap();
        sleeper.join().unwrap();
    });
    let reports = reports.lock().unwrap();
    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn a_listener_that_panics_is_called_again() {
    let _watchdog = Watchdog::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let theirs = calls.clone();
    let runtime = Runtime::builder()
        .workers(1)
        .max_blocking_time(Duration::from_millis(20))
        .on_blocked(move |_| {
            theirs.fetch_add(1, Ordering::Relaxed);
            panic!("in the listener");
        })
        .build()
        .unwrap();
    let until = move || calls.load(Ordering::Relaxed) >= 2;
    let hog = runtime.spawn(move || spins_in_a_named_function(until));
    hog.join().unwrap();
}

/// The signal strikes in malloc, in the unwinder, in the dynamic linker: a lock taken there by the handler, or a memory
/// of a green thread in the wrong place, ends or hangs this test.
#[test]
fn stacks_are_taken_in_the_midst_of_allocating_unwinding_and_linking() {
    let _watchdog = Watchdog::start();
    const REPORTS: usize = 30;
    const TIME: Duration = Duration::from_secs(4);
    let start = Instant::now();
    let reports = Arc::new(AtomicUsize::new(0));
    let theirs = reports.clone();
    let runtime = Runtime::builder()
        .workers(2)
        .max_blocking_time(Duration::from_millis(1))
        .on_blocked(move |_| {
            theirs.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let busy: Vec<_> = (0..6)
        .map(|number| {
            let reports = reports.clone();
            runtime.spawn(move || {
                while reports.load(Ordering::Relaxed) < REPORTS && start.elapsed() < TIME {
                    let turn = Instant::now();
                    while turn.elapsed() < Duration::from_millis(30) {
                        match number % 3 {
                            0 => allocate(),
                            1 => unwind(),
                            _ => link(),
                        }
                    }
                    yield_now();
                }
            })
        })
        .collect();
    busy.into_iter().for_each(|thread| thread.join().unwrap());
}

fn allocate() {
    drop(std::hint::black_box(vec![vec![0_u8; 100]; 100]));
}

/// Without a word from the panic hook.
fn unwind() {
    let unwinds = || std::panic::resume_unwind(Box::new("unwinds"));
    drop(std::panic::catch_unwind(unwinds));
}

fn link() {
    // SAFETY: a look-up by name.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"nowhere".as_ptr()) };
}

/// Keeps the text of what is reported through `tracing`.
struct Recorder;

static RECORDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "greenpatch"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        RECORDED.lock().unwrap().push(text);
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What was recorded that holds this word.
fn recorded(word: &str) -> Option<String> {
    static SET: OnceLock<()> = OnceLock::new();
    SET.get_or_init(|| tracing::subscriber::set_global_default(Recorder).unwrap());
    let recorded = RECORDED.lock().unwrap();
    recorded.iter().find(|text| text.contains(word)).cloned()
}

#[test]
fn without_a_listener_tracing_is_told() {
    let _watchdog = Watchdog::start();
    assert_eq!(recorded("told-by-tracing"), None);
    let runtime = Runtime::builder()
        .workers(1)
        .max_blocking_time(Duration::from_millis(20))
        .build()
        .unwrap();
    let builder = Builder::new().name("told-by-tracing".to_owned());
    let until = || recorded("told-by-tracing").is_some();
    let hog = runtime.spawn_with(builder, move || spins_in_a_named_function(until));
    hog.unwrap().join().unwrap();
    let text = recorded("told-by-tracing").unwrap();
    for field in [
        "id=",
        "name=\"told-by-tracing\"",
        "spawned_at=",
        "milliseconds=",
    ] {
        assert!(text.contains(field), "{text}");
    }
}

#[test]
fn a_drop_that_waits_long_says_for_what() {
    let _watchdog = Watchdog::start();
    assert_eq!(recorded("waits-for-long"), None);
    let runtime = Runtime::builder()
        .workers(1)
        .name("waits-for-long")
        .on_drop(OnDrop::Wait)
        .build()
        .unwrap();
    let waiting = runtime.spawn(|| eventually(|| recorded("waits-for-long").is_some()));
    drop(runtime);
    waiting.join().unwrap();
    let text = recorded("waits-for-long").unwrap();
    assert!(text.contains("1 are left"), "{text}");
}

/// While two green threads answer each other at once, and nothing else happens, one worker is enough, and the others
/// stand by. Once it has something that takes long, they see to sockets and timers.
#[test]
fn others_are_served_when_a_busy_exchange_ends_in_a_long_turn() {
    const ROUNDS: u8 = 100;
    let read = |mut stream: &UnixStream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        byte[0]
    };
    for workers in [2, 4] {
        let _watchdog = Watchdog::start();
        let builder = Runtime::builder().workers(workers).compensation(false);
        builder.build().unwrap().run(move || {
            let (near, far) = UnixStream::pair().unwrap();
            let (sends, serves) = UnixStream::pair().unwrap();
            let served = Arc::new(AtomicU8::new(0));
            let seen = served.clone();
            let echo = spawn(move || {
                for _ in 0..u32::from(ROUNDS) * 100 {
                    let byte = read(&far);
                    (&far).write_all(&[byte]).unwrap();
                }
            });
            let server = spawn(move || {
                for round in 0..ROUNDS {
                    assert_eq!(read(&serves), round);
                    time::sleep(Duration::from_micros(100));
                    seen.store(round + 1, Ordering::SeqCst);
                }
            });
            for round in 0..ROUNDS {
                for _ in 0..100 {
                    (&near).write_all(&[round]).unwrap();
                    assert_eq!(read(&near), round);
                }
                (&sends).write_all(&[round]).unwrap();
                while served.load(Ordering::SeqCst) <= round {
                    std::hint::spin_loop();
                }
            }
            echo.join().unwrap();
            server.join().unwrap();
        });
    }
}
