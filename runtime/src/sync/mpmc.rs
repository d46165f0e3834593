//! Channels for many senders and many receivers; mirrors std's unstable `std::sync::mpmc`.
//!
//! Each item is received once. Receivers that wait are served in the order in which they came, and so are senders that
//! wait for room.
//!
//! To wait for whichever of several channels comes first, see [`Select`](super::Select).
//!
//! The error types have room for one thing more than std's: a wait may be cut short by a
//! [`timeout`](crate::time::timeout) around it or by [cancellation](crate::JoinHandle::cancel). No item is lost then.
//!
//! ```
//! use greenpatch_runtime::{run, spawn, sync::mpmc};
//!
//! run(|| {
//!     let (requests, inbox) = mpmc::sync_channel(10);
//!     let workers: Vec<_> = (0..4)
//!         .map(|_| {
//!             let inbox = inbox.clone();
//!             spawn(move || inbox.iter().sum::<u32>())
//!         })
//!         .collect();
//!     for request in 1..=100 {
//!         requests.send(request)?;
//!     }
//!     drop(requests);
//!     let total: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
//!     assert_eq!(total, 5050);
//!     Ok::<(), mpmc::SendError<u32>>(())
//! }).unwrap();
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::error::{recv_error, send_error, try_recv_error, try_send_error};
use super::raw::exchange::{Exchange, Refusal};
use super::raw::wait_limit::WaitLimit;
use crate::base::deadline::Deadline;

pub use super::error::{RecvError, SendError};
#[doc(no_inline)]
pub use std::sync::mpsc::{TryRecvError, TrySendError};

/// A channel that holds any number of items; sending does not wait.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    with_capacity(usize::MAX)
}

/// A channel that holds at most `capacity` items; sending waits for room. With a capacity of zero, a sender waits until a
/// receiver takes its item.
pub fn sync_channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    with_capacity(capacity)
}

fn with_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        exchange: Exchange::new(capacity),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    let receiver = Receiver {
        channel: channel.clone(),
    };
    (Sender { channel }, receiver)
}

struct Channel<T> {
    exchange: Exchange<T, VecDeque<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Channel<T> {
    fn capacity(&self) -> Option<usize> {
        Some(self.exchange.capacity()).filter(|capacity| *capacity != usize::MAX)
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("len", &self.exchange.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The sending side of a channel. Can be cloned; when the last one is dropped, receivers get what is left and then
/// `Disconnected`.
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

/// The receiving side of a channel. Can be cloned; when the last one is dropped, the items in the channel are dropped
/// too, and senders get theirs back.
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    pub(super) fn exchange(&self) -> &Exchange<T, VecDeque<T>> {
        &self.channel.exchange
    }

    /// Sends an item; waits for room if the channel is full.
    ///
    /// # Errors
    ///
    /// If all receivers are gone, or the wait was cut short; the error holds the item.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.channel
            .exchange
            .send(item, WaitLimit::Until(None))
            .map_err(send_error)
    }

    /// Sends an item if there is room.
    ///
    /// # Errors
    ///
    /// `Full` if there is none, `Disconnected` if all receivers are gone; the error holds the item.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.channel.exchange.try_send(item).map_err(try_send_error)
    }

    /// As [`send`](Self::send), and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and `TimedOut` if this time is over.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        let exchange = &self.channel.exchange;
        match exchange.try_send(item) {
            Ok(()) => Ok(()),
            Err((item, Refusal::Closed)) => Err(SendError::Disconnected(item)),
            Err((item, Refusal::NotNow)) => exchange
                .send(item, WaitLimit::Until(Some(Deadline::after(timeout))))
                .map_err(send_error),
        }
    }

    /// Whether no item is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; always, if its capacity is zero.
    pub fn is_full(&self) -> bool {
        self.channel.exchange.is_full()
    }

    /// How many items are in the channel.
    pub fn len(&self) -> usize {
        self.channel.exchange.len()
    }

    /// How many items the channel can hold; `None` if any number.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity()
    }

    /// Whether both send to the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        // It cannot overflow before the count of the `Arc` does.
        self.channel.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            channel: self.channel.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.channel.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.channel.exchange.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt("Sender", f)
    }
}

impl<T> Receiver<T> {
    pub(super) fn exchange(&self) -> &Exchange<T, VecDeque<T>> {
        &self.channel.exchange
    }

    /// Receives an item; waits for one if the channel is empty.
    ///
    /// # Errors
    ///
    /// If the channel is empty and all senders are gone, or the wait was cut short.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.channel
            .exchange
            .receive(WaitLimit::Until(None))
            .map_err(recv_error)
    }

    /// Receives an item if there is one.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none, `Disconnected` if moreover all senders are gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.exchange.try_receive().map_err(try_recv_error)
    }

    /// As [`recv`](Self::recv), and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `TimedOut` if this time is over.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        let exchange = &self.channel.exchange;
        match exchange.try_receive() {
            Ok(item) => Ok(item),
            Err(Refusal::Closed) => Err(RecvError::Disconnected),
            Err(Refusal::NotNow) => exchange
                .receive(WaitLimit::Until(Some(Deadline::after(timeout))))
                .map_err(recv_error),
        }
    }

    /// Receives item after item; ends where [`recv`](Self::recv) fails.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there; ends where [`try_recv`](Self::try_recv) fails.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Whether no item is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; always, if its capacity is zero.
    pub fn is_full(&self) -> bool {
        self.channel.exchange.is_full()
    }

    /// How many items are in the channel.
    pub fn len(&self) -> usize {
        self.channel.exchange.len()
    }

    /// How many items the channel can hold; `None` if any number.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity()
    }

    /// Whether both receive from the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.channel.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver {
            channel: self.channel.clone(),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.channel.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.channel.exchange.close();
            drop(self.channel.exchange.drain());
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt("Receiver", f)
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// As [`Iter`], and owns the receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}
