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
//! | our locks, condition variables, semaphores, barriers, joins and `block_on` | by a method of its own: `lock_interruptible` and so on | the same |
//! | std's locks, channels, condition variables and joins; whoever waits for an initialisation (`Once`) | not cut short | not cut short |
//!
//! What one green thread does for many, one after another, is cancelled piece by piece: [`Cancellable`]. What several do for one
//! is cancelled together: [`scope`](crate::scope), [`try_scope`](crate::try_scope).
//!
//! **Why std's names wait to the end.** What mirrors std returns a guard, or a result, in any case: it has no way to say that it
//! holds none. It could unwind instead. Then it would poison whatever else is held, and panic in destructors; so code that is
//! correct on threads would not be here. A method that says so costs a caller one `?`.
//!
//! **Why std's own locks are not cut short at the shim**, as an unwinding out of the futex that they wait on would do:
//!
//! - They call the C library's `syscall`, which is declared as a function of the ABI `"C"`. It cannot unwind; a panic that leaves it
//!   is undefined behaviour in the caller, which the compiler has built without a way for it.
//! - `std::sync::Condvar::wait` unlocks the mutex, waits, and locks it again. Its guard is the caller's all the while. An unwinding in
//!   between drops that guard, which then unlocks a mutex that somebody else holds: two holders at once, in safe code.
//! - What C code holds when it waits (`pthread_mutex_lock`) is in frames that have nothing to be unwound by.
//!
//! (`may` unwinds its coroutines, but in functions of its own, which are Rust's throughout.) Use the types of
//! [`sync`](crate::sync) where a wait must end, or std's that take a time.
//!
//! **What is inherited.** What is spawned in a [`scope`](crate::scope) or [`try_scope`](crate::try_scope) is limited by what
//! limited its opener there: the deadlines around the scope, the opener's cancellation, the scope's own. So work that is
//! split among green threads ends as one that does it all would, and nothing of it is left when the scope is. What is spawned
//! by itself ([`spawn`](crate::spawn()), [`GreenPool`](crate::GreenPool), `std::thread`) may outlive the call that spawned it:
//! a log that is to be written, a cache that is to be filled. The deadline of a request would end it at random. It inherits neither
//! deadlines nor cancellation; but it belongs to the same request, so it inherits the [values](Inherited). (Go's
//! `context.WithoutCancel` makes the same cut.)
//!
//! **How.** Each thread has a list of the scopes that it has entered, the innermost last; a wait looks for the earliest
//! deadline in it, out to the nearest shield. A wait that is over marks the innermost scope whose own time has passed;
//! so an inner one that expires first is told from an outer one, and the outer one goes on. A green thread has its own
//! thread-local storage, so the same list serves green threads and OS threads. The list of one that was spawned in a scope begins
//! with that scope, behind which are those that were around it: the same ones, so that it marks them too. A thread that
//! uses none of this has an empty list, and looks at no more than that.
//!
//! A cancellation is a mark that waits look at, and a wake-up for those who may be parked. Whom it wakes beyond the one that
//! is cancelled say the lists of `sched/dependents.rs`: no child registers anywhere but with its own scope, and each scope with
//! what is right around it.
//!
//! **Coroutines** may suspend a closure inside its scope, run another one on the same thread, end the two in any order,
//! and even end one on another thread. So the list points to no stack: a scope is owned by its call and by the list
//! together. The call marks it as left when it returns, wherever that is, and lists pass over what is marked and let go
//! of it. A scope whose closure is suspended limits its thread's other waits in the meantime.

mod cancellable;
pub(crate) mod group;
mod inherited;
mod scopes;

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use self::scopes::{Kind, Scope, any_scope};
use crate::base::deadline::Deadline;
use crate::sched::context;

pub use self::cancellable::{Cancellable, Piece};
pub use self::inherited::Inherited;

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

/// Runs `f`; once `time` is over, its calls that would have to wait fail with `TimedOut`.
///
/// `f` is not stopped: it ends as it handles those errors, and may do so in its own way. On an OS thread this works
/// for the types of this crate, on a green thread of a patched runtime for everything the shims reach. The
/// [module](crate::interrupt) says which waits are cut short, and by which methods.
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
    let scope = Scope::enter(Kind::Until(Deadline::after(time)));
    let value = f();
    if scope.was_cut() {
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
    let _scope = Scope::enter(Kind::Shield);
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
        Err(WaitEnd::Interrupted(interrupted)) => Err(interrupted),
        Err(WaitEnd::Deadline) => unreachable!("it has no deadline of its own"),
    }
}

