//! Who sleeps, who searches, and whom a new piece of work wakes.
//!
//! A worker without work first *searches* (looks into the injector and the other workers' queues),
//! then *sleeps*, in one of two places:
//!
//! - **In the reactor's `epoll_wait`.** Any number of workers sleep there, on one epoll descriptor:
//!   the kernel hands each readiness event to one of them, so no worker owns the role of the poller,
//!   and none has to hand it over when it finds something to run. The next timer is a timerfd in the
//!   same epoll set.
//! - **On standby**, on a futex. In the reactor a worker can be in the way. A message over a socket from one green thread
//!   to another wakes it on its processor, although the worker that ran the sender is about to look for that message
//!   itself, and mostly has it before the other one is awake. A green thread that wakes another and then waits for it would
//!   wake the worker through an eventfd, in vain. While the others are *prompt*, that is, find what they do next as soon as
//!   they look, a worker that goes to sleep stands by instead (`standby.rs`). One of those on standby is the *watcher*:
//!   every now and then it looks whether the others are still prompt, and whether something has stood in a run-next slot
//!   for long. Once the others are no longer prompt, it goes to the reactor ([`Idle::join`]). Until then, for some 0.3 ms,
//!   an event or a green thread in a run-next slot may have to wait while a worker is idle. Whoever leaves standby while
//!   others stay there without a watcher signals, and the next one takes over.
//!
//! New work wakes one sleeper: one on standby by the futex, otherwise one in the reactor by a write to
//! an eventfd in the set.
//!
//! One word holds the facts of the protocol:
//!
//! | field | meaning |
//! |---|---|
//! | polling | workers that are in, or about to enter, `epoll_wait` and that no signal was sent to |
//! | standing by | workers that are on standby, or about to be, and that no signal was sent to |
//! | searching | workers that look for work, and the one that a signal was sent to |
//! | signalled | a signal was sent, to the reactor or to standby, and its addressee has not woken yet |
//!
//! **Pushing work**: make it visible, fence, [`Idle::notify`]. With a searcher about, nothing is
//! done: the searcher finds it, or looks again after it has ceased to search. Otherwise one
//! sleeper turns into a searcher in the word, and the caller sends the signal to that one's place. Work in a run-next slot
//! wakes nobody while a worker stands by ([`Idle::notify_next`]).
//!
//! **Going to sleep**: [`Idle::sleep`] changes the word, fences, *then* the worker looks at every
//! queue once more and, if it finds something, calls [`Idle::wake`] instead of waiting. Either the
//! pusher's load comes after that change and sees a sleeper, or the push came before the look and
//! is seen: no work is left behind with all workers asleep.
//!
//! **Ceasing to search with work in hand**: [`Idle::stop_searching`]; the last searcher looks at
//! every queue and notifies if there is more, because pushers relied on it.
//!
//! **The signal** is not addressed: any sleeper of the place may take it. At most one is under
//! way, as the first makes its addressee a searcher and `notify` does nothing while there is one.
//! The reactor keeps its signal until somebody harvests it. A worker that leaves the reactor without it and
//! finds no poller counted any more knows that the signal was counted as its own; a busy worker that harvests it
//! while it polls sends it again ([`Idle::is_signalled`]). The futex keeps nothing for those who come later; so whoever
//! leaves standby, for whatever reason, takes a signal along that is under way, and who wakes and finds it taken goes
//! on as before.
//!
//! Rejected: always one poller and the rest on futexes (each event that the poller takes home costs a wake
//! of a second worker, merely to keep the reactor watched, or leaves it unwatched during a turn, however long);
//! a wake-up for each push (a storm).
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU64, Ordering, fence};

const POLLER: u64 = 1;
const STANDBY: u64 = 1 << 16;
const SEARCHER: u64 = 1 << 32;
const REACTOR_SIGNALLED: u64 = 1 << 62;
const STANDBY_SIGNALLED: u64 = 1 << 63;

const POLLING: u64 = STANDBY - 1;
const STANDING_BY: u64 = SEARCHER - STANDBY;
const SEARCHING: u64 = REACTOR_SIGNALLED - SEARCHER;
const SIGNALLED: u64 = REACTOR_SIGNALLED | STANDBY_SIGNALLED;

/// Where a worker sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SleepPlace {
    Reactor,
    Standby,
}

impl SleepPlace {
    /// One sleeper there.
    fn sleeper(self) -> u64 {
        match self {
            SleepPlace::Reactor => POLLER,
            SleepPlace::Standby => STANDBY,
        }
    }

    /// The signal sent there.
    fn signalled(self) -> u64 {
        match self {
            SleepPlace::Reactor => REACTOR_SIGNALLED,
            SleepPlace::Standby => STANDBY_SIGNALLED,
        }
    }

