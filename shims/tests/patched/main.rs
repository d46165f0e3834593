//! The functions that have shims keep their promises on every kind of thread, with every family on.
//!
//! The tests share one process. So none of them forks, for a child would hold the others' descriptors open for a while, or
//! sends signals to the process: those are in `children` and `signals`.

mod c11;
mod descriptors;
mod fifos;
mod files;
mod futex;
mod locks;
mod messages;
mod names;
mod pthread;
mod pthread_barrier;
mod pthread_rwlock;
mod queues;
mod select;
mod semaphore;
mod socket;
mod splices;
mod syscall;
mod terminals;
mod thread;
mod time;
mod transparency;
mod turns;

use std::ffi::c_int;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

// For its symbols.
use greenpatch_shims as _;
use harness::c::fails;
use harness::{SHORT, alone, patched_runtime};

/// Asserts that a deadline scope ends this wait.
fn waits_in_vain(wait: impl FnOnce() -> c_int) {
    let outcome = greenpatch_runtime::time::timeout(SHORT, || {
        fails(wait(), libc::ETIMEDOUT);
    });
    assert!(outcome.is_err());
}

/// Runs one test at a time on one worker: some have hundreds of descriptors, and others count on having certain numbers for
/// themselves.
fn on_one_worker_alone<T>(test: impl FnOnce() -> T) -> T {
    alone(|| patched_runtime(1).run(test))
}

/// Gives it a number that no other test of [`on_one_worker_alone`] uses: they get lower ones.
fn with_number_of_its_own(fd: impl Into<OwnedFd>) -> RawFd {
    static NEXT: AtomicI32 = AtomicI32::new(700);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    move_to(number, fd);
    number
}

/// Gives it this number, which is free.
fn move_to(number: RawFd, fd: impl Into<OwnedFd>) {
    // SAFETY: an open descriptor.
    let moved = unsafe { libc::fcntl(fd.into().as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    assert_eq!(moved, number);
}

/// The number of `fd`, which is the test's own, is given to a new descriptor: a duplicate of `stranger`.
fn replace(fd: RawFd, stranger: &impl AsRawFd) {
    // SAFETY: open descriptors.
    unsafe {
        assert_eq!(libc::close(fd), 0);
        assert_eq!(
            libc::fcntl(stranger.as_raw_fd(), libc::F_DUPFD_CLOEXEC, fd),
            fd
        );
    }
}

/// Makes `call` on another green thread, whose turn ends between two steps of it in one of the rounds, and gives the number to
/// a duplicate of `stranger` meanwhile.
fn replaced_in_between<T: Send + 'static>(
    round: usize,
    fd: RawFd,
    stranger: &impl AsRawFd,
    call: impl FnOnce(RawFd) -> T + Send + 'static,
) -> T {
    let (mut near, _far) = UnixStream::pair().unwrap();
    let has_begun = Arc::new(AtomicBool::new(false));
    let caller = {
        let has_begun = has_begun.clone();
        greenpatch_runtime::spawn(move || {
            (0..round).for_each(|_| near.write_all(b"x").unwrap());
            has_begun.store(true, Ordering::SeqCst);
            call(fd)
        })
    };
    while !has_begun.load(Ordering::SeqCst) {
        greenpatch_runtime::yield_now();
    }
    replace(fd, stranger);
    caller.join().unwrap()
}
