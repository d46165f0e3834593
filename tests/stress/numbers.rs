//! Numbers of descriptors that mean something else while a call that was given the number is under way.
//!
//! A thread that is about to make a call may find the new meaning, on threads of any kind: that is a fault of the program. So
//! the number changes its meaning only after the call has begun for certain: a dump shows that it waits, or bytes that it has
//! moved have arrived. From then on it may move the bytes of the stream that it began with, or fail with `EBADF`, and nothing else.

use std::ffi::c_int;
use std::hint;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use greenpatch::dump::{GreenThread, State};
use greenpatch::{DumpOptions, JoinHandle, WaitReason, dump, spawn, yield_now};

use crate::work::{World, micros};

/// Gives an outcome of a system call.
fn outcome(value: isize) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}

fn receive(fd: RawFd, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: a buffer of that length.
    outcome(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: bytes of that length.
    outcome(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: a buffer of that length.
    outcome(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

fn is_closed<T>(outcome: &io::Result<T>) -> bool {
    matches!(outcome, Err(error) if error.raw_os_error() == Some(libc::EBADF))
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("there are descriptors left")
}

/// A listener, and where.
fn listener() -> (UnixListener, SocketAddr) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenpatch-stress-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("the name is short");
    let listener = UnixListener::bind_addr(&address).expect("the name is new");
    (listener, address)
}

/// Returns when a dump shows that the thread waits for the descriptor; or when it has ended, which the caller will see.
fn until_it_waits<T>(thread: &JoinHandle<T>, fd: RawFd) {
    let waits = |state: &State| match state {
        State::Parked(wait) => {
            matches!(wait.reason, WaitReason::Read(number) | WaitReason::Write(number) if number == fd)
        }
        _ => false,
    };
    while !thread.is_finished() {
        let dump = dump(DumpOptions::new()).expect("a green thread calls");
        let is_so = |green: &GreenThread| green.id == thread.id() && waits(&green.state);
        if dump.green_threads.iter().any(is_so) {
            return;
        }
        // A dump asks the kernel about every stack, so it takes long among many threads.
        thread::sleep(Duration::from_millis(2));
    }
}

/// Passes some time, without giving way: others hear of what has arrived, and have not come to it yet.
fn compute(random: &mut Rng) {
    for _ in 0..random.u32(0..20_000) {
        hint::spin_loop();
    }
}

/// Has the number stand for `other` from now on, or at least no longer for what it stood for. The second of the two ways does
/// it in two steps, so others may get the number in between.
fn change(number: OwnedFd, other: &impl AsRawFd, in_one_step: bool) -> OwnedFd {
    let (number, other) = (number.into_raw_fd(), other.as_raw_fd());
    // SAFETY: the number is ours, and so is what is made for it.
    unsafe {
        let new = if in_one_step {
            libc::dup2(other, number)
        } else {
            assert_eq!(libc::close(number), 0);
            libc::fcntl(other, libc::F_DUPFD_CLOEXEC, number)
        };
        assert!(new >= 0, "there are descriptors left");
        OwnedFd::from_raw_fd(new)
    }
}

/// All that arrives until the other side is closed.
fn to_the_end(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .expect("the other side closes");
    bytes
}

/// A connection for another listener is not accepted by who waited for the one that had the number before, even if there was
/// a connection for that, too.
pub(crate) fn accepts_as_the_number_changes(_: &Arc<World>, random: &mut Rng) {
    let ((old, old_address), (new, address)) = (listener(), listener());
    let (number, owner, other) = (OwnedFd::from(old), random.u64(..), random.u64(..));
    let fd = number.as_raw_fd();
    let acceptor = spawn(move || {
        // SAFETY: no address is asked for; what is accepted is ours.
        unsafe {
            let fd = libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut());
            outcome(fd as isize).map(|_| UnixStream::from_raw_fd(fd))
        }
    });
    until_it_waits(&acceptor, fd);
    let connect = |address, owner: u64| {
        let mut client = UnixStream::connect_addr(address).expect("it listens");
        let message = owner.to_ne_bytes();
        client.write_all(&message).expect("there is room");
        client
    };
    let old_client = random.bool().then(|| connect(&old_address, owner));
    compute(random);
    let number = change(number, &new, random.bool());
    let client = connect(&address, other);
    let outcome = acceptor.join().expect("an accept does not panic");
    match &outcome {
        Ok(stream) if old_client.is_some() => assert_eq!(message_of(stream), owner),
        _ => assert!(is_closed(&outcome), "an accept gives {outcome:?}"),
    }
    let (server, _) = new.accept().expect("there is a connection");
    assert_eq!(message_of(&server), other);
    drop((number, client));
}

fn message_of(mut stream: &UnixStream) -> u64 {
    let mut message = [0; 8];
    stream.read_exact(&mut message).expect("it was written");
    u64::from_ne_bytes(message)
}

/// A stranger's bytes are not received by who waited for others. Some had a part of what they waited for.
pub(crate) fn receives_as_the_number_changes(_: &Arc<World>, random: &mut Rng) {
    let ((near, mut far), (stranger, mut peer)) = (pair(), pair());
    let (owner, other) = (random.u64(..), random.u64(..));
    let (has_part, is_woken) = (random.bool(), random.bool());
    let number = OwnedFd::from(near);
    let fd = number.as_raw_fd();
    let receiver = spawn(move || {
        let mut buffer = [0; 16];
        let flags = if has_part { libc::MSG_WAITALL } else { 0 };
        receive(fd, &mut buffer, flags).map(|count| buffer[..count].to_vec())
    });
    if has_part {
        far.write_all(&owner.to_ne_bytes()).expect("there is room");
    }
    until_it_waits(&receiver, fd);
    if is_woken {
        far.write_all(&owner.to_ne_bytes()).expect("there is room");
        compute(random);
    }
    let is_first = random.bool();
    if is_first {
        peer.write_all(&other.to_ne_bytes()).expect("there is room");
    }
    let number = change(number, &stranger, random.bool());
    if !is_first {
        peer.write_all(&other.to_ne_bytes()).expect("there is room");
    }
    let outcome = receiver.join().expect("a recv does not panic");
    match &outcome {
        Ok(bytes) if has_part || is_woken => {
            let mut own = bytes.chunks(8);
            assert!(
                own.all(|message| message == owner.to_ne_bytes()),
                "a recv gives {bytes:x?}, of {owner:x} and not {other:x}"
            );
        }
        _ => assert!(is_closed(&outcome), "a recv gives {outcome:x?}"),
    }
    let mut message = [0; 8];
    let count = receive(stranger.as_raw_fd(), &mut message, libc::MSG_DONTWAIT);
    assert_eq!(count.expect("a message is there"), 8);
    assert_eq!(u64::from_ne_bytes(message), other);
    drop(number);
}

/// More than a socket has room for.
const MUCH: usize = 2 << 20;

/// The rest of what is sent does not go to a stranger, whether the sender waits for room or goes on as it is made.
pub(crate) fn sends_as_the_number_changes(_: &Arc<World>, random: &mut Rng) {
    let ((near, far), (stranger, peer)) = (pair(), pair());
    let owner = random.u8(1..);
    let number = OwnedFd::from(near);
    let fd = number.as_raw_fd();
    let sender = spawn(move || send(fd, &vec![owner; MUCH]));
    let first_part = if random.bool() {
        until_it_waits(&sender, fd);
        0
    } else {
        // As soon as there is something, the call has begun.
        let mut byte = [0];
        (&far).read_exact(&mut byte).expect("something is sent");
        assert_eq!(byte, [owner]);
        1
    };
    let drained = spawn(move || to_the_end(&far));
    let strayed = spawn(move || to_the_end(&peer));
    thread::sleep(micros(random, 100));
    let number = change(number, &stranger, random.bool());
    let outcome = sender.join().expect("a send does not panic");
    drop((number, stranger));
    let rest = drained.join().expect("a read does not panic");
    assert!(rest.iter().all(|byte| *byte == owner));
    let arrived = first_part + rest.len();
    match &outcome {
        Ok(count) => assert_eq!(*count, arrived, "as much has arrived as was sent"),
        Err(_) => assert!(is_closed(&outcome), "a send gives {outcome:?}"),
    }
    let strayed = strayed.join().expect("a read does not panic").len();
    assert_eq!(strayed, 0, "bytes have gone to another stream");
}

/// The rest of what is received does not come from a stranger.
pub(crate) fn receives_much_as_the_number_changes(_: &Arc<World>, random: &mut Rng) {
    let ((near, far), (stranger, mut peer)) = (pair(), pair());
    let owner = random.u8(1..);
    peer.write_all(&[0; 8]).expect("there is room");
    peer.shutdown(Shutdown::Write).expect("it is connected");
    let number = OwnedFd::from(near);
    let fd = number.as_raw_fd();
    let receiver = spawn(move || {
        let mut buffer = vec![owner; 2 * MUCH];
        receive(fd, &mut buffer, libc::MSG_WAITALL).map(|count| {
            buffer.truncate(count);
            buffer
        })
    });
    // This does not fit without being received in part.
    (&far).write_all(&vec![owner; MUCH]).expect("it is read");
    let writer = spawn(move || (&far).write(&vec![owner; MUCH / 2]));
    thread::sleep(micros(random, 100));
    let number = change(number, &stranger, random.bool());
    let outcome = receiver.join().expect("a recv does not panic");
    match &outcome {
        Ok(bytes) => assert!(
            bytes.iter().all(|byte| *byte == owner),
            "the bytes of another stream have been received"
        ),
        Err(_) => assert!(is_closed(&outcome), "a recv gives {outcome:?}"),
    }
    // It may find that nobody reads any more.
    let _ = writer.join().expect("a write does not panic");
    drop(number);
    assert_eq!(to_the_end(&stranger), [0; 8], "a stranger's bytes are gone");
}

/// A number stands for sockets, pipes and devices in turn while another thread reads what it stands for, and finds it at its
/// end. The last one is not at its end, and the thread waits for it as befits it.
pub(crate) fn reads_what_a_number_stands_for(_: &Arc<World>, random: &mut Rng) {
    let (socket, _) = pair();
    let (pipe, _) = io::pipe().expect("there are descriptors left");
    let device = std::fs::File::open("/dev/null").expect("it is there");
    let mut number = OwnedFd::from(device.try_clone().expect("there are descriptors left"));
    let fd = number.as_raw_fd();
    let reader = spawn(move || {
        loop {
            let mut message = [0; 8];
            match read(fd, &mut message) {
                Ok(0) => {}
                Ok(8) => return u64::from_ne_bytes(message),
                outcome if is_closed(&outcome) => {}
                outcome => panic!("a read gives {outcome:?}"),
            }
            yield_now();
        }
    });
    for _ in 0..random.u8(1..30) {
        number = match random.u8(0..3) {
            0 => change(number, &socket, true),
            1 => change(number, &pipe, true),
            _ => change(number, &device, true),
        };
        if random.u8(0..4) == 0 {
            yield_now();
        }
    }
    let owner = random.u64(..);
    let (last, mut other): (OwnedFd, Box<dyn Write>) = if random.bool() {
        let (near, far) = pair();
        (near.into(), Box::new(far))
    } else {
        let (reader, writer) = io::pipe().expect("there are descriptors left");
        (reader.into(), Box::new(writer))
    };
    let number = change(number, &last, true);
    // The reader may have asked what the number stands for just before, and so wait in the kernel instead of here.
    (0..random.u8(0..4)).for_each(|_| yield_now());
    other
        .write_all(&owner.to_ne_bytes())
        .expect("there is room");
    let message = reader.join().expect("a read gives what it should");
    assert_eq!(message, owner);
    drop(number);
}
