//! The scopes that a thread is in. See the page of `interrupt.rs`.

use std::cell::RefCell;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cancellable::Cancellable;
use super::group::Group;
use super::inherited::Binding;
use crate::base::deadline::Deadline;

thread_local! {
    /// The scopes that this thread has entered, the innermost last. Without a destructor, so that it can be read at any
    /// time, in a signal handler too; instead, an empty list has no memory.
    static SCOPES: ManuallyDrop<RefCell<Vec<Arc<Scope>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// One call that limits the waits in it, or gives them a value.
pub(crate) struct Scope {
    pub(super) kind: Kind,
    /// Its call has returned.
    is_left: AtomicBool,
    /// A wait was cut short because its own time was over.
    was_cut: AtomicBool,
}

/// What a scope does to the waits in it.
pub(crate) enum Kind {
    /// They last until then at most.
    Until(Deadline),
    /// No scope around it concerns them, nor the green thread's own cancellation.
    Shield,
    /// They end when the piece of work is cancelled that is being done.
    Cancellable(Arc<Cancellable>),
    /// The thread has opened the group, and waits for its members at the end.
    Group(Arc<Group>),
    /// The thread was spawned in the group. The scopes around that count as around this one.
    Member(Arc<Group>),
    /// None of its business: a value is bound.
    Value(Binding),
    /// The values of the spawner.
    Values(Arc<[Binding]>),
}

impl Scope {
    /// Makes a scope the innermost of this thread.
    pub(super) fn enter(kind: Kind) -> Entered {
        let scope = Arc::new(Scope {
            kind,
            is_left: AtomicBool::new(false),
            was_cut: AtomicBool::new(false),
        });
        SCOPES.with(|scopes| scopes.borrow_mut().push(scope.clone()));
        Entered(scope)
    }

    pub(super) fn is_shield(&self) -> bool {
        matches!(self.kind, Kind::Shield)
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        match self.kind {
            Kind::Until(deadline) => Some(deadline),
            _ => None,
        }
    }

    /// Marks it as having cut a wait short.
    pub(super) fn blame(&self) {
        self.was_cut.store(true, Ordering::Relaxed);
    }

    fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }
}

/// A scope whose call has not returned. Dropped when it does, on unwinding too.
pub(crate) struct Entered(Arc<Scope>);

impl Entered {
    /// Whether a wait was cut short because the scope's own time was over.
    pub(super) fn was_cut(&self) -> bool {
        self.0.was_cut.load(Ordering::Relaxed)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.is_left.store(true, Ordering::Relaxed);
        SCOPES.with(|scopes| {
            let mut list = scopes.borrow_mut();
            // The usual case: nothing that is dropped here can be the last of its value.
            if list.last().is_some_and(|last| Arc::ptr_eq(last, &self.0)) {
                list.pop();
            }
            // What a coroutine has left elsewhere. Its values are dropped after the list was given back, for that is
            // user code.
            let left: Vec<_> = list.extract_if(.., |scope| scope.is_left()).collect();
            let memory = list.is_empty().then(|| mem::take(&mut *list));
            drop(list);
            drop((left, memory));
        });
    }
}

/// Whether this thread surely is in no scope: so each spawn asks first.
#[inline]
pub(super) fn is_in_none() -> bool {
    SCOPES.with(|scopes| scopes.try_borrow().is_ok_and(|scopes| scopes.is_empty()))
}

/// Shows the scopes that this thread is in, the innermost first, until one is what is looked for; whether one was. A member's
/// are followed by those around its group, out to the nearest shield.
pub(super) fn any_scope(mut is_it: impl FnMut(&Arc<Scope>) -> bool) -> bool {
    SCOPES.with(|scopes| {
        // A signal handler that interrupts a change of the list finds it empty.
        let Ok(scopes) = scopes.try_borrow() else {
            return false;
        };
        for scope in scopes.iter().rev().filter(|scope| !scope.is_left()) {
            if is_it(scope) {
                return true;
            }
            if let Kind::Member(group) = &scope.kind
                && (group.outer().iter()).any(|outer| !outer.is_left() && is_it(outer))
            {
                return true;
            }
        }
        false
    })
}
