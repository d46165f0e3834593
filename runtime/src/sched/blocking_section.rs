//! Blocking sections: code that says in advance that it may block the OS thread.
//!
//! A section marks the worker by one store; nobody is woken, no lock is taken. The monitor finds the mark at its
//! next look, or the one after, and calls in a spare worker. Most sections end before that, and have cost a few
//! nanoseconds.
//!
//! The mark names the worker's turn and is worth nothing in any other one (see `progress.rs`). So a
//! section may park: the mark ends with the turn, whichever worker the green thread goes on on, and no worker
//! stays marked for a green thread that has left it. (Rejected: marking again after each park. Every
//! switch would have to look for it, and the gain is small: only a section that has parked counts as stuck as late as code
//! outside a section does.)
//!
//! The end of a section is a scheduling point if the worker was found stuck: another one serves in its place, and
//! whichever comes first may retire. Otherwise a section counts against the green thread's budget of operations, as
//! any other that might have had to wait; so a loop of short ones does not keep the worker to itself.

use super::context;
use super::green::GreenRef;
use crate::base::process;

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

/// As [`marked`], but does not yield at the end.
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
            // The present worker, which need not be the one that was marked.
            self.green.worker().shard().progress.close_section();
        }
    }
}
