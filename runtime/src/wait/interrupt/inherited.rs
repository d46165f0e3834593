//! Values that what is spawned inherits.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use super::scopes::{Kind, Scope, any_scope};

/// A value that is bound for the time of a call, and that green threads inherit which are spawned meanwhile: a request's trace,
/// its tenant, its logger.
///
/// What Go's `context.WithValue`, Python's `contextvars` and Java's `ScopedValue` are for. It is not a thread-local: that belongs to
/// one thread, and a new one begins without it. A green thread that is spawned by [`spawn`](crate::spawn()), in a
/// [`scope`](crate::scope) or, with the shims, by `std::thread::spawn` sees what was bound where it was spawned (in a scope: where
/// that was opened), for as long as it lives, and so does what it spawns. The value is shared, not copied, and dropped with the
/// last that can see it.
///
/// A [`shield`](crate::shield) hides no values. OS threads bind and see values too, and inherit none.
///
/// ```
/// use greenpatch_runtime::{Inherited, run, spawn};
///
/// static TENANT: Inherited<String> = Inherited::new();
///
/// fn log(text: &str) -> String {
///     TENANT.with(|tenant| format!("[{}] {text}", tenant.map_or("nobody", String::as_str)))
/// }
///
/// run(|| {
///     let child = TENANT.bind("acme".to_owned(), || spawn(|| log("saved")));
///     assert_eq!(log("idle"), "[nobody] idle");
///     assert_eq!(child.join().unwrap(), "[acme] saved");
/// });
/// ```
pub struct Inherited<T> {
    /// Its address is the key; so it has one.
    _key: u8,
    value: PhantomData<fn(T) -> T>,
}

impl<T: Send + Sync + 'static> Inherited<T> {
    /// A value that is not bound yet; for a `static`.
    pub const fn new() -> Inherited<T> {
        Inherited {
            _key: 0,
            value: PhantomData,
        }
    }

    /// Runs `f`, in which this is bound to `value`, in place of what it is bound to around the call.
    pub fn bind<F, R>(&'static self, value: T, f: F) -> R
    where
        F: FnOnce() -> R,
    {
        let _entered = Scope::enter(Kind::Value(Binding {
            key: self.key(),
            value: Arc::new(value),
        }));
        f()
    }

    /// The value that this is bound to here.
    pub fn get(&'static self) -> Option<Arc<T>> {
        let mut found = None;
        let key = self.key();
        any_binding(|binding| {
            if binding.key == key {
                found = Some(binding.value.clone());
            }
            found.is_some()
        });
        // Nobody else binds by this address.
        found?.downcast().ok()
    }

    /// Calls `f` with the value that this is bound to here.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(Option<&T>) -> R,
    {
        f(self.get().as_deref())
    }

    fn key(&'static self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<T: Send + Sync + 'static> Default for Inherited<T> {
    fn default() -> Inherited<T> {
        Inherited::new()
    }
}

impl<T> fmt::Debug for Inherited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited").finish_non_exhaustive()
    }
}

/// A value, and by which [`Inherited`] it is found.
#[derive(Clone)]
pub(crate) struct Binding {
    key: usize,
    value: Arc<dyn Any + Send + Sync>,
}

/// Shows what is bound here, the innermost first, until it is what is looked for.
fn any_binding(mut is_it: impl FnMut(&Binding) -> bool) -> bool {
    any_scope(|scope| match &scope.kind {
        Kind::Value(binding) => is_it(binding),
        Kind::Values(bindings) => bindings.iter().any(&mut is_it),
        Kind::Member(group) => group.values().iter().any(&mut is_it),
        _ => false,
    })
}

/// All that is bound here, each key once.
#[inline(never)]
pub(super) fn bound() -> Option<Arc<[Binding]>> {
    let mut bound: Vec<Binding> = Vec::new();
    any_binding(|binding| {
        if bound.iter().all(|inner| inner.key != binding.key) {
            bound.push(binding.clone());
        }
        false
    });
    (!bound.is_empty()).then(|| bound.into())
}
