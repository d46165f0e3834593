//! What moves data from descriptor to descriptor waits for data and for room, on every kind of thread.

use std::ffi::c_int;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::thread;

use harness::c::{fails, ok};
use harness::{Directory, SHORT, on_every_kind_of_thread, on_one_worker};

use crate::waits_in_vain;

on_every_kind_of_thread! {
    splice_waits_for_data,
    splice_waits_for_room,
    splice_without_waiting_would_block,
    splice_refuses_at_once,
    splice_of_nothing_returns_at_once,
    tee_waits_for_data,
    vmsplice_waits_for_room,
    sendfile_to_a_slow_reader_completes,
    sendfile_to_a_pipe_waits_for_room,
    copies_between_sockets_complete,
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, length: usize, flags: u32) -> isize {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: no offsets.
    unsafe { libc::splice(from, null_mut(), to, null_mut(), length, flags) }
}

fn splice_waits_for_data() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut end, to) = std::io::pipe().unwrap();
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(b"abc").unwrap();
    });
    assert_eq!(splice(&reader, &to, 100, 0), 3);
    assert_eq!(splice(&reader, &to, 100, 0), 0);
    let mut buffer = [0; 3];
    end.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"abc");
}

fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn splice_waits_for_room() {
    const LARGE: usize = 8 << 20;
    let (mut client, server) = socket_pair();
    let (reader, mut writer) = std::io::pipe().unwrap();
    thread::spawn(move || writer.write_all(&vec![1; LARGE]).unwrap());
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut total = 0;
    loop {
        match ok(splice(&reader, &server, 1 << 20, 0)) {
            0 => break,
            count => total += count as usize,
        }
    }
    drop(server);
    assert_eq!(total, LARGE);
    assert_eq!(receiver.join().unwrap(), LARGE);
}

fn splice_without_waiting_would_block() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    let flag = libc::SPLICE_F_NONBLOCK;
    fails(splice(&reader, &to, 1, flag), libc::EAGAIN);
    // SAFETY: integers only.
    fails(
        unsafe { libc::tee(reader.as_raw_fd(), to.as_raw_fd(), 1, flag) },
        libc::EAGAIN,
    );
    // SAFETY: integers only.
    ok(unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) });
    fails(splice(&reader, &to, 1, 0), libc::EAGAIN);
}

/// Though there is nothing in the pipe.
fn splice_refuses_at_once() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    let (one, _other) = socket_pair();
    fails(splice(&reader, &writer, 5, 0), libc::EINVAL);
    fails(splice(&writer, &to, 5, 0), libc::EBADF);
    fails(splice(&reader, &to, 5, 1 << 20), libc::EINVAL);
    fails(splice(&one, &one, 5, 0), libc::EINVAL);
    let (from, to, socket) = (reader.as_raw_fd(), to.as_raw_fd(), one.as_raw_fd());
    let mut offset = 0;
    let (none, some) = (null_mut::<libc::loff_t>(), &raw mut offset);
    // SAFETY: an offset that is ours.
    unsafe {
        fails(libc::splice(-1, none, to, none, 5, 0), libc::EBADF);
        fails(libc::splice(from, none, -1, none, 5, 0), libc::EBADF);
        fails(libc::splice(from, some, to, none, 5, 0), libc::ESPIPE);
        fails(libc::splice(from, none, socket, some, 5, 0), libc::EINVAL);
        fails(libc::tee(from, writer.as_raw_fd(), 5, 0), libc::EINVAL);
        fails(libc::tee(from, socket, 5, 0), libc::EINVAL);
    }
}

fn splice_of_nothing_returns_at_once() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    assert_eq!(splice(&reader, &to, 0, 0), 0);
    let directory = Directory::new();
    let file = directory.file("file", b"abc");
    // Neither is a pipe.
    fails(splice(&file, &file, 1, 0), libc::EINVAL);
}

fn tee_waits_for_data() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (mut end, to) = std::io::pipe().unwrap();
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(b"abc").unwrap();
    });
    // SAFETY: integers only.
    let copied = unsafe { libc::tee(reader.as_raw_fd(), to.as_raw_fd(), 100, 0) };
    assert_eq!(copied, 3);
    let mut buffer = [0; 3];
    end.read_exact(&mut buffer).unwrap();
    reader.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"abc");
}

fn vmsplice_waits_for_room() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: integers only.
    let size = ok(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) }) as usize;
    writer.write_all(&vec![0; size]).unwrap();
    let drained = thread::spawn(move || {
        thread::sleep(SHORT);
        reader.read_exact(&mut vec![0; size]).unwrap();
        reader
    });
    let mut text = *b"abc";
    let vector = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    // SAFETY: one buffer.
    let moved = unsafe { libc::vmsplice(writer.as_raw_fd(), &vector, 1, 0) };
    assert_eq!(moved, 3);
    drop(drained.join().unwrap());
}

fn sendfile_to_a_slow_reader_completes() {
    const LARGE: usize = 8 << 20;
    let directory = Directory::new();
    let data: Vec<u8> = (0..LARGE).map(|at| (at >> 8) as u8).collect();
    let file = directory.file("file", &data);
    let (mut client, server) = socket_pair();
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let mut offset = 0;
    // SAFETY: a place for the offset.
    let sent =
        unsafe { libc::sendfile(server.as_raw_fd(), file.as_raw_fd(), &mut offset, 2 * LARGE) };
    assert_eq!((sent, offset), (LARGE as isize, LARGE as libc::off_t));
    drop(server);
    assert!(receiver.join().unwrap() == data);
    // SAFETY: no offset.
    fails(
        unsafe { libc::sendfile(-1, file.as_raw_fd(), null_mut(), 1) },
        libc::EBADF,
    );
}

fn sendfile_to_a_pipe_waits_for_room() {
    const LARGE: usize = 1 << 20;
    let directory = Directory::new();
    let file = directory.file("file", &vec![1; LARGE]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut total = 0;
    while total < LARGE {
        // SAFETY: no offset.
        total +=
            ok(unsafe { libc::sendfile(writer.as_raw_fd(), file.as_raw_fd(), null_mut(), LARGE) })
                as usize;
    }
    drop(writer);
    assert_eq!((total, receiver.join().unwrap()), (LARGE, LARGE));
}

fn copies_between_sockets_complete() {
    const LARGE: usize = 8 << 20;
    let (mut source, mut from) = socket_pair();
    let (mut to, mut sink) = socket_pair();
    let writer = thread::spawn(move || source.write_all(&vec![1; LARGE]).unwrap());
    let copier = thread::spawn(move || std::io::copy(&mut from, &mut to).unwrap());
    let mut total = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match sink.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    writer.join().unwrap();
    assert_eq!((total, copier.join().unwrap()), (LARGE, LARGE as u64));
}

#[test]
fn a_deadline_scope_ends_the_wait_for_data() {
    on_one_worker(|| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (_end, to) = std::io::pipe().unwrap();
        waits_in_vain(|| splice(&reader, &to, 1, 0) as c_int);
    });
}
