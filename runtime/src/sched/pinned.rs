//! Green threads that stay on one worker, and so on one OS thread.
//!
//! A green thread spawned so is a *guest* of the worker that first runs it. Whenever it is ready it stands in that
//! worker's pinned queue, from which nobody steals. A worker with guests does not retire. Before its first turn a green
//! thread is like any other; green threads that are not pinned pay for this with a look at one word a turn.
//!
//! **Order.** A pinned green thread that becomes ready takes its place behind what stands in the worker's other queue
//! at that moment: it is given the turn in which it would be run there, and goes first once that has come.
//!
//! **Waking.** Workers that sleep in the reactor wait for its one epoll set, from which any of them may take a signal. A
//! worker with guests waits for that set and for an eventfd of its own, by poll(2), and so hears of every event, also of those
//! that another worker takes. Who makes a guest ready rings the worker's [`Bell`], and if the worker listens, writes the
//! eventfd, and has all look around who stand by, of whom the worker may be one. Should there be no descriptor left for an
//! eventfd, the worker looks every [`LOOK_PERIOD`] instead.
//!
//! (Rejected: an epoll set for each such worker around the shared one: two descriptors more, and the same wake-ups. A
//! signal to the OS thread: it can come just before the wait.)

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::base::bell::Bell;
use crate::base::own_descriptor::{OwnDescriptor, lost};
use crate::sched::context::{self, NativeSection};
use crate::sched::due_queue::DueQueue;
use crate::sched::green::GreenRef;
use crate::sched::reactor::Reactor;
use crate::sched::shard::Shard;
use crate::sched::standby::Standby;

/// How often a worker without an eventfd looks whether a guest is ready.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

/// A worker's guests.
pub(crate) struct Pinned {
    /// Guests that live; changed by the worker's own OS thread.
    guests: AtomicU32,
    pub(crate) queue: DueQueue,
    bell: Bell,
    /// Made for the first guest; `None` if that failed.
    eventfd: OnceLock<Option<OwnDescriptor>>,
}

impl Pinned {
    pub(crate) fn new() -> Pinned {
        Pinned {
            guests: AtomicU32::new(0),
            queue: DueQueue::new(),
            bell: Bell::new(),
            eventfd: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn has_guests(&self) -> bool {
        self.guests.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The worker is about to wait; afterwards it must look at the queue once more.
    pub(crate) fn listen(&self) {
        if self.has_guests() {
            self.bell.listen();
        }
    }

    /// The worker does not wait after all.
    pub(crate) fn stop(&self) {
        if self.has_guests() {
            self.bell.stop();
        }
    }

    /// Waits until the reactor may have events or a guest is ready. The worker has guests, listens, and has looked.
    pub(crate) fn wait(&self, reactor: &Reactor) {
        match self.eventfd.get().and_then(Option::as_ref) {
            Some(eventfd) => {
                reactor.wait_beside(Some(eventfd.as_fd()), None);
                self.bell.stop();
                // Fails if nobody has written.
                let _ = rustix::io::read(eventfd, &mut [0; 8]);
            }
            None => {
                reactor.wait_beside(None, Some(LOOK_PERIOD));
                self.bell.stop();
            }
        }
    }

    /// A guest has become ready: wakes the worker if it waits.
    fn ring(&self, standby: &Standby) {
        if !self.bell.ring() {
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

impl Shard {
    /// Queues a guest behind what is ready to run on the worker now.
    pub(crate) fn push_pinned(&self, green: GreenRef) {
        let ahead = self.queued();
        let turns = u32::try_from(ahead + 1).unwrap_or(u32::MAX / 2);
        let due = self.progress.turn().wrapping_add(turns);
        self.pinned.queue.push(green, due);
    }
}

/// Queues a pinned green thread that an unpark has made ready, and wakes its worker.
pub(crate) fn wake(green: GreenRef) {
    // Once queued, the green thread may run and end, and its runtime with it.
    let shared = green.life().shared.clone();
    let shard = green.pin().expect("the caller has asked");
    shard.push_pinned(green);
    shard.pinned.ring(&shared.standby);
}

/// Makes the calling green thread a guest of the worker that runs it. In its first turn.
pub(crate) fn stay_here() {
    let _native = NativeSection::enter();
    let Some(green) = context::green() else {
        return;
    };
    let shard = green.worker().shard();
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let make = || Some(OwnDescriptor::keep(eventfd(0, flags).ok()?));
    shard.pinned.eventfd.get_or_init(make);
    shard.pinned.guests.fetch_add(1, Ordering::Relaxed);
    green.set_pin(shard);
}

/// On the worker, after the green thread's last turn, whether or not it was pinned.
pub(crate) fn leave(green: GreenRef) {
    if let Some(shard) = green.pin() {
        shard.pinned.guests.fetch_sub(1, Ordering::Relaxed);
        green.set_pin(std::ptr::null());
    }
}
