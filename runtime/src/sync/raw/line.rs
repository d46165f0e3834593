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
//! After the store the waiter's frame may end at any time; the wake-up uses its address alone. Should something else
//! stand there by then, it sees a spurious wake-up.

use std::marker::PhantomData;
use std::{mem, ptr};

use crate::base::atomic::{AtomicU32, Cell, Ordering};
use crate::sync::raw::lock::{Guard, Lock};
use crate::sync::raw::sleeper::Sleeper;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};

/// In the list. Left under the lock only.
const WAITING: u32 = 0;
/// Out of it, and served.
const SERVED: u32 = 1;

/// The list: intrusive, doubly linked, in the order of arrival.
pub(crate) struct Line<T> {
    head: *const Queued<T>,
    tail: *const Queued<T>,
}

// SAFETY: the waiters are looked at under the lock around the line only, and leave it before their frames end; their
// items go from thread to thread.
unsafe impl<T: Send> Send for Line<T> {}

/// The cells belong to whoever holds the lock while the word is WAITING, and to the waiter's thread afterwards.
struct Queued<T> {
    word: AtomicU32,
    thread: Sleeper,
    next: Cell<*const Queued<T>>,
    previous: Cell<*const Queued<T>>,
    item: Cell<Option<T>>,
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
    let waiter = Queued {
        word: AtomicU32::new(WAITING),
        thread: Sleeper::current(),
        next: Cell::new(ptr::null()),
        previous: Cell::new(ptr::null()),
        item: Cell::new(item),
    };
    line(&mut guard).push(&waiter);
    drop(guard);
    // Nothing from here to the end of the loop unwinds.
    while waiter.word.load(Ordering::Acquire) == WAITING {
        if let Err(interrupted) = waiter.thread.wait(&waiter.word, WAITING, limit) {
            let mut guard = lock.lock();
            if waiter.word.load(Ordering::Acquire) == WAITING {
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
        // SAFETY: a waiter in the list is in place.
        let waiter = unsafe { self.head.as_ref() }?;
        let waiter: *const Queued<T> = waiter;
        // SAFETY: the waiter is still in the list, and so in place.
        self.remove(unsafe { &*waiter });
        Some(Handoff {
            waiter,
            _line: PhantomData,
        })
    }

    fn push(&mut self, waiter: &Queued<T>) {
        waiter.previous.set(self.tail);
        // SAFETY: a waiter in the list is in place.
        match unsafe { self.tail.as_ref() } {
            Some(last) => last.next.set(waiter),
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    fn remove(&mut self, waiter: &Queued<T>) {
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
        let waiter = self.waiter();
        let wake = Wake {
            thread: waiter.thread.clone(),
            word: &waiter.word,
        };
        waiter.word.store(SERVED, Ordering::Release);
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
