//! A queue of green threads whose turn comes in a certain turn of a worker, however long its run queue is.
//!
//! First-in first-out, linked through the control blocks, under a lock. The worker looks at one word a turn. Whoever
//! puts a green thread in says in which turn it is *due*; once that has come, or if there is nothing else to do, the
//! worker runs it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::spin::SpinLock;
use crate::sched::green::GreenRef;

/// The queue; see the module's page.
pub(crate) struct DueQueue {
    /// How many stand in the queue; changed under its lock.
    len: AtomicU32,
    list: SpinLock<List>,
}

struct List {
    head: Option<GreenRef>,
    tail: Option<GreenRef>,
}

impl DueQueue {
    pub(crate) fn new() -> DueQueue {
        DueQueue {
            len: AtomicU32::new(0),
            list: SpinLock::new(List {
                head: None,
                tail: None,
            }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// The fences of the idle protocol order this against the push.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn push(&self, green: GreenRef, due: u32) {
        let mut list = self.list.lock();
        green.due.set(due);
        green.next_due.set(None);
        match list.tail.replace(green) {
            Some(last) => last.next_due.set(Some(green)),
            None => list.head = Some(green),
        }
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// The first one, if its turn has come by `turn`.
    pub(crate) fn take_due(&self, turn: u32) -> Option<GreenRef> {
        self.take_if(|due| turn.wrapping_sub(due).cast_signed() >= 0)
    }

    /// The first one, due or not.
    pub(crate) fn take(&self) -> Option<GreenRef> {
        self.take_if(|_| true)
    }

    fn take_if(&self, is_wanted: impl FnOnce(u32) -> bool) -> Option<GreenRef> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.list.lock();
        let green = list.head.filter(|green| is_wanted(green.due.get()))?;
        list.head = green.next_due.take();
        if list.head.is_none() {
            list.tail = None;
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(green)
    }
}
