//! Blocking sections of the program's own; see `sched/blocking_section.rs`.

use super::section;

/// Runs `f`, which may block the OS thread, where it is called.
///
/// On a green thread, its worker counts as blocked while `f` runs. If that takes longer than some milliseconds (one or
/// two while sections are frequent, up to six after a lull), a spare worker takes over what else the worker would have run
/// (unless [`compensation`](crate::RuntimeBuilder::compensation) is off). Inside `f`, libc calls block as they do on an OS
/// thread, whatever the patch set: `f` is to be used for what no shim reaches, a call into a C library that reads
/// files or waits for a device, say. It costs a few nanoseconds.
///
/// `f` should not wait for another green thread by such a call. The runtime's own types ([`sync`](crate::sync),
/// [`net`](crate::net), [`time`](crate::time)) still park the green thread inside `f`; what `f` does after such a
/// wait is compensated only once it has gone on for ten milliseconds, as ordinary code is.
///
/// After `f` has returned, the green thread may yield. On an OS thread, this just calls `f`. Sections may be nested.
///
/// ```
/// use greenpatch_runtime::{blocking, run};
///
/// let lines = run(|| blocking(|| std::fs::read_to_string("Cargo.toml")).unwrap().lines().count());
/// assert!(lines > 0);
/// ```
///
/// # Panics
///
/// If `f` panics, the panic goes on in the caller.
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    match section::enter_own() {
        Some(section) => section.blocking(f),
        None => f(),
    }
}
