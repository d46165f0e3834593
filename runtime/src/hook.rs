//! The door for the shims: what a replacement of a libc function may ask of the runtime.
//!
//! [`enter`] is the guard that every shim begins with. `Some(section)` means: the caller is user
//! code on a green thread of a runtime whose patch set holds the family. While the section lives,
//! every libc function called passes straight through its shim, so a shim may call what it replaces.
//! `None` means: make the original call.
//!
//! The same functions carry [`net`](crate::net), [`sync`](crate::sync) and [`time`].

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::blocking;
use crate::context::{self, NativeSection};
use crate::deadline::Deadline;
use crate::descriptor::{self, Descriptor, Snapshot, Waiter};
use crate::futex;
use crate::green::GreenRef;
use crate::interrupt::{End, Interrupted, Limits};
use crate::own_descriptor;
use crate::patch::Patch;
use crate::reason::Packed;
use crate::time;

pub use crate::arch::system_call;
pub use crate::descriptor::Interest;

pub mod exit;
pub mod process;
pub mod thread;

/// A native section on a green thread; dropping it makes the thread's code user code again.
pub struct Section {
    green: GreenRef,
    _native: NativeSection,
}

/// The guard of a shim; see the module's page. One thread-local load and a test on other threads;
/// allocates nothing, safe in signal handlers.
#[inline]
pub fn enter(family: Patch) -> Option<Section> {
    enter_if(|patch| patch.contains(family))
}

/// As [`enter`], for a function that belongs to several families: the runtime has one of them in its patch set.
#[inline]
pub fn enter_either(families: Patch) -> Option<Section> {
    enter_if(|patch| patch.intersects(families))
}

#[inline]
fn enter_if(is_wanted: impl FnOnce(Patch) -> bool) -> Option<Section> {
    let green = context::current()?;
    if !is_wanted(green.patch()) {
        return None;
    }
    Some(Section {
        green,
        _native: NativeSection::enter_on(green),
    })
}

/// As [`enter`], whatever the patch set: for what concerns a green thread's identity.
#[inline]
pub fn enter_any() -> Option<Section> {
    enter(Patch::none())
}

/// As [`enter_any`], and also inside another section: for the runtime's own yielding types.
pub(crate) fn enter_own() -> Option<Section> {
    let green = context::green()?;
    Some(Section {
        green,
        _native: NativeSection::enter_on(green),
    })
}

/// Counts against the budget of a green thread that did not have to wait; if that is spent, lets others run.
pub(crate) fn give_way() {
    if let Some(section) = enter_own()
        && section.green.spend_budget()
    {
        section.yield_now();
    }
}

impl Section {
    pub(crate) fn green(&self) -> GreenRef {
        self.green
    }

    /// Whether the runtime has this family in its patch set.
    pub fn is_patched(&self, family: Patch) -> bool {
        self.green.patch().contains(family)
    }

    /// Puts the green thread to sleep until `deadline`; if that has passed, lets others run.
    ///
    /// # Errors
    ///
    /// Returns early if a deadline scope or a cancellation cuts the sleep short. Others run before that in any case.
    pub fn sleep_until(&self, deadline: Deadline) -> Result<(), Interrupted> {
        let limits = Limits::new(Some(deadline));
        if let Err(cancelled) = limits.check_cancelled() {
            self.green.yield_now();
            return Err(cancelled);
        }
        if deadline.has_passed() {
            self.green.yield_now();
        }
        while !deadline.has_passed() {
            self.green
                .park_until(self.green, limits.until(), Packed::SLEEP);
            match limits.check() {
                Ok(()) => {}
                Err(End::Deadline) => return Ok(()),
                Err(End::Interrupted(interrupted)) => return Err(interrupted),
            }
        }
        Ok(())
    }

    /// As [`sleep_until`](Self::sleep_until), and not cut short: between two looks at something that is not to be
    /// interrupted.
    pub fn pause_until(&self, deadline: Deadline) {
        while !deadline.has_passed() {
            self.green
                .park_until(self.green, Some(deadline), Packed::SLEEP);
        }
    }

    /// Lets other green threads run.
    pub fn yield_now(&self) {
        self.green.yield_now();
    }

