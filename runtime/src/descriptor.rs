//! What the runtime knows of each file descriptor: readiness, waiters, and whose number it is.
//!
//! One table by descriptor number, for the whole process; its entries are made on demand and never
//! freed. An entry is registered with the reactor of the first runtime that has to wait on it,
//! once, edge-triggered in both directions.
//!
//! **Readiness.** A word holds a readable bit, a writable bit, and a count of the edges seen. A cleared
//! bit means: the kernel has said "would block" (or given less than was asked for) after the last
//! edge, so there will be another edge before there is anything to do. Whoever wants to clear a bit read
//! the word before the system call, and clears it only if no edge came since: edges between are
//! never lost. `UNUSUAL` (end of file, error, urgent data) forbids the conclusion from a short
//! read, as the event that told of it may stand before bytes still unread.
//!
//! **Waiting.** A waiter is queued under the entry's lock if no edge came since the word was read
//! before the call that would have blocked; an edge is counted under the same lock. Any number may wait
//! on one descriptor; all waiters of a direction are woken and try again.
//!
//! **Closing.** Numbers are used again at once, so each entry has a generation, which the token in
//! the epoll set carries too: events of an earlier generation are dropped. [`closing`] comes before
//! the real close: it ends the generation and wakes the waiters with `EBADF`; [`closed`] comes after
//! it and clears away what a racing waiter registered in between. [`opened`] tells of a new descriptor
//! and ends a generation whose close went unseen (inside libc, say).

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::context::{self, NativeSection};
use crate::deadline::Deadline;
use crate::green::GreenRef;
use crate::interrupt::{End, Limits};
use crate::reactor::Reactor;
use crate::reason::Packed;
use crate::spin::{self, SpinLock};

bitflags::bitflags! {
    /// What an event tells of a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Edges: u32 {
        const READ = 1;
        const WRITE = 2;
        const UNUSUAL = 4;
    }
}

/// The count of edges stands above the bits.
const EDGE: u32 = 8;
const BITS: u32 = EDGE - 1;

/// Which way a green thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// For something to read, a connection to accept, or the end.
    Read,
    /// For room to write, or the end of a connect.
    Write,
}

impl Interest {
    fn bit(self) -> u32 {
        match self {
            Interest::Read => Edges::READ.bits(),
            Interest::Write => Edges::WRITE.bits(),
        }
    }
}

/// What a descriptor is, as far as it decides how to try without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A TCP socket: `MSG_DONTWAIT`, and a short read means that the buffer is empty.
    Tcp = 1,
    /// Another socket: `MSG_DONTWAIT`.
    Socket,
    /// A pipe: `RWF_NOWAIT`.
    Pipe,
    /// A regular file, directory or block device: always ready in epoll's sense.
    File,
    /// Anything else: poll before each call.
    Other,
}

/// How a wait on a descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Not queued yet.
    New = 0,
    Waiting = 1,
    Ready = 2,
    Closed = 3,
}

/// A green thread that waits on a descriptor; lives on its stack.
pub(crate) struct Waiter {
    green: GreenRef,
    bits: u32,
    outcome: AtomicU8,
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
}

impl Waiter {
    pub(crate) fn new(green: GreenRef, interest: Interest) -> Waiter {
        Waiter::for_bits(green, interest.bit())
    }

