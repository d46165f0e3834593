//! A runtime that stands still for ever says so; one that merely waits does not.

use std::future::poll_fn;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use greenpatch::future::{AsyncFd, sleep, timeout};
use greenpatch::net::{TcpListener, TcpStream, UnixStream};
use greenpatch::sync::Mutex;
use greenpatch::{OnDeadlock, Runtime, block_on, dump_on_signal, spawn, thread, time, yield_now};
use harness::child;

/// Longer than the monitor takes to call a process quiet.
const LONG: Duration = Duration::from_secs(4);

fn runtime(deadlock: OnDeadlock) -> Runtime {
    Runtime::builder()
        .workers(2)
        .deadlock(deadlock)
        .build()
        .unwrap()
}

#[inline(never)]
fn left_then_right(left: &Mutex<()>, right: &Mutex<()>) {
    let held = left.lock().unwrap();
    time::sleep(Duration::from_millis(50));
    drop(right.lock().unwrap());
    drop(held);
}

#[inline(never)]
fn right_then_left(left: &Mutex<()>, right: &Mutex<()>) {
    let held = right.lock().unwrap();
    time::sleep(Duration::from_millis(50));
    drop(left.lock().unwrap());
    drop(held);
}

/// Two locks in opposite order.
fn embrace(deadlock: OnDeadlock) {
    runtime(deadlock).run(|| {
        let (left, right) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let both = (left.clone(), right.clone());
        let other = spawn(move || right_then_left(&both.0, &both.1));
        left_then_right(&left, &right);
        other.join().unwrap();
    });
}

#[test]
fn two_locks_in_opposite_order_are_reported_with_both_functions() {
    let test = "two_locks_in_opposite_order_are_reported_with_both_functions";
    let Some(mut child) = child::start(test, || embrace(OnDeadlock::Warn)) else {
        return;
    };
    // Each green thread has two lines before its stack, and the second one comes last.
    let mut text = child.stderr_until("deadlock: every green thread waits");
    text += &child.stderr_until("right_then_left");
    assert!(text.contains("left_then_right"), "{text}");
    assert!(text.contains("right_then_left"), "{text}");
    assert!(text.contains("green thread 1 'main'"), "{text}");
    assert!(
        text.contains("2 green threads (0 running, 0 runnable, 2 parked)"),
        "{text}"
    );
    // Said once, though taking the stacks has woken everybody.
    std::thread::sleep(LONG);
    child.signal(libc::SIGKILL);
    let (_, rest) = child.end();
    assert!(!rest.contains("deadlock: "), "{rest}");
}

#[test]
fn on_request_a_deadlock_aborts() {
    let Some(child) = child::start("on_request_a_deadlock_aborts", || {
        embrace(OnDeadlock::Abort)
    }) else {
        return;
    };
    let (status, text) = child.end();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{text}");
    assert!(text.contains("right_then_left"), "{text}");
}

#[test]
fn one_that_waits_for_nobody_is_reported() {
    let test = "one_that_waits_for_nobody_is_reported";
    let park = || runtime(OnDeadlock::Warn).run(thread::park);
    let Some(mut child) = child::start(test, park) else {
        return;
    };
    let text = child.stderr_until(": unpark");
    assert!(text.contains("deadlock: "), "{text}");
}

#[test]
fn a_future_whose_wakers_are_all_gone_is_reported() {
    let test = "a_future_whose_wakers_are_all_gone_is_reported";
    let dropped = || {
        static KEPT: Mutex<Option<Waker>> = Mutex::new(None);
        runtime(OnDeadlock::Warn).run(|| {
            // While it waits, whoever was to wake it gives up.
            spawn(|| {
                while KEPT.lock().unwrap().take().is_none() {
                    time::sleep(Duration::from_millis(1));
                }
            });
            block_on(never(&KEPT));
        });
    };
    let Some(mut child) = child::start(test, dropped) else {
        return;
    };
    let text = child.stderr_until(": future with wakers of ");
    assert!(text.contains("deadlock: "), "{text}");
}

#[test]
fn an_os_thread_that_waits_for_a_future_without_wakers_wakes_nobody() {
    let test = "an_os_thread_that_waits_for_a_future_without_wakers_wakes_nobody";
    let pending = || {
        let runtime = runtime(OnDeadlock::Warn);
        let _parked = runtime.spawn(thread::park);
        block_on(std::future::pending::<()>());
    };
    let Some(mut child) = child::start(test, pending) else {
        return;
    };
    let text = child.stderr_until(": unpark");
    assert!(text.contains("deadlock: "), "{text}");
}

/// Leaves its waker with `keeper` and is never ready.
async fn never(keeper: &Mutex<Option<Waker>>) {
    poll_fn(|context| {
        *keeper.lock().unwrap() = Some(context.waker().clone());
        Poll::<()>::Pending
    })
    .await;
}

