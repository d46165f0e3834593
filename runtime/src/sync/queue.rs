//! Queues of eventlet's and gevent's kind, in three orders.

use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::error::{
    RecvError, SendError, TryRecvError, TrySendError, recv_error, send_error, try_recv_error,
    try_send_error,
};
use super::raw::count::RawCount;
use super::raw::exchange::{Exchange, Refusal};
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;
use crate::wait::interrupt::Interrupted;

pub use super::raw::exchange::Buffer;

/// First in, first out.
pub type Queue<T> = BufferedQueue<T, VecDeque<T>>;

/// Last in, first out.
pub type LifoQueue<T> = BufferedQueue<T, Vec<T>>;

/// The greatest first, as from a [`BinaryHeap`]. Wrap the items in [`Reverse`](std::cmp::Reverse) for the least first, as
/// from Python's `PriorityQueue`. Items are compared while the queue is locked: a comparison that uses the queue waits for
/// itself.
///
/// ```
/// use greenpatch_runtime::sync::PriorityQueue;
///
/// let queue = PriorityQueue::unbounded();
/// for urgency in [1, 3, 2] {
///     queue.put(urgency).unwrap();
/// }
/// queue.close();
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [3, 2, 1]);
/// ```
pub type PriorityQueue<T> = BufferedQueue<T, BinaryHeap<T>>;

/// A queue that is shared as a whole, by reference or in an [`Arc`](std::sync::Arc): the counterpart of eventlet's and
/// gevent's. [`Queue`], [`LifoQueue`] and [`PriorityQueue`] are this in the order of their [`Buffer`].
///
/// | theirs | here |
/// |---|---|
/// | `Queue()`, `SimpleQueue()`, `LightQueue()` | [`Queue::unbounded`](Self::unbounded) |
/// | `Queue(n)` | [`Queue::bounded(n)`](Self::bounded) |
/// | `Channel()`, eventlet's `Queue(0)` | `Queue::bounded(0)`: each item goes from hand to hand |
/// | `PriorityQueue`, `LifoQueue` | [`PriorityQueue`], [`LifoQueue`] |
/// | `put`, `put_nowait`, `put(timeout=)` | [`put`](Self::put), [`try_put`](Self::try_put), [`put_timeout`](Self::put_timeout) |
/// | `get`, `get_nowait`, `get(timeout=)` | [`get`](Self::get), [`try_get`](Self::try_get), [`get_timeout`](Self::get_timeout) |
/// | `JoinableQueue`'s `task_done`, `join` | [`task_done`](Self::task_done), [`join`](Self::join) |
/// | `shutdown()`, `shutdown(immediate=True)` | [`close`](Self::close), [`close_now`](Self::close_now) |
/// | `ShutDown`, `Full`, `Empty` | `Disconnected`, `Full` or `TimedOut`, `Empty` or `TimedOut` |
/// | iteration until `StopIteration` | [`iter`](Self::iter) until the queue is closed |
///
/// ```
/// # greenpatch_runtime::run(|| {
/// use std::sync::Arc;
/// use greenpatch_runtime::{spawn, sync::Queue};
///
/// let jobs = Arc::new(Queue::bounded(10));
/// for _ in 0..4 {
///     let jobs = jobs.clone();
///     spawn(move || {
///         for job in jobs.iter() {
///             let _: u32 = job;
///             jobs.task_done();
///         }
///     });
/// }
/// for job in 0..100 {
///     jobs.put(job).unwrap();
/// }
/// jobs.join().unwrap();
/// jobs.close();
/// # });
/// ```
pub struct BufferedQueue<T, B> {
    exchange: Exchange<T, B>,
    /// Items that were put and are not done.
    unfinished: RawCount,
}

impl<T, B> UnwindSafe for BufferedQueue<T, B> {}
impl<T, B> RefUnwindSafe for BufferedQueue<T, B> {}

impl<T, B: Buffer<T>> BufferedQueue<T, B> {
    /// A queue that holds any number of items; putting does not wait.
    pub fn unbounded() -> BufferedQueue<T, B> {
        BufferedQueue::bounded(usize::MAX)
    }

    /// A queue that holds at most `capacity` items; putting waits for room. With a capacity of zero it waits until
    /// somebody takes the item.
    pub fn bounded(capacity: usize) -> BufferedQueue<T, B> {
        BufferedQueue {
            exchange: Exchange::new(capacity),
            unfinished: RawCount(AtomicU32::new(0)),
        }
    }

    /// Puts an item into the queue; waits for room if it is full.
    ///
    /// # Errors
    ///
    /// If the queue is closed, or the wait was cut short; the error holds the item.
    ///
    /// # Panics
    ///
    /// If 2,147,483,647 items are unfinished.
    pub fn put(&self, item: T) -> Result<(), SendError<T>> {
        self.count(|| {
            self.exchange
                .send(item, WaitLimit::Until(None))
                .map_err(send_error)
        })
    }

