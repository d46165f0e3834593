//! A worker's run-next slot: the green thread that the running one woke last.
//!
//! Its data is warm, and mostly the one that woke it is about to wait for it: a call and its answer, a lock that
//! changes hands. So the worker runs it next, and nobody else should take it meanwhile. But the one that woke it may
//! also go on computing, and then another worker must run it.
//!
//! **Putting**: into an empty slot, the worker asks the idle protocol whether a sleeper is to be woken
//! ([`Idle::notify_next`](crate::sched::idle::Idle::notify_next)). If so, it first *announces* the turn in which it has put the
//! green thread. What stood in the slot before goes to the run queue, which all may steal from.
//!
//! **Stealing**: a thief takes the green thread at once if the worker is stuck, or is still in the turn that it has
//! announced: the wake-up alone has taken some tens of microseconds. In any other turn the green thread may have come
//! a moment ago. The thief then waits whether the turn lasts ([`STEAL_AFTER`]), which it does not while green threads
//! wake each other in turn.
//!
//! **Nothing is left behind.** The exchange of the slot and the load of the idle protocol's word are sequentially
//! consistent, and so are a thief's change of that word before it sleeps and its last look at the slot. So either the
//! worker sees a sleeper, or the thief sees an occupied slot and does not go to sleep.
//!
//! Rejected: to steal what was put in at once (two green threads that wake each other are torn apart, and each wake-up
//! costs that of an OS thread); to let the worker note when it put something in (reading the clock doubles the cost of a
//! wake-up).

use std::ptr;
use std::time::Duration;

use crate::base::atomic::{AtomicPtr, AtomicU32, Ordering, order_after_exchange};

/// How long a thief waits whether the turn lasts in which it has found a green thread in the slot. Green threads that wake
/// each other take less than a microsecond for a turn; a woken OS thread runs after some tens.
pub(crate) const STEAL_AFTER: Duration = Duration::from_micros(20);

/// The slot; see the module's page. It holds pointers that it never follows.
pub(crate) struct RunNext<T> {
    item: AtomicPtr<T>,
    /// The latest turn for which a sleeper was woken.
    announced: AtomicU32,
}

impl<T> RunNext<T> {
    pub(crate) fn new() -> RunNext<T> {
        RunNext {
            item: AtomicPtr::new(ptr::null_mut()),
            announced: AtomicU32::new(0),
        }
    }

    /// Puts `item` into the slot, and gives what was there. Only the worker itself calls this.
    #[inline]
    pub(crate) fn put(&self, item: *mut T) -> Option<ptr::NonNull<T>> {
        let before = self.item.swap(item, Ordering::SeqCst);
        order_after_exchange();
        ptr::NonNull::new(before)
    }

    /// Takes out what is there; exactly one of all who do gets it.
    #[inline]
    pub(crate) fn take(&self) -> Option<ptr::NonNull<T>> {
        if self.item.load(Ordering::Relaxed).is_null() {
            return None;
        }
        ptr::NonNull::new(self.item.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    #[inline]
    pub(crate) fn is_occupied(&self) -> bool {
        !self.item.load(Ordering::SeqCst).is_null()
    }

    /// The worker is about to wake a sleeper for what it has put in during `turn`.
    pub(crate) fn announce(&self, turn: u32) {
        self.announced.store(turn, Ordering::Relaxed);
    }

    /// Whether a sleeper was woken for what was put in during `turn`.
    pub(crate) fn is_announced(&self, turn: u32) -> bool {
        self.announced.load(Ordering::Relaxed) == turn
    }
}
