//! Deadline scopes and cancellation: which waits they end, with what, and what is left behind.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::interrupt::{Cancellable, Piece};
use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::sync::{Event, Mutex};
use greenpatch_runtime::time::{sleep, timeout};
use greenpatch_runtime::{
    Interrupted, Runtime, checkpoint, futex, is_cancellation, shield, spawn, spawn_after, thread,
    yield_now,
};
use harness::unpatched::{on_workers, spawn_begun};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

fn silent_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_timeout_ends_a_socket_wait_with_timed_out() {
    on_workers(|| {
        let listener = silent_listener();
        let late = timeout(SHORT, || listener.accept()).unwrap_err();
        assert_eq!(late.into_inner().unwrap_err().kind(), ErrorKind::TimedOut);

        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        let late = timeout(SHORT, || stream.read(&mut [0])).unwrap_err();
        assert_eq!(late.to_string(), "the time of 5ms is over");
        assert_eq!(late.into_inner().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn the_sockets_own_timeout_still_says_would_block() {
    on_workers(|| {
        let listener = silent_listener();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        let error = timeout(LONG, || stream.read(&mut [0]))
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_timeout_ends_a_sleep_early_and_the_checkpoint_tells() {
    on_workers(|| {
        let start = Instant::now();
        let late = timeout(SHORT, || {
            sleep(LONG);
            checkpoint()
        });
        assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
        assert!(start.elapsed() < LONG);
        assert_eq!(checkpoint(), Ok(()));
    });
}

#[test]
fn work_that_never_waits_is_not_late() {
    on_workers(|| {
        let value = timeout(Duration::ZERO, || {
            yield_now();
            7
        });
        assert_eq!(value.unwrap(), 7);
    });
}

#[test]
fn the_innermost_timeout_that_expires_is_the_one_that_reports_it() {
    on_workers(|| {
        let listener = silent_listener();
        let outcome = timeout(LONG, || {
            let inner = timeout(SHORT, || listener.accept().is_err());
            assert!(inner.unwrap_err().into_inner());
            // The outer scope's time is not over, so this waits its own.
            timeout(SHORT, || listener.accept().is_err()).is_err()
        });
        assert!(outcome.unwrap());

        let outcome = timeout(SHORT, || {
            let inner = timeout(LONG, || listener.accept().is_err());
            assert!(
                inner.unwrap(),
                "it was not the inner scope's time that was over"
            );
            listener.accept().is_err()
        });
        assert!(outcome.unwrap_err().into_inner());
        assert_eq!(checkpoint(), Ok(()));
    });
}

#[test]
fn a_wait_that_ends_by_its_own_time_is_not_the_scopes_affair() {
    let runtime = Runtime::builder().workers(1).compensation(false).build();
    runtime.unwrap().run(|| {
        // Both times are over as the wait goes on; its own was over first.
        let busy = spawn(|| {
            let start = Instant::now();
            while start.elapsed() < 120 * SHORT {
                std::hint::spin_loop();
            }
        });
        let waited = timeout(100 * SHORT, || Event::new().wait_timeout(SHORT));
        assert_eq!(waited.unwrap(), Err(Interrupted::TimedOut));
        busy.join().unwrap();
    });
}

#[test]
fn a_panic_leaves_the_scope() {
    on_workers(|| {
        let outcome = std::panic::catch_unwind(|| {
            timeout(Duration::ZERO, || {
                std::panic::resume_unwind(Box::new("out"))
            })
        });
        assert!(outcome.is_err());
        assert_eq!(checkpoint(), Ok(()));
        sleep(Duration::from_micros(1));
    });
}

#[test]
fn a_timeout_does_not_reach_into_threads_spawned_within() {
    on_workers(|| {
        let within = timeout(Duration::ZERO, || spawn(checkpoint)).unwrap();
        assert_eq!(within.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_lock_is_not_interrupted() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let theirs = mutex.clone();
        let waiting = Arc::new(AtomicBool::new(false));
        let told = waiting.clone();
        let waiter = spawn(move || {
            timeout(Duration::ZERO, || {
                told.store(true, Ordering::SeqCst);
                drop(theirs.lock().unwrap());
            })
        });
        while !waiting.load(Ordering::SeqCst) {
            yield_now();
        }
        sleep(SHORT);
        waiter.cancel();
        sleep(SHORT);
        assert!(!waiter.is_finished());
        drop(guard);
        assert!(waiter.join().unwrap().is_ok());
    });
}

#[test]
fn cancel_ends_a_socket_wait_with_an_error_of_its_own() {
    on_workers(|| {
        let listener = silent_listener();
        let server = spawn_begun(move || {
            let first = listener.accept().map(drop).unwrap_err();
            let second = listener.accept().map(drop).unwrap_err();
            (first, second, checkpoint())
        });
        sleep(SHORT);
        server.cancel();
        let (first, second, state) = server.join().unwrap();
        assert!(is_cancellation(&first) && is_cancellation(&second));
        assert_eq!(state, Err(Interrupted::Cancelled));
    });
}

#[test]
fn cancel_ends_sleeps_and_later_ones_yield() {
    on_workers(|| {
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let sleeper = spawn_begun(move || {
            let mut rounds = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                sleep(LONG);
                rounds += 1;
            }
            rounds
        });
        sleeper.cancel();
        // The sleeper never waits any more, and yet others run.
        sleep(SHORT);
        done.store(true, Ordering::SeqCst);
        assert!(sleeper.join().unwrap() > 0);
    });
}

#[test]
fn a_green_thread_cancelled_before_it_begins_never_does() {
    on_workers(|| {
        let value = Arc::new(());
        let theirs = value.clone();
        let never = spawn_after(LONG, move || drop(theirs));
        never.cancel();
        let payload = never.join().unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&Interrupted::Cancelled));
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn cancelling_the_ended_does_nothing_to_the_next_in_its_place() {
    on_workers(|| {
        for _ in 0..1000 {
            let first = spawn(|| ());
            while !first.is_finished() {
                yield_now();
            }
            let second = spawn(|| {
                sleep(Duration::from_micros(1));
                checkpoint()
            });
            first.cancel();
            assert_eq!(second.join().unwrap(), Ok(()));
            first.join().unwrap();
        }
    });
}

#[test]
fn a_shield_lets_a_cancelled_green_thread_wait() {
    on_workers(|| {
        let worker = spawn_begun(|| {
            sleep(LONG);
            assert!(checkpoint().is_err());
            shield(|| {
                let start = Instant::now();
                sleep(SHORT);
                assert!(start.elapsed() >= SHORT);
                // A limit inside the shield counts.
                let late = timeout(SHORT, || sleep(LONG));
                assert!(late.is_err());
            });
            checkpoint()
        });
        worker.cancel();
        assert_eq!(worker.join().unwrap(), Err(Interrupted::Cancelled));
    });
}

/// Runs `attempt` on a cancelled green thread until another one, which has to share the only worker, says that it is
/// enough.
fn others_run_while_a_loop_goes_on(attempt: impl Fn() + Send + 'static) {
    let runtime = Runtime::builder().workers(1).compensation(false).build();
    runtime.unwrap().run(|| {
        let enough = Arc::new(AtomicBool::new(false));
        let theirs = enough.clone();
        let stubborn = spawn_begun(move || {
            while !theirs.load(Ordering::SeqCst) {
                attempt();
            }
        });
        stubborn.cancel();
        yield_now();
        yield_now();
        enough.store(true, Ordering::SeqCst);
        stubborn.join().unwrap();
    });
}

#[test]
fn who_goes_on_in_spite_of_a_cancellation_lets_others_run() {
    let listener = silent_listener();
    others_run_while_a_loop_goes_on(move || drop(listener.accept().unwrap_err()));
    others_run_while_a_loop_goes_on(|| sleep(LONG));
    others_run_while_a_loop_goes_on(|| sleep(Duration::ZERO));
    others_run_while_a_loop_goes_on(|| {
        let never = spawn_after(LONG, || ());
        let never = never.join_timeout(LONG).unwrap_err();
        never.cancel();
    });
}

#[test]
fn a_sleep_of_no_time_lets_others_run() {
    let runtime = Runtime::builder().workers(1).compensation(false).build();
    runtime.unwrap().run(|| {
        let other = spawn(|| ());
        while !other.is_finished() {
            sleep(Duration::ZERO);
        }
    });
}

#[test]
fn an_interrupted_wait_spends_no_wake_up() {
    // One permit and one wake-up, among waiters most of which give up.
    on_workers(|| {
        for _ in 0..300 {
            let word = Arc::new(AtomicU32::new(0));
            let waiters: Vec<_> = (0..4)
                .map(|index| {
                    let word = word.clone();
                    spawn(move || {
                        let time = if index == 0 {
                            LONG
                        } else {
                            Duration::from_micros(50 * index)
                        };
                        timeout(time, || {
                            loop {
                                if word
                                    .compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst)
                                    .is_ok()
                                {
                                    return true;
                                }
                                if futex::wait_interruptible(&word, 0, None).is_err() {
                                    return false;
                                }
                            }
                        })
                        .unwrap_or_else(|late| late.into_inner())
                    })
                })
                .collect();
            sleep(Duration::from_micros(100));
            word.store(1, Ordering::SeqCst);
            futex::wake(&word, 1);
            let mut waiters = waiters.into_iter();
            let last = waiters.next().unwrap();
            let others: Vec<_> = waiters.map(|waiter| waiter.join().unwrap()).collect();
            if others.contains(&true) {
                word.store(1, Ordering::SeqCst);
                futex::wake(&word, 1);
            }
            // Otherwise the one wake-up must have come to it.
            assert!(last.join().unwrap());
        }
    });
}

#[test]
fn scopes_work_on_os_threads_for_our_own_types() {
    let start = Instant::now();
    let late = timeout(SHORT, || sleep(LONG));
    assert!(late.is_err());
    let word = AtomicU32::new(0);
    let late = timeout(SHORT, || futex::wait_interruptible(&word, 0, None));
    assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
    assert!(start.elapsed() < LONG);
}

#[test]
fn join_timeout_gives_the_handle_back() {
    on_workers(|| {
        let sleeper = spawn(thread::park);
        let sleeper = sleeper.join_timeout(SHORT).unwrap_err();
        let sleeper = timeout(SHORT, || sleeper.join_timeout(LONG))
            .unwrap_err()
            .into_inner()
            .unwrap_err();
        sleeper.thread().unpark();
        sleeper.join_timeout(LONG).unwrap().unwrap();
    });
}

#[test]
fn scoped_green_threads_borrow_and_end_in_the_scope() {
    on_workers(|| {
        let mut numbers = vec![1, 2, 3];
        let label = String::from("sum");
        let sum = thread::scope(|scope| {
            for number in &mut numbers {
                scope.spawn(|| {
                    sleep(Duration::from_micros(10));
                    *number *= 2;
                    label.len()
                });
            }
            let nested = scope.spawn(|| scope.spawn(|| label.len()).join().unwrap());
            nested.join().unwrap()
        });
        assert_eq!((sum, &numbers[..]), (3, &[2, 4, 6][..]));
    });
}

#[test]
fn a_scope_passes_on_panics_and_waits_all_the_same() {
    on_workers(|| {
        let ended = AtomicBool::new(false);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    sleep(SHORT);
                    ended.store(true, Ordering::SeqCst);
                });
                scope.spawn(|| std::panic::resume_unwind(Box::new("inner")));
            });
        }));
        assert!(outcome.is_err());
        assert!(ended.load(Ordering::SeqCst));
        // A joined panic is the joiner's.
        let joined = thread::scope(|scope| {
            let doomed = scope.spawn(|| std::panic::resume_unwind(Box::new("inner")));
            doomed.join().is_err()
        });
        assert!(joined);
        // So is one from the drop of a result that nobody takes.
        struct Doomed;
        impl Drop for Doomed {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("inner"));
            }
        }
        let outcome =
            std::panic::catch_unwind(|| thread::scope(|scope| drop(scope.spawn(|| Doomed))));
        assert!(outcome.is_err());
        // One that is cancelled before it begins drops what it borrowed in time.
        thread::scope(|scope| scope.spawn(|| ended.load(Ordering::SeqCst)).cancel());
    });
}

