//! Whom a cancellation concerns besides the one that is cancelled: who was spawned in its scopes.
//!
//! Whoever can be cancelled has a list of [`Dependents`]. It holds no state of a cancellation: a dependent *looks* whether the
//! one that it depends on was cancelled, before each wait and after each wake-up, and is only *told to look again*, so that one
//! that is parked need not be woken by anything else. So a list may be longer than needed, and a telling may be in vain.
//!
//! **No cancellation is overlooked.** Who cancels first marks what the dependents look at, then passes through the lock and
//! tells those in the list. Who becomes a dependent first passes through the lock, then looks. Whichever comes second through
//! the lock sees what the other has done before: either the dependent is told, or it finds the mark. Once it is told, it is
//! unparked, and the protocol of `park.rs` has it look.
//!
//! Nobody is told under the lock, because that queues green threads, which may take memory. Nor does one that is told tell its own
//! dependents by itself: scopes nest as deep as work is recursive, and whoever cancels may have a small stack.

use std::ptr;
use std::sync::Arc;

use crate::base::atomic::Cell;
use crate::base::spin::SpinLock;

/// Who depends on somebody.
pub(crate) trait Dependent: Send + Sync {
    /// Lets it look again whether its wait is over. Gives those who are to look again with it.
    fn look_again(&self) -> Option<&Dependents>;
}

/// The list: intrusive, doubly linked, in no order that counts.
pub(crate) struct Dependents(SpinLock<List>);

struct List {
    first: *const Link,
    length: usize,
}

// SAFETY: the links are looked at under the lock around the list only, and leave it before they are freed; dependents go from
// thread to thread.
unsafe impl Send for List {}

/// One dependent in one list. The cells belong to whoever holds the list's lock.
struct Link {
    dependent: Arc<dyn Dependent>,
    next: Cell<*const Link>,
    previous: Cell<*const Link>,
}

/// Something with dependents.
pub(crate) trait Cancelled {
    fn dependents(&self) -> &Dependents;
}

/// Keeps a dependent in a list, until it is dropped.
pub(crate) struct Attached<S: Cancelled> {
    source: S,
    link: Box<Link>,
}

// SAFETY: the cells of the link belong to whoever holds the lock of the list that it is in; the rest of it may go from thread
// to thread.
unsafe impl<S: Cancelled + Send> Send for Attached<S> {}

impl<S: Cancelled> Attached<S> {
    pub(crate) fn new(source: S, dependent: Arc<dyn Dependent>) -> Attached<S> {
        let attached = Attached {
            source,
            link: Box::new(Link {
                dependent,
                next: Cell::new(ptr::null()),
                previous: Cell::new(ptr::null()),
            }),
        };
        attached.source.dependents().0.lock().push(&attached.link);
        attached
    }
}

impl<S: Cancelled> Drop for Attached<S> {
    fn drop(&mut self) {
        self.source.dependents().0.lock().remove(&self.link);
    }
}

impl Dependents {
    pub(crate) fn none() -> Dependents {
        Dependents(SpinLock::new(List {
            first: ptr::null(),
            length: 0,
        }))
    }

    /// Tells all to look again, and those who depend on them.
    pub(crate) fn look_again(&self) {
        let mut to_tell = self.all();
        while let Some(dependent) = to_tell.pop() {
            if let Some(further) = dependent.look_again() {
                to_tell.append(&mut further.all());
            }
        }
    }

    /// Those in the list. The memory for them is taken outside of the lock.
    fn all(&self) -> Vec<Arc<dyn Dependent>> {
        let mut found: Vec<Arc<dyn Dependent>> = Vec::new();
        loop {
            let list = self.0.lock();
            let length = list.length;
            if length <= found.capacity() {
                let mut link = list.first;
                // SAFETY: a link in the list is in place, and the lock is held.
                while let Some(found_link) = unsafe { link.as_ref() } {
                    found.push(found_link.dependent.clone());
                    link = found_link.next.get();
                }
                return found;
            }
            drop(list);
            found.reserve(length);
        }
    }
}

impl List {
    fn push(&mut self, link: &Link) {
        link.next.set(self.first);
        // SAFETY: a link in the list is in place.
        if let Some(first) = unsafe { self.first.as_ref() } {
            first.previous.set(link);
        }
        self.first = link;
        self.length += 1;
    }

    fn remove(&mut self, link: &Link) {
        let (next, previous) = (link.next.get(), link.previous.get());
        // SAFETY: a link in the list is in place.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first = next,
        }
        // SAFETY: a link in the list is in place.
        if let Some(next) = unsafe { next.as_ref() } {
            next.previous.set(previous);
        }
        self.length -= 1;
    }
}
