//! Who waits for a descriptor to become ready, and whom readiness wakes.
//!
//! **Readiness.** A word holds a readable bit, a writable bit, and a count of the edges seen. A cleared bit means: the
//! kernel has said "would block" (or given less than was asked for) after the last edge, so there will be another edge
//! before there is anything to do. Whoever wants to clear a bit read the word before the system call, and clears it only if
//! no edge came since: edges between are never lost. `UNUSUAL` (end of file, error, urgent data) forbids the conclusion
//! from a short read, as the event that told of it may stand before bytes still unread. Only reads of sockets clear bits,
//! and only they look at them before they try: the "would block" of another call may be about more than whether something
//! is there.
//!
//! **Waiting.** There are two sorts of waiters. A *consumer* is inside a call that takes something away: bytes, a datagram,
//! a connection, room. A *poller* (poll, select) only looks. Each direction has a line of consumers in the order in which
//! their calls came; pollers stand apart. A waiter is queued under the lock if no edge came since the word was read before the
//! call that would have blocked; an edge is counted under the same lock.
//!
//! **Waking.** An edge wakes all pollers of its direction and the first consumer in line: one datagram is for one. An
//! unusual edge wakes all, since an end or an error concerns them all.
//!
//! | state of a waiter | meaning | goes to, and by whom |
//! |---|---|---|
//! | AWAY | not in line | WAITING by itself |
//! | WAITING | in line | WOKEN by an edge or by a consumer that passes a wake on (a poller: RELEASED); AWAY by itself |
//! | WOKEN | a consumer that is to try, and keeps its place | WAITING by itself, at its old place; AWAY by itself |
//! | RELEASED | put out of the line, to try again | WAITING by itself, at the end |
//! | CLOSED | put out of the line, because the descriptor was closed | |
//!
//! **Passing on.** One edge may tell of much: the kernel reports a hundred datagrams that came together once. So whoever
//! was woken answers for those behind: as it leaves (served, or cancelled, or its time over: whatever came of its call), it
//! asks poll(2) whether the descriptor is still ready, and if so wakes the next. It asks only if others wait. One that was
//! woken and finds nothing waits again; if poll(2) disagrees (its own condition may be stricter), it wakes the next one
//! that has not tried since the last edge, so that the wake does not end with it, nor goes round for ever. A cleared bit
//! answers for poll(2) in none of this, and does not keep one that was woken from trying: it may have been cleared by a
//! waiter with a stricter condition, or before an event that is still to come.
//!
//! **No wake is lost.** While something can be had and somebody is WAITING, either an edge is still to be counted, or some
//! consumer is WOKEN (or on its way out, which still counts as WOKEN until it has passed on). For a waiter that is queued
//! after it has tried: nothing could be had when it tried, and what came since made an edge, which is either counted by
//! then, and it tries again, or wakes the first one in line. Each wake ends as the last paragraph says, or in a consumer that
//! found nothing; then the same argument holds again.
//!
//! **Order.** A newcomer that may wait tries at once only if nobody is in line. Otherwise, if no consumer is WOKEN, it asks
//! poll(2), and if there is something (of which the event is still to come), wakes the first in line. Then it goes to the end of
//! the line without having tried; somebody WOKEN answers for it. So a thread that receives in a loop does not overtake
//! those who wait.
//!
//! Rejected: waking all, who then try (500 receivers wake for one datagram, and whoever runs first gets everything); handing
//! over the right to try with no exception (a waiter whose condition is stricter than the others' would block them for ever).
//!
//! **Futures** do not stand in line: an edge wakes the wakers of all that wait for it ([`wakers`](super::wakers)), and each tries.
//!
//! The loom model is `tests/loom.rs`. The file is long because the word, the lines and the rules about them are one
//! protocol, under one lock: no part of it can be understood, or changed, without the others.

use std::task::Waker;
use std::{mem, ptr};

use super::wakers::{self, Place, Wakers};
use crate::base::atomic::{AtomicU32, Cell, Ordering};
use crate::base::interest::Edges;
use crate::base::spin::{self, SpinGuard, SpinLock};
use crate::sched::green::GreenRef;

