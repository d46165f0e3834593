//! Sleeping futures, and futures that are given up after a time.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomPinned;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::handle::Handle;
use crate::base::deadline::Deadline;
use crate::wait::alarm::{self, Abandoned, Alarm, AlarmPlace};

/// A future that is ready once its time has come; made by [`sleep`], [`sleep_until`] and [`Handle`].
///
/// It belongs to the runtime that it was made on, whose timers it uses, and may be polled on any thread. It costs nothing until
/// the first poll that finds it early, which sets a timer. To [`reset`](Self::reset) it to a later time leaves that as it is: when
/// it goes off, the task is woken, and waits for the rest.
///
/// # Panics
///
/// Polled before its time, when its runtime has ended, it panics: it would never be ready.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    handle: Handle,
    deadline: Deadline,
    /// Where the alarm stands, from the first time that it was set.
    place: Option<AlarmPlace>,
    /// It may be set.
    is_set: bool,
    alarm: Alarm,
    _pinned: PhantomPinned,
}

impl Sleep {
    pub(super) fn on(handle: Handle, deadline: Deadline) -> Sleep {
        Sleep {
            handle,
            deadline,
            place: None,
            is_set: false,
            alarm: Alarm::new(),
            _pinned: PhantomPinned,
        }
    }

    /// Whether the time has come.
    pub fn is_elapsed(&self) -> bool {
        self.deadline.has_passed()
    }

    /// From now on it is ready at `until`, be that later or earlier, and also if it was ready before. A task that waits for it
    /// must poll it again.
    pub fn reset(self: Pin<&mut Self>, until: Instant) {
        self.reset_after(until.saturating_duration_since(Instant::now()));
    }

    /// As [`reset`](Self::reset), to `time` from now.
    pub fn reset_after(self: Pin<&mut Self>, time: Duration) {
        // SAFETY: nothing is moved.
        unsafe { self.get_unchecked_mut() }.deadline = Deadline::after(time);
    }

    fn cancel(&mut self) {
        if std::mem::take(&mut self.is_set)
            && let Some(place) = self.place
            && !self.handle.shared().is_inherited()
        {
            alarm::cancel(self.handle.shared(), &self.alarm, place);
        }
    }

    #[cold]
    fn cannot_wait(&self) -> ! {
        let name = &self.handle.shared().settings.name;
        panic!(
            "a Sleep of the runtime '{name}' was polled before its time, but the runtime has ended, or is that of the process \
             which has forked this one; keep the Runtime as long as its timers are awaited"
        );
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved.
        let sleep = unsafe { self.get_unchecked_mut() };
        if sleep.deadline.has_passed() {
            sleep.cancel();
            return Poll::Ready(());
        }
        let shared = sleep.handle.shared();
        if shared.is_inherited() {
            sleep.cannot_wait();
        }
        let (alarm, deadline) = (&sleep.alarm, sleep.deadline);
        let place = *(sleep.place).get_or_insert_with(|| alarm::place(shared, alarm));
        let is_set = std::mem::replace(&mut sleep.is_set, true);
        // SAFETY: it stands in its one place, is pinned, and is cancelled when it is dropped; who polls has it alone.
        match unsafe { alarm::set(shared, alarm, place, deadline, is_set, context.waker()) } {
            Ok(()) => Poll::Pending,
            Err(Abandoned) => sleep.cannot_wait(),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("remaining", &self.deadline.remaining())
            .finish_non_exhaustive()
    }
}

/// A future that is ready `time` from now. A time too long to count is without end.
///
/// # Panics
///
/// On an OS thread, which has no runtime: there use [`Handle::sleep`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use greenpatch_runtime::future::{block_on, sleep};
///
/// greenpatch_runtime::run(|| {
///     let start = Instant::now();
///     block_on(sleep(Duration::from_millis(5)));
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
pub fn sleep(time: Duration) -> Sleep {
    match Handle::current() {
        Ok(handle) => handle.sleep(time),
        Err(error) => panic!("{error}"),
    }
}

/// A future that is ready at `until`.
///
/// # Panics
///
/// As [`sleep`].
pub fn sleep_until(until: Instant) -> Sleep {
    sleep(until.saturating_duration_since(Instant::now()))
}

/// The output of `future`, which is given up, and dropped, if it takes longer than `time`. A future that is ready when the time is
/// over still counts.
///
/// It begins to count when this is called. (To limit what *blocks*, see [`time::timeout`](crate::time::timeout).)
///
/// # Panics
///
/// As [`sleep`].
///
/// ```
/// use std::future::{pending, ready};
/// use std::time::Duration;
/// use greenpatch_runtime::future::{block_on, timeout};
///
/// greenpatch_runtime::run(|| {
///     assert_eq!(block_on(timeout(Duration::MAX, ready(1))), Ok(1));
///     let late = block_on(timeout(Duration::from_millis(5), pending::<()>())).unwrap_err();
///     assert_eq!(late.to_string(), "the future was not ready within 5ms");
/// });
/// ```
pub fn timeout<F: IntoFuture>(
    time: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let sleep = sleep(time);
    let future = future.into_future();
    async move {
        let (mut future, mut sleep) = (pin!(future), pin!(sleep));
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let elapsed = |()| Err(Elapsed { time });
            sleep.as_mut().poll(context).map(elapsed)
        })
        .await
    }
}

/// The error of a [`timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    time: Duration,
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the future was not ready within {:?}", self.time)
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
