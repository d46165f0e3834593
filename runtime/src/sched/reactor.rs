//! The reactor: one epoll set for descriptors, the next timer, and the signal that wakes a worker.
//!
//! mio makes and fills the set. It is waited on directly, because any number of idle workers wait at
//! once (see `idle.rs`) and `mio::Poll` can be polled by one. Everything in it is edge-triggered, so
//! the kernel wakes one waiter for each event.
//!
//! The next timer is a timerfd: exact to the microsecond where `epoll_wait` counts milliseconds, and
//! served by whichever worker is idle. It is armed when a worker goes to sleep here, and when a
//! running worker inserts an earlier timer while another one does.
//!
//! The three descriptors are out of the program's reach (see `own_descriptor.rs`). If one is gone nevertheless, the process
//! ends at its next use; if it is the timer's, soon after the timer should have gone off.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags as Flags;
use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_gettime, timerfd_settime,
};

use crate::base::deadline::Deadline;
use crate::base::error::BuildError;
use crate::base::interest::Edges;
use crate::base::own_descriptor::{OwnDescriptor, OwnNumber, lost};
use crate::base::spin::SpinLock;

const SIGNAL: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// How long after its time the timer counts as overdue.
const GRACE: Duration = Duration::from_secs(1);

/// The longest time that a wait is limited to, so that milliseconds can count it.
const LONGEST: Duration = Duration::from_secs(1_000_000);

/// Events taken from the kernel in one call.
pub(crate) const EVENTS: usize = 256;

/// What a reactor calls when it has seen something. These functions belong to a higher room, which knows the descriptors and
/// who waits for them.
#[derive(Clone, Copy)]
pub(crate) struct Duty {
    /// The descriptor that was registered with this token has seen these edges.
    pub(crate) ready: fn(u64, Edges),
    /// Nobody looks at this reactor any more, so what is registered with it must be registered with another one.
    pub(crate) abandon: fn(&Arc<Reactor>),
}

/// The reactor of one runtime.
pub(crate) struct Reactor {
    duty: Duty,
    // The number is forgotten before the set is closed.
    _set: OwnNumber,
    poll: Poll,
    /// An eventfd that is only ever written: each write is an edge.
    signal: OwnDescriptor,
    timer: OwnDescriptor,
    /// The deadline the timerfd is set to, in nanoseconds; `u64::MAX` when it is not.
    armed: AtomicU64,
    arming: SpinLock<()>,
    /// Nobody looks any more.
    abandoned: AtomicBool,
}

/// A buffer for events.
pub(crate) type Events = Vec<epoll::Event>;

impl Reactor {
    pub(crate) fn new(duty: Duty) -> Result<Reactor, BuildError> {
        let made = || -> io::Result<Reactor> {
            let poll = Poll::new()?;
            let set = OwnNumber::note(poll.as_raw_fd());
            let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let signal = OwnDescriptor::keep(signal);
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?;
            let timer = OwnDescriptor::keep(timer);
            for (descriptor, token) in [(&signal, SIGNAL), (&timer, TIMER)] {
                let number = descriptor.as_fd().as_raw_fd();
                poll.registry()
                    .register(&mut SourceFd(&number), token, Interest::READABLE)?;
            }
            Ok(Reactor {
                duty,
                _set: set,
                poll,
                signal,
                timer,
                armed: AtomicU64::new(u64::MAX),
                arming: SpinLock::new(()),
                abandoned: AtomicBool::new(false),
            })
        };
        made().map_err(|error| BuildError::io("set up epoll, eventfd and timerfd", error))
    }

    fn set(&self) -> BorrowedFd<'_> {
        // SAFETY: mio's descriptor stays open as long as the `Poll`.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }

    /// Wakes one worker that waits, or the next one to wait.
    pub(crate) fn signal(&self) {
        let one = 1_u64.to_ne_bytes();
        match rustix::io::write(&self.signal, &one) {
            Ok(_) => {}
            // The counter is full, after more signals than a process lives to see.
            Err(Errno::AGAIN) => {
                let _ = rustix::io::read(&self.signal, &mut [0; 8]);
                let _ = rustix::io::write(&self.signal, &one);
            }
            Err(error) => lost("eventfd", error),
        }
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
            // A timerfd takes any valid time.
            if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting) {
                lost("timerfd", error);
            }
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
        if entries
            .iter()
            .any(|entry| entry.revents().contains(PollFlags::NVAL))
        {
            lost("epoll set or eventfd", Errno::BADF);
        }
    }

    /// Waits for events, or only looks for them, and reports the edges of descriptors, whose waiters are then unparked. True if
    /// the signal was among the events.
    pub(crate) fn turn(&self, events: &mut Events, wait: bool) -> bool {
        events.clear();
        let limit = if wait { self.limit() } else { Some(NO_TIME) };
        match epoll::wait(self.set(), spare_capacity(events), limit.as_ref()) {
            Ok(0) if wait && limit.is_some() => self.check_timer(),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => lost("epoll set", error),
        }
        let mut signalled = false;
        for event in events.iter() {
            match Token(event.data.u64() as usize) {
                SIGNAL => signalled = true,
                TIMER => self.armed.store(u64::MAX, Ordering::SeqCst),
                Token(token) => (self.duty.ready)(token as u64, edges(event.flags)),
            }
        }
        signalled
    }

    /// How long to wait at most: until a timer that is set now has surely gone off, in whole seconds.
    fn limit(&self) -> Option<Timespec> {
        let armed = self.armed.load(Ordering::SeqCst);
        (armed != u64::MAX).then(|| {
            let remaining = Deadline::from_nanos(armed).remaining();
            let limit = remaining.saturating_add(2 * GRACE).min(LONGEST);
            Timespec {
                tv_sec: limit.as_secs() as i64,
                tv_nsec: 0,
            }
        })
    }

    /// After a wait that nothing has ended: is the timer overdue because it is gone?
    #[cold]
    fn check_timer(&self) {
        let armed = self.armed.load(Ordering::SeqCst);
        if armed != u64::MAX
            && Deadline::from_nanos(armed).elapsed() > GRACE
            && let Err(error) = timerfd_gettime(&self.timer)
        {
            lost("timerfd", error);
        }
    }

    /// Adds a descriptor, edge-triggered in both directions; `token` comes back with its events.
    pub(crate) fn register(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let (mut source, token) = (SourceFd(&fd), Token(token as usize));
        let registry = self.poll.registry();
        match registry.register(&mut source, token, interest) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                registry.reregister(&mut source, token, interest)
            }
            outcome => outcome,
        }
    }

    /// The last worker has left.
    pub(crate) fn abandon(self: &Arc<Reactor>) {
        self.abandoned.store(true, Ordering::SeqCst);
        (self.duty.abandon)(self);
    }

    /// Whether the last worker has left, or is about to leave.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Takes a descriptor out; it may be out already.
    pub(crate) fn deregister(&self, fd: RawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

fn edges(flags: Flags) -> Edges {
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
