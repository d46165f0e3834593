//! Whichever of several exchanges comes first.
//!
//! Who selects has a *case* for each exchange: to send an item to it, or to receive one. First it locks all of them, and looks
//! whether one case can be carried out at once. If none can, it enters all lines, and unlocks. So there is no moment at which
//! one line knows of it and another one could serve it unseen, and two that select from each other find one another: whoever
//! comes second sees the first in line. Locks are taken in the order of their addresses; others hold one at a time.
//!
//! While it waits, it is an entry in each line, under one selection (see `line.rs`), which is claimed by the first that has
//! something for it. A sender's item is in its entry meanwhile, and goes from there to a receiver, or comes back: it moves only if
//! its case wins. Afterwards the other entries are taken out of their lines, one lock at a time.
//!
//! Rejected: to be told that an exchange has become ready, and to try again, as with descriptors. Two that wait for each other at
//! exchanges without a buffer would both be told by nobody, each waiting for the other to stand in line; and who is told
//! may find that a newcomer was faster, again and again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::{mem, ptr};

use crate::sync::raw::exchange::{Exchange, ExchangeState, Refusal};
use crate::sync::raw::line::{Queued, Selection, Wake};
use crate::sync::raw::lock::Guard;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};

type State<T> = ExchangeState<T, VecDeque<T>>;

/// One of several things to be done, with its type hidden.
///
/// # Safety
///
/// Cases of the same address are cases of the same exchange, and [`lock`](Self::lock) gives a pointer to its state.
pub(crate) unsafe trait Case {
    /// Of the exchange.
    fn address(&self) -> usize;

    /// Whether there is something to be done: a sender may have nothing to send.
    fn is_enabled(&self) -> bool;

    /// Locks the exchange until [`unlock`](Self::unlock), and gives its state.
    fn lock(&self) -> *mut ();

    /// Unlocks the exchange, if this case has locked it.
    fn unlock(&self);

    /// Carries it out if that needs no wait: whether it did, and whom to wake once all is unlocked.
    ///
    /// # Safety
    ///
    /// `state` is that of the exchange, which is locked, and nobody else uses it during the call.
    unsafe fn attempt(&self, state: *mut ()) -> (bool, Option<Wake>);

    /// Enters the line.
    ///
    /// # Safety
    ///
    /// As for [`attempt`](Self::attempt); the case is in no line, and both it and the selection stay in place until
    /// [`withdraw`](Self::withdraw).
    unsafe fn enter(&self, state: *mut (), selection: &Selection, number: u32);

    /// Leaves the line; the exchange is not locked by the caller. If it `was_served`, it is carried out by that.
    fn withdraw(&self, was_served: bool);
}

/// What all cases have.
struct Common<'a, T> {
    exchange: &'a Exchange<T, VecDeque<T>>,
    guard: RefCell<Option<Guard<'a, State<T>>>>,
    entry: Queued<T>,
}

impl<'a, T> Common<'a, T> {
    fn new(exchange: &'a Exchange<T, VecDeque<T>>) -> Common<'a, T> {
        Common {
            exchange,
            guard: RefCell::new(None),
            entry: Queued::of_several(),
        }
    }

    fn address(&self) -> usize {
        ptr::from_ref(self.exchange).addr()
    }

    fn lock(&self) -> *mut () {
        let mut guard = self.guard.borrow_mut();
        let state: *mut State<T> = &mut **guard.insert(self.exchange.state.lock());
        state.cast()
    }

    fn unlock(&self) {
        drop(self.guard.take());
    }
}

/// To receive an item.
pub(crate) struct ReceiveCase<'a, T> {
    common: Common<'a, T>,
    /// `None` in it: the exchange is closed.
    outcome: Cell<Option<Option<T>>>,
}

