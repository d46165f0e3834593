//! A call on a descriptor that may have to wait: try, park until the descriptor is ready, try again.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::retry;
use super::section::Section;
use crate::base::deadline::Deadline;
use crate::base::interest::Interest;
use crate::base::reason::Packed;
use crate::wait::descriptor::{
    self, Descriptor, FileKind, GoingOn, Kind, NO_TIME, Opening, ReadinessSnapshot, Waiter, borrow,
};
use crate::wait::interrupt::Limits;

/// A call's patience: until when it may wait. `Ok(None)` is without limit, `Err` says what it returns instead of waiting.
pub type Patience = Result<Option<Deadline>, Errno>;

/// A call in progress, of one or more steps, on one descriptor.
///
/// It belongs to what had the number when it began: if another thread closes that, every further step fails with
/// `EBADF`, whatever has the number by then.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    section: &'a Section,
    pub(super) descriptor: &'static Descriptor,
    fd: RawFd,
    opening: Opening,
    has_begun: bool,
}

impl Section {
    /// Begins a call on `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF` if `fd` is not open and never was.
    pub fn call(&self, fd: RawFd) -> Result<Call<'_>, Errno> {
        let descriptor = descriptor::entry(fd)?;
        Ok(Call {
            section: self,
            descriptor,
            fd,
            opening: descriptor.opening(),
            has_begun: false,
        })
    }
}