    /// Whether a worker that leaves this place takes a signal along; in the reactor it may have `harvested` it.
    fn takes_signal(self, word: u64, harvested: bool) -> bool {
        let leaves_it = self == SleepPlace::Reactor && !harvested && word & POLLING != 0;
        word & self.signalled() != 0 && !leaves_it
    }
}

/// The word; see the module's page.
pub(crate) struct Idle(AtomicU64);

impl Idle {
    pub(crate) fn new() -> Idle {
        Idle(AtomicU64::new(0))
    }

    /// After work was made visible: where the caller must send the signal, if anywhere.
    #[inline]
    pub(crate) fn notify(&self) -> Option<SleepPlace> {
        fence(Ordering::SeqCst);
        addressee(self.0.load(Ordering::SeqCst))?;
        self.claim_sleeper()
    }

    /// As [`notify`](Self::notify), after a green thread was put into an empty run-next slot, by a sequentially consistent
    /// exchange, which stands for the fence: true if the caller must send the signal to the reactor. While a worker stands by, it
    /// looks at the slots itself and is not woken.
    #[inline]
    pub(crate) fn notify_next(&self) -> bool {
        let place = addressee(self.0.load(Ordering::SeqCst));
        place == Some(SleepPlace::Reactor) && self.claim_poller()
    }

    #[cold]
    fn claim_poller(&self) -> bool {
        let claimed = self.update(|word| {
            let is_addressee = addressee(word) == Some(SleepPlace::Reactor);
            is_addressee.then(|| (word - POLLER + SEARCHER) | REACTOR_SIGNALLED)
        });
        claimed.is_some()
    }

    #[cold]
    fn claim_sleeper(&self) -> Option<SleepPlace> {
        let before = self.update(|word| {
            let place = addressee(word)?;
            Some((word - place.sleeper() + SEARCHER) | place.signalled())
        })?;
        addressee(before)
    }

    /// A worker without work begins to search, unless enough others do.
    pub(crate) fn start_searching(&self, limit: u64) -> bool {
        self.update(|word| ((word & SEARCHING) / SEARCHER < limit).then(|| word + SEARCHER))
            .is_some()
    }

    /// A searcher found something to run: true if it was the last one and must look for more.
    #[inline]
    pub(crate) fn stop_searching(&self) -> bool {
        let before = self.0.fetch_sub(SEARCHER, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        before & SEARCHING == SEARCHER
    }

    /// A worker is about to wait at `place`; afterwards it must look at every queue once more.
    pub(crate) fn sleep(&self, searching: bool, place: SleepPlace) {
        let searcher = if searching { SEARCHER } else { 0 };
        let change = place.sleeper().wrapping_sub(searcher);
        self.0.fetch_add(change, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A worker on standby goes to the reactor. False if it takes a signal along: it is a searcher now.
    pub(crate) fn join(&self) -> bool {
        let signalled = self.leave(SleepPlace::Standby, false, POLLER);
        fence(Ordering::SeqCst);
        !signalled
    }

    /// A worker that sleeps at `place` wakes and is a searcher now. It may have `harvested` the reactor's signal.
    pub(crate) fn wake(&self, place: SleepPlace, harvested: bool) {
        self.leave(place, harvested, SEARCHER);
    }

    /// A worker that sleeps at `place` becomes one of another kind, or takes a signal along and is the searcher that it was
    /// counted as. True if it takes one.
    fn leave(&self, place: SleepPlace, harvested: bool, one: u64) -> bool {
        let takes_signal = |word| place.takes_signal(word, harvested);
        let before = self.update(|word| {
            Some(match takes_signal(word) {
                true => word & !place.signalled(),
                false => word - place.sleeper() + one,
            })
        });
        before.is_some_and(takes_signal)
    }

    /// Whether a signal was sent to `place` that its addressee has not taken yet.
    pub(crate) fn is_signalled(&self, place: SleepPlace) -> bool {
        self.0.load(Ordering::SeqCst) & place.signalled() != 0
    }

    /// Whether some worker is in the reactor or about to be; ordered against its own look.
    #[inline]
    pub(crate) fn has_pollers(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) & POLLING != 0
    }

    /// Whether some worker is on standby or about to be; ordered against its own look.
    pub(crate) fn standing_by(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) & STANDING_BY != 0
    }

    /// What the word was before the change, if there was one.
    fn update(&self, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut word = self.0.load(Ordering::SeqCst);
        loop {
            let next = change(word)?;
            match self
                .0
                .compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return Some(word),
                Err(current) => word = current,
            }
        }
    }
}

/// Where a sleeper is that new work is to wake. None is woken while there is a searcher, as there is while a signal is
/// under way.
fn addressee(word: u64) -> Option<SleepPlace> {
    if word & (SEARCHING | SIGNALLED) != 0 {
        None
    } else if word & STANDING_BY != 0 {
        Some(SleepPlace::Standby)
    } else if word & POLLING != 0 {
        Some(SleepPlace::Reactor)
    } else {
        None
    }
}
