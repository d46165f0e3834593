//! A dump says of each green thread what it is, what it waits for, and where.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenpatch_runtime::dump::{Dump, GreenThread, State, Wait};
use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::sync::Mutex;
use greenpatch_runtime::{
    Builder, DumpOptions, JoinHandle, Runtime, WaitReason, dump, dump_all, spawn, thread, time,
    yield_now,
};
use harness::{Watchdog, eventually, unpatched, until_parked};

fn with_backtraces() -> DumpOptions {
    DumpOptions::new()
        .backtraces(true)
        // However loaded the machine is.
        .patience(Duration::from_secs(60))
}

/// The entry of the green thread with this id.
fn entry<T>(dump: &Dump, thread: &JoinHandle<T>) -> GreenThread {
    let found = dump
        .green_threads
        .iter()
        .find(|green| green.id == thread.id());
    found.expect("a living green thread is listed").clone()
}

fn wait_of(green: &GreenThread) -> Wait {
    match &green.state {
        State::Parked(wait) => wait.clone(),
        other => panic!("{other}"),
    }
}

/// The function in which the green thread waits, without its path.
fn innermost(green: &GreenThread) -> String {
    let frames = green.backtrace.as_ref().expect("it has answered");
    let function = frames[0].function.clone().unwrap_or_default();
    function.rsplit("::").next().unwrap_or_default().to_owned()
}

/// What stands last in a function keeps its frame: a wait at the end may be compiled to a jump.
fn after_the_wait() {
    std::hint::black_box(());
}

#[inline(never)]
fn waits_in_sleep() {
    time::sleep(Duration::from_secs(3600));
    after_the_wait();
}

#[inline(never)]
fn waits_in_read(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]);
    after_the_wait();
}

#[inline(never)]
fn waits_in_lock(lock: &Mutex<u32>) {
    *lock.lock().unwrap() += 1;
    after_the_wait();
}

#[inline(never)]
fn waits_in_join(thread: JoinHandle<()>) {
    thread.join().unwrap();
    after_the_wait();
}

#[inline(never)]
fn waits_in_park() {
    thread::park();
    after_the_wait();
}

#[inline(never)]
fn waits_in_accept(listener: &TcpListener) {
    let _ = listener.accept();
    after_the_wait();
}

#[test]
fn a_parked_green_thread_shows_its_reason_and_the_function_that_waits() {
    let _watchdog = Watchdog::start();
    for workers in [1, 2] {
        let runtime = unpatched::runtime(workers);
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address: SocketAddr = listener.local_addr().unwrap();
        let peer = std::net::TcpStream::connect(address).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let lock = Arc::new(Mutex::new(0));
        let held = lock.lock().unwrap();

        let sleeps = runtime.spawn(waits_in_sleep);
        let reads = runtime.spawn(move || waits_in_read(stream));
        let theirs = lock.clone();
        let locks = runtime.spawn(move || waits_in_lock(&theirs));
        let parks = runtime.spawn(waits_in_park);
        let joined = runtime.spawn(waits_in_park);
        let (joined_thread, joined_id) = (joined.thread(), joined.id());
        let joins = runtime.spawn(move || waits_in_join(joined));
        let theirs = listener.clone();
        let accepts = runtime.spawn(move || waits_in_accept(&theirs));
        // Twice: a green thread that was asked waits on.
        for _ in 0..2 {
            until_parked(&runtime, 7);
            let dump = runtime.dump(with_backtraces());
            assert_eq!(dump.green_threads.len(), 7);
            let seen = |thread| entry(&dump, thread);
            assert_eq!(wait_of(&seen(&sleeps)).reason, WaitReason::Sleep);
            let time_left = wait_of(&seen(&sleeps)).time_left.unwrap();
            assert!(time_left <= Duration::from_secs(3600), "{time_left:?}");
            assert_eq!(innermost(&seen(&sleeps)), "waits_in_sleep");
            assert!(matches!(wait_of(&seen(&reads)).reason, WaitReason::Read(fd) if fd > 0));
            assert_eq!(innermost(&seen(&reads)), "waits_in_read");
            assert!(matches!(
                wait_of(&seen(&locks)).reason,
                WaitReason::Futex(_)
            ));
            assert_eq!(wait_of(&seen(&locks)).time_left, None);
            assert_eq!(innermost(&seen(&locks)), "waits_in_lock");
            assert_eq!(wait_of(&seen(&joins)).reason, WaitReason::Join(joined_id));
            assert_eq!(innermost(&seen(&joins)), "waits_in_join");
            assert_eq!(wait_of(&seen(&parks)).reason, WaitReason::Park);
            assert_eq!(innermost(&seen(&parks)), "waits_in_park");
            assert_eq!(innermost(&seen(&accepts)), "waits_in_accept");
        }

        drop((held, peer));
        sleeps.cancel();
        accepts.cancel();
        parks.thread().unpark();
        joined_thread.unpark();
        for thread in [sleeps, reads, locks, parks, joins, accepts] {
            thread.join().unwrap();
        }
        assert_eq!(*lock.lock().unwrap(), 1);
    }
}

