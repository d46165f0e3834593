//! What the runtime knows of each file descriptor: readiness, waiters, and whose number it is.
//!
//! One table by descriptor number, for the whole process; its entries are made on demand, without malloc, and never
//! freed. An entry is registered with the reactor of the first runtime that has to wait on it,
//! once, edge-triggered in both directions.
//!
//! Who waits, and whom an edge wakes, is the matter of [`line`](mod@line), and for futures of [`wakers`].
//!
//! **Closing.** Numbers are used again at once, so each entry has a generation, which the token in
//! the epoll set carries too: events of an earlier generation are dropped. [`closing`] comes before
//! the real close: it ends the generation and wakes the waiters with `EBADF`; [`closed`] comes after
//! it and clears away what a racing waiter registered in between. [`opened`] tells of a new descriptor
//! and ends a generation whose close went unseen (inside libc, say). Whatever is asked of the kernel to be remembered, the
//! kind and the time-outs, is stored only if the generation is still that from before the question.
//!
//! Which descriptor a call belongs to, and what closing and opening do to calls in progress, is the matter of [`opening`].

mod close;
mod kind;
mod line;
mod opening;
mod wakers;

use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::base::interest::{Edges, Interest};
use crate::base::process;
use crate::sched::reactor::{Duty, Reactor};

pub use close::{
    Closing, closed, closed_range, closing, closing_if, closing_range, opened, outdated,
};
pub(crate) use kind::{FileKind, NO_TIME, borrow, is_ready};
pub use kind::{Kind, is_nonblocking, kind, timeouts_changed};
pub(crate) use line::Waiter;
use line::{EDGE, Line, Queued, Tried};
pub use opening::GoingOn;
pub(crate) use opening::Opening;
use opening::Openings;
pub(crate) use wakers::Place;

/// One descriptor number.
pub(crate) struct Descriptor {
    line: Line<Option<Arc<Reactor>>>,
    generation: AtomicU32,
    openings: Openings,
    kind: AtomicU8,
    /// Epoch in which the time-outs below were asked for, and they in nanoseconds; 0 is none.
    timeouts_epoch: AtomicU64,
    timeouts: [AtomicU64; 2],
    /// Serialises accepts on a listener in blocking mode: 0 free, 1 held, 2 contended.
    pub(crate) accepting: AtomicU32,
    /// Serialises the OS threads that wait to accept, likewise.
    pub(crate) awaiting: AtomicU32,
}

/// The table's chunks: chunk `n` holds `FIRST_CHUNK << n` entries, so 26 hold any descriptor.
const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 26;
static TABLE: [AtomicPtr<Descriptor>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

fn place(fd: RawFd) -> (usize, usize) {
    let index = fd as usize + FIRST_CHUNK;
    let chunk = (index.ilog2() - FIRST_CHUNK.ilog2()) as usize;
    (chunk, index - (FIRST_CHUNK << chunk))
}

/// The entry of `fd`, if it was ever waited on. Allocates nothing.
fn existing(fd: RawFd) -> Option<&'static Descriptor> {
    if fd < 0 {
        return None;
    }
    let (chunk, index) = place(fd);
    let entries = TABLE[chunk].load(Ordering::Acquire);
    // SAFETY: a published chunk has `FIRST_CHUNK << chunk` entries and is never freed.
    (!entries.is_null()).then(|| unsafe { &*entries.add(index) })
}

/// The entry of `fd`.
///
/// # Errors
///
/// `EBADF` if there is none and `fd` is not open, so that a bogus number costs no memory.
pub(crate) fn entry(fd: RawFd) -> Result<&'static Descriptor, Errno> {
    match existing(fd) {
        Some(descriptor) => Ok(descriptor),
        None => make_entry(fd),
    }
}

