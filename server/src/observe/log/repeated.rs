//! What would be said a thousand times, said once with a count.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Level, line};

/// Every one that has something to tell.
static PENDING: Mutex<Vec<&'static Repeated>> = Mutex::new(Vec::new());

/// Something that may go wrong again and again, and is logged once a period.
///
/// The first line appears at once. What follows within the period is counted, and when it is over one line tells the last
/// message and the count: at the next occurrence, or by [`tell_repeated`], which a server calls every second.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_server::log::Repeated;
///
/// static NO_DESCRIPTORS: Repeated = Repeated::new(Duration::from_secs(10));
/// for _ in 0..1000 {
///     NO_DESCRIPTORS.error("cannot accept: too many open files"); // one line
/// }
/// ```
#[derive(Debug)]
pub struct Repeated {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When something was logged last.
    logged: Option<Instant>,
    /// What has not been, since.
    held_back: Option<HeldBack>,
}

#[derive(Debug)]
struct HeldBack {
    level: Level,
    message: String,
    count: u64,
}

impl Repeated {
    /// Logged once in this time.
    pub const fn new(period: Duration) -> Repeated {
        Repeated {
            period,
            state: Mutex::new(State {
                logged: None,
                held_back: None,
            }),
        }
    }

    /// Logs it as an error, or counts it.
    pub fn error(&'static self, message: impl fmt::Display) {
        self.log(Level::Error, message);
    }

    /// Logs it as a warning, or counts it.
    pub fn warning(&'static self, message: impl fmt::Display) {
        self.log(Level::Warning, message);
    }

    fn log(&'static self, level: Level, message: impl fmt::Display) {
        let message = message.to_string();
        let mut state = self.state();
        let is_recent = (state.logged).is_some_and(|logged| logged.elapsed() < self.period);
        if !is_recent {
            let before = state.held_back.take();
            state.logged = Some(Instant::now());
            drop(state);
            match before {
                Some(before) => self.tell(level, &message, before.count + 1),
                None => line(level, message),
            }
            return;
        }
        match &mut state.held_back {
            Some(held_back) => {
                held_back.count += 1;
                (held_back.level, held_back.message) = (level, message);
            }
            None => {
                let count = 1;
                state.held_back = Some(HeldBack {
                    level,
                    message,
                    count,
                });
                drop(state);
                pending().push(self);
            }
        }
    }

    fn tell(&self, level: Level, message: &str, count: u64) {
        let times = if count == 1 {
            "once more"
        } else {
            "times more"
        };
        let period = self.period;
        match count {
            1 => line(level, format_args!("{message} ({times} in {period:?})")),
            _ => line(
                level,
                format_args!("{message} ({count} {times} in {period:?})"),
            ),
        }
    }

    /// Tells what was held back, if its period is over; says whether nothing is left.
    fn settle(&self) -> bool {
        let mut state = self.state();
        let is_recent = (state.logged).is_some_and(|logged| logged.elapsed() < self.period);
        if is_recent {
            return state.held_back.is_none();
        }
        let Some(HeldBack {
            level,
            message,
            count,
        }) = state.held_back.take()
        else {
            return true;
        };
        state.logged = Some(Instant::now());
        drop(state);
        self.tell(level, &message, count);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs what [`Repeated`]s have held back, of those whose period is over.
pub fn tell_repeated() {
    if pending().is_empty() {
        return;
    }
    let all = std::mem::take(&mut *pending());
    let unsettled = all.into_iter().filter(|repeated| !repeated.settle());
    let unsettled: Vec<_> = unsettled.collect();
    pending().extend(unsettled);
}

fn pending() -> MutexGuard<'static, Vec<&'static Repeated>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}