    /// Puts an item into the queue if there is room.
    ///
    /// # Errors
    ///
    /// `Full` if there is none, `Disconnected` if the queue is closed; the error holds the item.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn try_put(&self, item: T) -> Result<(), TrySendError<T>> {
        self.count(|| self.exchange.try_send(item).map_err(try_send_error))
    }

    /// As [`put`](Self::put), and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and `TimedOut` if this time is over.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.count(|| match self.exchange.try_send(item) {
            Ok(()) => Ok(()),
            Err((item, Refusal::Closed)) => Err(SendError::Disconnected(item)),
            Err((item, Refusal::NotNow)) => self
                .exchange
                .send(item, WaitLimit::Until(Some(Deadline::after(timeout))))
                .map_err(send_error),
        })
    }

    /// Counts an item as unfinished before anybody can take it; not any more, if it is not put.
    fn count<E>(&self, put: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        assert!(
            self.unfinished.add(1),
            "a queue counts at most 2147483647 unfinished items"
        );
        let result = put();
        if result.is_err() {
            self.unfinished.subtract(1);
        }
        result
    }

    /// Takes the item whose turn it is; waits for one if the queue is empty.
    ///
    /// # Errors
    ///
    /// If the queue is empty and closed, or the wait was cut short.
    pub fn get(&self) -> Result<T, RecvError> {
        self.exchange
            .receive(WaitLimit::Until(None))
            .map_err(recv_error)
    }

    /// Takes the item whose turn it is, if there is one.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none, `Disconnected` if moreover the queue is closed.
    pub fn try_get(&self) -> Result<T, TryRecvError> {
        self.exchange.try_receive().map_err(try_recv_error)
    }

    /// As [`get`](Self::get), and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and `TimedOut` if this time is over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        match self.exchange.try_receive() {
            Ok(item) => Ok(item),
            Err(Refusal::Closed) => Err(RecvError::Disconnected),
            Err(Refusal::NotNow) => self
                .exchange
                .receive(WaitLimit::Until(Some(Deadline::after(timeout))))
                .map_err(recv_error),
        }
    }

    /// Takes item after item; ends where [`get`](Self::get) fails.
    pub fn iter(&self) -> QueueIter<'_, T, B> {
        QueueIter { queue: self }
    }

    /// Declares one item that was taken to be done.
    ///
    /// # Panics
    ///
    /// If all that were put are done.
    #[track_caller]
    pub fn task_done(&self) {
        assert!(
            self.unfinished.subtract(1),
            "more items of a queue are done than were put"
        );
    }

    /// Items that were put and are not [done](Self::task_done), whether or not somebody has taken them.
    pub fn unfinished(&self) -> u32 {
        self.unfinished.get()
    }

    /// Waits until all items that were put are [done](Self::task_done).
    ///
    /// # Errors
    ///
    /// If they are not, and a [`timeout`](crate::time::timeout) around the call is over, or the green thread is
    /// cancelled.
    pub fn join(&self) -> Result<(), Interrupted> {
        self.unfinished.wait(WaitLimit::Until(None))
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join), and `TimedOut` if this time is over.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), Interrupted> {
        if self.unfinished() == 0 {
            return Ok(());
        }
        self.unfinished
            .wait(WaitLimit::Until(Some(Deadline::after(timeout))))
    }

    /// Refuses items from now on: `put` fails, also where it waits. `get` takes what is left, then fails.
    pub fn close(&self) {
        self.exchange.close();
    }

    /// As [`close`](Self::close), and takes what is left, which counts as done.
    pub fn close_now(&self) -> B {
        self.close();
        let left = self.exchange.drain();
        // More than the count holds cannot be in the queue.
        self.unfinished
            .subtract(u32::try_from(left.len()).unwrap_or(u32::MAX));
        left
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.exchange.is_closed()
    }

    /// Whether no item is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue has no room; always, if its capacity is zero.
    pub fn is_full(&self) -> bool {
        self.exchange.is_full()
    }

    /// How many items are in the queue.
    pub fn len(&self) -> usize {
        self.exchange.len()
    }

    /// How many items the queue can hold; `None` if any number.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.exchange.capacity()).filter(|capacity| *capacity != usize::MAX)
    }
}

impl<T, B: Buffer<T>> Default for BufferedQueue<T, B> {
    fn default() -> BufferedQueue<T, B> {
        BufferedQueue::unbounded()
    }
}

impl<T, B: Buffer<T>> fmt::Debug for BufferedQueue<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// See [`BufferedQueue::iter`].
pub struct QueueIter<'a, T, B> {
    queue: &'a BufferedQueue<T, B>,
}

impl<T, B: Buffer<T>> Iterator for QueueIter<'_, T, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.queue.get().ok()
    }
}

impl<T, B> fmt::Debug for QueueIter<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueIter").finish_non_exhaustive()
    }
}

impl<'a, T, B: Buffer<T>> IntoIterator for &'a BufferedQueue<T, B> {
    type Item = T;
    type IntoIter = QueueIter<'a, T, B>;

    fn into_iter(self) -> QueueIter<'a, T, B> {
        self.iter()
    }
}