#[test]
fn park_and_unpark_lose_nothing_between_green_and_os_threads() {
    on_workers(|| {
        let main = thread::current();
        let outside = std::thread::spawn(move || {
            for _ in 0..2000 {
                main.unpark();
                std::thread::yield_now();
            }
            // The last word.
            main
        });
        while !outside.is_finished() {
            thread::park_timeout(Duration::from_millis(1));
        }
        let main = outside.join().unwrap();
        main.unpark();
        thread::park();
        let ping = thread::current();
        let pong = spawn(move || {
            for _ in 0..2000 {
                ping.unpark();
                thread::park();
            }
        });
        for _ in 0..2000 {
            thread::park();
            pong.thread().unpark();
        }
        pong.join().unwrap();
    });
}

/// What a green thread that works in pieces tells of the one that it has begun.
type Begun = (Arc<Cancellable>, Piece);

fn next<T>(receiver: &std::sync::mpsc::Receiver<T>) -> T {
    loop {
        match receiver.try_recv() {
            Ok(value) => return value,
            Err(_) => yield_now(),
        }
    }
}

#[test]
fn a_cancelled_piece_of_work_ends_its_waits_and_no_later_ones() {
    on_workers(|| {
        let (sender, pieces) = std::sync::mpsc::channel::<Begun>();
        let server = spawn(move || {
            Cancellable::scope(|work| {
                let listener = silent_listener();
                let mut ends = Vec::new();
                for _ in 0..3 {
                    sender.send((work.clone(), work.begin())).unwrap();
                    ends.push(listener.accept().map(drop).map_err(|error| error.kind()));
                    assert_eq!(checkpoint(), Err(Interrupted::Cancelled));
                    let again = listener.accept().unwrap_err();
                    assert!(is_cancellation(&again), "{again}");
                }
                work.end();
                assert_eq!(checkpoint(), Ok(()));
                ends
            })
        });
        let mut before: Option<Begun> = None;
        for _ in 0..3 {
            let (work, piece) = next(&pieces);
            if let Some((work, piece)) = before {
                assert!(!work.cancel(piece), "a piece that is over");
            }
            assert!(work.cancel(piece));
            before = Some((work, piece));
        }
        let ends = server.join().unwrap();
        assert!(ends.iter().all(Result::is_err), "{ends:?}");
    });
}

#[test]
fn a_piece_of_work_that_is_cancelled_before_it_waits_does_not_wait() {
    on_workers(|| {
        Cancellable::scope(|work| {
            let piece = work.begin();
            assert!(work.cancel(piece));
            assert!(!work.cancel(piece), "twice");
            let error = silent_listener().accept().unwrap_err();
            assert!(is_cancellation(&error), "{error}");
            shield(|| assert_eq!(checkpoint(), Ok(())));
        });
        assert_eq!(checkpoint(), Ok(()));
    });
}

#[test]
fn a_late_cancellation_finds_nobody() {
    on_workers(|| {
        let (work, piece) = Cancellable::scope(|work| (work.clone(), work.begin()));
        // Its scope was left without an end of the piece: the mark is set, and nobody is in it.
        work.cancel(piece);
        sleep(SHORT);
        assert_eq!(checkpoint(), Ok(()));
    });
}