    /// Runs `f`, which may block the OS thread, as a blocking section: see [`crate::blocking`]. The green thread
    /// may yield afterwards.
    pub fn blocking<F: FnOnce() -> T, T>(&self, f: F) -> T {
        blocking::marked(self.green, f)
    }

    /// As [`blocking`](Self::blocking), and does not yield: for what a signal handler may do.
    pub fn blocking_in_place<F: FnOnce() -> T, T>(&self, f: F) -> T {
        blocking::in_place(self.green, f)
    }

    /// As [`blocking`](Self::blocking), on the stack of the worker's OS thread, which has room for what would overflow a
    /// small green thread: name service modules of any origin, say. There `f` is as on an OS thread: every shim passes
    /// through, and the runtime's own types block.
    ///
    /// # Safety
    ///
    /// `f` uses no [`Section`].
    pub unsafe fn blocking_on_workers_stack<F: FnOnce() -> T, T>(&self, f: F) -> T {
        // SAFETY: the caller's promise; without a section nothing on another stack can switch green threads.
        self.blocking(|| unsafe { self.green.on_workers_stack(f) })
    }

    /// Calls `attempt`, which must not block, until it gives something other than `EAGAIN`, and
    /// parks in between until `fd` is ready for `interest`. Before it parks for the first time, `patience`
    /// says until when to wait (`None` is for ever), or that the caller does not want to.
    ///
    /// Success counts against the green thread's budget of operations that did not wait, but for writes to
    /// pipes; when it is spent, the green thread yields.
    ///
    /// # Errors
    ///
    /// What `attempt` gives; what `patience` gives; `EAGAIN` when the deadline passes first, as with
    /// `SO_RCVTIMEO`; `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts the wait short; `EBADF` if
    /// another thread closes `fd` meanwhile; `EPERM` if `fd` is of a kind that cannot be waited for.
    pub fn retry<T>(
        &self,
        fd: RawFd,
        interest: Interest,
        patience: impl FnOnce() -> Result<Option<Deadline>, Errno>,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let descriptor = descriptor::entry(fd)?;
        let mut patience = Patience::Unasked(patience);
        loop {
            let snapshot = descriptor.snapshot();
            match attempt() {
                Err(Errno::AGAIN) => {}
                outcome => {
                    self.spend_budget(fd, interest, descriptor);
                    return outcome;
                }
            }
            descriptor.clear(snapshot, interest);
            let deadline = patience.ask()?;
            self.wait(descriptor, fd, interest, snapshot, deadline)?;
        }
    }

    /// As [`retry`](Self::retry), for reads of up to `length` bytes from a socket. After a read from a TCP socket
    /// that gave less, the next one parks without asking the kernel.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry).
    pub fn retry_stream_read(
        &self,
        fd: RawFd,
        length: usize,
        patience: impl FnOnce() -> Result<Option<Deadline>, Errno>,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let descriptor = descriptor::entry(fd)?;
        let mut patience = Patience::Unasked(patience);
        loop {
            let snapshot = descriptor.snapshot();
            let is_known_unready = descriptor.is_known_unready(snapshot, Interest::Read);
            if !is_known_unready {
                match attempt() {
                    Err(Errno::AGAIN) => {}
                    outcome => {
                        if outcome.is_ok_and(|read| 0 < read && read < length)
                            && descriptor.kind(fd) == descriptor::Kind::Tcp
                        {
                            descriptor.clear_after_short_read(snapshot);
                        }
                        self.spend_budget(fd, Interest::Read, descriptor);
                        return outcome;
                    }
                }
            }
            // A datagram socket that is shut tells of its end only those whom it may let wait.
            let has_ended = snapshot.is_unusual() && is_shut(fd);
            if !has_ended {
                descriptor.clear(snapshot, Interest::Read);
            }
            let deadline = match patience.ask() {
                Ok(deadline) => deadline,
                // Who does not wait gets the kernel's own answer.
                Err(_) if is_known_unready => return attempt(),
                Err(error) => return Err(error),
            };
            if has_ended {
                return Ok(0);
            }
            self.wait(descriptor, fd, Interest::Read, snapshot, deadline)?;
        }
    }

