//! Blocking sections: code that may block the OS thread, said so in advance.
//!
//! A section marks the worker by one store; nobody is woken, no lock is taken. The monitor finds the mark at its
//! next look, or the one after, and calls in a spare worker. Most sections end before that, and have cost a few
//! nanoseconds.
//!
//! The mark names the worker's turn and is worth nothing in any other one (see `Progress` in `shard.rs`). So a
//! section may park: the mark ends with the turn, whichever worker the green thread goes on on, and no worker
//! stays marked for a green thread that has left it. (Rejected: marking again after each park. It would cost
//! every switch a look, to spare the rest of a rare section the longer time after which any worker without a
//! turn counts as stuck.)
//!
//! The end of a section is a scheduling point if the worker was found stuck: another one serves in its place, and
//! whichever comes first may retire. Otherwise a section counts against the green thread's budget of operations, as
//! any other that might have had to wait; so a loop of short ones does not keep the worker to itself.

use crate::base::process;
use crate::hook;
use crate::sched::context;
use crate::sched::green::GreenRef;

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
    match hook::enter_own() {
        Some(section) => section.blocking(f),
        None => f(),
    }
}

/// Runs `f` with the worker of `green`, the calling green thread, marked.
pub(crate) fn marked<F, T>(green: GreenRef, f: F) -> T
where
    F: FnOnce() -> T,
{
    let value = in_place(green, f);
    // In a forked child there is no worker to look at or to switch to.
    if context::green() == Some(green)
        && (green.spend_budget() || green.worker().shard().is_stuck())
    {
        green.yield_now();
    }
    value
}

/// As [`marked`], and goes on without a look at whether others should have their turn.
pub(crate) fn in_place<F, T>(green: GreenRef, f: F) -> T
where
    F: FnOnce() -> T,
{
    let shard = green.worker().shard();
    shard.counters.blocking_sections.add();
    let _mark = Mark {
        green,
        forks: process::forks(),
        is_outermost: shard.progress.open_section(),
    };
    f()
}

/// The mark of a section on its worker; see the module's page.
struct Mark {
    green: GreenRef,
    forks: u32,
    is_outermost: bool,
}

impl Drop for Mark {
    #[inline]
    fn drop(&mut self) {
        // In a forked child, the worker may be where a new thread has its stack.
        if self.is_outermost && self.forks == process::forks() {
            // The worker of now, which need not be the one that was marked.
            self.green.worker().shard().progress.close_section();
        }
    }
}

/// Lets the other green threads of this worker run; on an OS thread, yields the processor.
#[inline(always)]
pub fn yield_now() {
    match context::green() {
        Some(green) => green.yield_now(),
        None => rustix::thread::sched_yield(),
    }
}
