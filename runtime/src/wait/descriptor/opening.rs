//! To which of the descriptors that have had a number a call belongs.
//!
//! A call belongs to the descriptor that had the number when it first looked: to the number's *opening*, a count. Whatever
//! the call has yet to do after its first step (a retry, the rest of a send) fails with `EBADF` once that has ended, instead
//! of going to a stranger.
//!
//! | opening | meaning | goes to, and by whom |
//! |---|---|---|
//! | even | the descriptor stays, as far as is known | the next odd one by `closing`; the next even one by `opened` |
//! | odd | it is being closed | the next even one by `closed`, if that close is the last that has begun, or by `opened` |
//!
//! **Attempts.** Between a call's look at the opening and the kernel's own look at the number, the number could still change
//! hands. So an attempt that is not the call's first is counted before that look, and whoever closes waits, after he has
//! ended the opening and before he closes, for the attempts that are under way.
//!
//! **Between `closing` and `closed`** a call may begin, too. Its descriptor is still there or has gone, and the number may
//! have gone to another one, of which `opened` has not told yet. So a call that begins in an odd opening has its first step
//! only. One that begins after `opened` belongs to the new descriptor, though the old one's `closed` is still to come.
//!
//! **Use.** `closing` and `closed` have little to do as long as the number is not *used*. So a call, and whoever asks the
//! kernel for something to be remembered, marks it as used before the kernel is asked: a close either sees the mark or comes
//! before.
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, Ordering, order_after_exchange};

/// One descriptor among those that have had a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening(u32);

impl Opening {
    pub(crate) fn is_being_closed(self) -> bool {
        self.0 & 1 != 0
    }
}

/// A number's openings; zeros are valid.
pub(crate) struct Openings {
    opening: AtomicU32,
    /// Attempts under way of calls that have begun before.
    going_on: AtomicU32,
    used: AtomicU32,
}

/// An attempt of a call that has begun before, on the descriptor that it began on.
pub struct GoingOn<'a>(&'a Openings);

impl Drop for GoingOn<'_> {
    fn drop(&mut self) {
        self.0.going_on.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Openings {
    #[allow(dead_code, reason = "entries come as zeros; the loom model makes one")]
    pub(crate) fn new() -> Openings {
        Openings {
            opening: AtomicU32::new(0),
            going_on: AtomicU32::new(0),
            used: AtomicU32::new(0),
        }
    }

    /// The first look of a call: what it belongs to from now on.
    #[inline]
    pub(crate) fn begin(&self) -> Opening {
        let opening = self.opening.load(Ordering::SeqCst);
        self.mark_used();
        Opening(opening)
    }

    /// To be called after the opening or the generation was read, and before the kernel is asked. If they were read after
    /// they were changed, this sees that the mark had been reset before.
    #[inline]
    pub(crate) fn mark_used(&self) {
        if !self.is_used() {
            self.used.store(1, Ordering::SeqCst);
        }
    }

    /// Whether anything has to be undone when the descriptor is closed.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::SeqCst) != 0
    }

    /// Before the opening is ended by `closing` or `opened`, whose caller undoes all that there is to be undone. As long as a
    /// call may be in progress, the mark stays.
    pub(crate) fn reset_use(&self) {
        self.used.store(0, Ordering::SeqCst);
    }

    /// Whether this opening has not ended.
    #[inline]
    pub(crate) fn is(&self, opening: Opening) -> bool {
        self.opening.load(Ordering::SeqCst) == opening.0
    }

    /// A call attempts once more. As long as this is not dropped, the number has the descriptor that the call began on,
    /// unless whoever closes it has waited in vain. `None` if that has gone, or is about to go.
    pub(crate) fn go_on(&self, opening: Opening) -> Option<GoingOn<'_>> {
        self.going_on.fetch_add(1, Ordering::SeqCst);
        order_after_exchange();
        let going_on = GoingOn(self);
        (self.is(opening) && !opening.is_being_closed()).then_some(going_on)
    }

    /// Whether attempts are under way. After `closing`, they are such as have not seen it.
    pub(crate) fn are_going_on(&self) -> bool {
        self.going_on.load(Ordering::SeqCst) != 0
    }

    /// Before the descriptor is closed: the opening that this begins.
    pub(crate) fn closing(&self) -> Opening {
        Opening(self.change(|opening| opening.wrapping_add(1) | 1))
    }

    /// After it was closed. Whether this has ended an opening.
    pub(crate) fn closed(&self, Opening(opening): Opening) -> bool {
        let next = opening.wrapping_add(1);
        self.opening
            .compare_exchange(opening, next, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// As [`closed`](Self::closed), for the last close that has begun.
    pub(crate) fn closed_last(&self) -> bool {
        let opening = self.opening.load(Ordering::SeqCst);
        Opening(opening).is_being_closed() && self.closed(Opening(opening))
    }

    /// A new descriptor has the number.
    pub(crate) fn opened(&self) {
        self.change(|opening| opening.wrapping_add(2) & !1);
    }

    /// In a child, where the attempts under way in the parent are not made.
    pub(crate) fn forget_attempts(&self) {
        self.going_on.store(0, Ordering::SeqCst);
    }

    fn change(&self, next: impl Fn(u32) -> u32) -> u32 {
        let order = Ordering::SeqCst;
        let before = self
            .opening
            .fetch_update(order, order, |opening| Some(next(opening)))
            .unwrap_or_else(|opening| opening);
        order_after_exchange();
        next(before)
    }
}
