//! Items from senders to receivers: a buffer, and a line on each side of it, under one lock.
//!
//! Two invariants make the rest simple: receivers wait only while there is nothing to take (no item in the buffer, no
//! sender in line), and senders wait only while the buffer is full. So a sender that finds a receiver in line
//! hands the item to it, and one that finds room puts it into the buffer, with nobody to wake; a receiver that takes
//! from a full buffer lets the first sender in line fill the place. With a capacity of zero every item goes from hand
//! to hand.
//!
//! A sender waits with its item. Whoever serves it has taken the item; if the item is still there afterwards, the exchange
//! was closed. Likewise for a receiver: without an item, the exchange was closed.
//!
//! Under the lock items move, and a buffer that keeps an order compares them; nothing is dropped there.
//!
//! Rejected: a lock-free queue with a count of waiters on each side. It must wake for each item while its receiver is on
//! the way, gives up first come, first served, and does priorities and rendezvous by other means; while uncontended,
//! one lock costs the same two exchanges.

use std::collections::{BinaryHeap, VecDeque};
use std::mem;

use crate::sync::raw::line::{self, Line, Outcome, Wake};
use crate::sync::raw::lock::{Guard, Lock};
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};

/// Where items are kept between sender and receiver; it decides in what order they come out.
pub trait Buffer<T>: Default {
    /// Puts an item in.
    fn push(&mut self, item: T);

    /// Takes out the item whose turn it is; `None` if there is none.
    fn pop(&mut self) -> Option<T>;

    /// How many items there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// First in, first out.
impl<T> Buffer<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Last in, first out.
impl<T> Buffer<T> for Vec<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The greatest first.
impl<T: Ord> Buffer<T> for BinaryHeap<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// See the module's page.
pub(crate) struct Exchange<T, B> {
    pub(super) state: Lock<ExchangeState<T, B>>,
}

pub(super) struct ExchangeState<T, B> {
    buffer: B,
    capacity: usize,
    closed: bool,
    pub(super) receivers: Line<T>,
    pub(super) senders: Line<T>,
}

impl<T, B> ExchangeState<T, B> {
    fn receivers(&mut self) -> &mut Line<T> {
        &mut self.receivers
    }

    fn senders(&mut self) -> &mut Line<T> {
        &mut self.senders
    }
}

impl<T, B: Buffer<T>> ExchangeState<T, B> {
    /// Sends `item` if that needs no wait, as part of a selection; with whom to wake then.
    pub(super) fn try_send(&mut self, item: T) -> Result<Option<Wake>, (T, Refusal)> {
        if self.closed {
            return Err((item, Refusal::Closed));
        }
        match hand(&mut self.receivers, item) {
            Ok(wake) => Ok(Some(wake)),
            Err(item) if self.buffer.len() < self.capacity => {
                self.buffer.push(item);
                Ok(None)
            }
            Err(item) => Err((item, Refusal::NotNow)),
        }
    }

    /// Receives an item if that needs no wait, as part of a selection; with whom to wake then.
    pub(super) fn try_receive(&mut self) -> Result<(T, Option<Wake>), Refusal> {
        if let Some(item) = self.buffer.pop() {
            return Ok((item, refill(&mut self.buffer, &mut self.senders)));
        }
        match collect(&mut self.senders) {
            Some((item, wake)) => Ok((item, Some(wake))),
            None if self.closed => Err(Refusal::Closed),
            None => Err(Refusal::NotNow),
        }
    }
}

/// The lock of an exchange that may have to be waited for; none of one that is closed.
type StillOpen<'a, T, B> = Option<Guard<'a, ExchangeState<T, B>>>;

/// Why nothing was sent or received at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody serves the other side any more.
    Closed,
    /// It would have to wait.
    NotNow,
}

/// Why nothing was sent or received in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody serves the other side any more.
    Closed,
    /// The wait was cut short.
    CutShort(Interrupted),
}

impl<T, B: Buffer<T>> Exchange<T, B> {
    /// At most `capacity` items wait in the buffer.
    pub(crate) fn new(capacity: usize) -> Exchange<T, B> {
        Exchange {
            state: Lock::new(ExchangeState {
                buffer: B::default(),
                capacity,
                closed: false,
                receivers: Line::new(),
                senders: Line::new(),
            }),
        }
    }

