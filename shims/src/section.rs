//! Functions that are the original, in a blocking section if a green thread calls them; and other names of functions.
//! They are defined one a line.
//!
//! A section is run in one of three ways:
//!
//! | way | for |
//! |---|---|
//! | [`yielding`] | most functions: the end of the section is a scheduling point |
//! | [`in_place`] | what a signal handler may call (signal-safety(7)), where nothing may be switched |
//! | [`on_workers_stack`] | what needs more stack than a small green thread has |

use greenpatch_runtime::hook::Section;

use crate::kernel::{errno, set_errno};

/// Defines functions of a family, given like the prototypes of an `extern` block and sorted by the way in which their
/// sections are run.
macro_rules! sections {
    ($family:ident: $($way:ident {$(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;
    )+})+) => {
        originals! {$($(
            fn $name($($argument: $type),*) $(-> $result)?;
        )+)+}
        $($(
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $name($($argument: $type),*) $(-> $result)? {
                let call = || pass_on!(original::$name($($argument),*));
                let entered = greenpatch_runtime::hook::enter(greenpatch_runtime::Patch::$family);
                $crate::section::run(entered, $crate::section::$way, call)
            }
        )+)+
    };
}

/// Defines other names of functions of this crate.
macro_rules! aliases {
    ($(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $function:ident;
    )+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: $type),*) $(-> $result)? {
            pass_on!($function($($argument),*))
        }
    )+};
}

/// Runs `call` as a section, in this way, for a green thread that has entered; else as it is.
#[inline]
pub(crate) fn run<T, F: FnOnce() -> T>(
    entered: Option<Section>,
    way: impl FnOnce(Section, F) -> T,
    call: F,
) -> T {
    match entered {
        Some(section) => way(section, call),
        None => call(),
    }
}

/// Runs `call` in a blocking section, the end of which is a scheduling point; `errno` is what it has set.
#[inline]
pub(crate) fn yielding<T>(section: Section, call: impl FnOnce() -> T) -> T {
    let (value, error) = section.blocking(|| (call(), errno()));
    drop(section);
    set_errno(error);
    value
}

/// As [`yielding`], and the green thread goes on at once.
#[inline]
pub(crate) fn in_place<T>(section: Section, call: impl FnOnce() -> T) -> T {
    section.blocking_in_place(call)
}

/// As [`yielding`], on the stack of the worker's OS thread.
#[inline]
pub(crate) fn on_workers_stack<T>(section: Section, call: impl FnOnce() -> T) -> T {
    // SAFETY: an original's code has no way to come upon the section.
    let (value, error) = unsafe { section.blocking_on_workers_stack(|| (call(), errno())) };
    drop(section);
    set_errno(error);
    value
}
