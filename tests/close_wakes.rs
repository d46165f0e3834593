//! Closing a descriptor wakes the green threads that wait on it.
//!
//! On OS threads a close leaves a blocked reader asleep for ever; a green thread gets `EBADF`, or what a call that comes later
//! gets: `POLLNVAL` from poll. The descriptor's number is free from then on, and any other test could get it, so all of this
//! is one test with the process to itself.
//!
//! A descriptor that is closed while it is in an epoll set leaves the set, and wakes nobody who waits on that: this is so on
//! every thread.

use std::io::{self, Read, Write};
use std::mem::{self, ManuallyDrop};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use greenpatch::metrics;
use harness::Kind;

/// Does `wait` with the stream `descriptor` on a thread of its own, and returns its error number.
fn waiting(
    descriptor: RawFd,
    wait: fn(&TcpStream) -> io::Result<usize>,
) -> JoinHandle<Option<i32>> {
    thread::spawn(move || {
        // SAFETY: the caller closes the descriptor and opens no other before this thread has ended,
        // so the number stands for this stream or for none; it is not closed here.
        let stream = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(descriptor) });
        wait(&stream).unwrap_err().raw_os_error()
    })
}

fn close(descriptor: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    assert_eq!(unsafe { libc::close(descriptor) }, 0);
}

fn closing_wakes_readers_and_writers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_server, _) = listener.accept().unwrap();
    let descriptor = client.into_raw_fd();
    let readers = [(); 2].map(|()| waiting(descriptor, |mut stream| stream.read(&mut [0; 1])));
    let writer = waiting(descriptor, |mut stream| {
        loop {
            stream.write_all(&[0; 64 * 1024])?;
        }
    });
    // Long enough for all three to wait; one that comes later finds no descriptor, and gets the
    // same error.
    thread::sleep(Duration::from_millis(100));
    close(descriptor);
    for thread in readers.into_iter().chain([writer]) {
        assert_eq!(thread.join().unwrap(), Some(libc::EBADF));
    }
}

fn closing_wakes_an_acceptor() {
    let descriptor = TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd();
    let acceptor = thread::spawn(move || {
        // SAFETY: as in `waiting`.
        let listener = ManuallyDrop::new(unsafe { TcpListener::from_raw_fd(descriptor) });
        listener.accept().unwrap_err().raw_os_error()
    });
    thread::sleep(Duration::from_millis(100));
    close(descriptor);
    assert_eq!(acceptor.join().unwrap(), Some(libc::EBADF));
}

/// Does `wait` with `descriptor` on a thread of its own, closes it, and gives what the wait gave, with the error number if
/// that is -1.
fn closed_during(descriptor: RawFd, wait: fn(RawFd) -> isize) -> Result<isize, Option<i32>> {
    let waiter = thread::spawn(move || match wait(descriptor) {
        -1 => Err(io::Error::last_os_error().raw_os_error()),
        value => Ok(value),
    });
    thread::sleep(Duration::from_millis(100));
    close(descriptor);
    waiter.join().unwrap()
}

const CLOSED: Result<isize, Option<i32>> = Err(Some(libc::EBADF));

fn closing_tells_poll_that_there_is_no_such_descriptor() {
    let (near, _far) = UnixStream::pair().unwrap();
    let outcome = closed_during(near.into_raw_fd(), |fd| {
        let mut entry = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: an array of one.
        let count = unsafe { libc::poll(&mut entry, 1, -1) };
        assert_eq!(entry.revents, libc::POLLNVAL);
        count as isize
    });
    assert_eq!(outcome, Ok(1));
}

fn closing_ends_a_select() {
    let (near, _far) = UnixStream::pair().unwrap();
    let outcome = closed_during(near.into_raw_fd(), |fd| {
        // SAFETY: all zeros is the empty set, into which the few descriptors of this program fit.
        unsafe {
            let mut set = mem::zeroed();
            libc::FD_SET(fd, &mut set);
            libc::select(fd + 1, &mut set, null_mut(), null_mut(), null_mut()) as isize
        }
    });
    assert_eq!(outcome, CLOSED);
}

fn closing_ends_the_receipt_of_a_message() {
    let (near, _far) = UnixStream::pair().unwrap();
    let outcome = closed_during(near.into_raw_fd(), |fd| {
        // SAFETY: a message without name, buffers and control data.
        unsafe { libc::recvmsg(fd, &mut mem::zeroed(), 0) }
    });
    assert_eq!(outcome, CLOSED);
}

