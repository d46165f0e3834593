//! What std's locks have in common, and their guards: the traits that say no more than that there is a value behind them.

/// A guard of which the field `inner` is the value: to read it, or with `mut` to change it, too.
macro_rules! guard_of_value {
    (mut $Guard:ident) => {
        $crate::sync::guard::guard_of_value! { $Guard }

        impl<T: ?Sized> std::ops::DerefMut for $Guard<'_, T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.inner
            }
        }
    };
    ($Guard:ident) => {
        impl<T: ?Sized> std::ops::Deref for $Guard<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.inner
            }
        }

        impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for $Guard<'_, T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: ?Sized + std::fmt::Display> std::fmt::Display for $Guard<'_, T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

/// A lock of a value: `new` makes it, `$try_lock` of the field `inner` gives the value if it can be read at once.
macro_rules! lock_of_value {
    ($Lock:ident, $try_lock:ident) => {
        impl<T: ?Sized> std::panic::UnwindSafe for $Lock<T> {}
        impl<T: ?Sized> std::panic::RefUnwindSafe for $Lock<T> {}

        impl<T: Default> Default for $Lock<T> {
            fn default() -> $Lock<T> {
                $Lock::new(T::default())
            }
        }

        impl<T> From<T> for $Lock<T> {
            fn from(value: T) -> $Lock<T> {
                $Lock::new(value)
            }
        }

        impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for $Lock<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut debug = f.debug_struct(stringify!($Lock));
                match self.inner.$try_lock() {
                    Some(guard) => debug.field("data", &&*guard),
                    None => debug.field("data", &format_args!("<locked>")),
                };
                debug.field("poisoned", &self.is_poisoned()).finish()
            }
        }
    };
}

pub(super) use {guard_of_value, lock_of_value};
