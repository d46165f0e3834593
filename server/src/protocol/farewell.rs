//! What is to be said to the client of an upgraded connection before the worker stops.
//!
//! Such a connection speaks a protocol of the application's, so only who serves it can end it in good order: a WebSocket, by a
//! close frame. Without that it would hold the worker up until the graceful time-out. The farewell is said once, by the drain.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A way to be told that the server is to stop, for who serves an upgraded connection; in the extensions of each request that asks
/// for an upgrade. Clones are the same. The module `websocket` makes use of it by itself.
///
/// ```
/// use greenpatch_server::application::Farewell;
///
/// fn prepare<B>(request: &http::Request<B>, end: impl FnOnce() + Send + 'static) {
///     if let Some(farewell) = request.extensions().get::<Farewell>() {
///         farewell.prepare(end);
///     }
/// }
/// # prepare(&http::Request::new(()), || ());
/// ```
#[derive(Clone, Default)]
pub struct Farewell(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// Nobody has anything to say yet.
    #[default]
    Open,
    Waiting(Box<dyn FnOnce() + Send>),
    /// The worker is to stop.
    Due,
}

impl Farewell {
    /// Has `say` called when the server is to stop, or now if it is already; in place of what was prepared before. It is called where
    /// nobody may be kept waiting: let it send a message on a channel, or end the connection's protocol without waiting.
    pub fn prepare(&self, say: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        match *state {
            State::Due => {
                drop(state);
                say();
            }
            State::Open | State::Waiting(_) => *state = State::Waiting(Box::new(say)),
        }
    }

    /// The worker is to stop.
    pub(crate) fn say(&self) {
        let before = mem::replace(&mut *self.lock(), State::Due);
        if let State::Waiting(say) = before {
            say();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Farewell").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn it_is_said_once_whichever_comes_first() {
        for is_prepared_first in [true, false] {
            let said = Arc::new(AtomicU32::new(0));
            let noted = Arc::clone(&said);
            let say = move || _ = noted.fetch_add(1, Ordering::Relaxed);
            let farewell = Farewell::default();
            if is_prepared_first {
                farewell.prepare(say);
                assert_eq!(said.load(Ordering::Relaxed), 0);
                farewell.say();
            } else {
                farewell.say();
                farewell.prepare(say);
            }
            farewell.say();
            assert_eq!(said.load(Ordering::Relaxed), 1);
        }
    }
}
