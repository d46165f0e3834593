//! What programs rely on at the edges of a call: the same on every kind of thread.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::c::{fails, ok};
use harness::{SHORT, on_every_kind_of_thread};
use libc::{epoll_event, pollfd};

on_every_kind_of_thread! {
    a_reset_is_told_to_a_waiting_reader_and_to_the_writer_after_it,
    a_half_closed_stream_is_read_to_its_end_and_still_written_to,
    duplicates_share_the_connection_and_outlive_each_other,
    a_mode_set_through_a_duplicate_holds_for_the_waiting_call_that_follows,
    poll_takes_the_same_descriptor_twice,
    poll_tells_hang_up_and_error_unasked,
    an_epoll_inside_an_epoll_wakes_the_outer_wait,
    an_epoll_is_polled,
    an_epoll_event_for_one_shot_comes_once,
    a_descriptor_passed_to_another_thread_is_the_same_file,
    a_write_to_a_nonblocking_socket_is_partial,
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn a_reset_is_told_to_a_waiting_reader_and_to_the_writer_after_it() {
    let (near, far) = tcp_pair();
    let reader = thread::spawn(move || {
        let outcome = (&near)
            .read(&mut [0; 8])
            .map_err(|error| error.raw_os_error());
        (near, outcome)
    });
    thread::sleep(SHORT);
    // Closing with unread data, or with a time to linger of zero, resets.
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: a value of the option's type.
    ok(unsafe {
        libc::setsockopt(
            far.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as u32,
        )
    });
    drop(far);
    let (near, outcome) = reader.join().unwrap();
    assert_eq!(outcome, Err(Some(libc::ECONNRESET)));
    // The error has been told; what comes after it is the end, and for a writer a broken pipe.
    assert_eq!((&near).read(&mut [0; 8]).unwrap(), 0);
    let error = (&near).write(b"x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
}

fn a_half_closed_stream_is_read_to_its_end_and_still_written_to() {
    let (mut near, mut far) = tcp_pair();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        near.write_all(b"still here").unwrap();
        text
    });
    far.write_all(b"all").unwrap();
    thread::sleep(SHORT);
    far.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    far.read_to_string(&mut answer).unwrap();
    assert_eq!(reader.join().unwrap(), "all");
    assert_eq!(answer, "still here");
}

fn duplicates_share_the_connection_and_outlive_each_other() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let duplicate = near.try_clone().unwrap();
    let readers = [near, duplicate].map(|mut stream| {
        thread::spawn(move || {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            byte[0]
        })
    });
    thread::sleep(SHORT);
    far.write_all(&[1]).unwrap();
    thread::sleep(SHORT);
    // One reader has ended and closed its descriptor; the other one still waits on the same socket.
    far.write_all(&[2]).unwrap();
    let mut bytes = readers.map(|reader| reader.join().unwrap());
    bytes.sort_unstable();
    assert_eq!(bytes, [1, 2]);
}

fn a_mode_set_through_a_duplicate_holds_for_the_waiting_call_that_follows() {
    let (near, _far) = UnixStream::pair().unwrap();
    near.try_clone().unwrap().set_nonblocking(true).unwrap();
    let mut byte = 0_u8;
    // SAFETY: room for a byte.
    fails(
        unsafe { libc::read(near.as_raw_fd(), (&raw mut byte).cast(), 1) },
        libc::EAGAIN,
    );
    near.set_nonblocking(false).unwrap();
    near.set_read_timeout(Some(SHORT)).unwrap();
    // SAFETY: room for a byte.
    fails(
        unsafe { libc::read(near.as_raw_fd(), (&raw mut byte).cast(), 1) },
        libc::EAGAIN,
    );
}

fn poll(entries: &mut [pollfd], timeout: i32) -> i32 {
    // SAFETY: as many entries as are told.
    ok(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as u64, timeout) })
}

fn entry(fd: RawFd, events: i16) -> pollfd {
    pollfd {
        fd,
        events,
        revents: 0,
    }
}

fn poll_takes_the_same_descriptor_twice() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let poller = thread::spawn(move || {
        let fd = near.as_raw_fd();
        let mut entries = [
            entry(fd, libc::POLLIN),
            entry(-1, libc::POLLIN),
            entry(fd, libc::POLLIN),
            entry(fd, libc::POLLPRI),
        ];
        let ready = poll(&mut entries, -1);
        (ready, entries.map(|entry| entry.revents))
    });
    thread::sleep(SHORT);
    far.write_all(b"x").unwrap();
    let expected = [libc::POLLIN, 0, libc::POLLIN, 0];
    assert_eq!(poller.join().unwrap(), (2, expected));
}