#[cold]
fn make_entry(fd: RawFd) -> Result<&'static Descriptor, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    rustix::io::fcntl_getfd(borrow(fd))?;
    let (chunk, index) = place(fd);
    let size = size_of::<Descriptor>() * (FIRST_CHUNK << chunk);
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // Not by malloc, which this may have interrupted, if it is a signal handler that makes the first use.
    // SAFETY: a new mapping.
    let new = unsafe { mmap_anonymous(ptr::null_mut(), size, protection, flags) }?;
    // Zeros are a valid entry: no bits, no waiters, a free lock, no reactor.
    let published = TABLE[chunk].compare_exchange(
        ptr::null_mut(),
        new.cast(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    let entries = match published {
        Ok(_) => new.cast(),
        Err(other) => {
            // SAFETY: ours, and nobody has seen it.
            let _ = unsafe { munmap(new, size) };
            other
        }
    };
    // SAFETY: a published chunk has `FIRST_CHUNK << chunk` entries and is never freed.
    Ok(unsafe { &*entries.add(index) })
}

impl Descriptor {
    /// The first look of a call: what it belongs to from now on.
    #[inline]
    pub(crate) fn opening(&self) -> Opening {
        self.openings.begin()
    }

    /// As [`Openings::go_on`].
    ///
    /// # Errors
    ///
    /// `EBADF` if the descriptor that the call began on has gone, or is about to go.
    pub(crate) fn go_on(&self, opening: Opening) -> Result<GoingOn<'_>, Errno> {
        self.openings.go_on(opening).ok_or(Errno::BADF)
    }

    /// What is known before an attempt of a call.
    ///
    /// # Errors
    ///
    /// `EBADF` if the number has another descriptor by now than when the call first looked, or none.
    #[inline]
    pub(crate) fn look(&self, opening: Opening) -> Result<ReadinessSnapshot, Errno> {
        let snapshot = self.snapshot();
        if self.openings.is(opening) {
            Ok(snapshot)
        } else {
            Err(Errno::BADF)
        }
    }

    /// As [`look`](Self::look), for who belongs to whatever has the number.
    #[inline]
    pub(crate) fn snapshot(&self) -> ReadinessSnapshot {
        ReadinessSnapshot {
            readiness: self.line.readiness(),
            generation: self.generation.load(Ordering::SeqCst),
        }
    }

    /// Whether the kernel need not be asked: it is registered, and there was no edge since it last
    /// said that there is nothing to do.
    #[inline]
    pub(crate) fn is_known_unready(&self, snapshot: ReadinessSnapshot, interest: Interest) -> bool {
        snapshot.readiness >= EDGE && snapshot.readiness & interest.edge().bits() == 0
    }

    /// The kernel said "would block" to a call made after `snapshot`.
    pub(crate) fn clear(&self, snapshot: ReadinessSnapshot, interest: Interest) {
        // What is unusual concerns who reads: an end that was not read yet is not forgotten because there is no room to write.
        let edges = match interest {
            Interest::Read => Edges::READ | Edges::UNUSUAL,
            Interest::Write => Edges::WRITE,
        };
        self.line.clear(snapshot.readiness, edges);
    }

    /// A read of a TCP socket gave less than was asked for.
    pub(crate) fn clear_after_short_read(&self, snapshot: ReadinessSnapshot) {
        if !snapshot.is_unusual() {
            self.line.clear(snapshot.readiness, Edges::READ);
        }
    }

    /// Whether a newcomer should queue before it tries, as what there is may be meant for others.
    #[inline]
    pub(crate) fn has_consumers(&self, interest: Interest) -> bool {
        self.line.has_consumers(interest.edge())
    }

    /// Before a newcomer queues: if there is something of which nobody was told yet, the first in line is.
    pub(crate) fn prompt(&self, fd: RawFd, newcomer: &Waiter) {
        if !self.line.is_passing(newcomer.edges()) && self.is_ready(fd, newcomer.edges()) {
            self.line.prompt(newcomer);
        }
    }

    /// Queues `waiter` unless there was an edge since `snapshot`; see [`Line::join`]. False means: try again.
    ///
    /// # Errors
    ///
    /// What epoll refuses a descriptor with.
    ///
    /// # Safety
    ///
    /// The waiter stays in place until [`leave`](Self::leave) or [`withdraw`](Self::withdraw) has returned.
    pub(crate) unsafe fn join(
        &self,
        fd: RawFd,
        snapshot: ReadinessSnapshot,
        waiter: &Waiter,
        has_tried: bool,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        let tried = if has_tried {
            Tried::At(snapshot.readiness)
        } else {
            Tried::Not
        };
        let prepare = |registered: &mut _| self.register(registered, fd, snapshot, reactor);
        // SAFETY: the waiter stays in place until it has left, by this function's contract.
        let queued = unsafe { self.line.join(waiter, tried, prepare) }?;
        if queued == Queued::WaitingBefore && self.is_ready(fd, waiter.edges()) {
            self.line.pass_on_to_untried(waiter);
        }
        Ok(queued != Queued::TryAgain)
    }

    /// Registers with epoll, if it is not registered. False if the generation has ended since `snapshot`. Called under the lock.
    fn register(
        &self,
        registered: &mut Option<Arc<Reactor>>,
        fd: RawFd,
        snapshot: ReadinessSnapshot,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        if self.generation.load(Ordering::SeqCst) != snapshot.generation {
            return Ok(false);
        }
        if registered.is_none() {
            self.openings.mark_used();
            let token = u64::from(snapshot.generation & TOKEN_GENERATION) << 32 | fd as u64;
            reactor
                .register(fd, token)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::BADF))?;
            *registered = Some(reactor.clone());
        }
        Ok(true)
    }

    /// Registers with epoll for a future that is to wait, if it is not registered.
    ///
    /// # Errors
    ///
    /// What epoll refuses a descriptor with; `ESHUTDOWN` if nobody looks at the reactor any more.
    pub(crate) fn prepare(&self, fd: RawFd, reactor: &Arc<Reactor>) -> Result<(), Errno> {
        loop {
            let snapshot = self.snapshot();
            let mut guarded = self.line.guarded().lock();
            if self.register_for_task(&mut guarded.own, fd, snapshot, reactor)? {
                return Ok(());
            }
        }
    }

    /// Leaves a waker in `place` for the next edge of this kind, unless there was one since `snapshot`. False means: try again.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    ///
    /// # Safety
    ///
    /// The place stays where it is until [`withdraw_place`](Self::withdraw_place) has returned, and is used with this entry only.
    pub(crate) unsafe fn leave_waker(
        &self,
        fd: RawFd,
        snapshot: ReadinessSnapshot,
        place: &Place,
        kind: Edges,
        waker: &Waker,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        let prepare =
            |registered: &mut _| self.register_for_task(registered, fd, snapshot, reactor);
        // SAFETY: the place stays where it is, by this function's contract.
        unsafe { (self.line).leave_waker(place, kind, waker, snapshot.readiness, prepare) }
    }

    /// Asked under the lock, which [`abandon`] takes after the mark: whoever has seen the reactor in use is still put out of line.
    fn register_for_task(
        &self,
        registered: &mut Option<Arc<Reactor>>,
        fd: RawFd,
        snapshot: ReadinessSnapshot,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        if reactor.is_abandoned() {
            return Err(Errno::SHUTDOWN);
        }
        self.register(registered, fd, snapshot, reactor)
    }

    /// Takes the place of a future out.
    pub(crate) fn withdraw_place(&self, place: &Place) {
        self.line.withdraw(place);
    }

    /// A call ends: takes its waiter out, and passes on what it was woken for.
    pub(crate) fn leave(&self, fd: RawFd, waiter: &Waiter) {
        if self.line.leave(waiter) {
            let is_ready = self.is_ready(fd, waiter.edges());
            self.line.pass_on(waiter, is_ready);
        }
    }

    /// Takes a poller out, who has nothing to pass on.
    pub(crate) fn withdraw(&self, waiter: &Waiter) {
        self.line.leave(waiter);
    }

    /// Whether there may be something for the next one. The readiness word does not tell: its bit is cleared by whoever
    /// waits, and by one that has use only for more than there is.
    fn is_ready(&self, fd: RawFd, edges: Edges) -> bool {
        let flags = if edges == Edges::WRITE {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        is_ready(fd, flags) != Ok(false)
    }
}

