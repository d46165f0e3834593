//! What the runtime knows of each file descriptor: readiness, waiters, and whose number it is.
//!
//! One table by descriptor number, for the whole process; its entries are made on demand, without malloc, and never
//! freed. An entry is registered with the reactor of the first runtime that has to wait on it,
//! once, edge-triggered in both directions.
//!
//! Who waits, and whom an edge wakes, is the matter of [`line`].
//!
//! **Closing.** Numbers are used again at once, so each entry has a generation, which the token in
//! the epoll set carries too: events of an earlier generation are dropped. [`closing`] comes before
//! the real close: it ends the generation and wakes the waiters with `EBADF`; [`closed`] comes after
//! it and clears away what a racing waiter registered in between. [`opened`] tells of a new descriptor
//! and ends a generation whose close went unseen (inside libc, say). Whatever is asked of the kernel to be remembered, the
//! kind and the time-outs, is stored only if the generation is still that from before the question.
//!
//! **Calls.** A call belongs to the descriptor that had the number when it first looked: to the entry's *opening*. `closing`
//! and `opened` begin the next one, and whatever the call has yet to do (a retry, the rest of a send) fails with `EBADF`
//! instead of going to a stranger. A call may also begin between `closing` and the real close. `closed` ends that one too,
//! but only if the opening is still the one that `closing` left behind: otherwise another thread has the number for a descriptor of
//! its own by then, of which `opened` has told, and the calls are that one's. The generation alone would not tell the two apart.
//!
//! Between a call's look at the opening and the kernel's own look at the number, the number could still change hands. So an
//! attempt that is not the call's first is counted before that look, and `closing` waits for those that are under way.
//!
//! `closing` and `closed` have nothing to do as long as the entry is not *used*; so a call, and whoever asks the kernel for
//! something to be remembered, marks it as used before the kernel is asked. `opened` counts in any case.

mod kind;
mod line;

use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::time::Timespec;

use crate::base::deadline::Deadline;
use crate::base::interest::{Edges, Interest};
use crate::base::process;
use crate::sched::context::NativeSection;
use crate::sched::reactor::{Duty, Reactor};

pub use kind::{Kind, is_nonblocking, kind};
pub(crate) use kind::{NO_TIME, borrow, is_ready};
pub(crate) use line::Waiter;
use line::{EDGE, Line, Queued, Tried};

/// How long a close waits for attempts under way. They do not block, but whoever makes one may lose the processor.
const LONGEST_ATTEMPT: Duration = Duration::from_millis(100);

/// How often it gives up its own processor before it sleeps.
const YIELDS: u32 = 10;

/// An attempt of a call that has begun before, on the descriptor that it began on.
pub struct GoingOn<'a>(&'a Descriptor);