#[test]
fn a_closure_that_waits_is_shown_where_it_stands() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let waits = || {
        thread::park();
        after_the_wait();
    };
    let (parked, line) = (runtime.spawn(waits), line!() - 3);
    until_parked(&runtime, 1);
    let dump = runtime.dump(with_backtraces());
    let frames = entry(&dump, &parked).backtrace.unwrap();
    assert!(
        frames[0].file.as_ref().unwrap().ends_with("dump.rs"),
        "{dump}"
    );
    assert_eq!(frames[0].line, Some(line), "{dump}");
    assert_eq!(frames.len(), 1, "{dump}");
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn a_wait_that_was_probed_has_lasted_from_its_beginning() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let parked = runtime.spawn(thread::park);
    until_parked(&runtime, 1);
    eventually(|| {
        let wait = wait_of(&entry(&runtime.dump(DumpOptions::new()), &parked));
        wait.duration > Duration::from_millis(100)
    });
    runtime.dump(with_backtraces());
    until_parked(&runtime, 1);
    let wait = wait_of(&entry(&runtime.dump(DumpOptions::new()), &parked));
    assert!(wait.duration > Duration::from_millis(100));
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn names_and_places_are_shown() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let builder = Builder::new().name("a 'quoted' name".to_owned());
    let (parked, line) = (runtime.spawn_with(builder, thread::park).unwrap(), line!());
    until_parked(&runtime, 1);
    let dump = runtime.dump(DumpOptions::new());
    let green = entry(&dump, &parked);
    assert_eq!(green.name.as_deref(), Some("a 'quoted' name"));
    assert_eq!(green.spawned_at.map(|place| place.line()), Some(line));
    assert!(green.stack_high_water > 0 && green.stack_high_water <= green.stack_size + 4096);
    assert_eq!(green.backtrace, None);

    let text = dump.to_string();
    assert!(
        text.contains("1 green threads (0 running, 0 runnable, 1 parked) on "),
        "{text}"
    );
    assert!(text.contains("'a 'quoted' name', spawned at "), "{text}");
    assert!(text.contains(": unpark"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&dump.to_json()).unwrap();
    let green = &json["green_threads"][0];
    assert_eq!(green["name"], "a 'quoted' name");
    assert_eq!(green["state"]["is"], "parked");
    assert_eq!(green["state"]["reason"]["kind"], "park");
    assert!(green["state"]["for_seconds"].is_f64());
    assert_eq!(json["metrics"]["parked"], 1);
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn the_caller_is_running_and_shows_its_own_stack() {
    #[inline(never)]
    fn asks_for_a_dump() -> (u64, Dump) {
        let dump = dump(with_backtraces()).expect("this is a green thread");
        (thread::current().id(), std::hint::black_box(dump))
    }
    let _watchdog = Watchdog::start();
    for workers in [1, 2] {
        let (id, parked, dump) = unpatched::runtime(workers).run(|| {
            let parked = spawn(waits_in_park);
            eventually(|| dump(DumpOptions::new()).unwrap().metrics.parked == 1);
            let (id, dump) = asks_for_a_dump();
            parked.thread().unpark();
            let parked_id = parked.id();
            parked.join().unwrap();
            (id, parked_id, dump)
        });
        let found = |id| {
            dump.green_threads
                .iter()
                .find(|green| green.id == id)
                .unwrap()
        };
        assert!(matches!(found(id).state, State::Running { worker } if worker < workers));
        assert_eq!(innermost(found(id)), "asks_for_a_dump");
        assert_eq!(innermost(found(parked)), "waits_in_park");
    }
    assert!(dump(DumpOptions::new()).is_none(), "off a green thread");
}

#[test]
fn a_dump_can_be_taken_from_another_runtime_and_of_all() {
    let _watchdog = Watchdog::start();
    let (one, other) = (Arc::new(unpatched::runtime(1)), unpatched::runtime(1));
    let parked = one.spawn(waits_in_park);
    until_parked(&one, 1);
    let theirs = one.clone();
    let (of_one, of_all) = other.run(move || {
        (
            theirs.dump(with_backtraces()),
            dump_all(with_backtraces().limit(1000)),
        )
    });
    assert_eq!(innermost(&entry(&of_one, &parked)), "waits_in_park");
    let listed = of_all.iter().flat_map(|dump| &dump.green_threads);
    let listed: Vec<_> = listed.filter(|green| green.id == parked.id()).collect();
    assert_eq!(listed.len(), 1);
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn green_threads_that_cannot_answer_are_listed_without_backtrace() {
    let _watchdog = Watchdog::start();
    let runtime = Runtime::builder()
        .workers(1)
        .compensation(false)
        .build()
        .unwrap();
    let parked = runtime.spawn(waits_in_park);
    until_parked(&runtime, 1);
    let (done, started) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (flag, begun) = (done.clone(), started.clone());
    let hog = runtime.spawn(move || {
        begun.store(true, Ordering::Release);
        while !flag.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    });
    eventually(|| started.load(Ordering::Acquire));
    let options = DumpOptions::new().backtraces(true);
    let dump = runtime.dump(options.patience(Duration::from_millis(20)));
    assert_eq!(entry(&dump, &hog).state, State::Running { worker: 0 });
    assert_eq!(entry(&dump, &hog).backtrace, None);
    assert_eq!(wait_of(&entry(&dump, &parked)).reason, WaitReason::Park);
    assert_eq!(entry(&dump, &parked).backtrace, None);
    done.store(true, Ordering::Release);
    hog.join().unwrap();
    until_parked(&runtime, 1);
    // The probe was taken back, and the next one is answered.
    let dump = runtime.dump(with_backtraces());
    assert_eq!(innermost(&entry(&dump, &parked)), "waits_in_park");
    parked.thread().unpark();
    parked.join().unwrap();
}

#[test]
fn a_limit_leaves_the_rest_out_and_says_so() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let parked: Vec<_> = (0..1000).map(|_| runtime.spawn(thread::park)).collect();
    until_parked(&runtime, 1000);
    let dump = runtime.dump(with_backtraces().limit(10));
    assert_eq!((dump.green_threads.len(), dump.omitted), (10, 990));
    assert!(
        dump.green_threads
            .iter()
            .all(|green| green.backtrace.is_some())
    );
    assert!(dump.to_string().ends_with("and 990 more\n"));
    // Those that have answered are about to park again.
    until_parked(&runtime, 1000);
    let dump = runtime.dump(with_backtraces());
    assert_eq!((dump.green_threads.len(), dump.omitted), (1000, 0));
    assert!(
        dump.green_threads
            .iter()
            .all(|green| green.backtrace.is_some())
    );
    for thread in parked {
        thread.thread().unpark();
        thread.join().unwrap();
    }
}

/// Green threads begin, wait and end while dumps are taken from inside and outside.
fn dumps_in_a_storm(workers: usize) {
    let _watchdog = Watchdog::start();
    let runtime = Arc::new(unpatched::runtime(workers));
    let over = Arc::new(AtomicBool::new(false));
    let witness = runtime.spawn(waits_in_park);
    until_parked(&runtime, 1);
    let storms: Vec<_> = (0..4)
        .map(|number| {
            let over = over.clone();
            runtime.spawn(move || {
                let mut ended = 0;
                while !over.load(Ordering::Acquire) {
                    let threads: Vec<_> = (0..20)
                        .map(|index| {
                            let builder = Builder::new().name(format!("storm {number}.{index}"));
                            let work = move || match index % 4 {
                                0 => yield_now(),
                                1 => time::sleep(Duration::from_micros(50)),
                                2 => thread::park_timeout(Duration::from_micros(200)),
                                _ => {}
                            };
                            builder.spawn(work).unwrap()
                        })
                        .collect();
                    for thread in threads {
                        thread.join().unwrap();
                        ended += 1;
                    }
                }
                ended
            })
        })
        .collect();
    let check = |dump: &Dump| {
        let mut ids: Vec<_> = dump.green_threads.iter().map(|green| green.id).collect();
        assert!(
            ids.contains(&witness.id()),
            "one that lives all the time is listed"
        );
        ids.dedup();
        assert_eq!(ids.len(), dump.green_threads.len(), "each one once");
        for green in &dump.green_threads {
            let name = green.name.as_deref().unwrap_or("storm");
            assert!(name.starts_with("storm"), "{name}");
        }
    };
    let theirs = runtime.clone();
    let inside = runtime.spawn(move || {
        for _ in 0..50 {
            theirs.dump(DumpOptions::new().backtraces(true));
            yield_now();
        }
    });
    for round in 0..100 {
        let dump = runtime.dump(with_backtraces().backtraces(round % 2 == 0));
        check(&dump);
        // It may have just answered the other one.
        let witness = entry(&dump, &witness);
        if round % 2 == 0 && matches!(witness.state, State::Parked(_)) {
            assert_eq!(innermost(&witness), "waits_in_park");
        }
        assert!(!dump.to_string().is_empty());
    }
    inside.join().unwrap();
    over.store(true, Ordering::Release);
    for storm in storms {
        assert!(storm.join().unwrap() > 0);
    }
    witness.thread().unpark();
    witness.join().unwrap();
}

#[test]
fn dumps_are_sound_while_green_threads_come_and_go_on_two_workers() {
    dumps_in_a_storm(2);
}

#[test]
fn dumps_are_sound_while_green_threads_come_and_go_on_four_workers() {
    dumps_in_a_storm(4);
}
