//! Waiting for one of several descriptors.

use rustix::io::Errno;

use super::call::{first_pause, is_unwatchable, longer};
use super::section::Section;
use crate::base::deadline::Deadline;
use crate::base::interest::Edges;
use crate::base::reason::Packed;
use crate::wait::descriptor::{self, Descriptor, ReadinessSnapshot, Waiter};
use crate::wait::interrupt::{Limits, WaitEnd};

impl Section {
    /// Parks until one of `entries` is ready in the sense of poll(2), and fills in `revents`. Gives
    /// how many are ready; 0 when the deadline has passed.
    ///
    /// What epoll does not take for now (sets that are nested too deeply, say) is looked at again after ever longer times up to
    /// 10 ms.
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
        let pause = first_pause();
        loop {
            let snapshots: Vec<_> = descriptors
                .iter()
                .map(|descriptor| descriptor.map(Descriptor::snapshot))
                .collect();
            let ready = poll_now(entries)?;
            if ready > 0 || deadline.is_some_and(Deadline::has_passed) {
                self.give_way();
                return Ok(ready);
            }
            if let Err(end @ WaitEnd::Interrupted(_)) = limits.check() {
                return Err(self.cut_short(end));
            }
            let waiters: Vec<Waiter> = entries
                .iter()
                .map(|entry| Waiter::poller(self.green(), edges(entry.events)))
                .collect();
            // SAFETY: all waiters are withdrawn below, on every way out of this turn.
            let queued = unsafe { self.queue(entries, &descriptors, &snapshots, &waiters) };
            if let Some(all) = queued {
                let reason = Packed::poll(entries.len());
                let until = if all {
                    limits.until()
                } else {
                    limits.until().into_iter().chain([longer(&pause)]).min()
                };
                self.green().park_until(self.green(), until, reason);
            }
            for (descriptor, waiter) in descriptors.iter().zip(&waiters) {
                if let Some(descriptor) = descriptor {
                    descriptor.withdraw(waiter);
                }
            }
        }
    }

    /// Queues each waiter with its descriptor: whether epoll will tell of all that there is to tell. `None` if
    /// something has changed meanwhile.
    ///
    /// # Safety
    ///
    /// The waiters stay in place until they are withdrawn.
    unsafe fn queue(
        &self,
        entries: &[libc::pollfd],
        descriptors: &[Option<&'static Descriptor>],
        snapshots: &[Option<ReadinessSnapshot>],
        waiters: &[Waiter],
    ) -> Option<bool> {
        let green = self.green();
        let reactor = &green.life().shared.reactor;
        let mut all = true;
        for (index, descriptor) in descriptors.iter().enumerate() {
            let (Some(descriptor), Some(snapshot)) = (descriptor, snapshots[index]) else {
                continue;
            };
            let (fd, waiter) = (entries[index].fd, &waiters[index]);
            // SAFETY: the waiter stays in place until it is withdrawn, by this function's contract.
            match unsafe { descriptor.join(fd, snapshot, waiter, true, reactor) } {
                // What epoll refuses for its kind never changes: poll has said all there is to say.
                Ok(true) | Err(Errno::PERM) => {}
                Err(error) if is_unwatchable(error) => all = false,
                // An edge came, or it was closed meanwhile.
                Ok(false) | Err(_) => return None,
            }
        }
        Some(all)
    }
}

/// poll(2) without waiting.
fn poll_now(entries: &mut [libc::pollfd]) -> Result<usize, Errno> {
    // SAFETY: a valid array, and the call does not block. In a native section this is libc's own.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) };
    usize::try_from(ready)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// The edges that can make an entry ready: errors and hang-ups, which come as both, always do.
fn edges(events: i16) -> Edges {
    let writable = events & (libc::POLLOUT | libc::POLLWRNORM) != 0;
    let readable = events & !(libc::POLLOUT | libc::POLLWRNORM) != 0;
    match (readable, writable) {
        (true, true) => Edges::READ | Edges::WRITE,
        (false, true) => Edges::WRITE,
        _ => Edges::READ,
    }
}