fn poll_tells_hang_up_and_error_unasked() {
    let (reader, writer) = std::io::pipe().unwrap();
    let poller = thread::spawn(move || {
        let mut entries = [entry(reader.as_raw_fd(), 0)];
        (poll(&mut entries, -1), entries[0].revents)
    });
    thread::sleep(SHORT);
    drop(writer);
    assert_eq!(poller.join().unwrap(), (1, libc::POLLHUP));
    let (reader, writer) = std::io::pipe().unwrap();
    let poller = thread::spawn(move || {
        let mut entries = [entry(writer.as_raw_fd(), 0)];
        (poll(&mut entries, -1), entries[0].revents)
    });
    thread::sleep(SHORT);
    drop(reader);
    assert_eq!(poller.join().unwrap(), (1, libc::POLLERR));
}

fn epoll() -> OwnedFd {
    // SAFETY: the descriptor is new.
    unsafe { OwnedFd::from_raw_fd(ok(libc::epoll_create1(libc::EPOLL_CLOEXEC))) }
}

fn add(epoll: &OwnedFd, fd: RawFd, events: i32, data: u64) {
    let mut event = epoll_event {
        events: events as u32,
        u64: data,
    };
    // SAFETY: a valid event.
    ok(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) });
}

/// The data of the events that come.
fn wait(epoll: &OwnedFd, timeout: i32) -> Vec<u64> {
    let mut events = [epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: room for as many events as are told.
    let count = ok(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 8, timeout) });
    events[..count as usize]
        .iter()
        .map(|event| event.u64)
        .collect()
}

fn an_epoll_inside_an_epoll_wakes_the_outer_wait() {
    let (inner, outer) = (epoll(), epoll());
    let (near, mut far) = UnixStream::pair().unwrap();
    add(&inner, near.as_raw_fd(), libc::EPOLLIN, 1);
    add(&outer, inner.as_raw_fd(), libc::EPOLLIN, 2);
    let waiter = thread::spawn(move || (wait(&outer, -1), wait(&inner, 0)));
    thread::sleep(SHORT);
    far.write_all(b"x").unwrap();
    assert_eq!(waiter.join().unwrap(), (vec![2], vec![1]));
}

fn an_epoll_is_polled() {
    let epoll = epoll();
    let (near, mut far) = UnixStream::pair().unwrap();
    add(&epoll, near.as_raw_fd(), libc::EPOLLIN, 1);
    let poller = thread::spawn(move || {
        let mut entries = [entry(epoll.as_raw_fd(), libc::POLLIN)];
        (poll(&mut entries, -1), entries[0].revents, wait(&epoll, 0))
    });
    thread::sleep(SHORT);
    far.write_all(b"x").unwrap();
    assert_eq!(poller.join().unwrap(), (1, libc::POLLIN, vec![1]));
}

fn an_epoll_event_for_one_shot_comes_once() {
    let epoll = epoll();
    let (near, mut far) = UnixStream::pair().unwrap();
    add(
        &epoll,
        near.as_raw_fd(),
        libc::EPOLLIN | libc::EPOLLONESHOT,
        1,
    );
    let waiter = thread::spawn(move || (wait(&epoll, -1), wait(&epoll, 20)));
    thread::sleep(SHORT);
    far.write_all(b"x").unwrap();
    assert_eq!(waiter.join().unwrap(), (vec![1], vec![]));
}

fn a_descriptor_passed_to_another_thread_is_the_same_file() {
    let (reader, writer) = std::io::pipe().unwrap();
    let is_read = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let is_read = is_read.clone();
        move || {
            let mut text = String::new();
            let mut reader = reader;
            reader.read_to_string(&mut text).unwrap();
            is_read.store(true, Ordering::Relaxed);
            text
        }
    });
    let mut duplicate = writer.try_clone().unwrap();
    drop(writer);
    thread::sleep(SHORT);
    assert!(
        !is_read.load(Ordering::Relaxed),
        "a duplicate keeps the pipe open"
    );
    duplicate.write_all(b"through the duplicate").unwrap();
    drop(duplicate);
    assert_eq!(thread.join().unwrap(), "through the duplicate");
}

fn a_write_to_a_nonblocking_socket_is_partial() {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let data = vec![7; 16 << 20];
    let written = (&near).write(&data).unwrap();
    assert!(0 < written && written < data.len());
    // SAFETY: a valid buffer.
    fails(
        unsafe { libc::write(near.as_raw_fd(), data.as_ptr().cast(), data.len()) },
        libc::EAGAIN,
    );
    drop(near);
    let mut received = Vec::new();
    (&far).read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), written);
}