/// The count of edges stands above the bits.
pub(crate) const EDGE: u32 = 8;
const BITS: u32 = EDGE - 1;

const AWAY: u32 = 0;
const WAITING: u32 = 1;
const WOKEN: u32 = 2;
const RELEASED: u32 = 3;
const CLOSED: u32 = 4;

/// Directions: the lines of the consumers.
const DIRECTIONS: usize = 2;
/// The list of the pollers stands behind the lines.
const POLLERS: usize = DIRECTIONS;

/// In `Waiter::tried`: it has not tried since it came.
const UNTRIED: u32 = u32::MAX;

/// Green threads that are woken outside the lock, and taken out under it, at a time.
const BATCH: usize = 16;

/// A green thread that waits on a descriptor; lives on its stack.
pub(crate) struct Waiter {
    green: GreenRef,
    bits: u32,
    /// Its line, or [`POLLERS`].
    list: usize,
    state: AtomicU32,
    /// The order in which consumers came.
    ticket: Cell<u64>,
    /// That of the line when it was queued.
    epoch: Cell<u32>,
    /// The count of edges after which it last found nothing.
    tried: Cell<u32>,
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
}

impl Waiter {
    /// A call that takes something away, in the one direction that `edge` names.
    pub(crate) fn consumer(green: GreenRef, edge: Edges) -> Waiter {
        Waiter::new(green, edge, usize::from(edge == Edges::WRITE))
    }

    /// One that looks only.
    pub(crate) fn poller(green: GreenRef, edges: Edges) -> Waiter {
        Waiter::new(green, edges, POLLERS)
    }

    fn new(green: GreenRef, edges: Edges, list: usize) -> Waiter {
        Waiter {
            green,
            bits: edges.bits(),
            list,
            state: AtomicU32::new(AWAY),
            ticket: Cell::new(0),
            epoch: Cell::new(0),
            tried: Cell::new(UNTRIED),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }

    fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    /// The direction of a consumer.
    pub(crate) fn edges(&self) -> Edges {
        Edges::from_bits_truncate(self.bits)
    }

    /// Whether it stands in line and was not woken.
    pub(crate) fn waits(&self) -> bool {
        self.state() == WAITING
    }

    /// Whether it was woken, and is to try.
    pub(crate) fn is_woken(&self) -> bool {
        self.state() == WOKEN
    }

    pub(crate) fn was_closed(&self) -> bool {
        self.state() == CLOSED
    }

    /// Whether it has no place in line that it could lose by trying later.
    pub(crate) fn is_newcomer(&self) -> bool {
        matches!(self.state(), AWAY | RELEASED)
    }
}

/// What a waiter did before it queues.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tried {
    /// It found nothing, in a call made after the readiness word was this.
    At(u32),
    /// It has not tried, to leave what there is to those before it.
    Not,
}

/// What came of queueing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// There may be something by now: to be tried again.
    TryAgain,
    Waiting,
    /// It waits; it was woken for something that it could not use, and others have not tried yet.
    WaitingBefore,
}

/// The waiters, and what its user keeps under the same lock.
pub(crate) struct Guarded<T> {
    lists: [List; DIRECTIONS + 1],
    /// How many consumers of the present epoch are WOKEN.
    woken: [u32; DIRECTIONS],
    /// Raised when all waiters are put out of line. Those that were WOKEN by then have nothing to pass on: what they were
    /// woken for is void. (Nor must anyone rely on them: the runtime that would run them may be at its end.)
    epoch: u32,
    tickets: u64,
    wakers: Wakers,
    pub(crate) own: T,
}

// SAFETY: the lists are followed under the lock only, and a waiter leaves them before its stack frame ends, a place before its
// future does.
unsafe impl<T: Send> Send for Guarded<T> {}

#[derive(Clone, Copy)]
struct List {
    first: *const Waiter,
    last: *const Waiter,
}

impl List {
    const EMPTY: List = List {
        first: ptr::null(),
        last: ptr::null(),
    };

    fn first(&self) -> Option<&Waiter> {
        // SAFETY: a queued waiter is in place.
        unsafe { self.first.as_ref() }
    }