impl Drop for GoingOn<'_> {
    fn drop(&mut self) {
        self.0.going_on.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a descriptor is, as far as it decides how to try without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileKind {
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

/// One descriptor number.
pub(crate) struct Descriptor {
    line: Line<Option<Arc<Reactor>>>,
    generation: AtomicU32,
    /// To which of the number's descriptors a call belongs.
    opening: AtomicU32,
    /// Attempts under way of calls that have begun before; see [`go_on`](Descriptor::go_on).
    going_on: AtomicU32,
    /// Whether anything has to be undone when the descriptor is closed.
    used: AtomicU8,
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
    // SAFETY: as in `existing`.
    Ok(unsafe { &*entries.add(index) })
}

impl Descriptor {
    /// The first look of a call: what it belongs to from now on.
    #[inline]
    pub(crate) fn opening(&self) -> Opening {
        let opening = self.opening.load(Ordering::SeqCst);
        self.mark_used();
        Opening(opening)
    }

    /// To be called after the generation or the opening was read, and before the kernel is asked. If they were read after
    /// `forget` changed them, this sees that it had reset the mark before.
    #[inline]
    fn mark_used(&self) {
        if self.used.load(Ordering::SeqCst) == 0 {
            self.used.store(1, Ordering::SeqCst);
        }
    }

    /// A call attempts once more. As long as this is not dropped, the number has the descriptor that the call began on:
    /// whoever closes it waits for a while.
    ///
    /// # Errors
    ///
    /// `EBADF` if the number has another descriptor by now than when the call first looked, or none.
    pub(crate) fn go_on(&self, opening: Opening) -> Result<GoingOn<'_>, Errno> {
        self.going_on.fetch_add(1, Ordering::SeqCst);
        let going_on = GoingOn(self);
        if self.opening.load(Ordering::SeqCst) == opening.0 {
            Ok(going_on)
        } else {
            Err(Errno::BADF)
        }
    }

    /// After the opening was ended: waits until no attempt is under way that has not seen it. Not for ever: this may be a signal
    /// handler that has interrupted such an attempt.
    fn await_attempts(&self) {
        for _ in 0..YIELDS {
            if self.going_on.load(Ordering::SeqCst) == 0 {
                return;
            }
            rustix::thread::sched_yield();
        }
        let until = Deadline::after(LONGEST_ATTEMPT);
        while self.going_on.load(Ordering::SeqCst) != 0 && !until.has_passed() {
            let _ = rustix::thread::nanosleep(&Timespec {
                tv_sec: 0,
                tv_nsec: 100_000,
            });
        }
    }

    /// What is known before an attempt of a call.
    ///
    /// # Errors
    ///
    /// `EBADF` if the number has another descriptor by now than when the call first looked, or none.
    #[inline]
    pub(crate) fn look(&self, opening: Opening) -> Result<Snapshot, Errno> {
        let snapshot = self.snapshot();
        if self.opening.load(Ordering::SeqCst) == opening.0 {
            Ok(snapshot)
        } else {
            Err(Errno::BADF)
        }
    }

    /// As [`look`](Self::look), for who belongs to whatever has the number.
    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            readiness: self.line.readiness(),
            generation: self.generation.load(Ordering::SeqCst),
        }
    }

    /// Whether the kernel need not be asked: it is registered, and there was no edge since it last
    /// said that there is nothing to do.
    #[inline]
    pub(crate) fn is_known_unready(&self, snapshot: Snapshot, interest: Interest) -> bool {
        snapshot.readiness >= EDGE && snapshot.readiness & interest.edge().bits() == 0
    }

    /// The kernel said "would block" to a call made after `snapshot`.
    pub(crate) fn clear(&self, snapshot: Snapshot, interest: Interest) {
        // What is unusual concerns who reads: an end that was not read yet is not forgotten because there is no room to write.
        let edges = match interest {
            Interest::Read => Edges::READ | Edges::UNUSUAL,
            Interest::Write => Edges::WRITE,
        };
        self.line.clear(snapshot.readiness, edges);
    }

    /// A read of a TCP socket gave less than was asked for.
    pub(crate) fn clear_after_short_read(&self, snapshot: Snapshot) {
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
        snapshot: Snapshot,
        waiter: &Waiter,
        has_tried: bool,
        reactor: &Arc<Reactor>,
    ) -> Result<bool, Errno> {
        let tried = if has_tried {
            Tried::At(snapshot.readiness)
        } else {
            Tried::Not
        };
        let prepare = |registered: &mut Option<Arc<Reactor>>| {
            if self.generation.load(Ordering::SeqCst) != snapshot.generation {
                return Ok::<bool, Errno>(false);
            }
            if registered.is_none() {
                self.mark_used();
                let token = u64::from(snapshot.generation & TOKEN_GENERATION) << 32 | fd as u64;
                reactor
                    .register(fd, token)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::BADF))?;
                *registered = Some(reactor.clone());
            }
            Ok(true)
        };
        // SAFETY: the waiter stays in place until it has left, by this function's contract.
        let queued = unsafe { self.line.join(waiter, tried, prepare) }?;
        if queued == Queued::WaitingBefore && self.is_ready(fd, waiter.edges()) {
            self.line.pass_on_to_untried(waiter);
        }
        Ok(queued != Queued::TryAgain)
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

    /// Whether there may be something for the next one. The readiness word does not tell: its bit is cleared by whoever waits, and
    /// by one that has use only for more than there is.
    fn is_ready(&self, fd: RawFd, edges: Edges) -> bool {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let flags = if edges == Edges::WRITE {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut entry = [PollFd::from_borrowed_fd(borrow(fd), flags)];
        poll(&mut entry, Some(&NOW)) != Ok(0)
    }

    /// Ends the generation: forgets readiness, registration and kind, and wakes the waiters; ends calls in progress as `calls`
    /// says.
    fn forget(&self, fd: RawFd, calls: Calls, deregister: bool) {
        let _native = NativeSection::enter();
        let registered = self.line.reset(|registered| {
            if let Calls::End = calls {
                // Before what follows: see `mark_used`. As long as a call may be in progress, the mark stays.
                self.used.store(0, Ordering::SeqCst);
            }
            self.generation.fetch_add(1, Ordering::SeqCst);
            let ends_calls = match calls {
                Calls::End => {
                    self.opening.fetch_add(1, Ordering::SeqCst);
                    true
                }
                Calls::EndOf(Closing(opening)) => opening.is_some_and(|seen| {
                    let next = seen.wrapping_add(1);
                    let exchange = self.opening.compare_exchange(
                        seen,
                        next,
                        Ordering::SeqCst,
                        Ordering::SeqCst,
                    );
                    exchange.is_ok()
                }),
                Calls::GoOn => false,
            };
            self.kind.store(0, Ordering::SeqCst);
            self.timeouts_epoch.store(0, Ordering::SeqCst);
            (ends_calls, registered.take())
        });
        if let (true, Some(reactor)) = (deregister, &registered) {
            reactor.deregister(fd);
        }
    }

    /// Remembers what the kernel was asked in this generation. The lock keeps it from landing in a later one.
    fn remember(&self, generation: u32, store: impl FnOnce()) {
        let _guarded = self.line.guarded().lock();
        if self.generation.load(Ordering::SeqCst) == generation {
            store();
        }
    }

    /// What the descriptor is; asks the kernel once in a generation.
    pub(crate) fn kind(&self, fd: RawFd) -> FileKind {
        match self.kind.load(Ordering::SeqCst) {
            1 => FileKind::Tcp,
            2 => FileKind::Socket,
            3 => FileKind::Pipe,
            4 => FileKind::File,
            5 => FileKind::Other,
            _ => {
                let generation = self.generation.load(Ordering::SeqCst);
                self.mark_used();
                let Some(kind) = ask_kind(fd) else {
                    return FileKind::Other;
                };
                self.remember(generation, || self.kind.store(kind as u8, Ordering::SeqCst));
                kind
            }
        }
    }

    /// The socket's `SO_RCVTIMEO` or `SO_SNDTIMEO`, counted from now.
    pub(crate) fn socket_deadline(&self, fd: RawFd, interest: Interest) -> Option<Deadline> {
        let epoch = TIMEOUTS_EPOCH.load(Ordering::SeqCst);
        let nanos = if self.timeouts_epoch.load(Ordering::SeqCst) == epoch {
            self.timeouts[interest as usize].load(Ordering::SeqCst)
        } else {
            let generation = self.generation.load(Ordering::SeqCst);
            self.mark_used();
            let asked = [Interest::Read, Interest::Write].map(|which| ask_timeout(fd, which));
            self.remember(generation, || {
                for (timeout, asked) in self.timeouts.iter().zip(asked) {
                    timeout.store(asked, Ordering::SeqCst);
                }
                self.timeouts_epoch.store(epoch, Ordering::SeqCst);
            });
            asked[interest as usize]
        };
        (nanos != 0).then(|| Deadline::after(Duration::from_nanos(nanos)))
    }
}

