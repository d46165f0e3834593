//! A value that is made when it is first needed.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;
use super::once_lock::OnceLock;

/// A value that is made when it is first needed; mirrors [`std::sync::LazyLock`].
///
/// ```
/// use greenpatch_runtime::sync::LazyLock;
///
/// static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| "green threads".split(' ').collect());
/// assert_eq!(WORDS.len(), 2);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// Poisoned once the closure has panicked.
    once: Once,
    make: Cell<Option<F>>,
}

// SAFETY: `make` is taken by the one closure that `once` runs; all else is `Sync` if `T` is.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `f` makes.
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            value: OnceLock::new(),
            once: Once::new(),
            make: Cell::new(Some(f)),
        }
    }

    /// The value, made now if it was not; of several callers one makes it and the others wait.
    ///
    /// # Panics
    ///
    /// If the closure does, or did.
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        match this.value.get() {
            Some(value) => value,
            None => this.make(),
        }
    }

    #[cold]
    #[track_caller]
    fn make(&self) -> &T {
        self.once.call_once(|| {
            let make = self.make.take().expect("the closure is called once");
            self.value.get_or_init(make);
        });
        self.value.get().expect("the closure has made the value")
    }

    /// As [`force`](Self::force); the exclusive borrow makes the value changeable.
    ///
    /// # Panics
    ///
    /// As [`force`](Self::force).
    #[track_caller]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        LazyLock::get_mut(this).expect("the value was made just now")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it was made.
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.value.get()
    }

    /// The value, if it was made; the exclusive borrow makes it changeable.
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        this.value.get_mut()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("LazyLock");
        match LazyLock::get(self) {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