    /// Puts `waiter` behind all with a smaller or the same ticket.
    fn insert(&mut self, waiter: &Waiter) {
        // A newcomer goes to the end, and one that comes back near the front.
        // SAFETY: a queued waiter is in place.
        let last_is_before = unsafe { self.last.as_ref() }
            .is_none_or(|last| last.ticket.get() <= waiter.ticket.get());
        let mut next = if last_is_before {
            ptr::null()
        } else {
            self.first
        };
        // SAFETY: a queued waiter is in place.
        while let Some(other) = unsafe { next.as_ref() }
            && other.ticket.get() <= waiter.ticket.get()
        {
            next = other.next.get();
        }
        // SAFETY: a queued waiter is in place.
        let previous = match unsafe { next.as_ref() } {
            Some(next) => next.previous.replace(waiter),
            None => mem::replace(&mut self.last, waiter),
        };
        // SAFETY: a queued waiter is in place.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(waiter),
            None => self.first = waiter,
        }
        waiter.next.set(next);
        waiter.previous.set(previous);
    }

    fn remove(&mut self, waiter: &Waiter) {
        let (next, previous) = (waiter.next.get(), waiter.previous.get());
        // SAFETY: a queued waiter is in place.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first = next,
        }
        // SAFETY: a queued waiter is in place.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last = previous,
        }
    }

    fn find(&self, is_meant: impl Fn(&Waiter) -> bool) -> Option<*const Waiter> {
        let mut waiter = self.first();
        while let Some(candidate) = waiter {
            if is_meant(candidate) {
                return Some(candidate);
            }
            // SAFETY: a queued waiter is in place.
            waiter = unsafe { candidate.next.get().as_ref() };
        }
        None
    }
}

/// Whom to wake; see the module's page.
#[derive(Clone, Copy)]
struct Wake {
    pollers: Edges,
    /// Directions of which the first consumer is woken.
    first: Edges,
    /// Directions of which all consumers are.
    all: Edges,
    /// The state of those who are put out of line, and of all consumers if nobody is to keep a place.
    released: Option<u32>,
}

impl<T> Guarded<T> {
    /// Takes `waiter` out of its list; its frame may end as soon as the state is stored.
    fn take(&mut self, waiter: *const Waiter, state: u32) -> GreenRef {
        // SAFETY: found in its list, under the lock.
        let waiter = unsafe { &*waiter };
        self.lists[waiter.list].remove(waiter);
        if state == WOKEN && waiter.epoch.get() == self.epoch {
            self.woken[waiter.list] += 1;
        }
        let green = waiter.green;
        waiter.state.store(state, Ordering::Release);
        green
    }

    /// Takes out one of those whom `wake` means.
    fn take_next(&mut self, wake: &mut Wake) -> Option<GreenRef> {
        let bits = wake.pollers.bits();
        if let Some(poller) = self.lists[POLLERS].find(|waiter| waiter.bits & bits != 0) {
            return Some(self.take(poller, wake.released.unwrap_or(RELEASED)));
        }
        for (direction, edge) in [Edges::READ, Edges::WRITE].into_iter().enumerate() {
            if !(wake.first | wake.all).contains(edge) {
                continue;
            }
            wake.first.remove(edge);
            if let Some(first) = self.lists[direction].find(|_| true) {
                return Some(self.take(first, wake.released.unwrap_or(WOKEN)));
            }
        }
        None
    }
}

/// The waiters of one descriptor with its readiness word; see the module's page. Zeros are a valid one: no bits, no waiters,
/// a free lock.
pub(crate) struct Line<T> {
    readiness: AtomicU32,
    /// The directions in which a consumer is WOKEN, and above them those in which one is WAITING; written under the lock, read
    /// without it.
    passing: AtomicU32,
    guarded: SpinLock<Guarded<T>>,
}