/// One descriptor among those that have had a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening(u32);

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

/// The entry of this number, if there is one and it is this process's.
fn owned(fd: RawFd) -> Option<&'static Descriptor> {
    if process::is_passive() {
        return None;
    }
    existing(fd).filter(|_| process::owns_tables())
}

fn touched(fd: RawFd) -> Option<&'static Descriptor> {
    owned(fd).filter(|descriptor| descriptor.used.load(Ordering::SeqCst) != 0)
}

/// Whether green threads wait, or have waited, on what `fd` is now. Asks no kernel; any thread may call this.
#[inline]
pub fn is_known(fd: RawFd) -> bool {
    touched(fd).is_some()
}

/// A close that is under way: the opening of which calls may still begin, though their descriptor goes. `None` if there was
/// no entry.
#[derive(Clone, Copy, Debug)]
pub struct Closing(Option<u32>);

/// What becomes of calls in progress as an entry's generation ends.
#[derive(Clone, Copy)]
enum Calls {
    /// They belong to another descriptor than what has the number from now on.
    End,
    /// They do if the opening is still the one that this close has left behind.
    EndOf(Closing),
    /// They belong to what has the number.
    GoOn,
}

/// Before `fd` is closed, or replaced by dup2: wakes those who wait on it, with `EBADF`. Any thread may call this.
#[inline]
pub fn closing(fd: RawFd) -> Closing {
    if let Some(descriptor) = touched(fd) {
        descriptor.forget(fd, Calls::End, true);
        descriptor.await_attempts();
    }
    glance(fd)
}

