//! Waking futures' tasks: the one kind of user code that the runtime calls on a worker's own stack.
//!
//! An event, or a timer that has expired, wakes the [`Waker`]s that were left for it. What a waker does is its executor's
//! affair: it takes locks, pushes to queues, unparks green threads, allocates, may drop a whole task. So whoever holds one of
//! the runtime's locks only takes wakers out, and [`wake`] is called when no lock is held:
//!
//! - by a worker while it handles events and timers. It is at home then, with its own thread pointer, and not between two green
//!   threads. The waker runs as on an OS thread: it is on no green thread, and where it waits, the worker does;
//! - by a green thread that closes a descriptor. The waker runs as code of that green thread;
//! - by an OS thread that does.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes a task. If its waker panics, the panic hook has printed that; it goes no further, since who wakes has no part in it.
pub(crate) fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // To drop it could panic again.
        mem::forget(payload);
    }
}
