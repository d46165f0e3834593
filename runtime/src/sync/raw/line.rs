//! A line of waiters to whom something is handed, first come, first served.
//!
//! A waiter stands on the stack of its thread, in a list under a [`Lock`] that its owner has anyway. Whoever has
//! something for it takes it out of the list, leaves an item with it (or takes the one it has brought), and ends its
//! wait by a store to its word, all under the lock; the wake-up follows after the unlock. So each hand-over wakes
//! exactly one thread, which needs no lock to go on, and nobody can snatch what it was woken for.
//!
//! A waiter whose wait is cut short takes the lock: it is still in the list and leaves it, or was served meanwhile and
//! takes what it was handed as if nothing had happened. Thus nothing is lost.
//!
//! A waiter may stand in several lines at once, for whichever serves it first: it is an entry in each, and its
//! [`Selection`] says which one it was. Whoever takes such an entry out of a line must *claim* the selection before it touches the
//! entry's item. If another line has claimed it, or the waiter is gone, the entry is passed over as if it were not there.
//!
//! | state of a selection | meaning | goes to, and by whom |
//! |---|---|---|
//! | `WAITING` | nobody has served it | `CLAIMED` by whoever has something for one entry; `GONE` by the waiter |
//! | `CLAIMED` | somebody is at it, under the lock of that entry's line | `SERVED` and the entry's number by that one |
//! | `GONE` | the waiter's wait was cut short; it takes its entries out | |
//! | `SERVED` + n | the entry of number n was served; the waiter takes the others out | |
//!
//! After the store the waiter's frame may end at any time; the wake-up uses its address alone. Should something else
//! stand there by then, it sees a spurious wake-up.

use std::marker::PhantomData;
use std::{mem, ptr};

use crate::base::atomic::{AtomicU32, Cell, Ordering};
use crate::sync::raw::lock::{Guard, Lock};
use crate::sync::raw::sleeper::Sleeper;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};

/// In the list. Left under the lock only, but for a waiter in several lines.
const WAITING: u32 = 0;
/// See the module's page.
const CLAIMED: u32 = 1;
const GONE: u32 = 2;
/// Out of the list, and served; of a waiter in several lines, by the entry of number zero.
const SERVED: u32 = 3;

/// The list: intrusive, doubly linked, in the order of arrival.
pub(crate) struct Line<T> {
    head: *const Queued<T>,
    tail: *const Queued<T>,
}

// SAFETY: the waiters are looked at under the lock around the line only, and leave it before their frames end; their
// items go from thread to thread.
unsafe impl<T: Send> Send for Line<T> {}

/// The cells belong to whoever holds the lock while the word is WAITING, and to the waiter's thread afterwards.
pub(crate) struct Queued<T> {
    whose: Whose,
    next: Cell<*const Queued<T>>,
    previous: Cell<*const Queued<T>>,
    item: Cell<Option<T>>,
    /// It is in the list. Only of use to a waiter in several lines; the other one's word says so.
    is_linked: Cell<bool>,
}

/// Who waits by an entry.
enum Whose {
    /// Somebody in this line alone.
    One(Selection),
    /// Somebody in several lines, and the entry's number; `None` while it is in none.
    Several(Cell<Option<(*const Selection, u32)>>),
}

impl<T> Queued<T> {
    /// The entry of a waiter in several lines.
    pub(crate) fn of_several() -> Queued<T> {
        Queued::new(Whose::Several(Cell::new(None)), None)
    }

    fn new(whose: Whose, item: Option<T>) -> Queued<T> {
        Queued {
            whose,
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            item: Cell::new(item),
            is_linked: Cell::new(false),
        }
    }

    /// What was left with it, or what it has brought and nobody has taken. By the waiter, once it is out of the list.
    pub(crate) fn take_item(&self) -> Option<T> {
        self.item.take()
    }

    /// The word that the waiter waits on, its thread, and what the word says once this entry was served.
    fn waiter(&self) -> (&Selection, u32) {
        match &self.whose {
            Whose::One(selection) => (selection, SERVED),
            Whose::Several(place) => {
                let (selection, number) = place.get().expect("an entry in a line is somebody's");
                // SAFETY: the waiter takes its entries out before its selection's frame ends.
                (unsafe { &*selection }, SERVED + number)
            }
        }
    }

    /// Whether whoever has taken it out of the list may serve it.
    fn claim(&self) -> bool {
        match &self.whose {
            Whose::One(_) => true,
            Whose::Several(_) => self.waiter().0.goes_from_waiting_to(CLAIMED),
        }
    }
}

/// The word of a waiter, and its thread.
pub(crate) struct Selection {
    word: AtomicU32,
    thread: Sleeper,
}

impl Selection {
    /// Of the calling thread.
    pub(crate) fn new() -> Selection {
        Selection {
            word: AtomicU32::new(WAITING),
            thread: Sleeper::current(),
        }
    }

