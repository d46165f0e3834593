//! The wakers of futures that wait for a descriptor. They stand beside the line of the threads, under the same lock.
//!
//! A *place* belongs to one future, or to one [`AsyncFd`](crate::future::AsyncFd) whoever polls it, and has room for a waker for
//! each thing that can be waited for: something to read, room to write, and what is unusual, an end or an error.
//!
//! **Waking.** An edge takes out all wakers of what it tells of, and wakes them when the lock is let go. A task that is woken
//! tries, and leaves its waker again if it finds nothing. So it answers for nobody: it may be dropped, or may never be polled
//! again, and none of the others, threads or tasks, waits for it. (Rejected: tasks as consumers in line, of which an edge wakes
//! one, who passes the wake on. A thread that was woken runs sooner or later; a task that was woken need not be polled for as
//! long as its owner likes, and one that holds the wake would keep a connection from all other acceptors.)
//!
//! **No wake is lost.** A waker is left under the lock, if no edge came since the readiness word was read before the attempt
//! that found nothing; an edge is counted, and takes wakers out, under the same lock. So whatever came after the attempt has
//! made an edge that was either counted by then, and the task tries again, or is still to take the waker out. A waker that stands
//! there already may be kept if it wakes the same task: it counts as left anew.
//!
//! **User code.** To clone a waker and to drop one is user code, as to wake it is. None of it is called under the lock: a waker is
//! cloned before, and what is taken out is dropped or woken after.
//!
//! **In place.** A place is linked from its first waker until [`Wakers::remove`]. It stays linked, and empty, when the
//! descriptor is closed: its owner takes it out.

use std::ptr;
use std::task::Waker;

use crate::base::atomic::{AtomicU32, Cell, Ordering};
use crate::base::interest::Edges;
use crate::base::task_waker;
use crate::sched::context::{self, UserSection};

/// What can be waited for: each of [`Edges`].
const KINDS: usize = 3;

/// Wakers that are taken out under the lock, and woken outside it, at a time.
const BATCH: usize = 8;

/// In `Place::hint`, above the kinds for which there is a waker: it is linked.
const LINKED: u32 = 1 << KINDS;

/// Room for the wakers of one future.
pub(crate) struct Place {
    wakers: [Cell<Option<Waker>>; KINDS],
    /// The rounds after which these were left.
    left_after: [Cell<u64>; KINDS],
    /// The kinds for which there is a waker, and [`LINKED`]. Written under the lock.
    hint: AtomicU32,
    next: Cell<*const Place>,
    previous: Cell<*const Place>,
}

// SAFETY: the cells are used under the lock of the line only.
unsafe impl Send for Place {}

// SAFETY: the cells are used under the lock of the line only.
unsafe impl Sync for Place {}

fn index(kind: Edges) -> usize {
    kind.bits().trailing_zeros() as usize
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            wakers: [const { None }; KINDS].map(Cell::new),
            left_after: [0; KINDS].map(Cell::new),
            hint: AtomicU32::new(0),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }

    /// Whether there is a waker for this; without the lock, it may be outdated at once.
    pub(super) fn may_hold(&self, kind: Edges) -> bool {
        self.hint.load(Ordering::Relaxed) & kind.bits() != 0
    }

    /// Whether it has to be removed. Exact for its owner, when nobody polls any more.
    pub(crate) fn is_linked(&self) -> bool {
        self.hint.load(Ordering::Acquire) & LINKED != 0
    }

    /// The lock is held.
    fn change_hint(&self, change: impl FnOnce(u32) -> u32) {
        let hint = self.hint.load(Ordering::Relaxed);
        self.hint.store(change(hint), Ordering::Release);
    }

    /// The lock is held.
    fn take(&self, index: usize) -> Option<Waker> {
        let waker = self.wakers[index].take();
        if waker.is_some() {
            self.change_hint(|hint| hint & !(1 << index));
        }
        waker
    }
}

/// Room for wakers that were taken out, to be woken when the lock is let go.
pub(super) struct Batch {
    wakers: [Option<Waker>; BATCH],
    filled: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            wakers: [const { None }; BATCH],
            filled: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    fn push(&mut self, waker: Waker) {
        self.wakers[self.filled] = Some(waker);
        self.filled += 1;
    }