impl<'a, T> ReceiveCase<'a, T> {
    pub(crate) fn new(exchange: &'a Exchange<T, VecDeque<T>>) -> ReceiveCase<'a, T> {
        ReceiveCase {
            common: Common::new(exchange),
            outcome: Cell::new(None),
        }
    }

    /// The item, or `None` if the exchange is closed. For the case that won.
    pub(crate) fn into_item(self) -> Option<T> {
        self.outcome.take().expect("this case was carried out")
    }
}

// SAFETY: the address is that of the exchange, which holds a state of this type.
unsafe impl<T> Case for ReceiveCase<'_, T> {
    fn address(&self) -> usize {
        self.common.address()
    }

    fn is_enabled(&self) -> bool {
        true
    }

    fn lock(&self) -> *mut () {
        self.common.lock()
    }

    fn unlock(&self) {
        self.common.unlock();
    }

    unsafe fn attempt(&self, state: *mut ()) -> (bool, Option<Wake>) {
        // SAFETY: it is the state of the exchange, and nobody else uses it, by this function's contract.
        let state = unsafe { &mut *state.cast::<State<T>>() };
        match state.try_receive() {
            Ok((item, wake)) => {
                self.outcome.set(Some(Some(item)));
                (true, wake)
            }
            Err(Refusal::Closed) => {
                self.outcome.set(Some(None));
                (true, None)
            }
            Err(Refusal::NotNow) => (false, None),
        }
    }

    unsafe fn enter(&self, state: *mut (), selection: &Selection, number: u32) {
        // SAFETY: it is the state of the exchange, and nobody else uses it, by this function's contract.
        let state = unsafe { &mut *state.cast::<State<T>>() };
        let entry = &self.common.entry;
        // SAFETY: it is one of several, in no line, and stays with the selection until `withdraw`, by this function's contract.
        unsafe {
            (state.receivers).push_one_of_several(entry, selection, number, None);
        }
    }

    fn withdraw(&self, was_served: bool) {
        let mut state = self.common.exchange.state.lock();
        state.receivers.withdraw(&self.common.entry);
        drop(state);
        if was_served {
            self.outcome.set(Some(self.common.entry.take_item()));
        }
    }
}

/// To send an item, which stands in a place of the caller's: it is gone from there if this case wins.
pub(crate) struct SendCase<'a, T> {
    common: Common<'a, T>,
    place: RefCell<&'a mut Option<T>>,
    /// Whether the exchange was open.
    outcome: Cell<Option<bool>>,
}

impl<'a, T> SendCase<'a, T> {
    pub(crate) fn new(
        exchange: &'a Exchange<T, VecDeque<T>>,
        place: &'a mut Option<T>,
    ) -> SendCase<'a, T> {
        SendCase {
            common: Common::new(exchange),
            place: RefCell::new(place),
            outcome: Cell::new(None),
        }
    }

    /// Whether the item was sent; else the exchange is closed, and the item in its place. For the case that won.
    pub(crate) fn was_sent(&self) -> bool {
        self.outcome.get().expect("this case was carried out")
    }
}

// SAFETY: the address is that of the exchange, which holds a state of this type.
unsafe impl<T> Case for SendCase<'_, T> {
    fn address(&self) -> usize {
        self.common.address()
    }

    fn is_enabled(&self) -> bool {
        self.place.borrow().is_some()
    }

    fn lock(&self) -> *mut () {
        self.common.lock()
    }

    fn unlock(&self) {
        self.common.unlock();
    }

    unsafe fn attempt(&self, state: *mut ()) -> (bool, Option<Wake>) {
        // SAFETY: it is the state of the exchange, and nobody else uses it, by this function's contract.
        let state = unsafe { &mut *state.cast::<State<T>>() };
        let mut place = self.place.borrow_mut();
        let Some(item) = place.take() else {
            return (false, None);
        };
        match state.try_send(item) {
            Ok(wake) => {
                self.outcome.set(Some(true));
                (true, wake)
            }
            Err((item, refusal)) => {
                **place = Some(item);
                let is_closed = refusal == Refusal::Closed;
                self.outcome.set(is_closed.then_some(false));
                (is_closed, None)
            }
        }
    }

    unsafe fn enter(&self, state: *mut (), selection: &Selection, number: u32) {
        // SAFETY: it is the state of the exchange, and nobody else uses it, by this function's contract.
        let state = unsafe { &mut *state.cast::<State<T>>() };
        let (entry, item) = (&self.common.entry, self.place.borrow_mut().take());
        // SAFETY: it is one of several, in no line, and stays with the selection until `withdraw`, by this function's contract.
        unsafe {
            (state.senders).push_one_of_several(entry, selection, number, item);
        }
    }

    fn withdraw(&self, was_served: bool) {
        let mut state = self.common.exchange.state.lock();
        state.senders.withdraw(&self.common.entry);
        drop(state);
        // Who serves a sender takes its item; else the exchange was closed.
        let left = self.common.entry.take_item();
        if was_served {
            self.outcome.set(Some(left.is_none()));
        }
        if left.is_some() {
            **self.place.borrow_mut() = left;
        }
    }
}