    fn wait(
        &self,
        descriptor: &Descriptor,
        fd: RawFd,
        interest: Interest,
        snapshot: Snapshot,
        deadline: Option<Deadline>,
    ) -> Result<(), Errno> {
        match descriptor.wait(fd, self.green, interest, snapshot, &Limits::new(deadline))? {
            Ok(()) => Ok(()),
            Err(end) => Err(self.cut_short(end)),
        }
    }

    /// The error of a wait that ended so. What cuts all waits short from now on leaves a loop around the call turning on
    /// its worker: others must have their turn.
    fn cut_short(&self, end: End) -> Errno {
        match end {
            End::Deadline => Errno::AGAIN,
            End::Interrupted(interrupted) => {
                self.green.yield_now();
                interrupted.into()
            }
        }
    }

    /// A signal handler may write to a pipe or to a socket in non-blocking mode, and must not be switched
    /// away from. Who only writes to a pipe waits soon enough.
    fn spend_budget(&self, fd: RawFd, interest: Interest, descriptor: &Descriptor) {
        let may_yield = interest == Interest::Read || !descriptor.is_pipe();
        if may_yield && self.green.spend_budget() {
            let is_own_write = interest == Interest::Write && is_nonblocking(fd);
            if !is_own_write {
                self.green.yield_now();
            }
        }
    }

    /// Accepts on a listener in blocking mode: waits until it is readable, then calls `attempt`, a
    /// blocking accept. Threads that accept on one listener by the runtime do so one by one, so that none finds
    /// the connection gone and blocks. Another process that shares the listener can still take it first.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry).
    pub fn retry_accept<T>(
        &self,
        fd: RawFd,
        deadline: Option<Deadline>,
        attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut attempt = attempt;
        let _turn = AcceptTurn::take(descriptor::entry(fd)?, deadline)
            .map_err(|end| self.cut_short(end))?;
        self.retry(
            fd,
            Interest::Read,
            || Ok(deadline),
            || if_acceptable(fd, &mut attempt),
        )
    }

    /// Parks until one of `entries` is ready in the sense of poll(2), and fills in `revents`. Gives
    /// how many are ready; 0 when the deadline has passed.
    ///
    /// # Errors
    ///
    /// As poll(2); `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts the wait short.
    pub fn poll(
        &self,
        entries: &mut [libc::pollfd],
        deadline: Option<Deadline>,
    ) -> Result<usize, Errno> {
        let descriptors: Vec<_> = entries
            .iter()
            // Negative numbers are passed over, and poll tells of those that are not open.
            .map(|entry| descriptor::entry(entry.fd).ok())
            .collect();
        let limits = Limits::new(deadline);
        loop {
            let snapshots: Vec<_> = descriptors
                .iter()
                .map(|descriptor| descriptor.map(Descriptor::snapshot))
                .collect();
            let ready = poll_now(entries)?;
            if ready > 0 || deadline.is_some_and(Deadline::has_passed) {
                if self.green.spend_budget() {
                    self.green.yield_now();
                }
                return Ok(ready);
            }
            if let Err(end @ End::Interrupted(_)) = limits.check() {
                return Err(self.cut_short(end));
            }
            let waiters: Vec<Waiter> = entries
                .iter()
                .map(|entry| Waiter::for_bits(self.green, poll_bits(entry.events)))
                .collect();
            let reactor = &self.green.life().shared.reactor;
            let mut changed = false;
            for (index, descriptor) in descriptors.iter().enumerate() {
                let (Some(descriptor), Some(snapshot)) = (descriptor, snapshots[index]) else {
                    continue;
                };
                let (fd, waiter) = (entries[index].fd, &waiters[index]);
                // SAFETY: all waiters are withdrawn below, on every way out of this turn.
                match unsafe { descriptor.enqueue(fd, snapshot, waiter, reactor) } {
                    // What epoll refuses never changes: poll has said all there is to say.
                    Ok(true) | Err(Errno::PERM) => {}
                    // An edge came, or it was closed meanwhile.
                    Ok(false) | Err(_) => {
                        changed = true;
                        break;
                    }
                }
            }
            if !changed {
                let reason = Packed::poll(entries.len());
                self.green.park_until(self.green, limits.until(), reason);
            }
            for (descriptor, waiter) in descriptors.iter().zip(&waiters) {
                if let Some(descriptor) = descriptor {
                    descriptor.withdraw(waiter);
                }
            }
        }
    }