    pub(crate) fn for_bits(green: GreenRef, bits: u32) -> Waiter {
        Waiter {
            green,
            bits,
            outcome: AtomicU8::new(Outcome::New as u8),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }

    fn waits(&self) -> bool {
        self.outcome.load(Ordering::Acquire) == Outcome::Waiting as u8
    }

    fn was_closed(&self) -> bool {
        self.outcome.load(Ordering::Acquire) == Outcome::Closed as u8
    }
}

struct State {
    registered: Option<Arc<Reactor>>,
    waiters: *const Waiter,
}

// SAFETY: the list is followed under the entry's lock only, and a waiter leaves it before its
// stack frame ends.
unsafe impl Send for State {}

/// One descriptor number.
pub(crate) struct Descriptor {
    readiness: AtomicU32,
    generation: AtomicU32,
    /// Whether anything has to be undone when the descriptor is closed.
    used: AtomicU8,
    kind: AtomicU8,
    /// Epoch in which the time-outs below were asked for, and they in nanoseconds; 0 is none.
    timeouts_epoch: AtomicU64,
    timeouts: [AtomicU64; 2],
    /// Serialises accepts on a listener in blocking mode: 0 free, 1 held, 2 contended.
    pub(crate) accepting: AtomicU32,
    state: SpinLock<State>,
}

/// The table's chunks: chunk `n` holds `FIRST_CHUNK << n` entries, so 26 hold any descriptor.
const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 26;
static TABLE: [AtomicPtr<Descriptor>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// Raised by every change of a socket's time-outs.
static TIMEOUTS_EPOCH: AtomicU64 = AtomicU64::new(1);

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
    let layout = Layout::array::<Descriptor>(FIRST_CHUNK << chunk).map_err(|_| Errno::NOMEM)?;
    // SAFETY: the layout is not empty. Large zeroed blocks are taken page by page as they are used.
    let new = unsafe { alloc_zeroed(layout) }.cast::<Descriptor>();
    if new.is_null() {
        return Err(Errno::NOMEM);
    }
    // Zeros are a valid entry: no bits, no waiters, a free lock, no reactor.
    let published =
        TABLE[chunk].compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    let entries = match published {
        Ok(_) => new,
        Err(other) => {
            // SAFETY: ours, and nobody has seen it.
            unsafe { dealloc(new.cast(), layout) };
            other
        }
    };
    // SAFETY: as in `existing`.
    Ok(unsafe { &*entries.add(index) })
}

impl Descriptor {
    /// The readiness word as it stands before a system call.
    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            readiness: self.readiness.load(Ordering::SeqCst),
            generation: self.generation.load(Ordering::SeqCst),
        }
    }

    /// Whether the kernel need not be asked: it is registered, and there was no edge since it last
    /// said that there is nothing to do.
    #[inline]
    pub(crate) fn is_known_unready(&self, snapshot: Snapshot, interest: Interest) -> bool {
        snapshot.readiness >= EDGE && snapshot.readiness & interest.bit() == 0
    }

    /// The kernel said "would block" to a call made after `snapshot`.
    pub(crate) fn clear(&self, snapshot: Snapshot, interest: Interest) {
        self.replace(
            snapshot,
            snapshot.readiness & !(interest.bit() | Edges::UNUSUAL.bits()),
        );
    }

    /// A read of a TCP socket gave less than was asked for.
    pub(crate) fn clear_after_short_read(&self, snapshot: Snapshot) {
        if !snapshot.is_unusual() {
            self.replace(snapshot, snapshot.readiness & !Edges::READ.bits());
        }
    }

    fn replace(&self, snapshot: Snapshot, with: u32) {
        let _ = self.readiness.compare_exchange(
            snapshot.readiness,
            with,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
    }

    /// Queues `waiter` unless there was an edge since `snapshot`. False means: try again.
    ///
    /// # Safety
    ///
    /// The waiter stays in place until [`withdraw`](Self::withdraw) has returned.
    pub(crate) unsafe fn enqueue(
        &self,
        fd: RawFd,
        snapshot: Snapshot,
        waiter: &Waiter,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        let mut state = self.state.lock();
        if self.generation.load(Ordering::SeqCst) != snapshot.generation {
            return Ok(false);
        }
        if state.registered.is_none() {
            self.used.store(1, Ordering::SeqCst);
            let token = u64::from(snapshot.generation & TOKEN_GENERATION) << 32 | fd as u64;
            reactor
                .register(fd, token)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::BADF))?;
            state.registered = Some(reactor.clone());
        }
        if self.readiness.load(Ordering::SeqCst) / EDGE != snapshot.readiness / EDGE {
            return Ok(false);
        }
        waiter.previous.set(ptr::null());
        waiter.next.set(state.waiters);
        if !state.waiters.is_null() {
            // SAFETY: a queued waiter is in place.
            unsafe { (*state.waiters).previous.set(waiter) };
        }
        state.waiters = waiter;
        waiter
            .outcome
            .store(Outcome::Waiting as u8, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes `waiter` out if it is still queued.
    pub(crate) fn withdraw(&self, waiter: &Waiter) {
        if waiter.waits() {
            let mut state = self.state.lock();
            if waiter.waits() {
                state.remove(waiter, Outcome::Ready);
            }
        }
    }

    /// Waits on the entry until an edge since `snapshot`, a close (`EBADF`) or the end of its limits.
    pub(crate) fn wait(
        &self,
        fd: RawFd,
        green: GreenRef,
        interest: Interest,
        snapshot: Snapshot,
        limits: &Limits,
    ) -> Result<Result<(), End>, Errno> {
        if let Err(cancelled) = limits.check_cancelled() {
            return Ok(Err(cancelled.into()));
        }
        let waiter = Waiter::new(green, interest);
        // SAFETY: withdrawn below, on every way out.
        if !unsafe { self.enqueue(fd, snapshot, &waiter, &green.life().shared.reactor) }? {
            return Ok(Ok(()));
        }
        let reason = Packed::descriptor(fd, interest);
        while waiter.waits() {
            green.park_until(green, limits.until(), reason);
            if waiter.waits()
                && let Err(end) = limits.check()
            {
                self.withdraw(&waiter);
                return Ok(Err(end));
            }
        }
        if waiter.was_closed() {
            Err(Errno::BADF)
        } else {
            Ok(Ok(()))
        }
    }

    /// Takes out and unparks the waiters whose bits meet `bits`.
    fn wake(&self, bits: u32, outcome: Outcome) {
        loop {
            let green = {
                let mut state = self.state.lock();
                let Some(waiter) = state.find(bits) else {
                    return;
                };
                let green = waiter.green;
                let waiter: *const Waiter = waiter;
                // SAFETY: found in the list just now, under its lock.
                state.remove(unsafe { &*waiter }, outcome);
                green
            };
            green.unpark();
        }
    }

    /// Ends the generation: forgets readiness, registration and kind, and wakes the waiters.
    fn forget(&self, fd: RawFd, outcome: Outcome, deregister: bool) {
        let _native = NativeSection::enter();
        let registered = {
            let mut state = self.state.lock();
            self.generation.fetch_add(1, Ordering::SeqCst);
            // As if there had been an edge for both: the count goes on, so that no older snapshot
            // matches, and whoever comes next tries first.
            let edges = Edges::READ | Edges::WRITE;
            self.readiness.store(
                counted(self.readiness.load(Ordering::SeqCst), edges),
                Ordering::SeqCst,
            );
            self.kind.store(0, Ordering::SeqCst);
            self.timeouts_epoch.store(0, Ordering::SeqCst);
            self.used.store(0, Ordering::SeqCst);
            state.registered.take()
        };
        if let (true, Some(reactor)) = (deregister, &registered) {
            reactor.deregister(fd);
        }
        self.wake(BITS, outcome);
    }

    /// Whether it is known to be a pipe.
    pub(crate) fn is_pipe(&self) -> bool {
        self.kind.load(Ordering::Relaxed) == Kind::Pipe as u8
    }

    /// What the descriptor is; asks the kernel once in a generation.
    pub(crate) fn kind(&self, fd: RawFd) -> Kind {
        match self.kind.load(Ordering::SeqCst) {
            1 => Kind::Tcp,
            2 => Kind::Socket,
            3 => Kind::Pipe,
            4 => Kind::File,
            5 => Kind::Other,
            _ => {
                let kind = ask_kind(fd);
                self.used.store(1, Ordering::SeqCst);
                self.kind.store(kind as u8, Ordering::SeqCst);
                kind
            }
        }
    }

    /// The socket's `SO_RCVTIMEO` or `SO_SNDTIMEO`, counted from now.
    pub(crate) fn socket_deadline(&self, fd: RawFd, interest: Interest) -> Option<Deadline> {
        let epoch = TIMEOUTS_EPOCH.load(Ordering::SeqCst);
        if self.timeouts_epoch.load(Ordering::SeqCst) != epoch {
            self.used.store(1, Ordering::SeqCst);
            for (which, timeout) in [Interest::Read, Interest::Write]
                .into_iter()
                .zip(&self.timeouts)
            {
                timeout.store(ask_timeout(fd, which), Ordering::SeqCst);
            }
            self.timeouts_epoch.store(epoch, Ordering::SeqCst);
        }
        let nanos = self.timeouts[interest as usize].load(Ordering::SeqCst);
        (nanos != 0).then(|| Deadline::after(std::time::Duration::from_nanos(nanos)))
    }
}

