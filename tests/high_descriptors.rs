//! Descriptors with numbers far beyond what is usual are waited for like any other.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::thread;
use std::time::Duration;

// For its shims.
use greenpatch as _;
use harness::{child, patched_runtime};

/// Tested as far as the process may have them; the highest that it may have is, always.
const WANTED: [RawFd; 3] = [102_401, 150_000, 262_144];

/// Lets this process have as many descriptors as it may, and gives what it may not reach.
fn raise_the_limit() -> RawFd {
    let mut limit = libc::rlimit {
        rlim_cur: 300_000,
        rlim_max: 300_000,
    };
    // SAFETY: plain calls that concern this process alone.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit.rlim_cur = limit.rlim_max.min(limit.rlim_cur.max(300_000));
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
    }
    limit.rlim_cur as RawFd
}

/// The same file under this number.
fn moved<T: Into<OwnedFd> + From<OwnedFd>>(file: T, number: RawFd) -> T {
    let file = file.into();
    // SAFETY: the number is not in use, as this process has few descriptors.
    unsafe {
        assert_eq!(libc::dup2(file.as_raw_fd(), number), number);
        T::from(OwnedFd::from_raw_fd(number))
    }
}

fn is_waited_for(number: RawFd) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut near = moved(near, number);

    let reader = thread::spawn(move || {
        let mut text = [0; 5];
        near.read_exact(&mut text).unwrap();
        (near, text)
    });
    for part in [b"he".as_slice(), b"llo"] {
        thread::sleep(Duration::from_millis(20));
        far.write_all(part).unwrap();
    }
    let (near, text) = reader.join().unwrap();
    assert_eq!(&text, b"hello");

    let poller = thread::spawn(move || {
        let mut entry = libc::pollfd {
            fd: number,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: an array of one.
        assert_eq!(unsafe { libc::poll(&mut entry, 1, -1) }, 1);
    });
    thread::sleep(Duration::from_millis(20));
    far.write_all(b"x").unwrap();
    poller.join().unwrap();

    // A set of select may be longer than `fd_set` has it.
    let selector = thread::spawn(move || {
        let mut set = vec![0u64; number as usize / 64 + 1];
        set[number as usize / 64] = 1 << (number % 64);
        let words = set.as_mut_ptr().cast();
        // SAFETY: a set that has the bits of all descriptors up to this one.
        let count = unsafe { libc::select(number + 1, words, null_mut(), null_mut(), null_mut()) };
        assert_eq!(count, 1);
    });
    selector.join().unwrap();

    let closed = thread::spawn(move || {
        let mut buffer = [0u8; 2];
        let read = |buffer: &mut [u8]| {
            // SAFETY: a valid buffer.
            unsafe { libc::read(number, buffer.as_mut_ptr().cast(), buffer.len()) }
        };
        assert_eq!(read(&mut buffer), 1);
        assert_eq!(read(&mut buffer), -1);
        io::Error::last_os_error().raw_os_error()
    });
    thread::sleep(Duration::from_millis(20));
    drop(near);
    assert_eq!(closed.join().unwrap(), Some(libc::EBADF));
}

fn high_numbers_are_waited_for(workers: usize) {
    let limit = raise_the_limit();
    patched_runtime(workers).run(move || {
        let permitted = WANTED.into_iter().filter(|number| *number < limit);
        permitted.chain([limit - 1]).for_each(is_waited_for);
    });
}

#[test]
fn with_1_worker() {
    child::succeeds("with_1_worker", || high_numbers_are_waited_for(1));
}

#[test]
fn with_2_workers() {
    child::succeeds("with_2_workers", || high_numbers_are_waited_for(2));
}