/// The exchanges of the enabled cases, locked until this is dropped.
struct Locked<'c, C: Case + ?Sized> {
    cases: &'c [Box<C>],
    /// The numbers of the enabled cases and their states, in the order of the addresses.
    states: Vec<(usize, *mut ())>,
}

impl<'c, C: Case + ?Sized> Locked<'c, C> {
    fn new(cases: &'c [Box<C>]) -> Locked<'c, C> {
        let mut enabled: Vec<_> = (0..cases.len())
            .filter(|&number| cases[number].is_enabled())
            .collect();
        enabled.sort_unstable_by_key(|&number| cases[number].address());
        let mut states: Vec<(usize, *mut ())> = Vec::with_capacity(enabled.len());
        for number in enabled {
            let address = cases[number].address();
            let state = match states.last() {
                Some(&(before, state)) if cases[before].address() == address => state,
                _ => cases[number].lock(),
            };
            states.push((number, state));
        }
        Locked { cases, states }
    }

    /// The state of a case's exchange, unless it is not enabled, or no case's number.
    fn state(&self, number: usize) -> Option<*mut ()> {
        let found = self.states.iter().find(|(case, _)| *case == number);
        found.map(|&(_, state)| state)
    }
}

impl<C: Case + ?Sized> Drop for Locked<'_, C> {
    fn drop(&mut self) {
        self.cases.iter().for_each(|case| case.unlock());
    }
}

/// Carries out one of the cases, and gives its number: the first in `order` that needs no wait, or the one that is served first.
/// `None` if all would have to wait, and `limit` is `None`.
///
/// A number in `order` that is no case's stands for something else, and wins if `other` says so.
pub(crate) fn select<C: Case + ?Sized>(
    cases: &[Box<C>],
    order: impl Iterator<Item = usize>,
    other: impl Fn() -> bool,
    limit: Option<WaitLimit>,
) -> Result<Option<usize>, Interrupted> {
    let mut locked = Locked::new(cases);
    for number in order {
        if number >= cases.len() && other() {
            return Ok(Some(number));
        }
        let Some(state) = locked.state(number) else {
            continue;
        };
        // SAFETY: the state is that of the case's exchange, which is locked, and nobody else uses it.
        let (is_done, wake) = unsafe { cases[number].attempt(state) };
        if is_done {
            drop(locked);
            if let Some(wake) = wake {
                wake.send();
            }
            return Ok(Some(number));
        }
    }
    let Some(limit) = limit else {
        return Ok(None);
    };
    let selection = Selection::new();
    for &(number, state) in &locked.states {
        let case_number = u32::try_from(number).expect("so many cases do not fit into memory");
        // SAFETY: the state is that of the case's exchange, which is locked, and nobody else uses it. The cases and the
        // selection stay in place to the end of this function, and nothing unwinds before all are withdrawn.
        unsafe { cases[number].enter(state, &selection, case_number) };
    }
    let entered = mem::take(&mut locked.states);
    drop(locked);
    let served = selection.wait(limit).map(|number| number as usize);
    for (number, _) in entered {
        cases[number].withdraw(served == Ok(number));
    }
    served.map(Some)
}