/// The readiness word and the generation at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadinessSnapshot {
    readiness: u32,
    generation: u32,
}

impl ReadinessSnapshot {
    /// The count of edges seen.
    pub(crate) fn edges(self) -> u32 {
        self.readiness / EDGE
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    /// Whether the latest edges told of more than data: an end, an error, urgent data.
    pub(crate) fn is_unusual(self) -> bool {
        self.readiness & Edges::UNUSUAL.bits() != 0
    }
}

/// What the reactors tell this table.
pub(crate) const DUTY: Duty = Duty { ready, abandon };

/// A token has room for this much of the generation; mio's own tokens stand above.
const TOKEN_GENERATION: u32 = 0x7fff_ffff;

/// An event of the epoll set: the descriptor of `token` has seen `edges`.
fn ready(token: u64, edges: Edges) {
    let fd = token as u32 as RawFd;
    let Some(descriptor) = existing(fd) else {
        return;
    };
    // Asked under the lock, so that the bits never land in a later generation.
    descriptor.line.edge(edges, |_| {
        let generation = descriptor.generation.load(Ordering::SeqCst);
        u64::from(generation & TOKEN_GENERATION) == token >> 32
    });
}

/// Whether an event of some descriptor would wake a future's task.
pub(crate) fn has_wakers() -> bool {
    let found = Cell::new(false);
    for_range(0, u32::MAX, |fd| {
        if !found.get()
            && let Some(descriptor) = touched(fd)
        {
            found.set(descriptor.line.has_wakers());
        }
    });
    found.get()
}

/// The entry of this number, if there is one and it is this process's.
fn owned(fd: RawFd) -> Option<&'static Descriptor> {
    if process::is_passive() {
        return None;
    }
    existing(fd).filter(|_| process::owns_tables())
}

