//! Green threads that end together: the first error of one cancels the others.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::{fmt, io};

use crate::sync::raw::lock::Lock;
use crate::thread::current::Thread;
use crate::thread::scoped::{Scope, ScopedJoinHandle, within};
use crate::thread::spawn::{self, Begins, Builder};
use crate::wait::interrupt::Interrupted;
use crate::wait::interrupt::group::OpenGroup;

/// Green threads that end before [`try_scope`] returns, and of which one that fails cancels the others.
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: Scope<'scope, 'env>,
    failure: Lock<Failure<E>>,
}

// As for `Scope`.
impl<E> UnwindSafe for TryScope<'_, '_, E> {}
impl<E> RefUnwindSafe for TryScope<'_, '_, E> {}

/// What came first of each kind.
struct Failure<E> {
    error: Option<E>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<E> Failure<E> {
    fn exists(&self) -> bool {
        self.error.is_some() || self.panic.is_some()
    }
}

/// Runs `f`, which may spawn green threads that borrow from the caller, and waits for the end of all. The first that fails,
/// `f` among them, [cancels](Scope::cancel) the others.
///
/// As [`scope`](crate::scope), this hands on deadlines, cancellation and values, and never leaves a green thread behind. What Go's
/// `errgroup`, Trio's nurseries and the structured scopes of Java are for. Whoever is cancelled ends as it handles the
/// errors of its waits; its own error comes later, and is dropped.
///
/// In `f`, [`TryJoinHandle::join`] gives what a green thread has returned. Once the scope has failed, it gives
/// [`Interrupted::Cancelled`], and waits for nobody; so `?` leads out of `f` if `E` can be made from that, as
/// [`io::Error`] and `Box<dyn Error>` can, and the first error is the one that is returned here.
///
/// # Errors
///
/// The first error that `f` or a green thread has returned.
///
/// # Panics
///
/// If `f` or a green thread panics, with the payload of the first; that cancels the others, too.
///
/// ```
/// use std::io;
/// use greenpatch_runtime::{net::TcpListener, run, try_scope};
///
/// run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let outcome = try_scope(|scope| {
///         // Nobody connects: this would wait for ever.
///         let accepted = scope.spawn(|| listener.accept().map(drop));
///         scope.spawn(|| Err::<(), _>(io::Error::other("no configuration")));
///         accepted.join()?;
///         Ok(())
///     });
///     assert_eq!(outcome.unwrap_err().to_string(), "no configuration");
///
///     let numbers = [1, 2, 3];
///     let squares = try_scope(|scope| {
///         let squares: Vec<_> = numbers.iter().map(|n| scope.spawn(move || io::Result::Ok(n * n))).collect();
///         let sum: Result<i32, _> = squares.into_iter().map(|square| square.join()).sum();
///         io::Result::Ok(sum?)
///     });
///     assert_eq!(squares?, 14);
///     # io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    let open = OpenGroup::new();
    let scope = TryScope {
        scope: Scope::new(&open),
        failure: Lock::new(Failure {
            error: None,
            panic: None,
        }),
    };
    let outcome = within(&scope.scope, || scope.watch(|| f(&scope)));
    // All have ended, so nothing comes later.
    let (error, panic) = {
        let mut failure = scope.failure.lock();
        (failure.error.take(), failure.panic.take())
    };
    if let Some(payload) = panic {
        panic::resume_unwind(payload);
    }
    match (outcome, error) {
        (_, Some(error)) => Err(error),
        (Ok(Some(value)), None) => Ok(value),
        (Ok(None), None) => unreachable!("what fails leaves an error or a panic"),
        (Err(payload), None) => panic::resume_unwind(payload),
    }
}

impl<'scope, E> TryScope<'scope, '_, E> {
    /// Starts `f` on a new green thread. It begins unless the scope has failed by then.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> TryJoinHandle<'scope, T>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        spawn::started(Builder::new().spawn_try_scoped(self, f))
    }

    /// Cuts short the waits of the scope's green threads, and those of who has opened it, until it is left. They have not
    /// failed by that alone: what they return counts.
    pub fn cancel(&self) {
        self.scope.cancel();
    }

    /// Whether the scope has failed or was cancelled, or the green thread that has opened it.
    pub fn is_cancelled(&self) -> bool {
        self.scope.is_cancelled()
    }

    /// What `f` returns; `None` if it failed, which cancels the others.
    fn watch<T>(&self, f: impl FnOnce() -> Result<T, E>) -> Option<T> {
        let (error, panic) = match panic::catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => (Some(error), None),
            Err(payload) => (None, Some(payload)),
        };
        let mut failure = self.failure.lock();
        // What comes too late is dropped after the lock.
        let late = if panic.is_some() && failure.panic.is_none() {
            failure.panic = panic;
            (error, None)
        } else if failure.error.is_none() && error.is_some() {
            failure.error = error;
            (None, panic)
        } else {
            (error, panic)
        };
        drop(failure);
        self.scope.cancel();
        drop(late);
        None
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope")
            .field("scope", &self.scope)
            .field("has_failed", &self.failure.lock().exists())
            .finish()
    }
}

impl Builder {
    /// Starts `f` on a new green thread in a scope, as [`TryScope::spawn`].
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_try_scoped<'scope, F, T, E>(
        self,
        scope: &'scope TryScope<'scope, '_, E>,
        f: F,
    ) -> io::Result<TryJoinHandle<'scope, T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        // One that is cancelled from outside the scope begins, so that its error tells that its work was not done.
        let handle = self.spawn_scoped_if(&scope.scope, Begins::Always, move || {
            if scope.failure.lock().exists() {
                return None;
            }
            scope.watch(f)
        })?;
        Ok(TryJoinHandle(handle))
    }
}

/// A green thread of a [`try_scope`] to be joined. If it is not, the scope waits for its end all the same.
pub struct TryJoinHandle<'scope, T>(ScopedJoinHandle<'scope, Option<T>>);

impl<T> TryJoinHandle<'_, T> {
    /// Waits for the green thread's end, and gives what it returned.
    ///
    /// # Errors
    ///
    /// `Cancelled` if the green thread has failed, and as soon as the scope is cancelled; `TimedOut` if the time of a
    /// [`timeout`](crate::time::timeout) around the call is over. The scope waits for its end all the same.
    pub fn join(self) -> Result<T, Interrupted> {
        // Neither its errors nor its panics are in its result.
        let value = self.0.join_interruptible()?.ok().flatten();
        value.ok_or(Interrupted::Cancelled)
    }

    /// Whether the green thread has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// As [`JoinHandle::cancel`](crate::JoinHandle::cancel), of this one only.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// The green thread that this handle joins.
    pub fn thread(&self) -> Thread {
        self.0.thread()
    }
}

impl<T> fmt::Debug for TryJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