impl<T> Line<T> {
    #[allow(dead_code, reason = "entries come as zeros; the loom models make one")]
    pub(crate) fn new(own: T) -> Line<T> {
        Line {
            readiness: AtomicU32::new(0),
            passing: AtomicU32::new(0),
            guarded: SpinLock::new(Guarded {
                lists: [List::EMPTY; DIRECTIONS + 1],
                woken: [0; DIRECTIONS],
                epoch: 0,
                tickets: 0,
                wakers: Wakers::NONE,
                own,
            }),
        }
    }

    /// The lock, for what its user keeps under it.
    pub(crate) fn guarded(&self) -> &SpinLock<Guarded<T>> {
        &self.guarded
    }

    /// Forgets all waiters and wakers, and changes what is kept under the lock, whether or not that is held.
    ///
    /// # Safety
    ///
    /// No other thread uses the line; whoever may hold the lock, or wait, does not exist any more.
    pub(crate) unsafe fn seize(&self, change: impl FnOnce(&mut T)) {
        // SAFETY: no other thread uses the lock, by this function's contract.
        unsafe {
            spin::seize(&self.guarded, |guarded| {
                guarded.lists = [List::EMPTY; DIRECTIONS + 1];
                guarded.woken = [0; DIRECTIONS];
                guarded.wakers.forget();
                change(&mut guarded.own);
            });
        }
        self.passing.store(0, Ordering::Relaxed);
    }

    /// The readiness word.
    #[inline]
    pub(crate) fn readiness(&self) -> u32 {
        self.readiness.load(Ordering::SeqCst)
    }

