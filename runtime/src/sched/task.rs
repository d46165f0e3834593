//! The task of a thread: what may outlive the thread, and is shared by its handles, its control block and whoever looks at it.
//!
//! It stays as long as one of them holds it. An OS thread that uses this crate's `thread` has one too.
//!
//! Two words say that a green thread has ended, and neither can stand for the other. [`state`] belongs to the task, which
//! may outlive the control block's use, and says when a handle may take the result; [`join_state`] belongs to the control
//! block, which `pthread_join` reaches through a bare pointer even when the task is gone, and says who releases the slot
//! once its stack was left.

use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::sched::dependents::{Dependent, Dependents};

/// What every task has.
pub(crate) struct TaskHeader {
    /// The flags of [`state`].
    pub(crate) state: AtomicU32,
    /// The token of park and unpark: a value of [`permit`].
    pub(crate) permit: AtomicU32,
    /// The control block of a green thread that has begun to exist; it may be in use by a later one by now. `wake.rs` knows
    /// its type.
    pub(super) control_block: AtomicPtr<()>,
    pub(crate) id: u64,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) spawned_at: Option<&'static Location<'static>>,
    /// Scopes that it has opened.
    dependents: Dependents,
}

impl TaskHeader {
    pub(crate) fn new(
        name: Option<Arc<str>>,
        spawned_at: Option<&'static Location<'static>>,
    ) -> TaskHeader {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskHeader {
            state: AtomicU32::new(0),
            permit: AtomicU32::new(permit::EMPTY),
            control_block: AtomicPtr::new(ptr::null_mut()),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            spawned_at,
            dependents: Dependents::none(),
        }
    }

    pub(crate) fn dependents(&self) -> &Dependents {
        &self.dependents
    }
}

/// A [`TaskHeader`], mostly with a place for the thread's result.
pub(crate) trait Task: Dependent {
    fn header(&self) -> &TaskHeader;

    /// What `pthread_create` was asked for, if that made the thread.
    fn attributes(&self) -> Option<&PthreadAttributes> {
        None
    }
}

impl<T: Task> Dependent for T {
    /// The scopes that it has opened depend on its own cancellation only.
    fn look_again(&self) -> Option<&Dependents> {
        self.header().end_wait();
        None
    }
}

impl Task for TaskHeader {
    fn header(&self) -> &TaskHeader {
        self
    }
}

/// The flags of [`TaskHeader::state`].
pub(crate) mod state {
    /// The result was stored; set by the green thread.
    pub(crate) const STORED: u32 = 1;
    /// The handle was dropped; set by its owner. Whoever comes second of these two drops the result, as part of its
    /// own code.
    pub(crate) const ABANDONED: u32 = 2;
    /// Somebody waits for the end.
    pub(crate) const AWAITED: u32 = 4;
    /// The green thread has ended.
    pub(crate) const ENDED: u32 = 8;
    /// The green thread's waits are cut short from now on.
    pub(crate) const CANCELLED: u32 = 16;
}

/// The states of a control block's `join_state`: who waits for the end of a green thread that `pthread_create` made, or that was
/// adopted, and whether it has come. It is one word, so that exactly one side releases the slot, and touches nothing after.
pub(super) mod join_state {
    /// The slot waits for a join or a detach.
    pub(crate) const JOINABLE: u32 = 0;
    /// Somebody has claimed the join.
    pub(crate) const CLAIMED: u32 = 1;
    /// The slot is released as soon as the green thread has ended.
    pub(crate) const DETACHED: u32 = 2;
    /// Set beside one of these when the green thread has ended and its stack was left.
    pub(crate) const LEFT: u32 = 4;
}

/// The values of [`TaskHeader::permit`], as std has them.
pub(crate) mod permit {
    pub(crate) const EMPTY: u32 = 0;
    pub(crate) const NOTIFIED: u32 = 1;
    pub(crate) const PARKED: u32 = u32::MAX;
}

/// What `pthread_create` is asked for, of what a green thread can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PthreadAttributes {
    /// Bytes of stack at least.
    pub stack_size: usize,
    /// Bytes of guard below the stack at least.
    pub guard_size: usize,
    /// Nobody will join it.
    pub is_detached: bool,
    /// Its scheduling policy was given, not inherited; it is the usual one either way.
    pub has_own_policy: bool,
}
