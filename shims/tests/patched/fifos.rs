//! The opening of FIFOs waits for the other end on every kind of thread.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::mpsc;
use std::thread;

use harness::c::{fails, ok};
use harness::{Directory, SHORT, on_every_kind_of_thread, on_one_worker};

use crate::waits_in_vain;

on_every_kind_of_thread! {
    the_ends_of_a_fifo_open_together,
    a_fifo_opens_as_a_stream,
    many_fifos_are_waited_for_at_once,
    a_fifo_in_nonblocking_mode_does_not_wait,
}

fn open(path: &CString, flags: c_int) -> RawFd {
    // SAFETY: a C string.
    unsafe { libc::open(path.as_ptr(), flags, 0o600) }
}

fn opened(path: &CString, flags: c_int) -> File {
    // SAFETY: given out just now.
    unsafe { File::from_raw_fd(ok(open(path, flags))) }
}

fn is_nonblocking(file: &impl AsRawFd) -> bool {
    // SAFETY: an open descriptor.
    ok(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }) & libc::O_NONBLOCK != 0
}

fn the_ends_of_a_fifo_open_together() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    for first in [libc::O_RDONLY, libc::O_WRONLY] {
        let second = libc::O_RDONLY + libc::O_WRONLY - first;
        let its_path = path.clone();
        let earlier = thread::spawn(move || opened(&its_path, first));
        thread::sleep(SHORT);
        let later = opened(&path, second);
        // Nothing has been written so far.
        let earlier = earlier.join().unwrap();
        assert!(!is_nonblocking(&earlier) && !is_nonblocking(&later));
        let (mut reader, mut writer) = if first == libc::O_RDONLY {
            (earlier, later)
        } else {
            (later, earlier)
        };
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}

fn a_fifo_opens_as_a_stream() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    let its_path = path.clone();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        // SAFETY: C strings, and a stream that is closed once.
        unsafe {
            let stream = libc::fopen(its_path.as_ptr(), c"w".as_ptr());
            assert!(!stream.is_null());
            assert!(libc::fputs(c"line\n".as_ptr(), stream) >= 0);
            ok(libc::fclose(stream));
        }
    });
    let mut line = [0; 16];
    // SAFETY: C strings, a buffer, and a stream that is closed once.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"re".as_ptr());
        assert!(!stream.is_null());
        let flags = ok(libc::fcntl(libc::fileno(stream), libc::F_GETFD));
        assert_eq!(flags, libc::FD_CLOEXEC);
        assert!(!libc::fgets(line.as_mut_ptr(), 16, stream).is_null());
        assert!(libc::fgets(line.as_mut_ptr(), 16, stream).is_null());
        ok(libc::fclose(stream));
    }
    assert_eq!(
        line[..5].iter().map(|&c| c as u8).collect::<Vec<_>>(),
        b"line\n"
    );
    writer.join().unwrap();
}

fn many_fifos_are_waited_for_at_once() {
    // More than there are spare workers.
    const COUNT: usize = 100;
    let directory = Directory::new();
    let (sender, receiver) = mpsc::channel();
    let readers: Vec<_> = (0..COUNT)
        .map(|number| {
            let path = directory.fifo(&number.to_string());
            let sender = sender.clone();
            thread::spawn(move || {
                sender.send(path.clone()).unwrap();
                let mut text = String::new();
                opened(&path, libc::O_RDONLY)
                    .read_to_string(&mut text)
                    .unwrap();
                text
            })
        })
        .collect();
    let paths: Vec<_> = receiver.iter().take(COUNT).collect();
    for path in paths {
        opened(&path, libc::O_WRONLY).write_all(b"x").unwrap();
    }
    for reader in readers {
        assert_eq!(reader.join().unwrap(), "x");
    }
}

fn a_fifo_in_nonblocking_mode_does_not_wait() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    fails(open(&path, libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
    let reader = opened(&path, libc::O_RDONLY | libc::O_NONBLOCK);
    assert!(is_nonblocking(&reader));
    drop(opened(&path, libc::O_WRONLY));
    drop(opened(&path, libc::O_RDWR));
}

#[test]
fn a_deadline_scope_ends_the_wait_for_the_other_end() {
    on_one_worker(|| {
        let directory = Directory::new();
        let path = directory.fifo("fifo");
        for flags in [libc::O_RDONLY, libc::O_WRONLY] {
            waits_in_vain(|| open(&path, flags));
        }
        // Who gave up left no reader behind.
        fails(open(&path, libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
    });
}