impl<'a> Call<'a> {
    /// The section that the call is made in.
    pub fn section(&self) -> &'a Section {
        self.section
    }

    /// The call after its first step, which was carried out in part.
    pub fn rest(self) -> Self {
        Call {
            has_begun: true,
            ..self
        }
    }

    /// The descriptor's number.
    pub fn number(&self) -> RawFd {
        self.fd
    }

    /// What the descriptor is; asks the kernel once for each opening of the number.
    pub fn kind(&self) -> Kind {
        self.descriptor.kind(self.fd).into()
    }

    /// The socket's `SO_RCVTIMEO` or `SO_SNDTIMEO`, counted from now; `None` is no limit.
    pub fn socket_deadline(&self, interest: Interest) -> Option<Deadline> {
        self.descriptor.socket_deadline(self.fd, interest)
    }

    /// Until when a call on a socket may wait: as its time-outs say, or not at all in non-blocking mode.
    ///
    /// # Errors
    ///
    /// `EAGAIN` in non-blocking mode.
    pub fn socket_patience(&self, interest: Interest) -> Patience {
        self.patience(interest)?;
        Ok(self.socket_deadline(interest))
    }

    /// Until when a call on any other descriptor may wait: without limit, or not at all in non-blocking mode.
    ///
    /// # Errors
    ///
    /// `EAGAIN` in non-blocking mode.
    pub fn patience(&self, _: Interest) -> Patience {
        if descriptor::is_nonblocking(self.fd) {
            Err(Errno::AGAIN)
        } else {
            Ok(None)
        }
    }

    /// Calls `attempt`, which must not block, until it gives something other than `EAGAIN`, and
    /// parks in between until the descriptor is ready for `interest`. Before it parks for the first time, `patience`
    /// ([`patience`](Self::patience), say) is asked until when to wait (`None` is for ever), or whether at all.
    ///
    /// Those who wait are served in the order in which they came, one for each thing that there is to be had.
    ///
    /// An outcome that did not have to be waited for counts against the green thread's budget; when that is spent, the green
    /// thread yields, but not inside a signal handler.
    ///
    /// # Errors
    ///
    /// What `attempt` gives; what `patience` gives; `EAGAIN` when the deadline passes first, as with
    /// `SO_RCVTIMEO`; `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts the wait short; `EBADF` if
    /// another thread has closed the descriptor meanwhile; `EPERM` if it is of a kind that cannot be waited for.
    pub fn retry<T>(
        &self,
        interest: Interest,
        patience: impl FnOnce(&Call<'a>, Interest) -> Patience,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.retry_step(interest, patience, |step| step.attempt(&mut attempt))
    }

    /// As [`retry`](Self::retry), where `attempt` calls [`Step::attempt`], and may wait before that.
    #[inline]
    pub(super) fn retry_step<T>(
        &self,
        interest: Interest,
        patience: impl FnOnce(&Call<'a>, Interest) -> Patience,
        mut attempt: impl FnMut(&mut Step<'a, '_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let waiter = Waiter::consumer(self.section.green(), interest.edge());
        let mut step = Step::of(self, interest, &waiter);
        let mut patience = LazyDeadline::Unasked(|| patience(self, interest));
        loop {
            let snapshot = step.come_to_turn(&mut patience)?;
            match attempt(&mut step) {
                Err(Errno::AGAIN) => {}
                outcome => return step.finish(outcome),
            }
            match patience.ask() {
                Ok(deadline) => step.wait(snapshot, deadline)?,
                Err(error) => return step.finish(Err(error)),
            }
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
        length: usize,
        patience: impl FnOnce(&Call<'a>, Interest) -> Patience,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let (descriptor, interest) = (self.descriptor, Interest::Read);
        let waiter = Waiter::consumer(self.section.green(), interest.edge());
        let mut step = Step::of(self, interest, &waiter);
        let mut patience = LazyDeadline::Unasked(|| patience(self, interest));
        let mut read = |step: &mut Step<'_, '_>, snapshot| {
            let outcome = step.attempt(&mut attempt);
            if outcome.is_ok_and(|read| 0 < read && read < length)
                && descriptor.kind(self.fd) == FileKind::Tcp
            {
                descriptor.clear_after_short_read(snapshot);
            }
            outcome
        };
        loop {
            let snapshot = step.come_to_turn(&mut patience)?;
            // Who was woken tries in any case: the bit may have been cleared by one that has use only for more than there is,
            // or the event may still be to come.
            let is_unready = !waiter.is_woken() && descriptor.is_known_unready(snapshot, interest);
            if !is_unready {
                match read(&mut step, snapshot) {
                    Err(Errno::AGAIN) => {}
                    outcome => return step.finish(outcome),
                }
            }
            let is_at_end = snapshot.is_unusual() && is_shut(self.fd);
            if !is_at_end {
                descriptor.clear(snapshot, interest);
            }
            match patience.ask() {
                // A datagram socket that is shut tells of its end only those whom it may let wait.
                Ok(_) if is_at_end => return step.finish(Ok(0)),
                Ok(deadline) => step.wait(snapshot, deadline)?,
                // Who does not wait gets the kernel's own answer.
                Err(_) if is_unready => {
                    let outcome = read(&mut step, snapshot);
                    return step.finish(outcome);
                }
                Err(error) => return step.finish(Err(error)),
            }
        }
    }

    /// As [`retry`](Self::retry), for what no readiness event tells of: looks again after ever longer times, as
    /// [`hook::retry_by_timer`](crate::hook::retry_by_timer) does.
    ///
    /// # Errors
    ///
    /// What `attempt` gives; what `patience` gives; `ETIMEDOUT` or `ECANCELED` if a deadline scope or a cancellation cuts
    /// the wait short; `EBADF` if another thread has closed the descriptor meanwhile.
    pub fn retry_by_timer<T>(
        &self,
        interest: Interest,
        patience: impl FnOnce(&Call<'a>, Interest) -> Patience,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut call = *self;
        let patience = || patience(self, interest);
        let outcome = retry::retry_by_timer(patience, || {
            let _going_on = call.go_on()?;
            call = call.rest();
            attempt()
        });
        self.section.give_way();
        outcome
    }

    /// As long as what this gives is not dropped, the number keeps the descriptor that the call began on, unless this
    /// takes very long: whoever closes it waits for a while. A first step needs none, and gets none.
    ///
    /// # Errors
    ///
    /// `EBADF` if another thread has closed the descriptor since the call's first step.
    pub fn go_on(&self) -> Result<Option<GoingOn<'static>>, Errno> {
        self.has_begun
            .then(|| self.descriptor.go_on(self.opening))
            .transpose()
    }
}

/// Between two looks at a descriptor that epoll does not take for now.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The next of ever longer pauses, of which this is the last.
pub(super) fn longer(pause: &Cell<Duration>) -> Deadline {
    let now = pause.get();
    pause.set((now * 2).min(LONGEST_PAUSE));
    Deadline::after(now)
}

/// The first of such pauses.
pub(super) fn first_pause() -> Cell<Duration> {
    Cell::new(SHORTEST_PAUSE)
}

/// Whether this refusal of epoll is no more than that it does not take the descriptor into the set: because sets are
/// nested too deeply, or there are too many descriptors in them.
pub(super) fn is_unwatchable(error: Errno) -> bool {
    !matches!(error, Errno::PERM | Errno::BADF)
}

/// A step of a call, in the line of those who wait for the descriptor. It leaves the line when this is dropped, and passes on
/// what it was woken for.
pub(super) struct Step<'a, 'w> {
    call: Call<'a>,
    interest: Interest,
    waiter: &'w Waiter,
    pause: Cell<Duration>,
}

impl<'a, 'w> Step<'a, 'w> {
    #[inline]
    fn of(call: &Call<'a>, interest: Interest, waiter: &'w Waiter) -> Step<'a, 'w> {
        Step {
            call: *call,
            interest,
            waiter,
            pause: first_pause(),
        }
    }

    /// Waits behind others who wait already, if there are any and the call may wait. Gives what is known of the descriptor then.
    #[inline]
    fn come_to_turn(
        &mut self,
        patience: &mut LazyDeadline<impl FnOnce() -> Patience>,
    ) -> Result<ReadinessSnapshot, Errno> {
        loop {
            let snapshot = self.look()?;
            if self.is_behind_others()
                && let Ok(deadline) = patience.ask()
                && self.wait_behind_others(snapshot, deadline)?
            {
                continue;
            }
            return Ok(snapshot);
        }
    }

    /// What is known of the descriptor before an attempt. A call that has done nothing yet belongs to whatever has the number
    /// now.
    #[inline]
    fn look(&mut self) -> Result<ReadinessSnapshot, Errno> {
        loop {
            match self.call.descriptor.look(self.call.opening) {
                Err(Errno::BADF) if !self.call.has_begun => {
                    self.call.opening = self.call.descriptor.opening();
                }
                looked => return looked,
            }
        }
    }

    /// Whether others wait already, for whom what there is may be meant.
    #[inline]
    fn is_behind_others(&self) -> bool {
        self.waiter.is_newcomer() && self.call.descriptor.has_consumers(self.interest)
    }

    /// Waits before the first attempt. False if it need not wait to try.
    fn wait_behind_others(
        &mut self,
        snapshot: ReadinessSnapshot,
        deadline: Option<Deadline>,
    ) -> Result<bool, Errno> {
        self.call.descriptor.prompt(self.call.fd, self.waiter);
        let has_waited = self.park(snapshot, deadline, false)?;
        self.call.has_begun |= has_waited;
        Ok(has_waited)
    }

    /// From now on, as the step has to wait, the call belongs to the descriptor that has the number.
    pub(super) fn begin(&mut self) {
        self.call = self.call.rest();
    }

    /// Tries once, on the descriptor that the call belongs to. `attempt` should not wait: whoever closes the number would wait
    /// for it.
    #[inline]
    pub(super) fn attempt<T>(
        &mut self,
        attempt: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let _going_on = self.call.go_on()?;
        self.call = self.call.rest();
        attempt()
    }

    /// Waits after an attempt that found nothing, until there may be something.
    fn wait(
        &mut self,
        snapshot: ReadinessSnapshot,
        deadline: Option<Deadline>,
    ) -> Result<(), Errno> {
        self.call.has_begun |= self.park(snapshot, deadline, true)?;
        Ok(())
    }

    /// Leaves the line. Others have their turn before this one goes on.
    #[inline]
    fn finish<T>(self, outcome: Result<T, Errno>) -> Result<T, Errno> {
        let section = self.call.section;
        drop(self);
        section.give_way();
        outcome
    }

    /// Queues and parks until there may be something. False if there may be already.
    fn park(
        &self,
        snapshot: ReadinessSnapshot,
        deadline: Option<Deadline>,
        has_tried: bool,
    ) -> Result<bool, Errno> {
        let Call {
            section,
            descriptor,
            fd,
            ..
        } = self.call;
        let (green, waiter) = (section.green(), self.waiter);
        let limits = Limits::new(deadline);
        if let Err(cancelled) = limits.check_cancelled() {
            return Err(section.cut_short(cancelled.into()));
        }
        let reason = Packed::descriptor(fd, self.interest);
        let reactor = &green.life().shared.reactor;
        // SAFETY: the waiter outlives this step, which takes it out as it is dropped.
        match unsafe { descriptor.join(fd, snapshot, waiter, has_tried, reactor) } {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) if is_unwatchable(error) => {
                let next = longer(&self.pause);
                let until = limits.until().map_or(next, |until| until.min(next));
                green.park_until(green, Some(until), reason);
                return match limits.check() {
                    Ok(()) => Ok(true),
                    Err(end) => Err(section.cut_short(end)),
                };
            }
            Err(error) => return Err(error),
        }
        while waiter.waits() {
            green.park_until(green, limits.until(), reason);
            if waiter.waits()
                && let Err(end) = limits.check()
            {
                return Err(section.cut_short(end));
            }
        }
        if waiter.was_closed() {
            Err(Errno::BADF)
        } else {
            Ok(true)
        }
    }
}

impl Drop for Step<'_, '_> {
    fn drop(&mut self) {
        self.call.descriptor.leave(self.call.fd, self.waiter);
    }
}

/// A call's [`Patience`], asked for once, when the call first has to wait.
enum LazyDeadline<F> {
    Unasked(F),
    Known(Patience),
}

impl<F: FnOnce() -> Patience> LazyDeadline<F> {
    fn ask(&mut self) -> Patience {
        let known = match std::mem::replace(self, LazyDeadline::Known(Ok(None))) {
            LazyDeadline::Unasked(ask) => ask(),
            LazyDeadline::Known(known) => known,
        };
        *self = LazyDeadline::Known(known);
        known
    }
}

/// Whether nothing will come any more.
pub(super) fn is_shut(fd: RawFd) -> bool {
    let mut entry = [PollFd::from_borrowed_fd(borrow(fd), PollFlags::RDHUP)];
    poll(&mut entry, Some(&NO_TIME)).is_ok() && entry[0].revents().contains(PollFlags::RDHUP)
}
