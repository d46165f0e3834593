//! Closing a descriptor wakes the green threads that wait on it.
//!
//! On OS threads a close leaves a blocked reader asleep for ever; a green thread gets `EBADF`. The
//! descriptor's number is free from then on, and any other test could get it, so all of this is one
//! test with the process to itself.

mod harness;

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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

#[test]
fn closing_wakes_every_waiter() {
    for workers in [1, 2] {
        let kind = Kind::Green { workers };
        kind.run(
            "closing_wakes_readers_and_writers",
            closing_wakes_readers_and_writers,
        );
        kind.run("closing_wakes_an_acceptor", closing_wakes_an_acceptor);
    }
}