fn closing_ends_a_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(bound) = listener.local_addr().unwrap() else {
        panic!("an IPv4 address");
    };
    // With this queue full, the kernel passes over who wants to connect.
    // SAFETY: an open descriptor.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let stream = |mode| {
        // SAFETY: a new descriptor.
        unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | mode, 0)) }
    };
    let _waiting = [(); 4].map(|()| {
        let socket = stream(libc::SOCK_NONBLOCK);
        connect(socket.as_raw_fd(), bound);
        socket
    });
    static PORT: AtomicU16 = AtomicU16::new(0);
    PORT.store(bound.port(), Ordering::Relaxed);
    let outcome = closed_during(stream(0).into_raw_fd(), |fd| {
        let port = PORT.load(Ordering::Relaxed);
        connect(fd, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    });
    assert_eq!(outcome, CLOSED);
}

fn connect(fd: RawFd, address: SocketAddrV4) -> isize {
    // SAFETY: an address of the family that it says.
    unsafe {
        let mut name: libc::sockaddr_in = mem::zeroed();
        name.sin_family = libc::AF_INET as libc::sa_family_t;
        name.sin_port = address.port().to_be();
        name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
        let length = size_of_val(&name) as libc::socklen_t;
        libc::connect(fd, (&raw const name).cast(), length) as isize
    }
}

/// An epoll set that waits for these to be readable, and tells them by their places.
fn epoll_of(fds: &[RawFd]) -> OwnedFd {
    // SAFETY: a new descriptor, and valid events.
    unsafe {
        let set = OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC));
        for (place, fd) in fds.iter().enumerate() {
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: place as u64,
            };
            let added = libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, *fd, &mut event);
            assert_eq!(added, 0);
        }
        set
    }
}

/// The place of the descriptor that the set tells of; -1 if the wait fails.
fn epoll_wait(set: RawFd) -> isize {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    match unsafe { libc::epoll_wait(set, &mut event, 1, -1) } {
        1 => event.u64 as isize,
        count => count as isize,
    }
}

fn closing_ends_a_wait_for_an_epoll_set() {
    let (near, _far) = UnixStream::pair().unwrap();
    let set = epoll_of(&[near.as_raw_fd()]);
    assert_eq!(closed_during(set.into_raw_fd(), epoll_wait), CLOSED);
}

fn closing_takes_a_descriptor_out_of_its_epoll_set() {
    let (closed, mut its_peer) = UnixStream::pair().unwrap();
    let (other, mut other_peer) = UnixStream::pair().unwrap();
    let set = epoll_of(&[closed.as_raw_fd(), other.as_raw_fd()]);
    let waiter = thread::spawn(move || epoll_wait(set.as_raw_fd()));
    thread::sleep(Duration::from_millis(50));
    drop(closed);
    its_peer.write_all(b"x").unwrap_err();
    thread::sleep(Duration::from_millis(50));
    other_peer.write_all(b"x").unwrap();
    assert_eq!(waiter.join().unwrap(), 1);
}

/// Two threads close the same descriptors at the same time, in opposite order, while a reader waits on each. Nobody opens
/// one meanwhile.
fn racing_closes_wake_every_reader() {
    const STREAMS: usize = 32;
    const ROUNDS: usize = if cfg!(debug_assertions) { 20 } else { 200 };
    for _ in 0..ROUNDS {
        let (near, _far): (Vec<_>, Vec<_>) = (0..STREAMS)
            .map(|_| UnixStream::pair().unwrap())
            .map(|(near, far)| (near.into_raw_fd(), far))
            .unzip();
        let readers: Vec<_> = near
            .iter()
            .map(|descriptor| waiting(*descriptor, |mut stream| stream.read(&mut [0; 1])))
            .collect();
        while metrics().expect("a green thread").parked < STREAMS {
            thread::yield_now();
        }
        let start = Arc::new(Barrier::new(2));
        let reversed = near.iter().rev().copied().collect();
        let closers = [near, reversed].map(|descriptors| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                // SAFETY: they are for these two threads to close; the slower one finds no descriptor.
                let closed = |descriptor: &RawFd| unsafe { libc::close(*descriptor) } == 0;
                descriptors.iter().filter(|fd| closed(fd)).count()
            })
        });
        let closed: usize = closers.map(|closer| closer.join().unwrap()).iter().sum();
        assert_eq!(closed, STREAMS);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Some(libc::EBADF));
        }
    }
}

#[test]
fn closing_wakes_every_waiter() {
    Kind::OsThread.run(closing_takes_a_descriptor_out_of_its_epoll_set);
    for workers in [1, 2] {
        let bodies: [fn(); _] = [
            closing_wakes_readers_and_writers,
            closing_wakes_an_acceptor,
            closing_tells_poll_that_there_is_no_such_descriptor,
            closing_ends_a_select,
            closing_ends_the_receipt_of_a_message,
            closing_ends_a_connect,
            closing_ends_a_wait_for_an_epoll_set,
            closing_takes_a_descriptor_out_of_its_epoll_set,
            racing_closes_wake_every_reader,
        ];
        for body in bodies {
            Kind::Green { workers }.run(body);
        }
    }
}
