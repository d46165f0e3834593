//! How a call waits: what stands between a function that blocks and the scheduler.
//!
//! **Belongs here** the try, the wait and the try again of a call, and what ends it early. **May use** `sched` and `base`.
//! **Used by** the rooms above, and through `hook` by the shims.
//!
//! | what | files |
//! |---|---|
//! | the guard that each call begins with; where a call that never waits gives way | `section` |
//! | a call on a descriptor: the loops of try, park, try again; accepting on a listener in blocking mode; several at once | `call`, `accept`, `poll` |
//! | the same for futures, which must not park: try, leave a waker, try again | `readiness` |
//! | what is known of a descriptor: readiness, who waits, what it is, whose number it is | `descriptor` |
//! | waits on a word, and wake-ups out of signal handlers | `futex`, `signal_wake` |
//! | timers of futures | `alarm` |
//! | sleeping; trying a call again by the clock, where no event tells | `sleep`, `retry` |
//! | time-outs around many calls, and cancellation | `interrupt` |
//! | code that blocks its worker, said so; calls that block another OS thread in its place | `blocking`, `stand_in` |

pub(crate) mod accept;
pub(crate) mod alarm;
pub(crate) mod blocking;
pub(crate) mod call;
pub(crate) mod descriptor;
pub mod futex;
pub mod interrupt;
pub(crate) mod poll;
pub(crate) mod readiness;
pub(crate) mod retry;
pub(crate) mod section;
pub(crate) mod signal_wake;
pub(crate) mod sleep;
mod stand_in;

/// After a fork: the parent's registrations and waiters do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    signal_wake::reset_after_fork();
    // SAFETY: no green thread exists and no other thread looks at the table, by this function's contract.
    unsafe { descriptor::reset_after_fork() };
}
