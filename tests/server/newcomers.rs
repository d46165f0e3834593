//! How long newcomers wait beside thousands of busy connections. It measures, so it is for a machine with nothing else to do:
//! `cargo test --release -p greenpatch-server --test newcomers -- --ignored --nocapture --test-threads 1`.
//!
//! Whether a connection is accepted is not seen from outside, only when its first answer comes, which takes one more turn of
//! everybody. So the time of a newcomer's first answer is compared with that of an answer on a connection that is open already.
//! That newcomers do not wait for everybody's turn is tested without a clock where the turns are given (`executor/queue.rs`).
//!
//! Server and clients on a core each (a kernel 6.18), with newcomers accepted in order of arrival and as they are now: 300 beside 4,000
//! had their first answer after 216 to 747 ms and after 105 to 152 ms, where any other took 92 to 172 ms. On the ramp to 9,000 the first
//! answer took 136 ms, and any other 228 ms.

mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;

use server::Server;

/// What accepting may add to the time of an answer.
const MOST: Duration = Duration::from_millis(100);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
#[ignore = "measures time"]
fn three_hundred_are_accepted_at_once_beside_four_thousand_that_are_busy() {
    measure(4000, 300, Duration::from_millis(10));
}

/// Each newcomer stays, and is busy itself.
#[test]
#[ignore = "measures time"]
fn nine_thousand_come_one_after_the_other() {
    measure(100, 8900, Duration::from_millis(1));
}

/// One newcomer after the other comes, at this distance, and is busy from then on.
#[allow(clippy::print_stdout, reason = "the figures are of interest")]
fn measure(busy: usize, newcomers: usize, distance: Duration) {
    let server = Server::start(&[
        "-k",
        "green",
        "--app",
        "plain",
        "--keep-alive",
        "600",
        "--timeout",
        "0",
        "--worker-connections",
        "10000",
    ]);
    let address = server.address();
    let clients = runtime::Builder::new_current_thread().enable_all().build();
    let (firsts, others) = clients.expect("a runtime").block_on(async {
        let (firsts, others) = (Times::default(), Times::default());
        for _ in 0..busy {
            tokio::spawn(keep_asking(connect(address).await, others.clone()));
        }
        // Everybody has been answered several times.
        tokio::time::sleep(Duration::from_secs(2)).await;
        others.take();
        let mut coming = tokio::time::interval(distance);
        let mut came = Vec::new();
        for _ in 0..newcomers {
            coming.tick().await;
            let (firsts, others) = (firsts.clone(), others.clone());
            came.push(tokio::spawn(async move {
                let began = Instant::now();
                let mut stream = connect(address).await;
                ask(&mut stream).await;
                firsts.note(began.elapsed());
                tokio::spawn(keep_asking(stream, others));
            }));
        }
        for newcomer in came {
            newcomer.await.expect("it is answered");
        }
        (firsts.take(), others.take())
    });
    assert_eq!(firsts.len(), newcomers);
    let (first, other) = (median(firsts), median(others));
    println!(
        "{newcomers} newcomers beside {busy}: the first answer after {first:?}, any other after {other:?}"
    );
    assert!(first < other + MOST, "{first:?}, and {other:?} for others");
}

/// How long answers took.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<Duration>>>);

impl Times {
    fn note(&self, time: Duration) {
        self.0.lock().expect("nobody panics").push(time);
    }

    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

async fn keep_asking(mut stream: TcpStream, times: Times) {
    loop {
        let began = Instant::now();
        ask(&mut stream).await;
        times.note(began.elapsed());
    }
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(REQUEST).await.expect("it takes a request");
    let mut received = Vec::with_capacity(512);
    // The application answers with a short line.
    while !received.ends_with(b"Hello, World!\n") {
        let count = stream.read_buf(&mut received).await.expect("it answers");
        assert!(count > 0, "the connection ended");
    }
}