/// The child aborts if its runtime finds a deadlock.
fn is_not_reported(test: &str, work: impl FnOnce()) {
    let Some(child) = child::start(test, work) else {
        return;
    };
    let (status, text) = child.end();
    assert!(status.success(), "{status}: {text}");
    assert!(!text.contains("deadlock: "), "{text}");
}

/// Green threads that wait for each other, until somebody else unparks the first one.
fn circle() -> thread::Thread {
    let parked = spawn(thread::park);
    let first = parked.thread();
    spawn(move || parked.join().unwrap());
    yield_now();
    first
}

#[test]
fn nothing_is_reported_if_that_is_off() {
    is_not_reported("nothing_is_reported_if_that_is_off", || {
        let runtime = runtime(OnDeadlock::Off);
        let parked = runtime.spawn(thread::park);
        std::thread::sleep(LONG);
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

#[test]
fn a_server_that_waits_for_connections_is_healthy() {
    is_not_reported("a_server_that_waits_for_connections_is_healthy", || {
        runtime(OnDeadlock::Abort).run(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let first = circle();
            let server = spawn(move || {
                listener.accept().unwrap();
                first.unpark();
            });
            // Waits outside, in a process of its own.
            let script = format!(
                "sleep {}; exec 3<>/dev/tcp/127.0.0.1/{}",
                LONG.as_secs(),
                address.port()
            );
            let mut client = std::process::Command::new("bash")
                .args(["-c", &script])
                .spawn()
                .unwrap();
            server.join().unwrap();
            client.wait().unwrap();
        });
    });
}

#[test]
fn a_reader_is_healthy() {
    is_not_reported("a_reader_is_healthy", || {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; sleep {}",
            address.port(),
            LONG.as_secs()
        );
        let mut client = std::process::Command::new("bash")
            .args(["-c", &script])
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        runtime(OnDeadlock::Abort).run(|| {
            let mut stream = TcpStream::from(stream);
            let first = circle();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            first.unpark();
        });
        client.wait().unwrap();
    });
}

#[test]
fn a_sleeper_is_healthy() {
    is_not_reported("a_sleeper_is_healthy", || {
        runtime(OnDeadlock::Abort).run(|| {
            let first = circle();
            time::sleep(LONG);
            first.unpark();
        });
    });
}

#[test]
fn an_os_thread_could_wake_somebody() {
    is_not_reported("an_os_thread_could_wake_somebody", || {
        let parked = runtime(OnDeadlock::Abort).spawn(thread::park);
        let first = parked.thread();
        std::thread::spawn(move || {
            std::thread::sleep(LONG);
            first.unpark();
        });
        parked.join().unwrap();
    });
}

#[test]
fn who_keeps_a_waker_could_wake_somebody() {
    static KEPT: Mutex<Option<Waker>> = Mutex::new(None);
    is_healthy("who_keeps_a_waker_could_wake_somebody", || {
        runtime(OnDeadlock::Abort).run(|| block_on(never(&KEPT)));
    });
}

#[test]
fn who_keeps_the_waker_of_an_os_thread_could_wake_somebody() {
    static KEPT: Mutex<Option<Waker>> = Mutex::new(None);
    let test = "who_keeps_the_waker_of_an_os_thread_could_wake_somebody";
    is_healthy(test, || {
        let runtime = runtime(OnDeadlock::Abort);
        let _parked = runtime.spawn(thread::park);
        block_on(never(&KEPT));
    });
}

/// The waker of a task whose executor, a green thread, parks until it is unparked.
fn unparks_me() -> Waker {
    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    Arc::new(Unpark(thread::current())).into()
}

#[test]
fn a_descriptor_that_a_future_waits_for_could_wake_somebody() {
    let test = "a_descriptor_that_a_future_waits_for_could_wake_somebody";
    is_healthy(test, || {
        runtime(OnDeadlock::Abort).run(|| {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let theirs = AsyncFd::new(theirs).unwrap();
            let waker = unparks_me();
            let mut context = Context::from_waker(&waker);
            assert!(theirs.poll_readable(&mut context).is_pending());
            thread::park();
        });
    });
}

#[test]
fn a_sleep_that_is_awaited_could_wake_somebody() {
    is_healthy("a_sleep_that_is_awaited_could_wake_somebody", || {
        runtime(OnDeadlock::Abort).run(|| {
            let mut asleep = pin!(sleep(Duration::from_secs(1000)));
            let waker = unparks_me();
            let mut context = Context::from_waker(&waker);
            assert!(asleep.as_mut().poll(&mut context).is_pending());
            thread::park();
        });
    });
}

#[test]
fn futures_in_block_on_are_healthy_as_long_as_they_wait_for_something() {
    let test = "futures_in_block_on_are_healthy_as_long_as_they_wait_for_something";
    is_not_reported(test, || {
        runtime(OnDeadlock::Abort).run(|| {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let theirs = AsyncFd::new(theirs).unwrap();
            let first = circle();
            block_on(timeout(LONG, theirs.readable())).unwrap_err();
            first.unpark();
        });
    });
}

#[test]
fn what_no_future_waits_for_any_more_wakes_nobody() {
    let test = "what_no_future_waits_for_any_more_wakes_nobody";
    let given_up = || {
        runtime(OnDeadlock::Warn).run(|| {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let theirs = AsyncFd::new(theirs).unwrap();
            block_on(timeout(Duration::from_millis(1), theirs.readable())).unwrap_err();
            let waker = unparks_me();
            let mut context = Context::from_waker(&waker);
            let mut asleep = Box::pin(sleep(Duration::from_secs(1000)));
            assert!(asleep.as_mut().poll(&mut context).is_pending());
            drop(asleep);
            thread::park();
        });
    };
    let Some(mut child) = child::start(test, given_up) else {
        return;
    };
    let text = child.stderr_until(": unpark");
    assert!(text.contains("deadlock: "), "{text}");
}

#[test]
fn a_task_of_tokio_could_wake_somebody() {
    is_not_reported("a_task_of_tokio_could_wake_somebody", || {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let task = tokio.spawn(async { tokio::time::sleep(LONG).await });
        runtime(OnDeadlock::Abort).run(|| block_on(task).unwrap());
    });
}

#[test]
fn another_runtime_could_wake_somebody() {
    is_not_reported("another_runtime_could_wake_somebody", || {
        let (one, other) = (runtime(OnDeadlock::Abort), runtime(OnDeadlock::Abort));
        let parked = one.spawn(thread::park);
        let first = parked.thread();
        other.run(move || {
            time::sleep(LONG);
            first.unpark();
        });
        parked.join().unwrap();
    });
}

#[test]
fn a_signal_handler_could_wake_somebody() {
    a_handler_could_wake_somebody("a_signal_handler_could_wake_somebody", || {});
}

#[test]
fn a_signal_handler_still_could_if_a_dump_is_written_too() {
    let test = "a_signal_handler_still_could_if_a_dump_is_written_too";
    a_handler_could_wake_somebody(test, || dump_on_signal(libc::SIGUSR1).unwrap());
}

/// The runtime does not call it a deadlock.
fn a_handler_could_wake_somebody(test: &str, and_then: fn()) {
    extern "C" fn handle(_: i32) {}
    let work = || {
        // SAFETY: a handler that does nothing.
        unsafe { libc::signal(libc::SIGUSR1, handle as extern "C" fn(i32) as usize) };
        and_then();
        runtime(OnDeadlock::Abort).run(thread::park);
    };
    is_healthy(test, work);
}

/// The child waits for ever, and no runtime calls that a deadlock.
fn is_healthy(test: &str, work: impl FnOnce()) {
    let Some(child) = child::start(test, work) else {
        return;
    };
    std::thread::sleep(LONG);
    child.signal(libc::SIGKILL);
    let (_, text) = child.end();
    assert!(!text.contains("deadlock: "), "{text}");
}

#[inline(never)]
fn waits_to_be_seen() {
    thread::park();
    // Keeps the frame.
    std::hint::black_box(());
}

#[test]
fn a_signal_writes_all_runtimes_to_standard_error() {
    let test = "a_signal_writes_all_runtimes_to_standard_error";
    let work = || {
        dump_on_signal(libc::SIGQUIT).unwrap();
        let builder = Runtime::builder().workers(1).name("second");
        let second = builder.deadlock(OnDeadlock::Off).build().unwrap();
        let _second = second.spawn(waits_to_be_seen);
        runtime(OnDeadlock::Off).run(|| {
            let sleeper = spawn(|| time::sleep(Duration::from_secs(3600)));
            let parked = || greenpatch::metrics().map_or(0, |figures| figures.parked);
            while parked() == 0 || second.metrics().parked == 0 {
                yield_now();
            }
            eprintln!("ready");
            sleeper.join().unwrap();
        });
    };
    let Some(mut child) = child::start(test, work) else {
        return;
    };
    child.stderr_until("ready");
    // Twice: the signal does not lose its meaning.
    for _ in 0..2 {
        child.signal(libc::SIGQUIT);
        let mut text = String::new();
        for _ in 0..2 {
            text += &child.stderr_until("OS threads");
        }
        assert!(text.contains("runtime 'green': 2 green threads"), "{text}");
        assert!(text.contains("runtime 'second': 1 green threads"), "{text}");
        assert!(text.contains("waits_to_be_seen"), "{text}");
        assert!(text.contains(": sleep, for at most"), "{text}");
    }
}
