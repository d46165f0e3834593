//! How a plain function waits for a future.
//!
//! [`greenpatch::block_on`] waits to the end, whatever happens. What a handler waits for must be cut short when the request is:
//! by its time-out, because the client has left, by a [`greenpatch::time::timeout`] of its own. So this waits for an
//! [`Event`], which the future's waker sets: a wait that time limits and cancellation end, on green threads of patched and
//! unpatched runtimes and on OS threads alike.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use greenpatch::sync::Event;

struct Woken(Event);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.set();
    }
}

/// Waits for the future's output, for at most `limit`.
///
/// # Errors
///
/// `TimedOut` if the limit or a time limit around the call is over, and `ECANCELED` if the green thread is cancelled.
pub(super) fn wait_for<F: Future>(limit: Option<Duration>, future: F) -> io::Result<F::Output> {
    let mut future = pin!(future);
    // What is ready needs no waker.
    if let Poll::Ready(output) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return Ok(output);
    }
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let woken = Arc::new(Woken(Event::new()));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        // Cleared first: a wake-up that comes from here on is not lost.
        woken.0.clear();
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        match end {
            None => woken.0.wait()?,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                woken.0.wait_timeout(left)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_future_that_another_thread_ends_is_waited_for() {
        let waits = || {
            let (sender, receiver) = oneshot::channel();
            let sends = move || sender.send(7).unwrap();
            let thread = thread::spawn(sends);
            assert_eq!(wait_for(None, receiver).unwrap(), Ok(7));
            thread.join().unwrap();
        };
        waits();
        greenpatch::run(waits);
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again() {
        let mut left = 1000;
        let counted = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        wait_for(None, counted).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn the_wait_ends_with_its_limit() {
        let waits = || {
            let error = wait_for(Some(Duration::from_millis(1)), pending::<()>()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        };
        waits();
        greenpatch::run(waits);
    }

    #[test]
    fn the_wait_ends_with_its_green_thread() {
        let error = greenpatch::run(|| {
            let waiting = greenpatch::spawn(|| wait_for(None, pending::<()>()).unwrap_err());
            waiting.cancel();
            waiting.join()
        });
        // Cancelled before it began, it does not begin.
        assert!(error.is_err() || greenpatch::is_cancellation(&error.unwrap()));
    }
}
