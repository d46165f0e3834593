//! What ends a wait before its time: deadline scopes and cancellation.
//!
//! Neither unwinds anything. They make the *blocking calls* of a thread fail, with an error that ordinary error
//! handling carries out of the work: [`timeout`] lets those of a closure fail once its time is over,
//! [`JoinHandle::cancel`](crate::JoinHandle::cancel) those of a green thread from then on. A call that need not
//! wait goes through all the same.
//!
//! **Which waits are cut short**: those whose result can say so.
//!
//! | wait | when the time is over | when cancelled |
//! |---|---|---|
//! | sockets and pipes, ours and through shims | `ETIMEDOUT`, [`io::ErrorKind::TimedOut`] | `ECANCELED`, see [`is_cancellation`] |
//! | poll, select, epoll_wait | the same | the same |
//! | sleep | returns early, as it has no error to give; see [`checkpoint`] | the same |
//! | ours that tell of a time-out: channels, queues, `Event`, `*_timeout` | their time-out | their error, or the time-out |
//! | locks, joins, barriers, `block_on`, and std's channels and condition variables | not cut short | not cut short |
//!
//! Locks are not interrupted because what they guard could not be left in order.
//!
//! **How.** The scopes of a thread form a stack, linked through their frames; a thread-local word points to the
//! innermost. Each holds the earliest deadline of itself and those around it, so a wait looks at one. A wait that is
//! over marks the innermost scope whose own time has passed; so an inner one that expires first is told from an
//! outer one, and the outer one goes on. A green thread has its own thread-local storage, so the same word serves
//! green threads and OS threads. New threads begin without a scope.

use std::cell::Cell;
use std::error::Error;
use std::marker::PhantomData;
use std::ptr;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::context;
use crate::deadline::Deadline;

/// Why a wait was cut short.
///
/// As an [`io::Error`] it is `ETIMEDOUT` or `ECANCELED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interrupted {
    /// The call's own time-out or that of a [`timeout`] around it is over.
    TimedOut,
    /// The green thread was [cancelled](crate::JoinHandle::cancel).
    Cancelled,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interrupted::TimedOut => "the time for waiting is over",
            Interrupted::Cancelled => "the green thread was cancelled",
        })
    }
}

impl Error for Interrupted {}

impl From<Interrupted> for Errno {
    fn from(interrupted: Interrupted) -> Errno {
        match interrupted {
            Interrupted::TimedOut => Errno::TIMEDOUT,
            Interrupted::Cancelled => Errno::CANCELED,
        }
    }
}

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> io::Error {
        Errno::from(interrupted).into()
    }
}

/// Whether this is the error of a call that was ended by [`JoinHandle::cancel`](crate::JoinHandle::cancel).
pub fn is_cancellation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// The error of a [`timeout`] that cut a wait short. It holds what the closure gave nevertheless.
#[derive(Clone, Debug)]
pub struct Elapsed<T> {
    value: T,
    time: Duration,
}

impl<T> Elapsed<T> {
    /// What the closure gave.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// What the closure gave.
    pub fn get_ref(&self) -> &T {
        &self.value
    }
}

impl<T> fmt::Display for Elapsed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the time of {:?} is over", self.time)
    }
}

impl<T: fmt::Debug> Error for Elapsed<T> {}

impl<T> From<Elapsed<T>> for io::Error {
    fn from(_: Elapsed<T>) -> io::Error {
        Interrupted::TimedOut.into()
    }
}

thread_local! {
    static SCOPE: Cell<*const Scope> = const { Cell::new(ptr::null()) };
}

/// One [`timeout`] or [`shield`]; lives in its frame.
struct Scope {
    /// Its own; `None` for a shield.
    deadline: Option<Deadline>,
    /// The earliest of its own and of those around it, out to the next shield.
    limit: Option<Deadline>,
    is_shielded: bool,
    /// A wait was cut short because its own time was over.
    cut: Cell<bool>,
    outer: *const Scope,
}

/// Makes the scope around a thread's innermost one the innermost again, on unwinding too.
struct Leave<'a> {
    scope: &'a Scope,
    _not_send: PhantomData<*const ()>,
}

impl Scope {
    fn timeout(deadline: Deadline) -> Scope {
        let outer = innermost();
        let around = outer.and_then(|outer| outer.limit);
        Scope {
            deadline: Some(deadline),
            limit: Some(around.map_or(deadline, |around| around.min(deadline))),
            is_shielded: outer.is_some_and(|outer| outer.is_shielded),
            cut: Cell::new(false),
            outer: SCOPE.get(),
        }
    }

    fn shield() -> Scope {
        Scope {
            deadline: None,
            limit: None,
            is_shielded: true,
            cut: Cell::new(false),
            outer: SCOPE.get(),
        }
    }

    fn enter(&self) -> Leave<'_> {
        SCOPE.set(self);
        Leave {
            scope: self,
            _not_send: PhantomData,
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        SCOPE.set(self.scope.outer);
    }
}

fn innermost<'a>() -> Option<&'a Scope> {
    // SAFETY: null, or a scope in a frame of this thread's stack, which takes itself out as it is left. The
    // reference is used before any code of the user runs.
    unsafe { SCOPE.get().as_ref() }
}

