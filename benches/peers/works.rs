//! The works, written once for every peer whose tasks block.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::blocking::Types;
use crate::peer::Calls;

/// Tasks that contend for a mutex.
pub(crate) const RIVALS: u64 = 8;

/// The time from the first start to the last end.
pub(crate) fn span(times: &[(Instant, Instant)]) -> Duration {
    let started = times.iter().map(|(started, _)| *started).min();
    let ended = times.iter().map(|(_, ended)| *ended).max();
    ended
        .zip(started)
        .map_or(Duration::ZERO, |(ended, started)| ended - started)
}

/// `count` shared out among `tasks`, and the factor by which the sum is larger than `count`.
pub(crate) fn share(count: u64, tasks: u64) -> (u64, f64) {
    let each = count.div_ceil(tasks);
    (each, (each * tasks) as f64 / count as f64)
}

pub(crate) fn yield_in_turns<T: Types>(tasks: u64, count: u64) -> Duration {
    let (each, surplus) = share(count, tasks);
    let ring: Vec<_> = (0..tasks)
        .map(|_| {
            T::spawn(move || {
                // All have started when the clock does.
                T::yield_now();
                let started = Instant::now();
                for _ in 0..each {
                    T::yield_now();
                }
                (started, Instant::now())
            })
        })
        .collect();
    let times: Vec<_> = ring.into_iter().map(T::join).collect();
    span(&times).div_f64(surplus)
}

pub(crate) fn spawn_one_by_one<T: Types>(count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        T::join(T::spawn(|| {}));
    }
    started.elapsed()
}

pub(crate) fn spawn_in_batches<T: Types>(batch: u64, count: u64) -> Duration {
    let (batches, surplus) = share(count, batch);
    let started = Instant::now();
    for _ in 0..batches {
        let tasks: Vec<_> = (0..batch).map(|_| T::spawn(|| {})).collect();
        tasks.into_iter().for_each(T::join);
    }
    started.elapsed().div_f64(surplus)
}

/// Sends `count` numbers and waits for each to come back.
pub(crate) fn ping<T: Types>(to: &T::Sender, from: &T::Receiver, count: u64) -> Duration {
    let round_trip = |number| {
        T::send(to, number);
        assert_eq!(T::receive(from), Some(number));
    };
    // The other side has started when the clock does.
    round_trip(0);
    let started = Instant::now();
    (1..=count).for_each(round_trip);
    started.elapsed()
}

/// Sends back all numbers that come, until the other side has gone.
pub(crate) fn pong<T: Types>(to: &T::Sender, from: &T::Receiver) {
    while let Some(number) = T::receive(from) {
        T::send(to, number);
    }
}

pub(crate) const MESSAGE: usize = 64;

/// The two ends of a connection over loopback.
pub(crate) fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// So many of them.
pub(crate) fn connections(count: usize) -> io::Result<Vec<(TcpStream, TcpStream)>> {
    // Two descriptors each may be more than is allowed at first.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    (0..count).map(|_| connection()).collect()
}

/// One message, there and here at once: what is sent over loopback has arrived when the call returns.
fn service(near: &mut impl Write, far: &mut impl Read) {
    let mut message = [0; MESSAGE];
    near.write_all(&message).expect("there is room");
    far.read_exact(&mut message).expect("it has arrived");
}

/// The same by calls that do not wait. Says whether the message has arrived.
fn service_at_once(near: &TcpStream, far: &TcpStream, flags: i32) -> bool {
    let mut message = [0; MESSAGE];
    // SAFETY: the message is as long as is said.
    unsafe {
        let sent = libc::send(near.as_raw_fd(), message.as_ptr().cast(), MESSAGE, flags);
        let received = libc::recv(far.as_raw_fd(), message.as_mut_ptr().cast(), MESSAGE, flags);
        sent > 0 && received > 0
    }
}

pub(crate) fn serve_all<T: Types>(
    connections: Vec<(TcpStream, TcpStream)>,
    duration: Duration,
    calls: Calls,
) -> Vec<u64> {
    let end = Instant::now() + duration;
    let serve = move |(near, far): (TcpStream, TcpStream)| {
        let mut count = 0;
        match calls {
            Calls::Waiting => {
                let (mut near, mut far) = (T::stream(near), T::stream(far));
                while Instant::now() < end {
                    service(&mut near, &mut far);
                    count += 1;
                }
            }
            Calls::DontWait => {
                while Instant::now() < end {
                    count += u64::from(service_at_once(&near, &far, libc::MSG_DONTWAIT));
                }
            }
            Calls::NonBlocking => {
                for stream in [&near, &far] {
                    stream.set_nonblocking(true).expect("it is a socket");
                }
                while Instant::now() < end {
                    count += u64::from(service_at_once(&near, &far, 0));
                }
            }
        }
        count
    };
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| T::spawn(move || serve(connection)))
        .collect();
    tasks.into_iter().map(T::join).collect()
}

pub(crate) fn echo<T: Types>(near: TcpStream, far: TcpStream, count: u64) -> Duration {
    let echo = T::spawn(move || {
        let mut far = T::stream(far);
        let mut message = [0; MESSAGE];
        while far.read_exact(&mut message).is_ok() {
            far.write_all(&message).expect("the other side reads");
        }
    });
    let mut near = T::stream(near);
    let mut round_trip = |number: u64| {
        let message = [number as u8; MESSAGE];
        near.write_all(&message).expect("the other side reads");
        let mut answer = [0; MESSAGE];
        near.read_exact(&mut answer)
            .expect("the other side answers");
        assert_eq!(answer, message);
    };
    // The other side has started when the clock does.
    round_trip(0);
    let started = Instant::now();
    (1..=count).for_each(&mut round_trip);
    let elapsed = started.elapsed();
    drop(near);
    T::join(echo);
    elapsed
}

pub(crate) fn increment<T: Types>(count: u64, over_yield: bool) -> Duration {
    let (each, surplus) = share(count, RIVALS);
    let number = Arc::new(T::mutex());
    let rivals: Vec<_> = (0..RIVALS)
        .map(|_| {
            let number = Arc::clone(&number);
            T::spawn(move || {
                T::yield_now();
                let started = Instant::now();
                for _ in 0..each {
                    T::lock(&number, |number| {
                        *number += 1;
                        if over_yield {
                            T::yield_now();
                        }
                    });
                }
                (started, Instant::now())
            })
        })
        .collect();
    let times: Vec<_> = rivals.into_iter().map(T::join).collect();
    T::lock(&number, |number| assert_eq!(*number, each * RIVALS));
    span(&times).div_f64(surplus)
}

pub(crate) fn sleep<T: Types>(count: u64, duration: Duration) -> Duration {
    let started = Instant::now();
    let sleepers: Vec<_> = (0..count)
        .map(|_| T::spawn(move || T::sleep(duration)))
        .collect();
    sleepers.into_iter().for_each(T::join);
    started.elapsed()
}
