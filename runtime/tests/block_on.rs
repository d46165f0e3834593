//! Futures awaited by blocking code: on green threads, on OS threads, and from one to the other.

use std::cell::Cell;
use std::fs;
use std::future::{poll_fn, ready};
use std::io::{Read, Write};
use std::net::TcpListener as StdListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{self, Either, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use greenpatch_runtime::{block_on, spawn, time, yield_now};
use harness::unpatched::{everywhere, on_green_threads, runtime, start};
use harness::{child, pause, until_parked};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime as Tokio;
use tokio::sync::oneshot;

#[test]
fn what_is_ready_is_given_at_once() {
    everywhere(|| {
        assert_eq!(block_on(ready(1)), 1);
        assert_eq!(block_on(async { 2 }), 2);
        let borrowed = String::from("three");
        assert_eq!(block_on(async { &*borrowed }), "three");
    });
}

#[test]
fn a_thread_waits_for_another_one() {
    everywhere(|| {
        let (sender, receiver) = oneshot::channel();
        let waiting = start(move || block_on(receiver).unwrap());
        pause();
        sender.send("here").unwrap();
        assert_eq!(waiting(), "here");
    });
}

#[test]
fn others_run_while_a_green_thread_waits_for_an_os_thread() {
    on_green_threads(1, || {
        let (sender, receiver) = oneshot::channel();
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = done.clone();
            spawn(move || {
                let mut turns = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    turns += 1;
                    yield_now();
                }
                turns
            })
        };
        let sending = thread::spawn(move || {
            pause();
            sender.send(()).unwrap();
        });
        block_on(receiver).unwrap();
        done.store(true, Ordering::Relaxed);
        assert!(other.join().unwrap() > 1);
        sending.join().unwrap();
    });
}