/// Runs `f`; once `time` is over, its calls that would have to wait fail with `TimedOut`.
///
/// `f` is not stopped: it ends as it handles those errors, and may do so in its own way. On an OS thread this works
/// for the types of this crate, on a green thread of a patched runtime for everything the shims reach. The
/// [module](crate::interrupt) says which waits are cut short, and that locks are not.
///
/// Scopes nest; the innermost whose time is over is the one that reports it. Afterwards the thread is as before.
///
/// # Errors
///
/// [`Elapsed`] if a wait was cut short because this `time` was over. It holds what `f` returned.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::net::TcpListener;
/// use greenpatch_runtime::time::timeout;
///
/// greenpatch_runtime::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     // Nobody connects.
///     let late = timeout(Duration::from_millis(10), || listener.accept()).unwrap_err();
///     assert_eq!(late.into_inner().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
///
///     let sum = timeout(Duration::from_secs(60), || 1 + 1).unwrap();
///     assert_eq!(sum, 2);
///     # Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn timeout<F, T>(time: Duration, f: F) -> Result<T, Elapsed<T>>
where
    F: FnOnce() -> T,
{
    let scope = Scope::timeout(Deadline::after(time));
    let inside = scope.enter();
    let value = f();
    drop(inside);
    if scope.cut.get() {
        Err(Elapsed { value, time })
    } else {
        Ok(value)
    }
}

/// Runs `f` as if there were no deadline scope around it and the green thread were not cancelled: for work that must
/// wait to put things in order, a farewell message say.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::{checkpoint, shield, time};
///
/// greenpatch_runtime::run(|| {
///     let late = time::timeout(Duration::from_millis(1), || {
///         time::sleep(Duration::from_millis(5));
///         assert!(checkpoint().is_err());
///         shield(|| {
///             time::sleep(Duration::from_millis(1));
///             checkpoint()
///         })
///     });
///     assert_eq!(late.unwrap_err().into_inner(), Ok(()));
/// });
/// ```
pub fn shield<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    let scope = Scope::shield();
    let _inside = scope.enter();
    f()
}

/// Fails if the next call that has to wait would: for long computations, and after a sleep.
///
/// # Errors
///
/// Says whether the time of a [`timeout`] is over or the green thread was cancelled.
pub fn checkpoint() -> Result<(), Interrupted> {
    match Limits::new(None).check() {
        Ok(()) => Ok(()),
        Err(End::Interrupted(interrupted)) => Err(interrupted),
        Err(End::Deadline) => unreachable!("it has no deadline of its own"),
    }
}

/// As [`checkpoint`] fails, and no scope counts as having cut a wait short.
pub(crate) fn cuts_every_wait() -> bool {
    let limits = Limits::new(None);
    limits.check_cancelled().is_err() || limits.until().is_some_and(Deadline::has_passed)
}

/// How an interruptible wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The wait's own deadline has passed.
    Deadline,
    Interrupted(Interrupted),
}

impl From<End> for Interrupted {
    fn from(end: End) -> Interrupted {
        match end {
            End::Deadline => Interrupted::TimedOut,
            End::Interrupted(interrupted) => interrupted,
        }
    }
}

impl From<Interrupted> for End {
    fn from(interrupted: Interrupted) -> End {
        End::Interrupted(interrupted)
    }
}

/// What limits an interruptible wait of this thread.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    deadline: Option<Deadline>,
    limit: Option<Deadline>,
    is_shielded: bool,
}

impl Limits {
    /// That of a wait with this deadline of its own.
    pub(crate) fn new(deadline: Option<Deadline>) -> Limits {
        let scope = innermost();
        Limits {
            deadline,
            limit: scope.and_then(|scope| scope.limit),
            is_shielded: scope.is_some_and(|scope| scope.is_shielded),
        }
    }

    /// When to look again at the latest.
    pub(crate) fn until(&self) -> Option<Deadline> {
        match (self.deadline, self.limit) {
            (Some(deadline), Some(limit)) => Some(deadline.min(limit)),
            (deadline, limit) => deadline.or(limit),
        }
    }

    /// Fails if the green thread was cancelled. To be asked before each park; a cancellation that comes later
    /// unparks.
    #[inline]
    pub(crate) fn check_cancelled(&self) -> Result<(), Interrupted> {
        if !self.is_shielded && context::green().is_some_and(|green| green.is_cancelled()) {
            return Err(Interrupted::Cancelled);
        }
        Ok(())
    }

    /// Fails if the wait is over. To be asked after a park that did not bring what was waited for.
    pub(crate) fn check(&self) -> Result<(), End> {
        self.check_cancelled()?;
        let Some(until) = self.until() else {
            return Ok(());
        };
        if !until.has_passed() {
            return Ok(());
        }
        if self.deadline == Some(until) {
            return Err(End::Deadline);
        }
        blame(Deadline::now());
        Err(Interrupted::TimedOut.into())
    }
}

/// Marks the innermost scope whose own time is over as the one that cut a wait short.
fn blame(now: Deadline) {
    let mut scope = innermost();
    while let Some(candidate) = scope {
        if candidate.deadline.is_some_and(|deadline| deadline <= now) {
            return candidate.cut.set(true);
        }
        // SAFETY: scopes around one that is entered are entered too.
        scope = unsafe { candidate.outer.as_ref() };
    }
}
