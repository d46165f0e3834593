//! A value that is set once.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;
use super::raw::wait_limit::{Interrupted, WaitLimit};

/// A value that is set once and read many times; mirrors [`std::sync::OnceLock`].
///
/// ```
/// use greenpatch_runtime::sync::OnceLock;
///
/// static ADDRESS: OnceLock<String> = OnceLock::new();
/// assert_eq!(ADDRESS.get(), None);
/// assert_eq!(ADDRESS.get_or_init(|| "[::1]:8000".to_owned()), "[::1]:8000");
/// assert_eq!(ADDRESS.set("elsewhere".to_owned()), Err("elsewhere".to_owned()));
/// ```
pub struct OnceLock<T> {
    /// Completed as soon as the value is there.
    once: Once,
    value: UnsafeCell<MaybeUninit<T>>,
    /// Dropping the lock drops a value.
    _owns: PhantomData<T>,
}

// SAFETY: the value is written by the one closure that `once` runs, and read only after that completed. It may be
// dropped or taken by another thread than the one that made it, so it has to be `Send` too.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// One without a value.
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            _owns: PhantomData,
        }
    }

    /// The value, if it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: `once` has completed.
        self.once.is_completed().then(|| unsafe { self.value() })
    }

    /// # Safety
    ///
    /// `once` has completed.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: the value is there, and does not change while the lock is borrowed.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// The value, if it is set; the exclusive borrow makes it changeable.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.once
            .is_completed()
            // SAFETY: the value is there.
            .then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Waits until the value is set.
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        // SAFETY: `once` has completed.
        unsafe { self.value() }
    }

    /// As [`wait`](Self::wait), and can be cut short.
    pub(super) fn wait_until(&self, limit: WaitLimit) -> Result<&T, Interrupted> {
        self.once.wait_until(limit)?;
        // SAFETY: `once` has completed.
        Ok(unsafe { self.value() })
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// If it was set before, by whomever; the error is `value`.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("a closure is run once"));
        value.map_or(Ok(()), Err)
    }

    /// The value, which `f` makes if it is not set; of several callers one makes it and the others wait. A panic of `f`
    /// leaves it unset.
    ///
    /// # Panics
    ///
    /// If `f` does.
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        self.once.call_once_force(|_| {
            let value = f();
            // SAFETY: only one closure is run at a time, and none after one completed; nobody reads before.
            unsafe { (*self.value.get()).write(value) };
        });
        // SAFETY: `once` has completed.
        unsafe { self.value() }
    }

    /// The value, if it is set.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out; the lock is as new afterwards.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once = Once::new();
        // SAFETY: the value was there, and counts as not set from now on.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let lock = OnceLock::new();
        lock.get_or_init(|| value);
        lock
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