/// As [`closing`], for a descriptor of which nothing is known, or that may stay: ends nothing, and says what [`closed`] needs
/// to know.
#[inline]
pub fn glance(fd: RawFd) -> Closing {
    Closing(owned(fd).map(|descriptor| descriptor.opening.load(Ordering::SeqCst)))
}

/// After `fd` was closed or replaced: clears away what came in between. A call that has begun since belongs to what was closed,
/// unless the number was [`opened`] anew.
#[inline]
pub fn closed(fd: RawFd, closing: Closing) {
    if let Some(descriptor) = touched(fd) {
        descriptor.forget(fd, Calls::EndOf(closing), false);
    }
}

/// What was remembered of `fd` turns out to be untrue: it was closed and given out again unseen. The calls in progress are
/// those of its owner. Any thread may call this.
#[inline]
pub fn outdated(fd: RawFd) {
    if let Some(descriptor) = touched(fd) {
        descriptor.forget(fd, Calls::GoOn, false);
    }
}

/// The kernel has given out a new descriptor: whatever is known of an older one is void. Any thread may call this.
#[inline]
pub fn opened(fd: RawFd) {
    let Some(descriptor) = owned(fd) else {
        return;
    };
    if descriptor.used.load(Ordering::SeqCst) != 0 {
        descriptor.forget(fd, Calls::End, false);
    } else {
        // Whoever closes the number at this moment must see that the calls to come are not of what it closes.
        descriptor.opening.fetch_add(1, Ordering::SeqCst);
    }
}

/// As [`closing`] for each of `first..=last`.
pub fn closing_range(first: u32, last: u32) {
    for_range(first, last, |fd| {
        closing(fd);
    });
}

/// As [`closed`] for each of `first..=last`.
pub fn closed_range(first: u32, last: u32) {
    // Nothing tells when the calls on each of them began, so none is ended.
    for_range(first, last, outdated);
}

/// Calls `act` for each descriptor of a range that something is known of.
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

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` of some socket was set. Any thread may call this.
pub fn timeouts_changed() {
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
        // SAFETY: no other thread looks at the table, and no green thread holds a lock or waits, by this function's contract.
        unsafe {
            descriptor
                .line
                .seize(|registered| std::mem::forget(registered.take()));
        }
        descriptor.accepting.store(0, Ordering::SeqCst);
        descriptor.awaiting.store(0, Ordering::SeqCst);
        descriptor.going_on.store(0, Ordering::SeqCst);
        if descriptor.used.load(Ordering::SeqCst) != 0 {
            descriptor.forget(fd, Calls::End, false);
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
            descriptor.forget(fd, Calls::GoOn, true);
        }
    });
}

fn ask_kind(fd: RawFd) -> Option<FileKind> {
    use rustix::fs::{FileType, fstat};
    use rustix::net::{SocketType, sockopt};
    let stat = fstat(borrow(fd)).ok()?;
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {
            // Other stream protocols, SCTP say, keep message boundaries.
            let tcp = sockopt::socket_protocol(borrow(fd))
                .is_ok_and(|protocol| protocol == Some(rustix::net::ipproto::TCP));
            let stream =
                sockopt::socket_type(borrow(fd)).is_ok_and(|kind| kind == SocketType::STREAM);
            if tcp && stream {
                FileKind::Tcp
            } else {
                FileKind::Socket
            }
        }
        FileType::Fifo => FileKind::Pipe,
        FileType::RegularFile | FileType::Directory | FileType::BlockDevice => FileKind::File,
        _ => FileKind::Other,
    })
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