    /// Waits until an entry was served, and gives its number. With an error none was, and none will be.
    pub(crate) fn wait(&self, mut limit: WaitLimit) -> Result<u32, Interrupted> {
        let mut cut = None;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word >= SERVED {
                return Ok(word - SERVED);
            }
            // Nothing here unwinds.
            if let Err(interrupted) = self.thread.wait(&self.word, word, limit) {
                cut = Some(interrupted);
            }
            if let Some(interrupted) = cut {
                if self.goes_from_waiting_to(GONE) {
                    return Err(interrupted);
                }
                // Somebody is about to serve it, which takes no time.
                limit = WaitLimit::Endless;
            }
        }
    }

    fn goes_from_waiting_to(&self, state: u32) -> bool {
        self.word
            .compare_exchange(WAITING, state, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}

/// How a wait in line ended.
pub(crate) enum Outcome<'a, S, T> {
    /// The waiter was served; with what it was given, or what it had brought and nobody took.
    Served(Option<T>),
    /// The wait was cut short; with what it had brought, and the lock held.
    CutShort(Interrupted, Option<T>, Guard<'a, S>),
}

/// Gives up the lock and waits until served, in the line that `line` finds, with `item` for whoever serves.
pub(crate) fn wait<'a, S, T>(
    lock: &'a Lock<S>,
    mut guard: Guard<'a, S>,
    line: impl Fn(&mut S) -> &mut Line<T>,
    item: Option<T>,
    limit: WaitLimit,
) -> Outcome<'a, S, T> {
    let waiter = Queued::new(Whose::One(Selection::new()), item);
    line(&mut guard).push(&waiter);
    drop(guard);
    let (Selection { word, thread }, _) = waiter.waiter();
    // Nothing from here to the end of the loop unwinds.
    while word.load(Ordering::Acquire) == WAITING {
        if let Err(interrupted) = thread.wait(word, WAITING, limit) {
            let mut guard = lock.lock();
            if word.load(Ordering::Acquire) == WAITING {
                line(&mut guard).remove(&waiter);
                return Outcome::CutShort(interrupted, waiter.item.take(), guard);
            }
        }
    }
    Outcome::Served(waiter.item.take())
}

impl<T> Line<T> {
    pub(crate) const fn new() -> Line<T> {
        Line {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Takes out the first in line, who is served as soon as the hand-off ends.
    pub(crate) fn pop(&mut self) -> Option<Handoff<'_, T>> {
        loop {
            let waiter = self.head;
            // SAFETY: a waiter in the list is in place, and stays so while the lock is held: if it is in several lines, it takes
            // the lock of each before it goes.
            let first = unsafe { waiter.as_ref() }?;
            self.remove(first);
            if first.claim() {
                return Some(Handoff {
                    waiter,
                    _line: PhantomData,
                });
            }
        }
    }

    /// Puts the entry of that number of a waiter in several lines, with its item, at the end of this one.
    ///
    /// # Safety
    ///
    /// The entry is one [of several](Queued::of_several), and in no line. Both it and the selection stay in place until
    /// [`withdraw`](Self::withdraw) was called for it.
    pub(crate) unsafe fn push_one_of_several(
        &mut self,
        entry: &Queued<T>,
        selection: &Selection,
        number: u32,
        item: Option<T>,
    ) {
        if let Whose::Several(place) = &entry.whose {
            place.set(Some((selection, number)));
        }
        entry.item.set(item);
        self.push(entry);
    }

    /// Takes an entry out that was pushed here, if nobody has.
    pub(crate) fn withdraw(&mut self, entry: &Queued<T>) {
        if entry.is_linked.get() {
            self.remove(entry);
        }
    }

    fn push(&mut self, waiter: &Queued<T>) {
        waiter.is_linked.set(true);
        waiter.next.set(ptr::null());
        waiter.previous.set(self.tail);
        // SAFETY: a waiter in the list is in place.
        match unsafe { self.tail.as_ref() } {
            Some(last) => last.next.set(waiter),
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    fn remove(&mut self, waiter: &Queued<T>) {
        waiter.is_linked.set(false);
        let (next, previous) = (waiter.next.get(), waiter.previous.get());
        // SAFETY: a waiter in the list is in place.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.head = next,
        }
        // SAFETY: a waiter in the list is in place.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.tail = previous,
        }
    }
}

/// A waiter that was taken out of its line and still waits: until the hand-off ends, which comes before that of the
/// lock that the line stands under.
pub(crate) struct Handoff<'a, T> {
    waiter: *const Queued<T>,
    _line: PhantomData<&'a mut Line<T>>,
}

impl<T> Handoff<'_, T> {
    fn waiter(&self) -> &Queued<T> {
        // SAFETY: it waits until this hand-off ends.
        unsafe { &*self.waiter }
    }

    /// Takes what the waiter has brought.
    pub(crate) fn take(&self) -> Option<T> {
        self.waiter().item.take()
    }

    /// Leaves something with the waiter, that has nothing.
    pub(crate) fn give(&self, item: T) {
        self.waiter().item.set(Some(item));
    }

    /// Ends the wait; the wake-up is best sent after the unlock.
    pub(crate) fn end(self) -> Wake {
        let wake = self.serve();
        mem::forget(self);
        wake
    }

    fn serve(&self) -> Wake {
        let (Selection { word, thread }, served) = self.waiter().waiter();
        let wake = Wake {
            thread: thread.clone(),
            word,
        };
        word.store(served, Ordering::Release);
        wake
    }
}

/// Nobody is left behind if user code panics during the hand-off.
impl<T> Drop for Handoff<'_, T> {
    fn drop(&mut self) {
        self.serve().send();
    }
}

/// A wake-up that somebody who was served still needs.
#[must_use = "whoever was served sleeps until the wake-up is sent"]
pub(crate) struct Wake {
    thread: Sleeper,
    word: *const AtomicU32,
}

impl Wake {
    #[inline]
    pub(crate) fn send(self) {
        self.thread.wake(self.word);
    }
}