#[test]
fn an_os_thread_waits_for_a_green_thread() {
    on_green_threads(1, || {
        let (sender, receiver) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let waiting = thread::spawn(move || {
            let n: u32 = block_on(receiver).unwrap();
            answer.send(n + 1).unwrap();
        });
        pause();
        sender.send(1).unwrap();
        assert_eq!(block_on(answered).unwrap(), 2);
        waiting.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_among_many() {
    everywhere(|| {
        const MESSAGES: usize = 2_000;
        let (sender, receiver) = async_channel::bounded(3);
        let total = Arc::new(AtomicUsize::new(0));
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (receiver, total) = (receiver.clone(), total.clone());
                start(move || {
                    while let Ok(n) = block_on(receiver.recv()) {
                        total.fetch_add(n, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                start(move || (0..MESSAGES).for_each(|n| block_on(sender.send(n)).unwrap()))
            })
            .collect();
        drop(sender);
        senders.into_iter().for_each(|sender| sender());
        receivers.into_iter().for_each(|receiver| receiver());
        let each = MESSAGES * (MESSAGES - 1) / 2;
        assert_eq!(total.load(Ordering::Relaxed), 4 * each);
    });
}

#[test]
fn a_ring_of_green_threads_passes_a_token_through_os_threads() {
    on_green_threads(2, || {
        const ROUNDS: u32 = 200;
        let channels: Vec<_> = (0..8).map(|_| async_channel::bounded::<u32>(1)).collect();
        let mut green = Vec::new();
        let mut os = Vec::new();
        for n in 0..channels.len() {
            let receiver = channels[n].1.clone();
            let sender = channels[(n + 1) % channels.len()].0.clone();
            let pass = move || {
                for _ in 0..ROUNDS {
                    let token = block_on(receiver.recv()).unwrap();
                    block_on(sender.send(token + 1)).unwrap();
                }
            };
            if n % 2 == 0 {
                green.push(spawn(pass));
            } else {
                os.push(thread::spawn(pass));
            }
        }
        block_on(channels[0].0.send(0)).unwrap();
        green.into_iter().for_each(|thread| thread.join().unwrap());
        os.into_iter().for_each(|thread| thread.join().unwrap());
        let token = channels[0].1.try_recv().unwrap();
        assert_eq!(token as usize, channels.len() * ROUNDS as usize);
    });
}

#[test]
fn a_future_that_wakes_itself_gives_way() {
    on_green_threads(1, || {
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = done.clone();
            spawn(move || done.store(true, Ordering::Relaxed))
        };
        block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            match done.load(Ordering::Relaxed) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        other.join().unwrap();
    });
}

#[test]
fn a_waker_may_be_kept_cloned_and_used_after_the_end() {
    everywhere(|| {
        let kept = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let polls = Cell::new(0);
        block_on(poll_fn(|context| {
            polls.set(polls.get() + 1);
            let mut kept = kept.lock().unwrap();
            if let Some(before) = kept.first() {
                assert!(before.will_wake(context.waker()));
            }
            kept.push(context.waker().clone());
            if polls.get() == 3 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            match polls.get() {
                1 => waker.wake_by_ref(),
                _ => waker.wake(),
            }
            Poll::Pending
        }));
        assert_eq!(polls.get(), 3);
        for waker in kept.lock().unwrap().drain(..) {
            let another = waker.clone();
            waker.wake_by_ref();
            waker.wake();
            start(move || another.wake())();
        }
        // The next one is not concerned.
        let (sender, receiver) = oneshot::channel();
        let waiting = start(move || block_on(receiver).unwrap());
        sender.send(5).unwrap();
        assert_eq!(waiting(), 5);
    });
}

#[test]
fn waiting_may_be_nested() {
    everywhere(|| {
        let (outer, outer_receiver) = oneshot::channel();
        let (inner, inner_receiver) = oneshot::channel();
        let waiting = start(move || {
            block_on(async {
                // Ends while the outer future was woken already.
                let inner: u32 = block_on(inner_receiver).unwrap();
                let outer: u32 = outer_receiver.await.unwrap();
                (outer, inner)
            })
        });
        outer.send(1).unwrap();
        pause();
        inner.send(2).unwrap();
        assert_eq!(waiting(), (1, 2));
    });
}

#[test]
fn combinators_work() {
    everywhere(|| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..20).map(|_| oneshot::channel::<usize>()).unzip();
        let sending = start(move || {
            // From the last to the first.
            for (n, sender) in senders.into_iter().enumerate().rev() {
                sender.send(n).unwrap();
                if n % 4 == 0 {
                    pause();
                }
            }
        });
        let mut unordered: FuturesUnordered<_> = receivers.into_iter().collect();
        let mut received = Vec::new();
        while let Some(n) = block_on(unordered.next()) {
            received.push(n.unwrap());
        }
        sending();
        received.sort_unstable();
        assert!(received.into_iter().eq(0..20));

        let (sender, receiver) = oneshot::channel::<()>();
        let never = pin!(future::pending::<()>());
        sender.send(()).unwrap();
        match block_on(future::select(never, receiver)) {
            Either::Right((outcome, _)) => outcome.unwrap(),
            Either::Left(_) => unreachable!("pending for ever"),
        }
        assert_eq!(block_on(future::join(ready(1), ready(2))), (1, 2));
    });
}

#[test]
fn a_panic_goes_on_in_the_caller() {
    everywhere(|| {
        let (sender, receiver) = oneshot::channel::<()>();
        let panicking = async {
            receiver.await.unwrap();
            panic!("in the future");
        };
        let sending = start(move || sender.send(()).unwrap());
        let outcome = catch_unwind(AssertUnwindSafe(|| block_on(panicking.map(|()| ()))));
        assert_eq!(
            *outcome.unwrap_err().downcast::<&str>().unwrap(),
            "in the future"
        );
        sending();
        assert_eq!(block_on(ready(7)), 7);
    });
}

#[test]
fn neither_a_deadline_scope_nor_cancellation_cuts_it_short() {
    on_green_threads(1, || {
        let (sender, receiver) = oneshot::channel();
        let scoped =
            spawn(|| time::timeout(Duration::from_millis(1), || block_on(receiver).unwrap()));
        let (other, cancelled) = oneshot::channel();
        let waiting = spawn(|| block_on(cancelled).unwrap());
        pause();
        waiting.cancel();
        pause();
        sender.send("late").unwrap();
        other.send("cancelled").unwrap();
        assert_eq!(scoped.join().unwrap().unwrap(), "late");
        assert_eq!(waiting.join().unwrap(), "cancelled");
    });
}

#[test]
fn a_waker_outlives_its_call_and_its_green_thread() {
    on_green_threads(1, || {
        let kept = Arc::new(Mutex::new(Vec::<Waker>::new()));
        for n in 0..20 {
            let keeper = kept.clone();
            // It uses the control block of the last one, whose wakers still come.
            let waiting = spawn(move || {
                let (sender, receiver) = oneshot::channel();
                let mut polls = 0;
                let late = poll_fn(|context| {
                    polls += 1;
                    keeper.lock().unwrap().push(context.waker().clone());
                    if polls == 1 {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                });
                let answer = spawn(move || {
                    pause();
                    sender.send(n).unwrap();
                });
                let (got, ()) = block_on(future::join(receiver, late));
                answer.join().unwrap();
                got.unwrap()
            });
            while !waiting.is_finished() {
                let wakers: Vec<_> = kept.lock().unwrap().clone();
                wakers.iter().for_each(Waker::wake_by_ref);
                yield_now();
            }
            assert_eq!(waiting.join().unwrap(), n);
        }
    });
}

fn tokio() -> Tokio {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn tasks_of_a_tokio_runtime_on_an_os_thread_are_awaited() {
    on_green_threads(1, || {
        let tokio = tokio();
        let handle = tokio.handle().clone();
        let green: Vec<_> = (0..50_u64)
            .map(|n| {
                let handle = handle.clone();
                spawn(move || {
                    let task = handle.spawn(async move {
                        tokio::time::sleep(Duration::from_millis(n % 5)).await;
                        n * n
                    });
                    block_on(task).unwrap()
                })
            })
            .collect();
        for (n, thread) in (0..).zip(green) {
            assert_eq!(thread.join().unwrap(), n * n);
        }
        let failed = handle.spawn(async { panic!("in the task") });
        assert!(block_on(failed).unwrap_err().is_panic());
        tokio.shutdown_background();
    });
}

#[test]
fn timers_and_sockets_of_a_tokio_runtime_are_awaited_in_place() {
    on_green_threads(1, || {
        let tokio = tokio();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = thread::spawn(move || {
            for stream in listener.incoming().take(10) {
                let mut stream = stream.unwrap();
                let mut text = Vec::new();
                stream.read_to_end(&mut text).unwrap();
                stream.write_all(&text).unwrap();
            }
        });
        let clients: Vec<_> = (0..10_u8)
            .map(|n| {
                let handle = tokio.handle().clone();
                spawn(move || {
                    let _inside = handle.enter();
                    block_on(async {
                        let nap = Duration::from_millis(2);
                        let start = Instant::now();
                        tokio::time::sleep(nap).await;
                        assert!(start.elapsed() >= nap);
                        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                        stream.write_all(&[n; 100]).await.unwrap();
                        stream.shutdown().await.unwrap();
                        let mut text = Vec::new();
                        stream.read_to_end(&mut text).await.unwrap();
                        assert_eq!(text, [n; 100]);
                        let late = tokio::time::timeout(nap, future::pending::<()>());
                        assert!(late.await.is_err());
                    });
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        echo.join().unwrap();
        tokio.shutdown_background();
    });
}

#[test]
fn an_async_client_talks_to_a_server_of_green_threads() {
    use greenpatch_runtime::net::TcpListener;
    on_green_threads(2, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            for stream in listener.incoming().take(20) {
                spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut number = [0];
                    stream.read_exact(&mut number).unwrap();
                    stream.write_all(&[number[0] + 1]).unwrap();
                });
            }
        });
        let tokio = tokio();
        let _inside = tokio.enter();
        let ask = async |n: u8| {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&[n]).await.unwrap();
            stream.read_u8().await.unwrap()
        };
        let answers = block_on(future::join_all((0..20).map(ask)));
        assert!(answers.into_iter().eq(1..=20));
        server.join().unwrap();
        drop(_inside);
        tokio.shutdown_background();
    });
}

/// How often anybody has written to an eventfd of this process.
fn eventfd_counts() -> Vec<(String, String)> {
    let mut counts = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let count = text.lines().find(|line| line.starts_with("eventfd-count"));
        counts.extend(count.map(|line| (path.display().to_string(), line.to_owned())));
    }
    counts.sort();
    counts
}

#[test]
fn a_forked_child_does_not_wake_its_parents_threads() {
    // Where no other runtime's workers are woken.
    child::succeeds("a_forked_child_does_not_wake_its_parents_threads", || {
        let runtime = runtime(1);
        let place = Arc::new(Mutex::new(None::<Waker>));
        let is_done = Arc::new(AtomicBool::new(false));
        let waiting = {
            let (place, is_done) = (place.clone(), is_done.clone());
            runtime.spawn(move || {
                block_on(poll_fn(|context| {
                    *place.lock().unwrap() = Some(context.waker().clone());
                    if is_done.load(Ordering::SeqCst) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }));
            })
        };
        until_parked(&runtime, 1);
        let before = eventfd_counts();
        assert!(!before.is_empty());
        for has_runtime in [false, true] {
            // SAFETY: the child ends at once when it has done its part, and takes no lock that another thread may have held.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let _own = has_runtime.then(|| self::runtime(1));
                    place.lock().unwrap().take().unwrap().wake();
                }));
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(outcome.is_err())) };
            }
            let mut status = 0;
            // SAFETY: a valid place for the status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
        // Nobody has written to what its parent's workers sleep on.
        assert_eq!(eventfd_counts(), before);
        is_done.store(true, Ordering::SeqCst);
        place.lock().unwrap().take().unwrap().wake();
        waiting.join().unwrap();
    });
}
