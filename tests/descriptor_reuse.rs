//! Descriptors that are opened, waited for, closed and opened again, a great many times: no wake-up is lost, and none
//! reaches a reader whom it does not concern.
//!
//! Each driver opens a pair of sockets, hands one end to its reader, who waits on it, and ends the wait in one of several
//! ways. The kernel gives out the lowest free number, so the drivers, who all do this at once, use each other's numbers all
//! the time; each message is sent once, so a reader that is woken by another's sees it.
//!
//! A number that is closed before its reader has come to wait may mean another socket by then, on green threads as on any.
//! So a number is closed under a reader only with one worker, where a reader that has said that it is about to wait does wait.
//! With more, the number is made to mean a socket at its end, by `dup2`, which closes what it meant before. Numbers are handed out to all threads,
//! so all of this is one test with the process to itself.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use greenpatch::block_on;
use greenpatch::future::AsyncFd;
use harness::{Watchdog, patched_runtime};

const DRIVERS: usize = 16;

/// In all, for each number of workers: a million with the two of them.
const ROUNDS: usize = if cfg!(debug_assertions) {
    30_000
} else {
    500_000
};

/// What a wait for eight bytes gives.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Message(u64),
    End,
    Closed,
}

fn receive(descriptor: RawFd) -> Outcome {
    let mut message = [0; 8];
    // SAFETY: the buffer has room for as many bytes as are asked for.
    match unsafe { libc::read(descriptor, message.as_mut_ptr().cast(), message.len()) } {
        8 => Outcome::Message(u64::from_ne_bytes(message)),
        0 => Outcome::End,
        _ => match io::Error::last_os_error().raw_os_error() {
            Some(libc::EBADF) => Outcome::Closed,
            other => panic!("read fails with {other:?}"),
        },
    }
}

/// As [`receive`], by a future.
fn await_message(descriptor: RawFd) -> Outcome {
    let mut message = [0; 8];
    // SAFETY: it may be closed meanwhile, and is then no longer used: that is what is tested.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let read = AsyncFd::new(borrowed).and_then(|fd| block_on(fd.read(&mut message)));
    match read {
        Ok(8) => Outcome::Message(u64::from_ne_bytes(message)),
        Ok(0) => Outcome::End,
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Outcome::Closed,
        other => panic!("read gives {other:?}"),
    }
}

/// A thread that waits on whatever descriptor it is told, in a blocking call and by a future in turns.
struct Reader {
    tell: Sender<RawFd>,
    told: Receiver<Outcome>,
    /// How often it has been about to wait.
    turns: Arc<AtomicU64>,
}

impl Reader {
    fn start() -> Reader {
        let (tell, asked) = mpsc::channel();
        let (answer, told) = mpsc::channel();
        let turns = Arc::new(AtomicU64::new(0));
        let begun = turns.clone();
        thread::spawn(move || {
            for descriptor in asked {
                let turn = begun.fetch_add(1, Ordering::Relaxed);
                let outcome = if turn.is_multiple_of(2) {
                    receive(descriptor)
                } else {
                    await_message(descriptor)
                };
                if answer.send(outcome).is_err() {
                    return;
                }
            }
        });
        Reader { tell, told, turns }
    }

    fn wait_on(&self, descriptor: RawFd) {
        self.tell.send(descriptor).expect("the reader lives");
    }

    fn until_it_waits(&self, turn: u64) {
        while self.turns.load(Ordering::Relaxed) < turn {
            thread::yield_now();
        }
    }

    fn outcome(&self) -> Outcome {
        self.told.recv().expect("the reader lives")
    }
}

/// `number` is not given to anybody else.
fn drive(number: u64, workers: usize) {
    let reader = Reader::start();
    let mut rng = Rng::with_seed(number);
    // A socket at its end.
    let (ended, peer) = UnixStream::pair().expect("there are descriptors left");
    drop(peer);
    for turn in 1..=(ROUNDS / DRIVERS) as u64 {
        let (near, far) = UnixStream::pair().expect("there are descriptors left");
        reader.wait_on(near.as_raw_fd());
        if rng.bool() {
            thread::yield_now();
        }
        match rng.u8(0..4) {
            0 => {
                let message = turn * DRIVERS as u64 + number;
                (&far)
                    .write_all(&message.to_ne_bytes())
                    .expect("there is room");
                assert_eq!(reader.outcome(), Outcome::Message(message));
            }
            1 => {
                drop(far);
                assert_eq!(reader.outcome(), Outcome::End);
            }
            2 => {
                // One that waits is told; one that comes later finds the socket at its end.
                let waits = workers == 1 && rng.bool();
                if waits {
                    reader.until_it_waits(turn);
                }
                let descriptor = near.into_raw_fd();
                // SAFETY: the number is ours.
                let same = unsafe { libc::dup2(ended.as_raw_fd(), descriptor) };
                assert_eq!(same, descriptor);
                let outcome = reader.outcome();
                assert!(
                    outcome == Outcome::Closed || outcome == Outcome::End && !waits,
                    "{outcome:?}"
                );
                // SAFETY: as above; the reader is done with it.
                drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
            _ if workers == 1 => {
                reader.until_it_waits(turn);
                drop(near);
                assert_eq!(reader.outcome(), Outcome::Closed);
            }
            _ => {
                far.shutdown(std::net::Shutdown::Write)
                    .expect("it is connected");
                assert_eq!(reader.outcome(), Outcome::End);
            }
        }
    }
}

#[test]
fn a_million_descriptors_wake_their_own_readers() {
    for workers in [1, 2] {
        let _watchdog = Watchdog::with_limit(Duration::from_secs(300));
        patched_runtime(workers).run(move || {
            let drivers: Vec<_> = (0..DRIVERS as u64)
                .map(|number| thread::spawn(move || drive(number, workers)))
                .collect();
            for driver in drivers {
                driver.join().expect("the driver did not panic");
            }
        });
    }
}