    /// The socket's `SO_RCVTIMEO` or `SO_SNDTIMEO`, counted from now; `None` is no limit.
    pub fn socket_deadline(&self, fd: RawFd, interest: Interest) -> Option<Deadline> {
        descriptor::entry(fd).ok()?.socket_deadline(fd, interest)
    }
}

/// As [`Section::retry`] for the calls whose `EAGAIN` no readiness event ends: looks again after 0.5 ms,
/// then after ever longer times up to 10 ms. Sleeps in between, on threads of either kind.
///
/// # Errors
///
/// What `attempt` gives; what `patience` gives; `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts the
/// wait short.
pub fn retry_by_timer<T>(
    patience: impl FnOnce() -> Result<Option<Deadline>, Errno>,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    const FIRST: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(10);

    let outcome = attempt();
    if !matches!(outcome, Err(Errno::AGAIN)) {
        return outcome;
    }
    let deadline = patience()?;
    let mut pause = FIRST;
    loop {
        let next = Deadline::after(pause);
        time::sleep_within_limits(deadline.map_or(next, |deadline| deadline.min(next)))?;
        let outcome = attempt();
        let again = matches!(outcome, Err(Errno::AGAIN));
        if !again || deadline.is_some_and(Deadline::has_passed) {
            return outcome;
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// Until when a call may wait: asked for once, when it first has to.
enum Patience<F> {
    Unasked(F),
    Known(Option<Deadline>),
}

impl<F: FnOnce() -> Result<Option<Deadline>, Errno>> Patience<F> {
    fn ask(&mut self) -> Result<Option<Deadline>, Errno> {
        match std::mem::replace(self, Patience::Known(None)) {
            Patience::Unasked(ask) => *self = Patience::Known(ask()?),
            known => *self = known,
        }
        match self {
            Patience::Known(deadline) => Ok(*deadline),
            Patience::Unasked(_) => unreachable!("asked just now"),
        }
    }
}

/// A thread's turn to accept on a listener: a lock of three states, as in [`sync`](crate::sync).
pub(crate) struct AcceptTurn(&'static AtomicU32);

impl AcceptTurn {
    fn take(
        descriptor: &'static Descriptor,
        deadline: Option<Deadline>,
    ) -> Result<AcceptTurn, End> {
        let word = &descriptor.accepting;
        if word
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            let limits = Limits::new(deadline);
            while word.swap(2, Ordering::Acquire) != 0 {
                futex::wait_within(word, 2, &limits)?;
            }
        }
        Ok(AcceptTurn(word))
    }
}

impl Drop for AcceptTurn {
    fn drop(&mut self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            futex::wake(self.0, 1);
        }
    }
}

/// An OS thread's turn to accept on a listener in blocking mode, as [`Section::retry_accept`] takes it for a green thread.
/// `None` in a process without a runtime, which may have been forked while another thread had the turn.
///
/// # Errors
///
/// As [`Section::retry`].
pub(crate) fn take_turn_to_accept(
    fd: RawFd,
    deadline: Option<Deadline>,
) -> Result<Option<AcceptTurn>, Errno> {
    if !context::owns_tables() {
        return Ok(None);
    }
    match AcceptTurn::take(descriptor::entry(fd)?, deadline) {
        Ok(turn) => Ok(Some(turn)),
        Err(End::Deadline) => Err(Errno::AGAIN),
        Err(End::Interrupted(interrupted)) => Err(interrupted.into()),
    }
}

/// `accept` if the listener `fd` has a connection, else `EAGAIN`.
pub(crate) fn if_acceptable<T>(
    fd: RawFd,
    accept: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    if is_ready(fd, PollFlags::IN)? {
        accept()
    } else {
        Err(Errno::AGAIN)
    }
}

fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only lent to one system call, which fails with EBADF if the number is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

fn is_ready(fd: RawFd, events: PollFlags) -> Result<bool, Errno> {
    let mut entry = [PollFd::from_borrowed_fd(borrow(fd), events)];
    poll(&mut entry, Some(&NO_TIME))?;
    if entry[0].revents().contains(PollFlags::NVAL) {
        return Err(Errno::BADF);
    }
    Ok(!entry[0].revents().is_empty())
}

/// Whether nothing will come any more.
fn is_shut(fd: RawFd) -> bool {
    let mut entry = [PollFd::from_borrowed_fd(borrow(fd), PollFlags::RDHUP)];
    poll(&mut entry, Some(&NO_TIME)).is_ok() && entry[0].revents().contains(PollFlags::RDHUP)
}

/// poll(2) without waiting.
fn poll_now(entries: &mut [libc::pollfd]) -> Result<usize, Errno> {
    // SAFETY: a valid array, and the call does not block. In a native section this is libc's own.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) };
    usize::try_from(ready)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// The edges that can make an entry ready: errors and hang-ups, which come as both, always do.
fn poll_bits(events: i16) -> u32 {
    use crate::descriptor::Edges;
    let writable = events & (libc::POLLOUT | libc::POLLWRNORM) != 0;
    let readable = events & !(libc::POLLOUT | libc::POLLWRNORM) != 0;
    match (readable, writable) {
        (true, true) => (Edges::READ | Edges::WRITE).bits(),
        (false, true) => Edges::WRITE.bits(),
        _ => Edges::READ.bits(),
    }
}

/// Whether `O_NONBLOCK` is set; asks the kernel.
pub fn is_nonblocking(fd: RawFd) -> bool {
    fd >= 0
        && rustix::fs::fcntl_getfl(borrow(fd))
            .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A socket: `MSG_DONTWAIT` tries without blocking.
    Socket,
    /// A pipe or FIFO: `RWF_NOWAIT` does, but not for a FIFO opened by its path.
    Pipe,
    /// A regular file, directory or block device, which epoll does not take.
    File,
    /// Anything else: to be polled before each call.
    Other,
}

/// What `fd` is; asks the kernel once for each opening of the number.
pub fn kind(fd: RawFd) -> Kind {
    let Ok(descriptor) = descriptor::entry(fd) else {
        return Kind::Other;
    };
    match descriptor.kind(fd) {
        descriptor::Kind::Tcp | descriptor::Kind::Socket => Kind::Socket,
        descriptor::Kind::Pipe => Kind::Pipe,
        descriptor::Kind::File => Kind::File,
        descriptor::Kind::Other => Kind::Other,
    }
}

/// Whether green threads wait, or have waited, on what `fd` is now. Asks no kernel; any thread may call this.
#[inline]
pub fn is_known(fd: RawFd) -> bool {
    descriptor::is_known(fd)
}

/// Before `fd` is closed, or replaced by dup2: wakes those who wait on it, with `EBADF`. Any thread
/// may call this.
#[inline]
pub fn closing(fd: RawFd) {
    descriptor::closing(fd);
}

/// After `fd` was closed or replaced.
#[inline]
pub fn closed(fd: RawFd) {
    descriptor::closed(fd);
}

/// Whether `fd` is one of the runtime's own, which the program cannot have meant. Any thread may call this.
#[inline]
pub fn is_own(fd: RawFd) -> bool {
    own_descriptor::holds(fd)
}

/// The lowest of the runtime's own descriptors in `first..=last`.
pub fn first_own(first: u32, last: u32) -> Option<u32> {
    own_descriptor::first_in(first, last)
}

/// As [`closing`] for each of `first..=last`.
pub fn closing_range(first: u32, last: u32) {
    descriptor::for_range(first, last, descriptor::closing);
}

/// As [`closed`] for each of `first..=last`.
pub fn closed_range(first: u32, last: u32) {
    descriptor::for_range(first, last, descriptor::closed);
}

/// The kernel has given out a new descriptor. Any thread may call this.
#[inline]
pub fn opened(fd: RawFd) {
    descriptor::opened(fd);
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` of some socket was set. Any thread may call this.
pub fn timeouts_changed() {
    descriptor::timeouts_changed();
}