    /// Sends `item`; waits for room.
    pub(crate) fn send(&self, item: T, limit: WaitLimit) -> Result<(), (T, Failure)> {
        let (item, guard) = match self.offer(item) {
            Ok(()) => return Ok(()),
            Err((item, None)) => return Err((item, Failure::Closed)),
            Err((item, Some(guard))) => (item, guard),
        };
        match line::wait(
            &self.state,
            guard,
            ExchangeState::senders,
            Some(item),
            limit,
        ) {
            Outcome::Served(None) => Ok(()),
            Outcome::Served(Some(item)) => Err((item, Failure::Closed)),
            Outcome::CutShort(interrupted, item, _) => {
                let item = item.expect("a sender in line has its item");
                Err((item, Failure::CutShort(interrupted)))
            }
        }
    }

    /// Sends `item` if that needs no wait.
    pub(crate) fn try_send(&self, item: T) -> Result<(), (T, Refusal)> {
        self.offer(item).map_err(|(item, guard)| {
            let refusal = guard.map_or(Refusal::Closed, |_| Refusal::NotNow);
            (item, refusal)
        })
    }

    /// Sends `item`, or gives it back.
    #[inline]
    fn offer(&self, item: T) -> Result<(), (T, StillOpen<'_, T, B>)> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return Err((item, None));
        }
        match hand(&mut state.receivers, item) {
            Ok(wake) => {
                drop(guard);
                wake.send();
                Ok(())
            }
            Err(item) if state.buffer.len() < state.capacity => {
                state.buffer.push(item);
                Ok(())
            }
            Err(item) => Err((item, Some(guard))),
        }
    }

    /// Receives an item; waits for one.
    pub(crate) fn receive(&self, limit: WaitLimit) -> Result<T, Failure> {
        let guard = match self.take() {
            Ok(item) => return Ok(item),
            Err(None) => return Err(Failure::Closed),
            Err(Some(guard)) => guard,
        };
        match line::wait(&self.state, guard, ExchangeState::receivers, None, limit) {
            Outcome::Served(item) => item.ok_or(Failure::Closed),
            Outcome::CutShort(interrupted, ..) => Err(Failure::CutShort(interrupted)),
        }
    }

    /// Receives an item if that needs no wait.
    pub(crate) fn try_receive(&self) -> Result<T, Refusal> {
        self.take()
            .map_err(|guard| guard.map_or(Refusal::Closed, |_| Refusal::NotNow))
    }

    /// Receives an item, if there is one.
    #[inline]
    fn take(&self) -> Result<T, StillOpen<'_, T, B>> {
        // Outlives the lock also if the buffer panics: what is dropped may use the exchange.
        let popped;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        popped = state.buffer.pop();
        if popped.is_some() {
            let wake = refill(&mut state.buffer, &mut state.senders);
            drop(guard);
            if let Some(wake) = wake {
                wake.send();
            }
            return popped.ok_or(None);
        }
        if let Some((item, wake)) = collect(&mut state.senders) {
            drop(guard);
            wake.send();
            return Ok(item);
        }
        Err((!state.closed).then_some(guard))
    }

    /// Refuses items from now on. Senders in line get theirs back, receivers in line get none; what is in the buffer can
    /// still be received.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        while let Some(handoff) = state.senders.pop() {
            handoff.end().send();
        }
        while let Some(handoff) = state.receivers.pop() {
            handoff.end().send();
        }
    }

    /// Takes everything out of the buffer; senders in line fill it again.
    pub(crate) fn drain(&self) -> B {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let items = mem::take(&mut state.buffer);
        while state.buffer.len() < state.capacity
            && let Some(wake) = refill(&mut state.buffer, &mut state.senders)
        {
            wake.send();
        }
        items
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().buffer.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.buffer.len() >= state.capacity
    }

    pub(crate) fn capacity(&self) -> usize {
        self.state.lock().capacity
    }
}

/// Hands an item to the first receiver in line.
fn hand<T>(receivers: &mut Line<T>, item: T) -> Result<Wake, T> {
    match receivers.pop() {
        Some(handoff) => {
            handoff.give(item);
            Ok(handoff.end())
        }
        None => Err(item),
    }
}

/// Takes the item of the first sender in line.
fn collect<T>(senders: &mut Line<T>) -> Option<(T, Wake)> {
    let handoff = senders.pop()?;
    let item = handoff.take().expect("a sender in line has its item");
    Some((item, handoff.end()))
}

/// Puts the item of the first sender in line into the buffer, which has room.
fn refill<T, B: Buffer<T>>(buffer: &mut B, senders: &mut Line<T>) -> Option<Wake> {
    let handoff = senders.pop()?;
    buffer.push(handoff.take().expect("a sender in line has its item"));
    Some(handoff.end())
}