impl State {
    fn find(&self, bits: u32) -> Option<&Waiter> {
        let mut waiter = self.waiters;
        // SAFETY: a queued waiter is in place.
        while let Some(candidate) = unsafe { waiter.as_ref() } {
            if candidate.bits & bits != 0 {
                return Some(candidate);
            }
            waiter = candidate.next.get();
        }
        None
    }

    fn remove(&mut self, waiter: &Waiter, outcome: Outcome) {
        let (next, previous) = (waiter.next.get(), waiter.previous.get());
        if previous.is_null() {
            self.waiters = next;
        } else {
            // SAFETY: a queued waiter is in place.
            unsafe { (*previous).next.set(next) };
        }
        if !next.is_null() {
            // SAFETY: as above.
            unsafe { (*next).previous.set(previous) };
        }
        // From here on the waiter's frame may end.
        waiter.outcome.store(outcome as u8, Ordering::Release);
    }
}

/// The readiness word and the generation at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    readiness: u32,
    generation: u32,
}

impl Snapshot {
    /// Whether the latest edges told of more than data: an end, an error, urgent data.
    pub(crate) fn is_unusual(self) -> bool {
        self.readiness & Edges::UNUSUAL.bits() != 0
    }
}

/// A token has room for this much of the generation; mio's own tokens stand above.
const TOKEN_GENERATION: u32 = 0x7fff_ffff;

/// The readiness word after one more edge, which was for `edges`.
fn counted(word: u32, edges: Edges) -> u32 {
    (word & !BITS).wrapping_add(EDGE).max(EDGE) | edges.bits()
}

