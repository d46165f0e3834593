//! Poisoning, as std's locks do it: a holder that panics leaves a mark.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::thread;

/// Whether a holder has panicked. The lock beside it orders what it stands for.
pub(super) struct Poison(AtomicBool);

impl Poison {
    pub(super) const fn none() -> Poison {
        Poison(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// `value`, as an error if a holder has panicked.
    #[inline]
    pub(super) fn check<T>(&self, value: T) -> LockResult<T> {
        if self.is_set() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }

    /// For a guard that gives a right to change the value.
    #[inline]
    pub(super) fn watch(&self) -> PanicWatch<'_> {
        PanicWatch {
            poison: self,
            panicking: thread::panicking(),
        }
    }
}

/// Leaves the mark if its thread panics between its making and its end.
pub(super) struct PanicWatch<'a> {
    pub(super) poison: &'a Poison,
    panicking: bool,
}

impl Drop for PanicWatch<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.poison.0.store(true, Ordering::Relaxed);
        }
    }
}
