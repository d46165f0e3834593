//! The reactor: one epoll set for descriptors, the next timer, and the signal that wakes a worker.
//!
//! mio makes and fills the set. It is waited on directly, because any number of idle workers wait at
//! once (see `idle.rs`) and `mio::Poll` can be polled by one. Everything in it is edge-triggered, so
//! the kernel wakes one waiter for each event.
//!
//! The next timer is a timerfd: exact to the microsecond where `epoll_wait` counts milliseconds, and
//! served by whichever worker is idle. It is armed when a worker goes to sleep here, and when a
//! running worker inserts an earlier timer while another one does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::deadline::Deadline;
use crate::descriptor::{self, Edges};
use crate::error::BuildError;
use crate::spin::SpinLock;

const SIGNAL: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Events taken from the kernel in one call.
pub(crate) const EVENTS: usize = 256;

/// The reactor of one runtime.
pub(crate) struct Reactor {
    poll: Poll,
    waker: Waker,
    timer: OwnedFd,
    /// The deadline the timerfd is set to, in nanoseconds; `u64::MAX` when it is not.
    armed: AtomicU64,
    arming: SpinLock<()>,
}

/// A buffer for events.
pub(crate) type Events = Vec<epoll::Event>;

impl Reactor {
    pub(crate) fn new() -> Result<Reactor, BuildError> {
        let failed = |error| BuildError::io("set up epoll, eventfd and timerfd", error);
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), SIGNAL).map_err(failed)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )
        .map_err(|error| failed(error.into()))?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)
            .map_err(failed)?;
        Ok(Reactor {
            poll,
            waker,
            timer,
            armed: AtomicU64::new(u64::MAX),
            arming: SpinLock::new(()),
        })
    }

    fn set(&self) -> BorrowedFd<'_> {
        // SAFETY: mio's descriptor stays open as long as the `Poll`.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }

    /// Wakes one worker that waits, or the next one to wait.
    pub(crate) fn signal(&self) {
        // An eventfd write fails only when the counter overflows, which mio handles.
        let _ = self.waker.wake();
    }

    /// Whether the timer is not set, because it was never needed or has just gone off.
    pub(crate) fn is_disarmed(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == u64::MAX
    }

    /// Sees to it that a worker wakes at `deadline` at the latest. False if that is now.
    pub(crate) fn arm(&self, deadline: u64) -> bool {
        if deadline >= self.armed.load(Ordering::SeqCst) {
            return true;
        }
        if Deadline::from_nanos(deadline).has_passed() {
            return false;
        }
        let _arming = self.arming.lock();
        if deadline < self.armed.load(Ordering::SeqCst) {
            self.armed.store(deadline, Ordering::SeqCst);
            let setting = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: Timespec {
                    tv_sec: (deadline / 1_000_000_000).min(i64::MAX as u64) as i64,
                    tv_nsec: (deadline % 1_000_000_000) as i64,
                },
            };
            timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::ABSTIME, &setting)
                .expect("a timerfd takes any valid time");
        }
        true
    }

    /// Waits until there may be events, or `other` is readable, or `limit` is over.
    pub(crate) fn wait_beside(&self, other: Option<BorrowedFd<'_>>, limit: Option<Duration>) {
        let set = self.set();
        let mut entries =
            [set, other.unwrap_or(set)].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let limit = limit.map(|limit| Deadline::after(limit).timeout());
        match poll(&mut entries, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("poll on the reactor's own set failed: {error}"),
        }
    }

    /// Waits for events, or only looks for them, and hands the edges of descriptors to
    /// `descriptor.rs`, which unparks the waiters. True if the signal was among them.
    pub(crate) fn turn(&self, events: &mut Events, wait: bool) -> bool {
        events.clear();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = if wait { None } else { Some(&now) };
        match epoll::wait(self.set(), spare_capacity(events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait on the reactor's own set failed: {error}"),
        }
        let mut signalled = false;
        for event in events.iter() {
            match Token(event.data.u64() as usize) {
                SIGNAL => signalled = true,
                TIMER => self.armed.store(u64::MAX, Ordering::SeqCst),
                Token(token) => descriptor::ready(token as u64, edges(event.flags)),
            }
        }
        signalled
    }

    /// Adds a descriptor, edge-triggered in both directions; `token` comes back with its events.
    pub(crate) fn register(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let (mut source, token) = (SourceFd(&fd), Token(token as usize));
        match self.poll.registry().register(&mut source, token, interest) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self
                .poll
                .registry()
                .reregister(&mut source, token, interest),
            outcome => outcome,
        }
    }

    /// Takes a descriptor out; it may be out already.
    pub(crate) fn deregister(&self, fd: RawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}

fn edges(flags: epoll::EventFlags) -> Edges {
    use epoll::EventFlags as Flags;
    let mut edges = Edges::empty();
    if flags.intersects(Flags::IN | Flags::PRI | Flags::ERR | Flags::HUP | Flags::RDHUP) {
        edges |= Edges::READ;
    }
    if flags.intersects(Flags::OUT | Flags::ERR | Flags::HUP) {
        edges |= Edges::WRITE;
    }
    if flags.intersects(Flags::PRI | Flags::ERR | Flags::HUP | Flags::RDHUP) {
        edges |= Edges::UNUSUAL;
    }
    edges
}
