//! Accepting on a listener in blocking mode.
//!
//! accept has no flag for a single call that must not block. So the threads of this process that accept on one listener
//! by the runtime look whether a connection is there and accept it under a lock, so that none finds it gone and blocks.
//! Another process that shares the listener can still take it first. The lock is held for a short time: green threads
//! wait for connections before they take it, in the descriptor's line. OS threads wait by poll(2), which would wake them
//! all, so a second lock lets one of them wait at a time.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::call::Call;
use super::section::Section;
use crate::base::deadline::Deadline;
use crate::base::interest::Interest;
use crate::base::process;
use crate::sched::green::GreenRef;
use crate::wait::descriptor::{self, Descriptor, is_ready};
use crate::wait::futex;
use crate::wait::interrupt::{Limits, WaitEnd};

/// Holds a listener's lock until it is dropped. The lock has three states, as in [`sync`](crate::sync).
pub(crate) struct AcceptLock(&'static AtomicU32);

impl AcceptLock {
    fn try_acquire(word: &'static AtomicU32) -> Option<AcceptLock> {
        let acquired = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        acquired.is_ok().then(|| AcceptLock(word))
    }

    fn wait(word: &'static AtomicU32, deadline: Option<Deadline>) -> Result<AcceptLock, WaitEnd> {
        let limits = Limits::new(deadline);
        while word.swap(2, Ordering::Acquire) != 0 {
            futex::wait_within(word, 2, &limits)?;
        }
        Ok(AcceptLock(word))
    }
}

impl Drop for AcceptLock {
    fn drop(&mut self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            futex::wake(self.0, 1);
        }
    }
}

impl Call<'_> {
    /// Accepts on a listener in blocking mode: waits until it is readable, then calls `attempt`, a
    /// blocking accept.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry).
    pub fn retry_accept<T>(
        &self,
        deadline: Option<Deadline>,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let _early = self.section().accepting();
        let outcome = self.retry_step(
            Interest::Read,
            |_, _| Ok(deadline),
            |step| {
                let _lock = lock(&self.descriptor.accepting, deadline, || step.begin())?;
                step.attempt(|| accept_if_ready(self.number(), &mut attempt))
            },
        );
        outcome.map_err(of_late_lock)
    }
}

impl Section {
    /// Until this is dropped, the green thread accepts connections and has its turns early: behind it stand all the clients
    /// that have connected.
    pub fn accepting(&self) -> Accepting {
        self.green().is_early.set(true);
        Accepting(self.green())
    }
}

/// A green thread that accepts connections; see [`Section::accepting`].
pub struct Accepting(GreenRef);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.is_early.set(false);
    }
}

/// Locks, but not in a process without a runtime, which may have been forked while another thread had the lock. Calls
/// `on_wait` before it waits.
fn lock(
    word: &'static AtomicU32,
    deadline: Option<Deadline>,
    on_wait: impl FnOnce(),
) -> Result<Option<AcceptLock>, Errno> {
    if !process::owns_tables() {
        return Ok(None);
    }
    if let Some(lock) = AcceptLock::try_acquire(word) {
        return Ok(Some(lock));
    }
    on_wait();
    match AcceptLock::wait(word, deadline) {
        Ok(lock) => Ok(Some(lock)),
        Err(WaitEnd::Deadline) => Err(LATE),
        Err(WaitEnd::Interrupted(interrupted)) => Err(interrupted.into()),
    }
}

/// The deadline passed before a thread had the lock. No accept gives this; `EAGAIN` would say that there is no connection.
const LATE: Errno = Errno::TIME;

/// What the caller of accept gets for it.
pub(crate) fn of_late_lock(error: Errno) -> Errno {
    if error == LATE { Errno::AGAIN } else { error }
}

/// The lock under which an OS thread waits for a connection.
///
/// # Errors
///
/// As [`Call::retry`](Call::retry).
pub(crate) fn lock_to_wait(
    listener: &'static Descriptor,
    deadline: Option<Deadline>,
) -> Result<Option<AcceptLock>, Errno> {
    lock(&listener.awaiting, deadline, || {}).map_err(of_late_lock)
}

/// On an OS thread: `accept` if the listener, `fd`, has a connection, else `EAGAIN`; see [`of_late_lock`].
///
/// # Errors
///
/// As [`Call::retry`](Call::retry).
pub(crate) fn accept_under_lock<T>(
    listener: &'static Descriptor,
    fd: RawFd,
    deadline: Option<Deadline>,
    accept: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let _lock = lock(&listener.accepting, deadline, || {})?;
    accept_if_ready(fd, accept)
}

/// Accepts without waiting: `accept` if the listener has a connection, else `EAGAIN`. While another thread accepts, which
/// takes a moment, this gives another error, of which [`is_taken`] knows.
///
/// # Errors
///
/// What `accept` gives, and these.
pub(crate) fn accept_at_once<T>(
    listener: BorrowedFd<'_>,
    accept: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let fd = listener.as_raw_fd();
    if descriptor::is_nonblocking(fd) {
        return accept();
    }
    let _lock = if process::owns_tables() {
        let word = &descriptor::entry(fd)?.accepting;
        Some(AcceptLock::try_acquire(word).ok_or(LATE)?)
    } else {
        None
    };
    accept_if_ready(fd, accept)
}

/// Whether [`accept_at_once`] could not look, because another thread accepts.
pub(crate) fn is_taken(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(LATE)
}

fn accept_if_ready<T>(fd: RawFd, accept: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    if is_ready(fd, PollFlags::IN)? {
        accept()
    } else {
        Err(Errno::AGAIN)
    }
}
