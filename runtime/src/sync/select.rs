//! Waiting for whichever of several channels comes first.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::error::RecvError;
use super::mpmc::{Receiver, Sender};
use super::raw::line::{Selection, Wake};
use super::raw::select::{Case, ReceiveCase, SendCase, select};
use super::raw::wait_limit::{Interrupted, WaitLimit};
use crate::base::deadline::Deadline;

/// Waits for whichever comes first: an item from one of several [channels](super::mpmc), room for one in another, or a time. Go's
/// `select`, crossbeam's `Select`.
///
/// Each method adds a case, with a function that makes its result from what has happened. Exactly one case is carried out, and
/// only its function is called. If several need no wait, one of them is taken at random, so that a busy channel does not
/// starve the others; with [`biased`](Self::biased), the first in the order in which they were added.
///
/// A channel that is disconnected is no longer waited for: its case is carried out, with an error. (Leave it out from then on,
/// or a loop turns.) Whoever waits here stands in line with those who wait for one of the channels alone, and two that select from
/// each other find one another, also at channels without capacity.
///
/// Works on green threads and on OS threads, and between them.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::{run, spawn, sync::{Select, mpmc}};
///
/// enum Event {
///     Message(u32),
///     Done,
///     Tick,
/// }
///
/// run(|| {
///     let (messages, inbox) = mpmc::channel();
///     let (done, is_done) = mpmc::sync_channel::<()>(0);
///     spawn(move || {
///         for n in 1..=3 {
///             messages.send(n).unwrap();
///         }
///         done.send(()).unwrap();
///     });
///     let mut sum = 0;
///     loop {
///         let event = Select::new()
///             .recv(&inbox, |message| message.map_or(Event::Done, Event::Message))
///             .recv(&is_done, |_| Event::Done)
///             .after(Duration::from_secs(60), || Event::Tick)
///             .biased()
///             .wait()
///             .unwrap();
///         match event {
///             Event::Message(n) => sum += n,
///             Event::Done => break,
///             Event::Tick => println!("nothing for a minute"),
///         }
///     }
///     assert_eq!(sum, 6);
/// });
/// ```
#[must_use = "nothing is waited for before `wait` or `try_wait`"]
pub struct Select<'a, R> {
    cases: Vec<Box<dyn Outcome<R> + 'a>>,
    timer: Option<Timer<'a, R>>,
    is_biased: bool,
}

/// The earliest time that is waited for.
struct Timer<'a, R> {
    deadline: Deadline,
    /// How many cases were added before it.
    place: usize,
    act: Box<dyn FnOnce() -> R + 'a>,
}

/// A case, and what is made of it if it wins.
trait Outcome<R>: Case {
    fn complete(self: Box<Self>) -> R;
}

struct Receiving<'a, T, F>(ReceiveCase<'a, T>, F);

struct Sending<'a, T, F>(SendCase<'a, T>, F);

/// A case that is no more than the case in its field.
macro_rules! case_of_field {
    ($Case:ident) => {
        // SAFETY: as the field is one.
        unsafe impl<T, F> Case for $Case<'_, T, F> {
            fn address(&self) -> usize {
                self.0.address()
            }

            fn is_enabled(&self) -> bool {
                self.0.is_enabled()
            }

            fn lock(&self) -> *mut () {
                self.0.lock()
            }

            fn unlock(&self) {
                self.0.unlock();
            }

            unsafe fn attempt(&self, state: *mut ()) -> (bool, Option<Wake>) {
                // SAFETY: the contract is that of the field's.
                unsafe { self.0.attempt(state) }
            }

            unsafe fn enter(&self, state: *mut (), selection: &Selection, number: u32) {
                // SAFETY: the contract is that of the field's.
                unsafe { self.0.enter(state, selection, number) }
            }

            fn withdraw(&self, was_served: bool) {
                self.0.withdraw(was_served);
            }
        }
    };
}

case_of_field!(Receiving);
case_of_field!(Sending);

impl<T, R, F> Outcome<R> for Receiving<'_, T, F>
where
    F: FnOnce(Result<T, RecvError>) -> R,
{
    fn complete(self: Box<Self>) -> R {
        let Receiving(case, act) = *self;
        act(case.into_item().ok_or(RecvError::Disconnected))
    }
}

impl<T, R, F> Outcome<R> for Sending<'_, T, F>
where
    F: FnOnce(bool) -> R,
{
    fn complete(self: Box<Self>) -> R {
        let Sending(case, act) = *self;
        let was_sent = case.was_sent();
        // Gives the place of the item back to the caller.
        drop(case);
        act(was_sent)
    }
}

