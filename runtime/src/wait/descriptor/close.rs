//! Numbers change hands: what is told to the table of descriptors that are closed and opened.
//!
//! What that means for readiness and waiters stands at the head of `descriptor.rs`, for calls in progress in `opening.rs`.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::Timespec;

use super::opening::{Opening, Openings};
use super::{Descriptor, for_range, owned, touched};
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::sched::context::NativeSection;
use crate::wait::section;

/// How long a close waits for attempts under way. They do not block, but whoever makes one may lose the processor.
const LONGEST_ATTEMPT: Duration = Duration::from_millis(100);

/// How often it gives up its own processor before it sleeps.
const YIELDS: u32 = 10;

/// A close that is under way.
#[must_use = "`closed` ends it"]
pub struct Closing {
    fd: RawFd,
    /// The entry and what [`Openings::closing`] gave; `None` if there was no entry when the close began.
    entry: Option<(&'static Descriptor, Opening)>,
}

/// Before `fd` is closed, or replaced by dup2: wakes those who wait on it, with `EBADF`. Any thread may call this, and must
/// call [`closed`] afterwards.
#[inline]
pub fn closing(fd: RawFd) -> Closing {
    begin(fd, owned(fd))
}

/// As [`closing`], but if something is known of `fd`, only if it really `goes`.
#[inline]
pub fn closing_if(fd: RawFd, goes: impl FnOnce() -> bool) -> Option<Closing> {
    let entry = owned(fd);
    let is_known = entry.is_some_and(|descriptor| descriptor.openings.is_used());
    (!is_known || goes()).then(|| begin(fd, entry))
}

#[inline]
fn begin(fd: RawFd, entry: Option<&'static Descriptor>) -> Closing {
    Closing {
        fd,
        entry: entry.map(|descriptor| (descriptor, descriptor.closing(fd))),
    }
}

/// After a descriptor was closed or replaced, or if that has failed: clears away what came in between. A call that has begun
/// since belongs to what was closed, unless the number was [`opened`] anew.
#[inline]
pub fn closed(Closing { fd, entry }: Closing) {
    match entry {
        // A signal handler may have forked, and have come back in the child.
        Some((descriptor, opening)) if !process::is_passive() => {
            descriptor.closed(fd, |openings| openings.closed(opening));
        }
        Some(_) => {}
        None => {
            if let Some(descriptor) = owned(fd) {
                descriptor.closed(fd, |_| false);
            }
        }
    }
}

/// As [`closing`] for each of `first..=last`, of those that something is known of: no memory is taken for the others.
pub fn closing_range(first: u32, last: u32) {
    for_range(first, last, |fd| {
        if let Some(descriptor) = touched(fd) {
            descriptor.closing(fd);
        }
    });
}

/// As [`closed`] for each of `first..=last`.
pub fn closed_range(first: u32, last: u32) {
    for_range(first, last, |fd| {
        if let Some(descriptor) = owned(fd) {
            descriptor.closed(fd, Openings::closed_last);
        }
    });
}

/// What was remembered of `fd` turns out to be untrue: it was closed and given out again unseen. The calls in progress are
/// those of its owner. Any thread may call this.
#[inline]
pub fn outdated(fd: RawFd) {
    if let Some(descriptor) = touched(fd) {
        descriptor.outdated(fd, false);
    }
}

/// The kernel has given out a new descriptor: whatever is known of an older one is void. Any thread may call this.
#[inline]
pub fn opened(fd: RawFd) {
    if let Some(descriptor) = owned(fd) {
        descriptor.opened(fd);
    }
}

impl Descriptor {
    /// Ends the generation: forgets readiness, registration and kind, and puts the waiters out of line. `end` may end the
    /// opening before; it says whether it has, and with it the calls in progress.
    fn forget<R>(
        &self,
        fd: RawFd,
        deregister: bool,
        end: impl FnOnce(&Openings) -> (bool, R),
    ) -> R {
        let _native = NativeSection::enter();
        let (registered, result) = self.line.reset(|registered| {
            let (ends_calls, result) = end(&self.openings);
            self.generation.fetch_add(1, Ordering::SeqCst);
            self.kind.store(0, Ordering::SeqCst);
            self.timeouts_epoch.store(0, Ordering::SeqCst);
            (ends_calls, (registered.take(), result))
        });
        if let (true, Some(reactor)) = (deregister, &registered) {
            reactor.deregister(fd);
        }
        result
    }

    fn closing(&self, fd: RawFd) -> Opening {
        let closing = if self.openings.is_used() {
            self.forget(fd, true, |openings| {
                openings.reset_use();
                (true, openings.closing())
            })
        } else {
            self.openings.closing()
        };
        self.await_attempts();
        closing
    }

    /// After a close, which `end` ends.
    fn closed(&self, fd: RawFd, end: impl FnOnce(&Openings) -> bool) {
        if self.openings.is_used() {
            self.forget(fd, false, |openings| (end(openings), ()));
        } else {
            end(&self.openings);
        }
    }

    pub(super) fn opened(&self, fd: RawFd) {
        if self.openings.is_used() {
            self.forget(fd, false, |openings| {
                openings.reset_use();
                openings.opened();
                (true, ())
            });
        } else {
            self.openings.opened();
        }
    }

    /// The calls in progress go on, after another look.
    pub(super) fn outdated(&self, fd: RawFd, deregister: bool) {
        self.forget(fd, deregister, |_| (false, ()));
    }

    /// After the opening was ended: waits until no attempt is under way that has not seen it. Not for ever: this may be a signal
    /// handler that has interrupted such an attempt, and an attempt that should not block does so if another process has taken
    /// what it found.
    fn await_attempts(&self) {
        for _ in 0..YIELDS {
            if !self.openings.are_going_on() {
                return;
            }
            rustix::thread::sched_yield();
        }
        let wait = || {
            let until = Deadline::after(LONGEST_ATTEMPT);
            while self.openings.are_going_on() && !until.has_passed() {
                let _ = rustix::thread::nanosleep(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000,
                });
            }
        };
        match section::enter_own() {
            Some(section) => section.blocking_in_place(wait),
            None => wait(),
        }
    }
}
