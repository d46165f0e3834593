//! A worker's run queue: first in, first out, of any length, and others steal from it.
//!
//! It has two parts, the *ring* and, behind it, the *backlog*. The ring is crossbeam-deque's, which others steal
//! from without a lock. It never holds more than [`RING`] green threads: as many as fit into the buffer with which
//! crossbeam-deque begins, and which it never shrinks. So using it allocates nothing and touches no thread-local
//! variable, and may happen between two green threads (see `worker.rs`). What does not fit stands in the backlog:
//! a list through the control blocks, under a spin lock. While there is a backlog, all that comes joins it at
//! its end, and as the ring empties the worker moves its head there. So the order is that of arrival, however
//! long the queue is. The list is one of batches, so that a batch is taken out without following
//! its links, most of them in cold memory, under the lock.
//!
//! A thief takes from the ring, and from the backlog if the ring is empty: no green thread is left
//! behind at a worker that makes no progress.
//!
//! Rejected: a ring that grows (each change of its buffer allocates and pins an epoch, so the worker has to go home
//! before every push and pop, which costs a third of a turn); the surplus of a full ring in the injector
//! (later comers overtake it: the luckiest of 400 busy connections got twice the share of the unluckiest).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::base::spin::SpinLock;

/// What a ring holds at the most: the capacity of crossbeam-deque's first buffer.
const RING: usize = 64;

/// How many are stolen or moved at a time.
const BATCH: usize = RING / 2;

/// What can stand in a backlog: a pointer to something with a place for links.
pub(crate) trait Linked: Copy {
    /// The links. They are used under the backlog's lock, and then by whoever took the item's batch.
    fn links(&self) -> &Links<Self>;
}

/// The links of an item in a backlog.
pub(crate) struct Links<T> {
    /// The next item of the batch.
    next: Cell<Option<T>>,
    /// In the first item of a batch: the first item of the next batch.
    next_batch: Cell<Option<T>>,
}

impl<T> Links<T> {
    pub(crate) fn new() -> Links<T> {
        Links {
            next: Cell::new(None),
            next_batch: Cell::new(None),
        }
    }
}

/// What does not fit into the ring: a list of batches, each a list of up to [`BATCH`] items.
struct Backlog<T> {
    list: SpinLock<List<T>>,
    /// Changed under the lock, read by anyone. Only the queue's owner makes it greater.
    len: AtomicUsize,
}

struct List<T> {
    head: Option<T>,
    last: Option<Last<T>>,
}

/// The batch that still grows.
#[derive(Clone, Copy)]
struct Last<T> {
    head: T,
    tail: T,
    len: usize,
}

/// A batch that was taken out.
struct Batch<T>(Option<T>);

impl<T: Linked> Iterator for Batch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let item = self.0?;
        self.0 = item.links().next.take();
        Some(item)
    }
}

impl<T: Linked> Backlog<T> {
    fn new() -> Backlog<T> {
        Backlog {
            list: SpinLock::new(List {
                head: None,
                last: None,
            }),
            len: AtomicUsize::new(0),
        }
    }

    /// How many there are. The fences of the idle protocol order this against the push.
    #[inline]
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn push(&self, item: T) {
        let mut list = self.list.lock();
        self.len.store(self.len() + 1, Ordering::Relaxed);
        if let Some(last) = list.last.as_mut().filter(|last| last.len < BATCH) {
            last.tail.links().next.set(Some(item));
            last.tail = item;
            last.len += 1;
            return;
        }
        let batch = Last {
            head: item,
            tail: item,
            len: 1,
        };
        match list.last.replace(batch) {
            Some(last) => last.head.links().next_batch.set(Some(item)),
            None => list.head = Some(item),
        }
    }

    /// Takes out the first batch.
    fn take(&self) -> Batch<T> {
        let mut list = self.list.lock();
        let Some(head) = list.head else {
            return Batch(None);
        };
        list.head = head.links().next_batch.take();
        let taken = if list.head.is_some() {
            BATCH
        } else {
            list.last.take().map_or(0, |last| last.len)
        };
        self.len.store(self.len() - taken, Ordering::Relaxed);
        Batch(Some(head))
    }
}