    /// Clears bits of the word if it is still as it was seen.
    pub(crate) fn clear(&self, seen: u32, edges: Edges) {
        let _ = self.readiness.compare_exchange(
            seen,
            seen & !edges.bits(),
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
    }

    /// Whether some consumer in this direction was woken and has not passed on yet.
    pub(crate) fn is_passing(&self, edge: Edges) -> bool {
        self.passing.load(Ordering::Relaxed) & edge.bits() != 0
    }

    /// Whether there are consumers in this direction, woken or not.
    #[inline]
    pub(crate) fn has_consumers(&self, edge: Edges) -> bool {
        self.passing.load(Ordering::Relaxed) & (edge.bits() | (edge.bits() * EDGE)) != 0
    }

    /// By a newcomer that has found the descriptor ready: wakes the first in line if nobody is woken.
    pub(crate) fn prompt(&self, newcomer: &Waiter) {
        let mut guarded = self.guarded.lock();
        if guarded.woken[newcomer.list] != 0 {
            return;
        }
        let first = guarded.lists[newcomer.list]
            .find(|_| true)
            .map(|first| guarded.take(first, WOKEN));
        self.publish(&guarded);
        drop(guarded);
        if let Some(first) = first {
            first.unpark();
        }
    }

    fn publish(&self, guarded: &Guarded<T>) {
        let mut passing = 0;
        for (direction, edge) in [Edges::READ, Edges::WRITE].into_iter().enumerate() {
            if guarded.woken[direction] != 0 {
                passing |= edge.bits();
            }
            if guarded.lists[direction].first().is_some() {
                passing |= edge.bits() * EDGE;
            }
        }
        if self.passing.load(Ordering::Relaxed) != passing {
            self.passing.store(passing, Ordering::Relaxed);
        }
    }

    /// Queues `waiter`, unless `prepare`, which is called under the lock, says false, or there may be something to do.
    ///
    /// # Safety
    ///
    /// The waiter stays in place until [`leave`](Self::leave) has returned.
    pub(crate) unsafe fn join<E>(
        &self,
        waiter: &Waiter,
        tried: Tried,
        prepare: impl FnOnce(&mut T) -> Result<bool, E>,
    ) -> Result<Queued, E> {
        let mut guarded = self.guarded.lock();
        if !prepare(&mut guarded.own)? {
            return Ok(Queued::TryAgain);
        }
        let edges = self.readiness() / EDGE;
        let tried = match tried {
            Tried::At(word) if word / EDGE == edges => edges,
            Tried::Not if guarded.woken[waiter.list] != 0 => UNTRIED,
            _ => return Ok(Queued::TryAgain),
        };
        let was_woken = match waiter.state() {
            WOKEN if waiter.epoch.get() == guarded.epoch => {
                guarded.woken[waiter.list] -= 1;
                true
            }
            AWAY | RELEASED | WOKEN => {
                guarded.tickets += 1;
                waiter.ticket.set(guarded.tickets);
                waiter.epoch.set(guarded.epoch);
                false
            }
            _ => return Ok(Queued::TryAgain),
        };
        waiter.tried.set(tried);
        guarded.lists[waiter.list].insert(waiter);
        waiter.state.store(WAITING, Ordering::Relaxed);
        self.publish(&guarded);
        let others_are_to_try = was_woken
            && guarded.lists[waiter.list]
                .find(|other| other.tried.get() != edges)
                .is_some();
        Ok(if others_are_to_try {
            Queued::WaitingBefore
        } else {
            Queued::Waiting
        })
    }

    /// Takes `waiter` out of its line. True if it was woken and others wait: then it still counts as WOKEN, and
    /// [`pass_on`](Self::pass_on) must follow.
    pub(crate) fn leave(&self, waiter: &Waiter) -> bool {
        if !matches!(waiter.state(), WAITING | WOKEN) {
            return false;
        }
        let mut guarded = self.guarded.lock();
        let must_pass_on = match waiter.state() {
            WAITING => {
                guarded.lists[waiter.list].remove(waiter);
                self.publish(&guarded);
                false
            }
            WOKEN if waiter.epoch.get() != guarded.epoch => false,
            WOKEN if guarded.lists[waiter.list].first().is_some() => true,
            WOKEN => {
                guarded.woken[waiter.list] -= 1;
                self.publish(&guarded);
                false
            }
            _ => false,
        };
        waiter.state.store(AWAY, Ordering::Relaxed);
        must_pass_on
    }

    /// By a consumer that has left: wakes the next one if the descriptor `is_ready`.
    pub(crate) fn pass_on(&self, waiter: &Waiter, is_ready: bool) {
        let mut guarded = self.guarded.lock();
        if waiter.epoch.get() != guarded.epoch {
            return;
        }
        guarded.woken[waiter.list] -= 1;
        let next = guarded.lists[waiter.list]
            .find(|_| is_ready)
            .map(|next| guarded.take(next, WOKEN));
        self.publish(&guarded);
        drop(guarded);
        if let Some(next) = next {
            next.unpark();
        }
    }

    /// By a consumer that waits again though the descriptor is ready: wakes the first one that has not tried yet.
    pub(crate) fn pass_on_to_untried(&self, waiter: &Waiter) {
        let mut guarded = self.guarded.lock();
        let edges = self.readiness() / EDGE;
        let next = guarded.lists[waiter.list]
            .find(|other| other.tried.get() != edges)
            .map(|next| guarded.take(next, WOKEN));
        self.publish(&guarded);
        drop(guarded);
        if let Some(next) = next {
            next.unpark();
        }
    }

    /// Leaves a waker in `place`, for the next edge of this kind, unless `prepare`, which is called under the lock, says false, or
    /// there was an edge since the word was `seen`. False means: try again.
    ///
    /// # Safety
    ///
    /// The place stays where it is until [`withdraw`](Self::withdraw) has returned. It is used with this line only.
    pub(crate) unsafe fn leave_waker<E>(
        &self,
        place: &Place,
        kind: Edges,
        waker: &Waker,
        seen: u32,
        mut prepare: impl FnMut(&mut T) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut own = (!place.may_hold(kind)).then(|| waker.clone());
        loop {
            let mut guarded = self.guarded.lock();
            if !prepare(&mut guarded.own)? {
                return Ok(false);
            }
            if seen / EDGE != self.readiness() / EDGE {
                return Ok(false);
            }
            if guarded.wakers.renew(place, kind, waker) {
                return Ok(true);
            }
            if let Some(own) = own.take() {
                // SAFETY: the place stays where it is, by this function's contract.
                let before = unsafe { guarded.wakers.leave(place, kind, own) };
                drop(guarded);
                drop(before);
                return Ok(true);
            }
            drop(guarded);
            own = Some(waker.clone());
        }
    }

    /// Takes `place` out, with its wakers.
    pub(crate) fn withdraw(&self, place: &Place) {
        if place.is_linked() {
            let wakers = self.guarded.lock().wakers.remove(place);
            drop(wakers);
        }
    }

    /// Whether the next edge would wake a task.
    pub(crate) fn has_wakers(&self) -> bool {
        !self.guarded.lock().wakers.is_empty()
    }

    /// An event: the descriptor has seen `edges`. Dropped if `is_meant`, which is called under the lock, says false.
    pub(crate) fn edge(&self, edges: Edges, is_meant: impl FnOnce(&T) -> bool) {
        let guarded = self.guarded.lock();
        if !is_meant(&guarded.own) {
            return;
        }
        self.count(|word| counted(word, edges) | word & BITS);
        let is_unusual = edges.contains(Edges::UNUSUAL);
        let ways = edges - Edges::UNUSUAL;
        let wake = Wake {
            pollers: ways,
            first: ways,
            all: if is_unusual { ways } else { Edges::empty() },
            released: None,
        };
        self.wake(guarded, wake, edges);
    }

    /// Changes the readiness word. The lock is held.
    fn count(&self, change: impl Fn(u32) -> u32) {
        let order = Ordering::SeqCst;
        let _ = self
            .readiness
            .fetch_update(order, order, |word| Some(change(word)));
    }

    /// What is known of the descriptor is void: puts all waiters out of line, to find that it was closed, or to try again.
    /// `change` is called under the lock.
    pub(crate) fn reset<R>(&self, change: impl FnOnce(&mut T) -> (bool, R)) -> R {
        let mut guarded = self.guarded.lock();
        // As if there had been an edge for both: the count goes on, so that no word seen before
        // matches, and whoever comes next tries first.
        let both = Edges::READ | Edges::WRITE;
        self.count(|word| counted(word, both));
        guarded.epoch = guarded.epoch.wrapping_add(1);
        guarded.woken = [0; DIRECTIONS];
        let (is_closed, result) = change(&mut guarded.own);
        let wake = Wake {
            pollers: both,
            first: Edges::empty(),
            all: both,
            released: Some(if is_closed { CLOSED } else { RELEASED }),
        };
        self.wake(guarded, wake, Edges::all());
        result
    }

    /// Wakes those whom `wake` means, and the wakers of `kinds` that were left before now: takes a batch of them out under the lock,
    /// and wakes them outside it.
    fn wake<'a>(&'a self, mut guarded: SpinGuard<'a, Guarded<T>>, mut wake: Wake, kinds: Edges) {
        let round = guarded.wakers.begin_round();
        let mut tasks = wakers::Batch::new();
        guarded.wakers.take(kinds, round, &mut tasks);
        let mut batch = [None; BATCH];
        loop {
            let filled = self.fill(&mut guarded, &mut wake, &mut batch);
            drop(guarded);
            unpark(&mut batch);
            if filled < BATCH {
                break;
            }
            guarded = self.guarded.lock();
        }
        while tasks.wake() {
            let mut guarded = self.guarded.lock();
            guarded.wakers.take(kinds, round, &mut tasks);
        }
    }

    /// Takes out those whom `wake` means, as many as there is room for.
    fn fill(
        &self,
        guarded: &mut Guarded<T>,
        wake: &mut Wake,
        batch: &mut [Option<GreenRef>; BATCH],
    ) -> usize {
        let mut filled = 0;
        while filled < BATCH
            && let Some(green) = guarded.take_next(wake)
        {
            batch[filled] = Some(green);
            filled += 1;
        }
        self.publish(guarded);
        filled
    }
}

/// Wakes those in the batch and empties it.
fn unpark(batch: &mut [Option<GreenRef>; BATCH]) {
    batch
        .iter_mut()
        .filter_map(Option::take)
        .for_each(GreenRef::unpark);
}

/// The readiness word after one more edge, which was for `edges`.
fn counted(word: u32, edges: Edges) -> u32 {
    (word & !BITS).wrapping_add(EDGE).max(EDGE) | edges.bits()
}