/// As [`checkpoint`] fails, and no scope counts as having cut a wait short.
pub(crate) fn cuts_every_wait() -> bool {
    let limits = Limits::new(None);
    limits.check_cancelled().is_err() || limits.until().is_some_and(Deadline::has_passed)
}

/// How an interruptible wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The wait's own deadline has passed.
    Deadline,
    Interrupted(Interrupted),
}

impl From<WaitEnd> for Interrupted {
    fn from(end: WaitEnd) -> Interrupted {
        match end {
            WaitEnd::Deadline => Interrupted::TimedOut,
            WaitEnd::Interrupted(interrupted) => interrupted,
        }
    }
}

impl From<Interrupted> for WaitEnd {
    fn from(interrupted: Interrupted) -> WaitEnd {
        WaitEnd::Interrupted(interrupted)
    }
}

/// What limits an interruptible wait of this thread.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The wait's own.
    deadline: Option<Deadline>,
    /// The earliest of the scopes around it, out to the nearest shield.
    limit: Option<Deadline>,
    /// One of those scopes can be cancelled.
    has_cancellable: bool,
    is_shielded: bool,
}

impl Limits {
    /// That of a wait with this deadline of its own.
    pub(crate) fn new(deadline: Option<Deadline>) -> Limits {
        let mut limit: Option<Deadline> = None;
        let mut has_cancellable = false;
        let is_shielded = any_scope(|scope| {
            match &scope.kind {
                Kind::Until(deadline) => {
                    limit = Some(limit.map_or(*deadline, |limit| limit.min(*deadline)));
                }
                Kind::Cancellable(_) | Kind::Group(_) | Kind::Member(_) => has_cancellable = true,
                Kind::Shield | Kind::Value(_) | Kind::Values(_) => {}
            }
            scope.is_shield()
        });
        Limits {
            deadline,
            limit,
            has_cancellable,
            is_shielded,
        }
    }

    /// When to look again at the latest.
    pub(crate) fn until(&self) -> Option<Deadline> {
        match (self.deadline, self.limit) {
            (Some(deadline), Some(limit)) => Some(deadline.min(limit)),
            (deadline, limit) => deadline.or(limit),
        }
    }

    /// Fails if the green thread was cancelled, the piece of work that it is doing, or a scope that it is in. To be asked before
    /// each park; a cancellation that comes later unparks.
    #[inline]
    pub(crate) fn check_cancelled(&self) -> Result<(), Interrupted> {
        if !self.is_shielded && context::green().is_some_and(|green| green.is_cancelled()) {
            return Err(Interrupted::Cancelled);
        }
        if self.has_cancellable && is_work_cancelled() {
            return Err(Interrupted::Cancelled);
        }
        Ok(())
    }

    /// Fails if the wait is over. To be asked after a park that did not bring what was waited for.
    pub(crate) fn check(&self) -> Result<(), WaitEnd> {
        self.check_cancelled()?;
        let Some(until) = self.until() else {
            return Ok(());
        };
        if !until.has_passed() {
            return Ok(());
        }
        if self.deadline == Some(until) {
            return Err(WaitEnd::Deadline);
        }
        blame(Deadline::now());
        Err(Interrupted::TimedOut.into())
    }
}

/// Whether a piece of work is cancelled that this thread is doing, or a scope that it is in, out to the nearest shield.
#[cold]
fn is_work_cancelled() -> bool {
    let mut is_cancelled = false;
    any_scope(|scope| {
        is_cancelled |= match &scope.kind {
            Kind::Cancellable(work) => work.is_cancelled(),
            Kind::Group(group) | Kind::Member(group) => group.is_cancelled(),
            _ => false,
        };
        is_cancelled || scope.is_shield()
    });
    is_cancelled
}

/// Marks the innermost scope whose own time is over as the one that cut a wait short.
fn blame(now: Deadline) {
    any_scope(|scope| {
        let is_over = scope.deadline().is_some_and(|deadline| deadline <= now);
        if is_over {
            scope.blame();
        }
        is_over
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_is_left_on_another_thread_holds_on_neither() {
        let scope = Scope::enter(Kind::Until(Deadline::from_nanos(0)));
        assert_eq!(checkpoint(), Err(Interrupted::TimedOut));
        std::thread::spawn(move || {
            assert_eq!(checkpoint(), Ok(()));
            assert!(scope.was_cut());
            drop(scope);
            assert_eq!(checkpoint(), Ok(()));
        })
        .join()
        .unwrap();
        assert_eq!(checkpoint(), Ok(()));
    }
}
