//! Who sleeps, who searches, and whom a new piece of work wakes.
//!
//! A worker without work first *searches* (looks into the injector and the other workers' queues),
//! then *sleeps* in the reactor's `epoll_wait`. All idle workers sleep there, on one epoll
//! descriptor: the kernel hands each readiness event to one of them, so no worker owns the role of
//! the poller, and none has to hand it over when it finds something to run. The next timer is a
//! timerfd in the same epoll set. New work wakes one sleeper by a write to an eventfd in the set.
//!
//! One word holds the three facts of the protocol:
//!
//! | field | meaning |
//! |---|---|
//! | sleeping | workers that are in, or about to enter, `epoll_wait` and that no signal was sent to |
//! | searching | workers that look for work, and the one that a signal was sent to |
//! | signalled | a signal was sent and its addressee has not woken yet |
//!
//! **Pushing work**: make it visible, fence, [`Idle::notify`]. With a searcher about, nothing is
//! done: the searcher finds it, or looks again after it has ceased to search. Otherwise one
//! sleeper turns into a searcher in the word, and the caller writes the eventfd.
//!
//! **Going to sleep**: [`Idle::sleep`] changes the word, fences, *then* the worker looks at every
//! queue once more and, if it finds something, calls [`Idle::wake`] instead of waiting. Either the
//! pusher's load comes after that change and sees a sleeper, or the push came before the look and
//! is seen: no work is left behind with all workers asleep.
//!
//! **Ceasing to search with work in hand**: [`Idle::stop_searching`]; the last searcher looks at
//! every queue and notifies if there is more, because pushers relied on it.
//!
//! **The signal** is not addressed: any sleeper may take it from the epoll set. At most one is under
//! way, as the first makes its addressee a searcher and `notify` does nothing while there is one. A
//! worker that leaves `epoll_wait` for another reason and finds no sleeper counted any more knows
//! that the signal was counted as its own. A busy worker that harvests the signal while it polls
//! sends it again ([`Idle::is_signalled`]).
//!
//! Rejected: one poller and the rest on futexes (each event that the poller takes home costs a wake
//! of a second worker, merely to keep the reactor watched); a wake-up for each push (a storm).
//!
//! The loom model is `tests/loom.rs`.

use crate::atomic::{AtomicU64, Ordering, fence};

const SLEEPER: u64 = 1;
const SEARCHER: u64 = 1 << 32;
const SIGNALLED: u64 = 1 << 63;
const SLEEPING: u64 = SEARCHER - 1;
const SEARCHING: u64 = !(SLEEPING | SIGNALLED);

/// The word; see the module's page.
pub(crate) struct Idle(AtomicU64);

impl Idle {
    pub(crate) fn new() -> Idle {
        Idle(AtomicU64::new(0))
    }

    /// After work was made visible: true if the caller must send the signal.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        fence(Ordering::SeqCst);
        let word = self.0.load(Ordering::SeqCst);
        word & SLEEPING != 0 && word & (SEARCHING | SIGNALLED) == 0 && self.claim_sleeper()
    }

    #[cold]
    fn claim_sleeper(&self) -> bool {
        self.update(|word| {
            (word & SLEEPING != 0 && word & (SEARCHING | SIGNALLED) == 0)
                .then(|| (word - SLEEPER + SEARCHER) | SIGNALLED)
        })
        .is_some()
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

    /// A worker is about to wait; afterwards it must look at every queue once more.
    pub(crate) fn sleep(&self, searching: bool) {
        let change = if searching {
            SLEEPER.wrapping_sub(SEARCHER)
        } else {
            SLEEPER
        };
        self.0.fetch_add(change, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A worker that had called `sleep` wakes and is a searcher now; `signal` tells whether it
    /// took the signal from the epoll set.
    pub(crate) fn wake(&self, signal: bool) {
        self.update(|word| {
            let mine = word & SIGNALLED != 0 && (signal || word & SLEEPING == 0);
            Some(if mine {
                word & !SIGNALLED
            } else {
                word - SLEEPER + SEARCHER
            })
        });
    }

    /// Whether a signal was sent that its addressee has not taken yet.
    pub(crate) fn is_signalled(&self) -> bool {
        self.0.load(Ordering::SeqCst) & SIGNALLED != 0
    }

    /// Whether some worker sleeps or is about to; ordered against the sleeper's own look.
    #[inline]
    pub(crate) fn has_sleepers(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) & SLEEPING != 0
    }

    fn update(&self, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut word = self.0.load(Ordering::SeqCst);
        loop {
            let next = change(word)?;
            match self
                .0
                .compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return Some(next),
                Err(current) => word = current,
            }
        }
    }
}
