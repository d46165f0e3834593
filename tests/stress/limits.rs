//! Waits that time-outs and cancellations cut short, at the moment at which what was waited for arrives: it is received, or it is
//! still there.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use greenpatch::sync::{Queue, Semaphore, mpmc};
use greenpatch::time::timeout;
use greenpatch::{Interrupted, is_cancellation, spawn};

use crate::work::{LONG, World, micros};

/// One thread receives, with a time limit or until it is cancelled, while this one sends. Asserts that what is sent is
/// received, or else is what `left` finds.
fn is_received_once<T: Send + 'static>(
    random: &mut Rng,
    send: impl FnOnce(),
    receive: impl FnOnce() -> Option<T> + Send + 'static,
    left: impl FnOnce() -> Option<T>,
    check: impl FnOnce(T),
) {
    let limit = random.bool().then(|| micros(random, 200));
    let receiver = spawn(move || match limit {
        None => receive(),
        Some(limit) => timeout(limit, receive).unwrap_or_else(|late| late.into_inner()),
    });
    let mut pause = || thread::sleep(micros(random, 100));
    pause();
    if random.bool() {
        send();
        receiver.cancel();
    } else {
        receiver.cancel();
        send();
    }
    let received = match receiver.join() {
        Ok(received) => received,
        // Cancelled before it began, or an assertion of its own.
        Err(payload) if payload.is::<Interrupted>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    };
    match (received, left()) {
        (Some(value), None) | (None, Some(value)) => check(value),
        (None, None) => panic!("what was sent is lost"),
        (Some(_), Some(_)) => panic!("what was sent is there twice"),
    }
}

/// The outcome of a wait that may have been cut short.
fn unless_interrupted<T>(outcome: io::Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::TimedOut || is_cancellation(&error) => None,
        Err(error) => panic!("a wait fails with {error}"),
    }
}

/// What there is without waiting.
fn at_once<T>(outcome: io::Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("a look fails with {error}"),
    }
}

fn message_of(mut stream: impl Read) -> io::Result<u64> {
    let mut message = [0; 8];
    assert_eq!(stream.read(&mut message)?, 8, "a message comes whole");
    Ok(u64::from_ne_bytes(message))
}

fn set_nonblocking(pipe: &PipeReader) {
    // SAFETY: a plain call on a descriptor that is open.
    let status = unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(status, 0);
}

pub(crate) fn receives_or_not(_: &Arc<World>, random: &mut Rng) {
    let number = random.u64(..);
    let check = move |received| assert_eq!(received, number, "a stranger's message");
    match random.u8(0..6) {
        0 => {
            let (near, mut far) = UnixStream::pair().expect("there are descriptors left");
            let near = Arc::new(near);
            let theirs = near.clone();
            is_received_once(
                random,
                || far.write_all(&number.to_ne_bytes()).expect("there is room"),
                move || unless_interrupted(message_of(&*theirs)),
                || {
                    near.set_nonblocking(true).expect("it is a socket");
                    at_once(message_of(&*near))
                },
                check,
            );
        }
        1 => {
            let (near, mut far) = io::pipe().expect("there are descriptors left");
            let near = Arc::new(near);
            let theirs = near.clone();
            is_received_once(
                random,
                || far.write_all(&number.to_ne_bytes()).expect("there is room"),
                move || unless_interrupted(message_of(&*theirs)),
                || {
                    set_nonblocking(&near);
                    at_once(message_of(&*near))
                },
                check,
            );
        }
        2 => accepts_or_not(random, number),
        3 => {
            let (sender, receiver) = mpmc::channel();
            let theirs = receiver.clone();
            is_received_once(
                random,
                || sender.send(number).expect("there is a receiver"),
                move || theirs.recv_timeout(LONG).ok(),
                || receiver.try_recv().ok(),
                check,
            );
        }
        4 => {
            let queue = Arc::new(Queue::unbounded());
            let theirs = queue.clone();
            is_received_once(
                random,
                || queue.put(number).expect("there is room"),
                move || theirs.get_timeout(LONG).ok(),
                || queue.try_get().ok(),
                check,
            );
        }
        _ => {
            let permits = Arc::new(Semaphore::new(0));
            let theirs = permits.clone();
            is_received_once(
                random,
                || permits.release(1),
                move || theirs.acquire_timeout(LONG).map(|permit| permit.forget()),
                || permits.try_acquire().map(|permit| permit.forget()),
                |()| {},
            );
        }
    }
}

fn accepts_or_not(random: &mut Rng, number: u64) {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenpatch-limits-{}-{name}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("the name is short");
    let listener = Arc::new(UnixListener::bind_addr(&address).expect("the name is new"));
    let theirs = listener.clone();
    let mut client = None;
    is_received_once(
        random,
        || {
            let mut stream = UnixStream::connect_addr(&address).expect("it listens");
            stream
                .write_all(&number.to_ne_bytes())
                .expect("there is room");
            client = Some(stream);
        },
        move || unless_interrupted(theirs.accept()),
        || {
            listener.set_nonblocking(true).expect("it is a socket");
            at_once(listener.accept())
        },
        |(stream, _)| {
            stream.set_nonblocking(false).expect("it is a socket");
            assert_eq!(message_of(&stream).expect("it was written"), number);
        },
    );
}