/// The owner's end of a run queue.
pub(crate) struct RunQueue<T> {
    ring: Worker<T>,
    backlog: Arc<Backlog<T>>,
}

/// The end from which others steal.
pub(crate) struct Thief<T> {
    ring: Stealer<T>,
    backlog: Arc<Backlog<T>>,
}

impl<T: Linked> RunQueue<T> {
    pub(crate) fn new() -> RunQueue<T> {
        RunQueue {
            ring: Worker::new_fifo(),
            backlog: Arc::new(Backlog::new()),
        }
    }

    pub(crate) fn thief(&self) -> Thief<T> {
        Thief {
            ring: self.ring.stealer(),
            backlog: self.backlog.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.backlog.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `item` behind all others.
    #[inline]
    pub(crate) fn push(&self, item: T) {
        if self.backlog.len() == 0 && self.ring.len() < RING {
            self.ring.push(item);
        } else {
            self.backlog.push(item);
        }
    }

    /// Takes the one whose turn it is.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        let item = self.ring.pop();
        if self.backlog.len() == 0 {
            return item;
        }
        self.pop_before_backlog(item)
    }

    #[inline(never)]
    fn pop_before_backlog(&self, mut item: Option<T>) -> Option<T> {
        loop {
            if self.ring.len() + BATCH <= RING {
                self.backlog.take().for_each(|next| self.ring.push(next));
            }
            // Thieves may have been quicker.
            item = item.or_else(|| self.ring.pop());
            if item.is_some() || self.backlog.len() == 0 {
                return item;
            }
        }
    }

    /// Takes up to `batches` batches out of the injector, to wait their turn behind the others. Allocates.
    pub(crate) fn take_share(&self, injector: &Injector<T>, batches: usize) {
        for _ in 0..batches {
            if injector.is_empty() {
                return;
            }
            if self.has_room() {
                let _ = injector.steal_batch_with_limit(&self.ring, BATCH);
                continue;
            }
            for _ in 0..BATCH {
                if let Steal::Success(item) = injector.steal() {
                    self.push(item);
                }
            }
        }
    }

    /// Takes one out of the injector, and some more to come behind the others. Allocates.
    pub(crate) fn pop_injected(&self, injector: &Injector<T>) -> Option<T> {
        loop {
            let stolen = if self.has_room() {
                injector.steal_batch_with_limit_and_pop(&self.ring, BATCH)
            } else {
                injector.steal()
            };
            match stolen {
                Steal::Success(item) => return Some(item),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Steals half of another queue, but at most a batch, and gives one of the items. If this queue has no room for a
    /// batch, gives one of its own instead. Allocates.
    pub(crate) fn steal_from(&self, thief: &Thief<T>) -> Option<T> {
        loop {
            if !self.has_room() {
                return self.pop();
            }
            match thief.ring.steal_batch_with_limit_and_pop(&self.ring, BATCH) {
                Steal::Success(item) => return Some(item),
                Steal::Retry => {}
                Steal::Empty if thief.backlog.len() == 0 => return None,
                Steal::Empty => {
                    let mut batch = thief.backlog.take();
                    let first = batch.next();
                    batch.for_each(|item| self.ring.push(item));
                    if first.is_some() {
                        return first;
                    }
                }
            }
        }
    }

    /// Takes up to `count` of another queue, but at most a batch, to wait their turn behind the others. Gives how many.
    /// Allocates.
    pub(crate) fn take_over(&self, thief: &Thief<T>, count: usize) -> usize {
        let mut taken = 0;
        while taken < count.min(BATCH) {
            match thief.ring.steal() {
                Steal::Success(item) => self.push(item),
                Steal::Retry => continue,
                Steal::Empty if thief.backlog.len() == 0 => break,
                Steal::Empty => {
                    let batch = thief.backlog.take();
                    return taken + batch.map(|item| self.push(item)).count();
                }
            }
            taken += 1;
        }
        taken
    }

    /// Whether a batch fits into the ring, with nothing in the backlog that would have to come first.
    fn has_room(&self) -> bool {
        self.backlog.len() == 0 && self.ring.len() + BATCH <= RING
    }
}

impl<T: Linked> Thief<T> {
    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.backlog.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.backlog.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    struct Node {
        number: usize,
        links: Links<Item>,
    }

    #[derive(Clone, Copy)]
    struct Item(&'static Node);

    // SAFETY: the links are used under the backlog's lock, or by whoever took the batch.
    unsafe impl Send for Item {}

    impl Item {
        fn new(number: usize) -> Item {
            Item(Box::leak(Box::new(Node {
                number,
                links: Links::new(),
            })))
        }
    }

    impl Linked for Item {
        fn links(&self) -> &Links<Item> {
            &self.0.links
        }
    }

    fn drain(queue: &RunQueue<Item>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop())
            .map(|item| item.0.number)
            .collect()
    }

    #[test]
    fn the_order_is_that_of_arrival_however_long_the_queue_is() {
        let queue = RunQueue::new();
        let (mut pushed, mut popped) = (0, 0);
        // Grows to some thousand, and shrinks to nothing, in waves.
        for wave in 1..200 {
            for _ in 0..(wave * 37) % 211 {
                queue.push(Item::new(pushed));
                pushed += 1;
            }
            for _ in 0..(wave * 53) % 191 {
                let Some(item) = queue.pop() else { break };
                assert_eq!(item.0.number, popped);
                popped += 1;
            }
            assert_eq!(queue.len(), pushed - popped);
        }
        assert_eq!(drain(&queue), (popped..pushed).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_injected_comes_behind_what_is_there() {
        for before in [0, 10, RING, 3 * RING] {
            let (queue, injector) = (RunQueue::new(), Injector::new());
            (0..before).for_each(|number| queue.push(Item::new(number)));
            (before..before + 100).for_each(|number| injector.push(Item::new(number)));
            while !injector.is_empty() {
                queue.take_share(&injector, 1);
            }
            assert_eq!(drain(&queue), (0..before + 100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_thief_gets_all_of_a_queue_whose_owner_does_not_get_on() {
        let (queue, own) = (RunQueue::new(), RunQueue::new());
        (0..1_000).for_each(|number| queue.push(Item::new(number)));
        let thief = queue.thief();
        let mut stolen = Vec::new();
        while let Some(item) = own.steal_from(&thief) {
            stolen.push(item.0.number);
            stolen.extend(drain(&own));
        }
        assert_eq!(stolen, (0..1_000).collect::<Vec<_>>());
        assert!(thief.is_empty());
    }

    #[test]
    fn each_item_is_taken_once_by_owner_or_thief() {
        const ITEMS: usize = 200_000;
        let queue = RunQueue::<Item>::new();
        let taken = Mutex::new(Vec::new());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let thief = queue.thief();
                let (taken, over) = (&taken, &over);
                scope.spawn(move || {
                    let own = RunQueue::new();
                    let mut numbers = Vec::new();
                    while !over.load(Ordering::SeqCst) || !thief.is_empty() {
                        if let Some(item) = own.steal_from(&thief) {
                            numbers.push(item.0.number);
                            numbers.extend(drain(&own));
                        }
                    }
                    taken.lock().unwrap().extend(numbers);
                });
            }
            let mut numbers = Vec::new();
            let mut next = 0;
            while next < ITEMS {
                let end = (next + next % 301 + 1).min(ITEMS);
                (next..end).for_each(|number| queue.push(Item::new(number)));
                next = end;
                for _ in 0..next % 251 {
                    numbers.extend(queue.pop().map(|item| item.0.number));
                }
            }
            numbers.extend(drain(&queue));
            over.store(true, Ordering::SeqCst);
            taken.lock().unwrap().extend(numbers);
        });
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, (0..ITEMS).collect::<Vec<_>>());
    }
}