/// An event of the epoll set: the descriptor of `token` has seen `edges`.
pub(crate) fn ready(token: u64, edges: Edges) {
    let fd = token as u32 as RawFd;
    let Some(descriptor) = existing(fd) else {
        return;
    };
    {
        // Under the lock, so that the bits never land in a later generation.
        let _state = descriptor.state.lock();
        let generation = descriptor.generation.load(Ordering::SeqCst);
        if u64::from(generation & TOKEN_GENERATION) != token >> 32 {
            return;
        }
        let _ = descriptor
            .readiness
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                Some(counted(word, edges) | word & BITS)
            });
    }
    let wakes = edges - Edges::UNUSUAL;
    if !wakes.is_empty() {
        descriptor.wake(wakes.bits(), Outcome::Ready);
    }
}

fn touched(fd: RawFd) -> Option<&'static Descriptor> {
    if context::is_passive() {
        return None;
    }
    existing(fd)
        .filter(|descriptor| descriptor.used.load(Ordering::SeqCst) != 0 && context::owns_tables())
}

/// Whether something is known of the descriptor of this number.
#[inline]
pub(crate) fn is_known(fd: RawFd) -> bool {
    touched(fd).is_some()
}

/// Before a descriptor is closed: its waiters get `EBADF`. Any thread may call this.
#[inline]
pub(crate) fn closing(fd: RawFd) {
    if let Some(descriptor) = touched(fd) {
        descriptor.forget(fd, Outcome::Closed, true);
    }
}

/// After a descriptor was closed: clears away what came in between.
#[inline]
pub(crate) fn closed(fd: RawFd) {
    // Whoever waits by now has either lost the descriptor, which its next try tells, or has a new
    // one of the same number.
    opened(fd);
}

/// A descriptor of this number is new: whatever is known of an older one is void.
#[inline]
pub(crate) fn opened(fd: RawFd) {
    if let Some(descriptor) = touched(fd) {
        descriptor.forget(fd, Outcome::Ready, false);
    }
}

/// Calls `act` for each descriptor of a range that something is known of.
pub(crate) fn for_range(first: u32, last: u32, act: impl Fn(RawFd)) {
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

/// The time-outs of some socket were changed.
pub(crate) fn timeouts_changed() {
    TIMEOUTS_EPOCH.fetch_add(1, Ordering::SeqCst);
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
        // SAFETY: the caller's promise.
        unsafe {
            spin::seize(&descriptor.state, |state| {
                std::mem::forget(state.registered.take());
                state.waiters = ptr::null();
            });
        }
        descriptor.accepting.store(0, Ordering::SeqCst);
        if descriptor.used.load(Ordering::SeqCst) != 0 {
            descriptor.forget(fd, Outcome::Ready, false);
        }
    });
}

/// A runtime ends: its registrations are void, and their waiters try again.
pub(crate) fn abandon(reactor: &Arc<Reactor>) {
    for_range(0, u32::MAX, |fd| {
        let ours = touched(fd).filter(|descriptor| {
            descriptor
                .state
                .lock()
                .registered
                .as_ref()
                .is_some_and(|of| Arc::ptr_eq(of, reactor))
        });
        if let Some(descriptor) = ours {
            descriptor.forget(fd, Outcome::Ready, true);
        }
    });
}

fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only lent to one system call, which fails with EBADF if the number is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn ask_kind(fd: RawFd) -> Kind {
    use rustix::fs::{FileType, fstat};
    use rustix::net::{SocketType, sockopt};
    let Ok(stat) = fstat(borrow(fd)) else {
        return Kind::Other;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {
            // Other stream protocols, SCTP say, keep message boundaries.
            let tcp = sockopt::socket_protocol(borrow(fd))
                .is_ok_and(|protocol| protocol == Some(rustix::net::ipproto::TCP));
            let stream =
                sockopt::socket_type(borrow(fd)).is_ok_and(|kind| kind == SocketType::STREAM);
            if tcp && stream {
                Kind::Tcp
            } else {
                Kind::Socket
            }
        }
        FileType::Fifo => Kind::Pipe,
        FileType::RegularFile | FileType::Directory | FileType::BlockDevice => Kind::File,
        _ => Kind::Other,
    }
}

/// A socket's time-out in nanoseconds; 0 is none, as for the kernel.
fn ask_timeout(fd: RawFd, interest: Interest) -> u64 {
    use rustix::net::sockopt::{Timeout, socket_timeout};
    let which = match interest {
        Interest::Read => Timeout::Recv,
        Interest::Write => Timeout::Send,
    };
    socket_timeout(borrow(fd), which)
        .ok()
        .flatten()
        .map_or(0, |timeout| {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        })
}