impl<'a, R> Select<'a, R> {
    /// Without a case.
    pub fn new() -> Select<'a, R> {
        Select {
            cases: Vec::new(),
            timer: None,
            is_biased: false,
        }
    }

    /// To receive an item. If this wins, `act` gets it, or [`RecvError::Disconnected`].
    pub fn recv<T, F>(mut self, receiver: &'a Receiver<T>, act: F) -> Select<'a, R>
    where
        F: FnOnce(Result<T, RecvError>) -> R + 'a,
    {
        let case = ReceiveCase::new(receiver.exchange());
        self.cases.push(Box::new(Receiving(case, act)));
        self
    }

    /// To send the item in `place`. If this wins, `act` is told whether it was sent, and it is gone from there; not, if all
    /// receivers are. If another case wins, it is there as before.
    ///
    /// With nothing in `place` the case never wins: so a loop sends when it has something to send.
    ///
    /// ```
    /// use greenpatch_runtime::sync::{Select, mpmc};
    ///
    /// let (sender, receiver) = mpmc::sync_channel(1);
    /// let mut pending = Some("item");
    /// let mut send = || Select::new().send(&sender, &mut pending, |was_sent| was_sent).try_wait();
    /// assert_eq!(send(), Some(true));
    /// assert_eq!(send(), None, "there is nothing left to send");
    /// assert_eq!(receiver.recv(), Ok("item"));
    /// ```
    pub fn send<T, F>(
        mut self,
        sender: &'a Sender<T>,
        place: &'a mut Option<T>,
        act: F,
    ) -> Select<'a, R>
    where
        F: FnOnce(bool) -> R + 'a,
    {
        let case = SendCase::new(sender.exchange(), place);
        self.cases.push(Box::new(Sending(case, act)));
        self
    }

    /// Until the time has come. Of several times, the earliest counts.
    pub fn at<F>(self, time: Instant, act: F) -> Select<'a, R>
    where
        F: FnOnce() -> R + 'a,
    {
        self.after(time.saturating_duration_since(Instant::now()), act)
    }

    /// For as long as this, counted from now. Of several times, the earliest counts.
    pub fn after<F>(mut self, duration: Duration, act: F) -> Select<'a, R>
    where
        F: FnOnce() -> R + 'a,
    {
        let deadline = Deadline::after(duration);
        let is_earlier = |timer: &Timer<'a, R>| timer.deadline <= deadline;
        if !self.timer.as_ref().is_some_and(is_earlier) {
            self.timer = Some(Timer {
                deadline,
                place: self.cases.len(),
                act: Box::new(act),
            });
        }
        self
    }

    /// If several cases need no wait, the one that was added first is carried out.
    pub fn biased(mut self) -> Select<'a, R> {
        self.is_biased = true;
        self
    }

    /// Waits until a case can be carried out, and carries it out. Without any that ever can, waits for ever.
    ///
    /// # Errors
    ///
    /// If the time of a [`timeout`](crate::time::timeout) around the call is over, or the green thread is cancelled, and every case
    /// would still have to wait. No item is lost then.
    pub fn wait(self) -> Result<R, Interrupted> {
        let deadline = self.timer.as_ref().map(|timer| timer.deadline);
        let selected = self.select(Some(WaitLimit::Until(deadline)))?;
        Ok(selected.unwrap_or_else(|| unreachable!("it has waited")))
    }

    /// Carries out a case that needs no wait, if there is one. (Go's `default`.)
    pub fn try_wait(self) -> Option<R> {
        self.select(None).ok().flatten()
    }

    fn select(self, limit: Option<WaitLimit>) -> Result<Option<R>, Interrupted> {
        let Select {
            mut cases,
            timer,
            is_biased,
        } = self;
        // The number of the timer, in the order of the cases.
        let timers_number = cases.len();
        let mut order: Vec<usize> = (0..cases.len()).collect();
        if let Some(timer) = &timer {
            order.insert(timer.place, timers_number);
        }
        if !is_biased {
            shuffle(&mut order);
        }
        let is_time = || {
            timer
                .as_ref()
                .is_some_and(|timer| timer.deadline.has_passed())
        };
        let selected = match select(&cases, order.into_iter(), is_time, limit) {
            Ok(Some(number)) => number,
            Ok(None) => return Ok(None),
            Err(Interrupted::TimedOut) if is_time() => timers_number,
            Err(interrupted) => return Err(interrupted),
        };
        if selected < timers_number {
            return Ok(Some(cases.swap_remove(selected).complete()));
        }
        // What the cases have borrowed is free when the function is called.
        drop(cases);
        Ok(timer.map(|timer| (timer.act)()))
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Select::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("cases", &self.cases.len())
            .field("has_timer", &self.timer.is_some())
            .field("is_biased", &self.is_biased)
            .finish()
    }
}

/// Puts the numbers into an order of which each is as likely, by SplitMix64 of a count of calls (Steele, Lea and Flood, 2014).
fn shuffle(numbers: &mut [usize]) {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if numbers.len() < 2 {
        return;
    }
    let mut state = CALLS.fetch_add(1 << 32, Ordering::Relaxed);
    for last in (1..numbers.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        numbers.swap(last, (bits % (last as u64 + 1)) as usize);
    }
}