/// As [`owned`], if something is known of the descriptor.
fn touched(fd: RawFd) -> Option<&'static Descriptor> {
    owned(fd).filter(|descriptor| descriptor.openings.is_used())
}

/// Calls `act` for each number of a range that has an entry.
fn for_range(first: u32, last: u32, act: impl Fn(RawFd)) {
    let mut fd = RawFd::try_from(first).unwrap_or(RawFd::MAX);
    // No descriptor is as large as that; and the end of the last chunk can be counted.
    let last = RawFd::try_from(last)
        .unwrap_or(RawFd::MAX)
        .min(RawFd::MAX - 2 * FIRST_CHUNK as RawFd);
    while fd <= last {
        let (chunk, index) = place(fd);
        if TABLE[chunk].load(Ordering::Acquire).is_null() {
            fd = fd.saturating_add(((FIRST_CHUNK << chunk) - index) as RawFd);
        } else {
            act(fd);
            fd += 1;
        }
    }
}

/// Puts the table in order after a fork. The parent's registrations stay in its epoll set, which the child
/// shares, so they are forgotten, not undone.
///
/// # Safety
///
/// No green thread exists in this process, and no other thread looks at the table: the process is passive.
pub(crate) unsafe fn reset_after_fork() {
    for_range(0, u32::MAX, |fd| {
        let Some(descriptor) = existing(fd) else {
            return;
        };
        // SAFETY: no other thread looks at the table, and no green thread holds a lock or waits, by this function's contract.
        unsafe {
            descriptor
                .line
                .seize(|registered| std::mem::forget(registered.take()));
        }
        descriptor.accepting.store(0, Ordering::SeqCst);
        descriptor.awaiting.store(0, Ordering::SeqCst);
        descriptor.openings.forget_attempts();
        // Nor does another thread end the close that it had begun in the parent.
        if descriptor.openings.is_used() {
            descriptor.opened(fd);
        } else {
            descriptor.openings.closed_last();
        }
    });
}

/// A runtime ends: its registrations are void, and their waiters try again.
fn abandon(reactor: &Arc<Reactor>) {
    for_range(0, u32::MAX, |fd| {
        let ours = touched(fd).filter(|descriptor| {
            descriptor
                .line
                .guarded()
                .lock()
                .own
                .as_ref()
                .is_some_and(|of| Arc::ptr_eq(of, reactor))
        });
        if let Some(descriptor) = ours {
            descriptor.outdated(fd, true);
        }
    });
}
