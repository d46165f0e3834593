//! Functions that are the original, in a blocking section if a green thread calls them; and other names of functions.
//! They are defined one a line.

use greenpatch_runtime::hook::Section;

use crate::kernel::{errno, set_errno};

/// Defines functions of a family, given like the prototypes of an `extern` block, as sections that are run in this way.
macro_rules! sections {
    ($family:ident, $way:ident: $(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;
    )+) => {
        originals! {$(
            fn $name($($argument: $type),*) $(-> $result)?;
        )+}
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: passed on as it came.
                let call = || unsafe { original::$name($($argument),*) };
                match greenpatch_runtime::hook::enter(greenpatch_runtime::Patch::$family) {
                    Some(section) => $crate::section::$way(section, call),
                    None => call(),
                }
            }
        )+
    };
}

/// Defines other names of functions of this crate.
macro_rules! aliases {
    ($(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $function:ident;
    )+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: passed on as it came.
            unsafe { $function($($argument),*) }
        }
    )+};
}

/// Runs `call` in a blocking section, on the stack of the worker's OS thread; `errno` is what it has set.
///
/// An original's own code has no way to come upon the section.
#[inline]
pub(crate) fn on_workers_stack<T>(section: Section, call: impl FnOnce() -> T) -> T {
    // SAFETY: no original uses sections.
    let (value, error) = unsafe { section.blocking_on_workers_stack(|| (call(), errno())) };
    drop(section);
    set_errno(error);
    value
}
