//! How a worker with pinned green threads is woken while it waits for the reactor.
//!
//! Workers that sleep in the reactor wait for its one epoll set, from which any of them may take a signal. A worker with pinned
//! green threads waits for that set and for an eventfd of its own, by poll(2), and so hears of every event, also of those that
//! another worker takes. Whoever makes one of its green threads ready notifies it by the [`WaitFlag`]: if the worker waits, that
//! writes the eventfd, and makes all workers on standby look around, of whom it may be one. Should there be no descriptor left
//! for an eventfd, the worker looks every [`LOOK_PERIOD`] instead.
//!
//! (Rejected: an epoll set for each such worker around the shared one: two descriptors more, and the same wake-ups. A
//! signal to the OS thread: it can come just before the wait.)

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::base::own_descriptor::{OwnDescriptor, lost};
use crate::base::wait_flag::WaitFlag;
use crate::sched::reactor::Reactor;
use crate::sched::standby::Standby;

/// How often a worker without an eventfd looks whether one of its green threads is ready.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

/// What wakes one worker; see the module's page.
pub(crate) struct Notifier {
    flag: WaitFlag,
    /// Made for the first pinned green thread; `None` if that failed.
    eventfd: OnceLock<Option<OwnDescriptor>>,
}

impl Notifier {
    pub(crate) fn new() -> Notifier {
        Notifier {
            flag: WaitFlag::new(),
            eventfd: OnceLock::new(),
        }
    }

    /// Before the worker's first pinned green thread can be queued.
    pub(crate) fn prepare(&self) {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let make = || Some(OwnDescriptor::keep(eventfd(0, flags).ok()?));
        self.eventfd.get_or_init(make);
    }

    /// The worker is about to wait; afterwards it must look at its queue once more.
    pub(crate) fn prepare_wait(&self) {
        self.flag.prepare_wait();
    }

    /// The worker does not wait after all.
    pub(crate) fn cancel_wait(&self) {
        self.flag.cancel_wait();
    }

    /// Waits until the reactor may have events or somebody notifies. The worker has prepared the wait, and has looked since.
    pub(crate) fn wait(&self, reactor: &Reactor) {
        match self.eventfd.get().and_then(Option::as_ref) {
            Some(eventfd) => {
                reactor.wait_beside(Some(eventfd.as_fd()), None);
                self.flag.cancel_wait();
                // Fails if nobody has written.
                let _ = rustix::io::read(eventfd, &mut [0; 8]);
            }
            None => {
                reactor.wait_beside(None, Some(LOOK_PERIOD));
                self.flag.cancel_wait();
            }
        }
    }

    /// Something was queued for the worker: wakes it if it waits.
    pub(crate) fn notify(&self, standby: &Standby) {
        if !self.flag.notify() {
            return;
        }
        if let Some(Some(eventfd)) = self.eventfd.get() {
            match rustix::io::write(eventfd, &1_u64.to_ne_bytes()) {
                // If the counter is full, the worker is woken anyway.
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => lost("eventfd", error),
            }
        }
        standby.nudge();
    }
}
