//! Tokio: the same works as those of `works.rs`, of `async` tasks.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use crate::peer::{Calls, Peer, Setup};
use crate::works::{MESSAGE, RIVALS, connection, connections, share, span};

const BATCH: u64 = 10_000;

/// A peer.
pub(crate) struct Tokio {
    runtime: Runtime,
    other_runtime: Option<Runtime>,
}

impl Tokio {
    pub(crate) fn start_current_thread(setup: Setup) -> Option<Box<dyn Peer>> {
        (setup.workers == 1).then(|| Tokio::start(setup, Builder::new_current_thread))
    }

    pub(crate) fn start_multi_thread(setup: Setup) -> Option<Box<dyn Peer>> {
        Some(Tokio::start(setup, Builder::new_multi_thread))
    }

    fn start(setup: Setup, builder: fn() -> Builder) -> Box<dyn Peer> {
        let build = || {
            builder()
                .worker_threads(setup.workers)
                .enable_all()
                .build()
                .expect("this machine can run Tokio")
        };
        Box::new(Tokio {
            runtime: build(),
            other_runtime: (setup.runtimes > 1).then(build),
        })
    }
}

/// Runs `main` as a task, where all tasks run, and waits for its end.
fn run<R: Send + 'static>(runtime: &Runtime, main: impl Future<Output = R> + Send + 'static) -> R {
    runtime
        .block_on(runtime.spawn(main))
        .expect("a work does not panic")
}

fn stream(stream: std::net::TcpStream) -> TcpStream {
    stream.set_nonblocking(true).expect("it is a socket");
    TcpStream::from_std(stream).expect("Tokio takes any stream")
}

async fn join_all<R>(tasks: Vec<tokio::task::JoinHandle<R>>) -> Vec<R> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a task does not panic"));
    }
    results
}

async fn ping(to: UnboundedSender<u64>, mut from: UnboundedReceiver<u64>, count: u64) -> Duration {
    let mut started = Instant::now();
    for number in 0..=count {
        to.send(number).expect("the receiver is there");
        assert_eq!(from.recv().await, Some(number));
        if number == 0 {
            // The other side has started when the clock does.
            started = Instant::now();
        }
    }
    started.elapsed()
}

async fn pong(to: UnboundedSender<u64>, mut from: UnboundedReceiver<u64>) {
    while let Some(number) = from.recv().await {
        to.send(number).expect("the receiver is there");
    }
}

impl Peer for Tokio {
    fn yield_in_turns(&self, tasks: u64, count: u64) -> Duration {
        let (each, surplus) = share(count, tasks);
        run(&self.runtime, async move {
            let ring = (0..tasks).map(|_| {
                tokio::spawn(async move {
                    yield_now().await;
                    let started = Instant::now();
                    for _ in 0..each {
                        yield_now().await;
                    }
                    (started, Instant::now())
                })
            });
            span(&join_all(ring.collect()).await).div_f64(surplus)
        })
    }

    fn spawn_one_by_one(&self, count: u64) -> Duration {
        run(&self.runtime, async move {
            let started = Instant::now();
            for _ in 0..count {
                tokio::spawn(async {}).await.expect("a task does not panic");
            }
            started.elapsed()
        })
    }

    fn spawn_in_batches(&self, count: u64) -> Duration {
        let (batches, surplus) = share(count, BATCH);
        run(&self.runtime, async move {
            let started = Instant::now();
            for _ in 0..batches {
                let tasks = (0..BATCH).map(|_| tokio::spawn(async {}));
                join_all(tasks.collect()).await;
            }
            started.elapsed().div_f64(surplus)
        })
    }

    fn ping_pong(&self, count: u64) -> Duration {
        let (to_pong, from_ping) = unbounded_channel();
        let (to_ping, from_pong) = unbounded_channel();
        let (ping, pong) = (ping(to_pong, from_pong, count), pong(to_ping, from_ping));
        match &self.other_runtime {
            None => run(&self.runtime, async move {
                let pong = tokio::spawn(pong);
                let elapsed = ping.await;
                pong.await.expect("a task does not panic");
                elapsed
            }),
            Some(other) => thread::scope(|scope| {
                scope.spawn(|| run(other, pong));
                run(&self.runtime, ping)
            }),
        }
    }

    fn echo(&self, count: u64) -> Duration {
        let (near, far) = connection().expect("loopback is there");
        run(&self.runtime, async move {
            let echo = tokio::spawn(async move {
                let mut far = stream(far);
                let mut message = [0; MESSAGE];
                while far.read_exact(&mut message).await.is_ok() {
                    far.write_all(&message).await.expect("the other side reads");
                }
            });
            let mut near = stream(near);
            let mut started = Instant::now();
            for number in 0..=count {
                let message = [number as u8; MESSAGE];
                near.write_all(&message)
                    .await
                    .expect("the other side reads");
                let mut answer = [0; MESSAGE];
                near.read_exact(&mut answer)
                    .await
                    .expect("the other side answers");
                assert_eq!(answer, message);
                if number == 0 {
                    // The other side has started when the clock does.
                    started = Instant::now();
                }
            }
            let elapsed = started.elapsed();
            drop(near);
            echo.await.expect("a task does not panic");
            elapsed
        })
    }

    fn increment(&self, count: u64, over_yield: bool) -> Duration {
        let (each, surplus) = share(count, RIVALS);
        run(&self.runtime, async move {
            let number = Arc::new(Mutex::new(0));
            let rivals = (0..RIVALS).map(|_| {
                let number = Arc::clone(&number);
                tokio::spawn(async move {
                    yield_now().await;
                    let started = Instant::now();
                    for _ in 0..each {
                        let mut number = number.lock().await;
                        *number += 1;
                        if over_yield {
                            yield_now().await;
                        }
                    }
                    (started, Instant::now())
                })
            });
            let times = join_all(rivals.collect()).await;
            assert_eq!(*number.lock().await, each * RIVALS);
            span(&times).div_f64(surplus)
        })
    }

    fn sleep(&self, count: u64, duration: Duration) -> Duration {
        run(&self.runtime, async move {
            let started = Instant::now();
            let sleepers = (0..count).map(|_| tokio::spawn(tokio::time::sleep(duration)));
            join_all(sleepers.collect()).await;
            started.elapsed()
        })
    }

    fn share(&self, tasks: usize, duration: Duration, calls: Calls) -> Option<Vec<u64>> {
        if !matches!(calls, Calls::Waiting) {
            return None;
        }
        let connections = connections(tasks).expect("loopback is there");
        Some(run(&self.runtime, async move {
            let end = Instant::now() + duration;
            let tasks = connections.into_iter().map(|(near, far)| {
                tokio::spawn(async move {
                    let (mut near, mut far) = (stream(near), stream(far));
                    let mut message = [0; MESSAGE];
                    let mut count = 0;
                    while Instant::now() < end {
                        near.write_all(&message).await.expect("there is room");
                        far.read_exact(&mut message).await.expect("it has arrived");
                        count += 1;
                    }
                    count
                })
            });
            join_all(tasks.collect()).await
        }))
    }
}
