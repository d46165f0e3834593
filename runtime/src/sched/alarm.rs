//! Timers that wake a future's task: an [`Alarm`] stands in the wheel of one shard, as a sleeping thread does.
//!
//! What an alarm holds is touched under the lock of its wheel only: by whoever sets and cancels it, one at a time
//! (`wait/alarm.rs`), and by the worker that finds it expired, which takes the waker out under the lock and wakes it outside.
//!
//! For the deadlock report the alarms that are set are counted, in a few words, so that shards do not share one.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use crate::sched::wheel::Timer;

/// Whom a timer of a shard's wheel wakes.
#[derive(Clone, Copy)]
pub(crate) enum TimerOwner<Thread> {
    Thread(Thread),
    /// In place as long as the timer stands in the wheel.
    Alarm(NonNull<Alarm<Thread>>),
}

// SAFETY: an alarm is used under the wheel's lock only.
unsafe impl<Thread: Send> Send for TimerOwner<Thread> {}

/// A timer and the waker of who waits for it; see the module's page.
pub(crate) struct Alarm<Thread> {
    pub(crate) timer: Timer<TimerOwner<Thread>>,
    pub(crate) waker: Cell<Option<Waker>>,
}

// SAFETY: what it holds is used under the lock of a wheel only; a waker may be moved to any thread.
unsafe impl<Thread: Send> Send for Alarm<Thread> {}

// SAFETY: what it holds is used under the lock of a wheel only.
unsafe impl<Thread: Send> Sync for Alarm<Thread> {}

impl<Thread> Alarm<Thread> {
    pub(crate) fn new() -> Alarm<Thread> {
        Alarm {
            timer: Timer::new(),
            waker: Cell::new(None),
        }
    }
}

/// Who is to be woken by an expired timer, when the lock is let go.
pub(crate) enum Expired<Thread> {
    Thread(Thread),
    Task(Waker),
}

impl<Thread> TimerOwner<Thread> {
    /// Whom to wake. `None` if nobody has left a waker.
    ///
    /// # Safety
    ///
    /// The timer has just left its wheel, whose lock is held. `set` is the wheel's count of alarms.
    pub(super) unsafe fn expire(self, set: &AlarmCount) -> Option<Expired<Thread>> {
        match self {
            TimerOwner::Thread(thread) => Some(Expired::Thread(thread)),
            TimerOwner::Alarm(alarm) => {
                set.remove();
                // SAFETY: whoever owns the alarm takes the lock that is held, by this function's contract, before it goes.
                let waker = unsafe { alarm.as_ref() }.waker.take();
                waker.map(Expired::Task)
            }
        }
    }
}

/// How many alarms are set in some of the wheels.
#[repr(align(128))]
pub(crate) struct AlarmCount(AtomicUsize);

static COUNTS: [AlarmCount; 16] = [const { AlarmCount(AtomicUsize::new(0)) }; 16];

impl AlarmCount {
    /// That of the wheel which stands in a shard at `address`.
    pub(super) fn of(address: usize) -> &'static AlarmCount {
        // The addresses are multiples of a cache line or two.
        &COUNTS[address / align_of::<AlarmCount>() % COUNTS.len()]
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an alarm is set in some runtime of the process.
pub(crate) fn is_any_set() -> bool {
    COUNTS
        .iter()
        .any(|count| count.0.load(Ordering::SeqCst) != 0)
}

/// In a forked child, where no alarm goes off.
pub(super) fn reset_after_fork() {
    for count in &COUNTS {
        count.0.store(0, Ordering::SeqCst);
    }
}
