//! The works, written once for every peer whose tasks block.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking::Types;

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
