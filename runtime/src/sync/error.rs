//! What can come of sending to a channel or queue, of receiving from one, and of locking within a limit.

use std::error::Error;
use std::sync::PoisonError;
use std::{fmt, io};

use super::raw::exchange::{Failure, Refusal};
use crate::wait::interrupt::Interrupted;

#[doc(no_inline)]
pub use std::sync::mpsc::{TryRecvError, TrySendError};

/// Why an item was not sent, and the item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// Nobody will receive: all receivers are gone, or the queue was closed.
    Disconnected(T),
    /// There was no room in time: the call's own, or that of a [`timeout`](crate::time::timeout) around it.
    TimedOut(T),
    /// There was no room, and the green thread was [cancelled](crate::JoinHandle::cancel).
    Cancelled(T),
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// Nothing is left and nothing will come: all senders are gone, or the queue was closed.
    Disconnected,
    /// Nothing came in time: the call's own, or that of a [`timeout`](crate::time::timeout) around it.
    TimedOut,
    /// Nothing was there, and the green thread was [cancelled](crate::JoinHandle::cancel).
    Cancelled,
}

/// Why a lock was not locked, or is locked but poisoned; beyond [`std::sync::TryLockError`], that the wait may be cut short.
pub enum LockError<G> {
    /// A holder has panicked; the error holds the guard.
    Poisoned(PoisonError<G>),
    /// The wait was cut short, and the lock is not locked.
    Interrupted(Interrupted),
}

impl<G> From<PoisonError<G>> for LockError<G> {
    fn from(error: PoisonError<G>) -> LockError<G> {
        LockError::Poisoned(error)
    }
}

impl<G> From<Interrupted> for LockError<G> {
    fn from(interrupted: Interrupted) -> LockError<G> {
        LockError::Interrupted(interrupted)
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Poisoned(_) => f.write_str("Poisoned(..)"),
            LockError::Interrupted(interrupted) => {
                f.debug_tuple("Interrupted").field(interrupted).finish()
            }
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Poisoned(error) => error.fmt(f),
            LockError::Interrupted(interrupted) => interrupted.fmt(f),
        }
    }
}

impl<G> Error for LockError<G> {}

impl<T> SendError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Disconnected(item)
            | SendError::TimedOut(item)
            | SendError::Cancelled(item) => item,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Disconnected(_) => "Disconnected(..)",
            SendError::TimedOut(_) => "TimedOut(..)",
            SendError::Cancelled(_) => "Cancelled(..)",
        })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Disconnected(_) => f.write_str("sending on a closed channel"),
            SendError::TimedOut(_) => Interrupted::TimedOut.fmt(f),
            SendError::Cancelled(_) => Interrupted::Cancelled.fmt(f),
        }
    }
}

impl<T> Error for SendError<T> {}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Disconnected => f.write_str("receiving on an empty and closed channel"),
            RecvError::TimedOut => Interrupted::TimedOut.fmt(f),
            RecvError::Cancelled => Interrupted::Cancelled.fmt(f),
        }
    }
}

impl Error for RecvError {}

/// `BrokenPipe` if disconnected; else as [`Interrupted`].
impl<T> From<SendError<T>> for io::Error {
    fn from(error: SendError<T>) -> io::Error {
        match error {
            SendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
            SendError::TimedOut(_) => Interrupted::TimedOut.into(),
            SendError::Cancelled(_) => Interrupted::Cancelled.into(),
        }
    }
}

/// `BrokenPipe` if disconnected; else as [`Interrupted`].
impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        match error {
            RecvError::Disconnected => io::ErrorKind::BrokenPipe.into(),
            RecvError::TimedOut => Interrupted::TimedOut.into(),
            RecvError::Cancelled => Interrupted::Cancelled.into(),
        }
    }
}

pub(super) fn send_error<T>((item, failure): (T, Failure)) -> SendError<T> {
    match failure {
        Failure::Closed => SendError::Disconnected(item),
        Failure::CutShort(Interrupted::TimedOut) => SendError::TimedOut(item),
        Failure::CutShort(Interrupted::Cancelled) => SendError::Cancelled(item),
    }
}

pub(super) fn try_send_error<T>((item, refusal): (T, Refusal)) -> TrySendError<T> {
    match refusal {
        Refusal::Closed => TrySendError::Disconnected(item),
        Refusal::NotNow => TrySendError::Full(item),
    }
}

pub(super) fn recv_error(failure: Failure) -> RecvError {
    match failure {
        Failure::Closed => RecvError::Disconnected,
        Failure::CutShort(Interrupted::TimedOut) => RecvError::TimedOut,
        Failure::CutShort(Interrupted::Cancelled) => RecvError::Cancelled,
    }
}

pub(super) fn try_recv_error(refusal: Refusal) -> TryRecvError {
    match refusal {
        Refusal::Closed => TryRecvError::Disconnected,
        Refusal::NotNow => TryRecvError::Empty,
    }
}
