//! A queue of green threads that are each to run in a given turn of their worker, however long its run queue is.
//!
//! First-in first-out, linked through what stands in it, under a lock. The worker looks at one word a turn. Whoever
//! puts a green thread in says in which turn it is *due*; once that has come, or if there is nothing else to do, the
//! worker runs it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::spin::SpinLock;

/// What can stand in a due queue: a pointer to something with a place for the two words, which are used under the queue's lock.
pub(crate) trait Due: Copy {
    /// What comes next in the queue.
    fn next_due(&self) -> &Cell<Option<Self>>;

    /// The worker's turn in which it is to run.
    fn due(&self) -> &Cell<u32>;
}

/// The queue; see the module's page.
pub(crate) struct DueQueue<T> {
    /// How many stand in the queue; changed under its lock.
    len: AtomicU32,
    list: SpinLock<List<T>>,
}

struct List<T> {
    head: Option<T>,
    tail: Option<T>,
}

impl<T: Due> DueQueue<T> {
    pub(crate) fn new() -> DueQueue<T> {
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

    pub(crate) fn push(&self, item: T, due: u32) {
        let mut list = self.list.lock();
        item.due().set(due);
        item.next_due().set(None);
        match list.tail.replace(item) {
            Some(last) => last.next_due().set(Some(item)),
            None => list.head = Some(item),
        }
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// The first one, if its turn has come by `turn`.
    pub(crate) fn take_due(&self, turn: u32) -> Option<T> {
        self.take_if(|due| turn.wrapping_sub(due).cast_signed() >= 0)
    }

    /// The first one, due or not.
    pub(crate) fn take(&self) -> Option<T> {
        self.take_if(|_| true)
    }

    fn take_if(&self, is_wanted: impl FnOnce(u32) -> bool) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.list.lock();
        let item = list.head.filter(|item| is_wanted(item.due().get()))?;
        list.head = item.next_due().take();
        if list.head.is_none() {
            list.tail = None;
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }
}