    /// Wakes those that were taken out, after which it is empty. True if there may be more.
    pub(super) fn wake(&mut self) -> bool {
        if self.filled == 0 {
            return false;
        }
        let is_full = self.is_full();
        // On a green thread, which closes the descriptor, that is its own code.
        let _user = context::green().map(UserSection::enter);
        let filled = self.wakers.iter_mut().take(self.filled);
        filled.filter_map(Option::take).for_each(task_waker::wake);
        self.filled = 0;
        is_full
    }
}

/// The places of one descriptor. Zeros are none.
pub(super) struct Wakers {
    first: *const Place,
    /// How often wakers were to be woken. The count of edges would not do: it begins again one day, when a waker that was left
    /// before must not seem to have been left later.
    rounds: u64,
}

impl Wakers {
    pub(super) const NONE: Wakers = Wakers {
        first: ptr::null(),
        rounds: 0,
    };

    /// Counts a waker that stands there already as left now. False if there is none that wakes the same task.
    pub(super) fn renew(&self, place: &Place, kind: Edges, waker: &Waker) -> bool {
        let index = index(kind);
        let held = place.wakers[index].take();
        let is_same = held.as_ref().is_some_and(|held| held.will_wake(waker));
        let emptied = place.wakers[index].replace(held);
        debug_assert!(emptied.is_none(), "the lock is held");
        // What was replaced is the emptiness that `take` has left: nothing is dropped here.
        drop(emptied);
        if is_same {
            place.left_after[index].set(self.rounds);
        }
        is_same
    }

    /// Leaves a waker. Gives the one that it replaces, to be dropped when the lock is let go.
    ///
    /// # Safety
    ///
    /// The place stays where it is until it was [removed](Self::remove).
    pub(super) unsafe fn leave(
        &mut self,
        place: &Place,
        kind: Edges,
        waker: Waker,
    ) -> Option<Waker> {
        if !place.is_linked() {
            place.previous.set(ptr::null());
            place.next.set(self.first);
            // SAFETY: a linked place is in place.
            if let Some(first) = unsafe { self.first.as_ref() } {
                first.previous.set(place);
            }
            self.first = place;
        }
        place.change_hint(|hint| hint | LINKED | kind.bits());
        let index = index(kind);
        place.left_after[index].set(self.rounds);
        place.wakers[index].replace(Some(waker))
    }

    /// Takes a place out, with its wakers, which are to be dropped when the lock is let go.
    pub(super) fn remove(&mut self, place: &Place) -> [Option<Waker>; KINDS] {
        if place.is_linked() {
            let (next, previous) = (place.next.get(), place.previous.get());
            // SAFETY: a linked place is in place.
            if let Some(next) = unsafe { next.as_ref() } {
                next.previous.set(previous);
            }
            // SAFETY: a linked place is in place.
            match unsafe { previous.as_ref() } {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            place.change_hint(|hint| hint & !LINKED);
        }
        [0, 1, 2].map(|index| place.take(index))
    }

    /// Forgets all places, which do not exist any more.
    pub(super) fn forget(&mut self) {
        self.first = ptr::null();
    }

    /// An edge was counted: the round in which its wakers are to be [taken](Self::take).
    pub(super) fn begin_round(&mut self) -> u64 {
        self.rounds += 1;
        self.rounds
    }

    /// Takes out the wakers of what the edge of this round tells of, as many as there is room for. Those that were left since it was counted
    /// have seen it; were they woken too, tasks that find nothing could keep whoever wakes them at it without end.
    pub(super) fn take(&mut self, kinds: Edges, round: u64, batch: &mut Batch) {
        for place in self.places() {
            let held = place.hint.load(Ordering::Relaxed) & kinds.bits();
            for index in (0..KINDS).filter(|index| held & 1 << index != 0) {
                if round <= place.left_after[index].get() {
                    continue;
                }
                if batch.is_full() {
                    return;
                }
                if let Some(waker) = place.take(index) {
                    batch.push(waker);
                }
            }
        }
    }

    /// Whether there is a waker for anything.
    pub(super) fn is_empty(&self) -> bool {
        let kinds = Edges::all().bits();
        self.places()
            .all(|place| place.hint.load(Ordering::Relaxed) & kinds == 0)
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        // SAFETY: a linked place is in place.
        let first = unsafe { self.first.as_ref() };
        std::iter::successors(first, |place| {
            // SAFETY: a linked place is in place.
            unsafe { place.next.get().as_ref() }
        })
    }
}
