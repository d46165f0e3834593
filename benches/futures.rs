//! What futures cost that wait by the runtime, beside blocking code that does the same.
//!
//! `echo` sends 32 bytes to and fro between two green threads of one worker, over TCP: by blocking calls of
//! `greenpatch::net`, and by an `AsyncFd` in `block_on`. The figure is that of a round trip.
//!
//! `handover` is one wait of two green threads that wake each other in turns: by the waker of a future in `block_on`, and by
//! `thread::park`.
//!
//! `sleep` is a `future::Sleep` among ten thousand others: one that is made, polled once, and dropped, as a time-out that does not
//! run out; and one that is put off and polled again, as that of a connection with each request.

#![allow(missing_docs, reason = "criterion_group! makes public items")]

use std::future::poll_fn;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use greenpatch::future::{AsyncFd, sleep};
use greenpatch::net::{TcpListener, TcpStream};
use greenpatch::sync::Mutex;
use greenpatch::{block_on, spawn, thread};
use harness::patched_runtime;

const MESSAGE: [u8; 32] = [7; 32];

/// Sleeps that stand in the wheel meanwhile.
const OTHERS: usize = 10_000;

/// Two ends of a TCP connection that sends small writes at once.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let one = TcpStream::connect(address).expect("somebody listens");
    let (other, _) = listener.accept().expect("somebody has connected");
    for end in [&one, &other] {
        end.set_nodelay(true).expect("TCP has this option");
    }
    (one, other)
}

const CONNECTED: &str = "the connection is in order";

fn blocking_echo(rounds: u64) -> Duration {
    let (mut one, mut other) = connection();
    let echo = spawn(move || {
        let mut buffer = MESSAGE;
        for _ in 0..rounds {
            other.read_exact(&mut buffer).expect(CONNECTED);
            other.write_all(&buffer).expect(CONNECTED);
        }
    });
    let start = Instant::now();
    let mut buffer = MESSAGE;
    for _ in 0..rounds {
        one.write_all(&buffer).expect(CONNECTED);
        one.read_exact(&mut buffer).expect(CONNECTED);
    }
    let elapsed = start.elapsed();
    echo.join().expect("the echo ends with its rounds");
    elapsed
}

async fn receive(stream: &AsyncFd<TcpStream>) {
    let mut space = [MaybeUninit::uninit(); MESSAGE.len()];
    let mut read = 0;
    while read < MESSAGE.len() {
        let some = poll_fn(|context| stream.poll_read(context, &mut space[read..])).await;
        read += some.expect(CONNECTED);
    }
}

async fn send(stream: &AsyncFd<TcpStream>) {
    let sent = poll_fn(|context| stream.poll_write(context, &MESSAGE)).await;
    assert_eq!(sent.expect(CONNECTED), MESSAGE.len());
}

fn futures_echo(rounds: u64) -> Duration {
    const POLLED: &str = "a socket is taken by epoll";
    let (one, other) = connection();
    let one = AsyncFd::new(one).expect(POLLED);
    let other = AsyncFd::new(other).expect(POLLED);
    let echo = spawn(move || {
        block_on(async {
            for _ in 0..rounds {
                receive(&other).await;
                send(&other).await;
            }
        });
    });
    let start = Instant::now();
    block_on(async {
        for _ in 0..rounds {
            send(&one).await;
            receive(&one).await;
        }
    });
    let elapsed = start.elapsed();
    echo.join().expect("the echo ends with its rounds");
    elapsed
}

/// Something that one gives and another one awaits.
#[derive(Default)]
struct Turn {
    is_there: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

const UNPOISONED: &str = "nobody panics with the lock";

impl Turn {
    fn give(&self) {
        self.is_there.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().expect(UNPOISONED).take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn wait(&self) {
        block_on(poll_fn(|context| {
            *self.waker.lock().expect(UNPOISONED) = Some(context.waker().clone());
            if self.is_there.swap(false, Ordering::SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    }
}

fn handover_by_wakers(waits: u64) -> Duration {
    let turns = Arc::new([Turn::default(), Turn::default()]);
    let rounds = waits.div_ceil(2);
    let other = {
        let turns = turns.clone();
        spawn(move || {
            for _ in 0..rounds {
                turns[0].wait();
                turns[1].give();
            }
        })
    };
    let start = Instant::now();
    for _ in 0..rounds {
        turns[0].give();
        turns[1].wait();
    }
    let elapsed = start.elapsed();
    other.join().expect("it ends with its rounds");
    elapsed
}

fn handover_by_park(waits: u64) -> Duration {
    let rounds = waits.div_ceil(2);
    let first = thread::current();
    let other = spawn(move || {
        for _ in 0..rounds {
            thread::park();
            first.unpark();
        }
    });
    let second = other.thread();
    let start = Instant::now();
    for _ in 0..rounds {
        second.unpark();
        thread::park();
    }
    let elapsed = start.elapsed();
    other.join().expect("it ends with its rounds");
    elapsed
}

/// Calls `act` so many times while others sleep.
fn beside_sleepers(count: u64, mut act: impl FnMut(&mut Context<'_>)) -> Duration {
    let mut context = Context::from_waker(Waker::noop());
    let mut others: Vec<_> = (0..OTHERS as u64)
        .map(|n| Box::pin(sleep(Duration::from_millis(60_000 + 7 * n))))
        .collect();
    for other in &mut others {
        assert!(other.as_mut().poll(&mut context).is_pending());
    }
    let start = Instant::now();
    (0..count).for_each(|_| act(&mut context));
    start.elapsed()
}

fn futures(criterion: &mut Criterion) {
    const LONG: Duration = Duration::from_secs(60);
    let runtime = patched_runtime(1);
    let mut group = criterion.benchmark_group("futures");
    let mut bench = |name: &str, work: fn(u64) -> Duration| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| runtime.run(move || work(count)));
        });
    };
    bench("echo/net", blocking_echo);
    bench("echo/AsyncFd", futures_echo);
    bench("handover/park", handover_by_park);
    bench("handover/block_on", handover_by_wakers);
    bench("sleep/made and dropped", |count| {
        beside_sleepers(count, |context| {
            assert!(pin!(sleep(LONG)).poll(context).is_pending());
        })
    });
    bench("sleep/put off", |count| {
        let mut kept = Box::pin(sleep(LONG));
        beside_sleepers(count, move |context| {
            kept.as_mut().reset_after(LONG);
            assert!(kept.as_mut().poll(context).is_pending());
        })
    });
    group.finish();
}

criterion_group!(benches, futures);
criterion_main!(benches);
