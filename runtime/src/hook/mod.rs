//! The door for the shims: what a replacement of a libc function may ask of the runtime.
//!
//! [`enter`] is the guard that every shim begins with. `Some(section)` means: the caller is user
//! code on a green thread of a runtime whose patch set holds the family. While the section lives,
//! every libc function called passes straight through its shim, so a shim may call what it replaces.
//! `None` means: make the original call.
//!
//! The same functions carry [`net`](crate::net), [`sync`](crate::sync) and [`time`].

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::base::deadline::Deadline;
use crate::base::own_descriptor;
use crate::base::patch::Patch;
use crate::base::reason::Packed;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::time;
use crate::wait::blocking;
use crate::wait::descriptor;
use crate::wait::interrupt::{End, Interrupted, Limits};

pub use crate::base::arch::system_call;
pub use crate::base::interest::Interest;
pub use crate::wait::descriptor::{Closing, GoingOn};

mod accept;
mod call;
pub mod exit;
mod poll;
pub mod process;
pub mod thread;

pub use accept::Accepting;
pub(crate) use accept::{accept_in_turn, of_late_turn, take_turn_to_await};
pub use call::Call;

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

/// Lets a starving green thread run that the caller has just woken, before the caller goes on; see
/// [`futex`](crate::futex). To be called where user code has woken somebody.
#[inline]
pub fn pay_turn() {
    enter(Patch::LOCK).inspect(Section::pay_turn);
}

/// As [`pay_turn`], for the runtime's own types, whatever the patch set.
pub(crate) fn pay_own_turn() {
    enter_own().inspect(Section::pay_turn);
}

impl Section {
    fn pay_turn(&self) {
        if self.green.owes_turn.take() {
            self.yield_outside_handlers();
        }
    }

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

    /// Counts an operation that did not wait against the green thread's budget of them; if that is spent, lets others
    /// run, unless a signal handler makes the call.
    #[inline]
    pub fn give_way(&self) {
        if self.green.spend_budget() {
            self.yield_outside_handlers();
        }
    }

    /// Lets other green threads run, unless a signal handler makes the call: the green thread could go on on another
    /// OS thread, and take along a signal mask that is the first one's.
    pub fn yield_outside_handlers(&self) {
        if !self.green.may_be_in_signal_handler() {
            self.green.yield_now();
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

/// As [`closing`], for a descriptor of which nothing is known: what [`closed`] needs to know.
#[inline]
pub fn glance(fd: RawFd) -> Closing {
    descriptor::glance(fd)
}

/// Before `fd` is closed, or replaced by dup2: wakes those who wait on it, with `EBADF`. Any thread
/// may call this.
#[inline]
pub fn closing(fd: RawFd) -> Closing {
    descriptor::closing(fd)
}

/// After `fd` was closed or replaced.
#[inline]
pub fn closed(fd: RawFd, closing: Closing) {
    descriptor::closed(fd, closing);
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
    descriptor::for_range(first, last, |fd| {
        descriptor::closing(fd);
    });
}

/// As [`closed`] for each of `first..=last`.
pub fn closed_range(first: u32, last: u32) {
    // Nothing tells when the calls on each of them began, so none is ended.
    descriptor::for_range(first, last, descriptor::outdated);
}

/// The kernel has given out a new descriptor. Any thread may call this.
#[inline]
pub fn opened(fd: RawFd) {
    descriptor::opened(fd);
}

/// What was remembered of `fd` turns out to be untrue: it was closed and given out again unseen. Any thread may call this.
#[inline]
pub fn outdated(fd: RawFd) {
    descriptor::outdated(fd);
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` of some socket was set. Any thread may call this.
pub fn timeouts_changed() {
    descriptor::timeouts_changed();
}
