//! The part of a worker that others see, and the list of them.
//!
//! A shard is a worker's place: its run queue, its timers, and what the monitor and other workers may know of
//! it. It outlives the OS thread that serves there (see `spare_workers.rs`) and lasts as long as the runtime.
//!
//! Who touches which field:
//!
//! | field | by |
//! |---|---|
//! | `queue` | the OS thread that serves here |
//! | `thief` | anyone |
//! | `run_next` | put in by the worker, taken out by anyone; see `run_next.rs` |
//! | `progress`, `counters` | stored by the worker, loaded by anyone |
//! | `stuck`, `steady` | stored by the monitor, loaded by anyone |
//! | `pinned_count`, `pinned_queue`, `notifier` | see `pinned.rs` and `notifier.rs` |
//! | `early` | put in by the worker, taken out by anyone |
//! | `wheel` | under its lock |
//!
//! `progress` and `counters` change at each turn, so they have cache lines of their own: workers that look for work read
//! what else stands here again and again. Beside three workers that do, a turn takes 39 ns at the median instead of 45;
//! beside one or none there is no difference. (Rejected: a line of its own for the runtime's count of living green threads,
//! which each spawn and each end changes. It made no difference with 1, 2 and 4 workers.)

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::base::counters::Counters;
use crate::base::deadline::Deadline;
use crate::base::spin::{SpinGuard, SpinLock};
use crate::base::task_waker;
use crate::sched::alarm::{AlarmCount, Expired, TimerOwner};
use crate::sched::due_queue::DueQueue;
use crate::sched::green::{Green, GreenRef};
use crate::sched::notifier::Notifier;
use crate::sched::progress::{Progress, Steady};
use crate::sched::run_next::RunNext;
use crate::sched::run_queue::{RunQueue, Thief};
use crate::sched::spare_workers::WorkerState;
use crate::sched::wheel::{Timer, Wheel};

/// Timers that expire in one go, before the wheel's lock is let go.
const EXPIRED: usize = 64;

/// How often the wheel's lock is taken at one look: what is left then, if millions are due at once, waits for
/// the next look, and those that have expired can run.
const LOOKS: usize = 16;

/// Turns that others have, at most, before it is the turn of a green thread that is to have it early: as many as it accepts
/// connections in a turn of its own, so that those who come and those who are there get about as much of the worker.
const EARLY_TURNS: u32 = 32;

/// A worker's place; see the module's page.
pub(crate) struct Shard {
    queue: RunQueue<GreenRef>,
    pub(crate) thief: Thief<GreenRef>,
    pub(crate) run_next: RunNext<Green>,
    pub(crate) progress: Progress,
    pub(crate) counters: Counters,
    /// Set by the monitor while the worker does not get on: its run-next slot may be stolen.
    pub(crate) stuck: AtomicBool,
    /// Since when the worker has been in the turn that it is in.
    pub(crate) steady: Steady,
    pub(crate) worker_state: WorkerState,
    /// Pinned green threads that live; changed by the worker's own OS thread.
    pub(super) pinned_count: AtomicU32,
    /// Those of them that are ready.
    pub(crate) pinned_queue: DueQueue<GreenRef>,
    pub(crate) notifier: Notifier,
    /// Green threads that many others depend on: behind those that accept connections stand all the clients that have
    /// connected, who would otherwise wait for a round of the queue for every few of them.
    pub(crate) early: DueQueue<GreenRef>,
    wheel: SpinLock<Wheel<TimerOwner<GreenRef>>>,
    /// When the wheel's next timer is due, or earlier.
    next_timer: AtomicU64,
}

// SAFETY: `queue` is the only field that is not Sync; `Shard::queue` says who may use it.
unsafe impl Sync for Shard {}

impl Shard {
    fn new() -> Shard {
        let queue = RunQueue::new();
        Shard {
            thief: queue.thief(),
            queue,
            run_next: RunNext::new(),
            progress: Progress::new(),
            counters: Counters::default(),
            stuck: AtomicBool::new(false),
            steady: Steady::new(),
            worker_state: WorkerState::vacant(),
            pinned_count: AtomicU32::new(0),
            pinned_queue: DueQueue::new(),
            notifier: Notifier::new(),
            early: DueQueue::new(),
            wheel: SpinLock::new(Wheel::new(Deadline::now().as_nanos())),
            next_timer: AtomicU64::new(u64::MAX),
        }
    }

    /// The worker's own end of its queue.
    ///
    /// # Safety
    ///
    /// The caller is the OS thread that serves here, be it on a green thread or in the scheduler: the
    /// protocol of `spare_workers.rs` hands the queue from one OS thread to the next.
    #[inline]
    pub(crate) unsafe fn queue(&self) -> &RunQueue<GreenRef> {
        &self.queue
    }

    /// The worker is to run `green` in this turn.
    #[inline]
    pub(super) fn run(&self, green: GreenRef) {
        self.progress.run(green.as_ptr().cast());
    }

    /// The green thread that the worker runs, or ran last.
    pub(crate) fn running(&self) -> Option<GreenRef> {
        let green = ptr::NonNull::new(self.progress.running())?;
        // SAFETY: the word holds null or, from `run`, a control block.
        Some(unsafe { GreenRef::new(green.cast()) })
    }

    #[inline]
    pub(crate) fn take_next(&self) -> Option<GreenRef> {
        // SAFETY: what is put into the slot is a control block, and these are never unmapped.
        self.run_next
            .take()
            .map(|green| unsafe { GreenRef::new(green) })
    }

    /// Puts a green thread into the run-next slot, and gives the one that was there.
    #[inline]
    pub(crate) fn put_next(&self, green: GreenRef) -> Option<GreenRef> {
        let before = self.run_next.put(green.as_ptr());
        // SAFETY: what is put into the slot is a control block, and these are never unmapped.
        before.map(|before| unsafe { GreenRef::new(before) })
    }

    /// Queues a green thread that is to have its turn early. Only the worker itself calls this.
    pub(crate) fn push_early(&self, green: GreenRef) {
        let ahead = u32::try_from(self.queued() + 1).unwrap_or(EARLY_TURNS);
        let due = self.progress.turn().wrapping_add(ahead.min(EARLY_TURNS));
        self.early.push(green, due);
    }

    /// Whether another worker surely finds something to run here.
    pub(crate) fn has_work(&self) -> bool {
        !self.thief.is_empty() || !self.early.is_empty() || self.is_stuck() && self.has_next()
    }

    /// Whether another worker may find something to run here, if it waits for a moment.
    pub(crate) fn may_have_work(&self) -> bool {
        self.has_work() || self.has_next()
    }

    /// Whether the monitor has found that the worker does not get on.
    #[inline]
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst)
    }

    /// How many green threads wait for a turn here.
    pub(crate) fn queued(&self) -> usize {
        let due = self.pinned_queue.len() + self.early.len();
        self.thief.len() + usize::from(self.has_next()) + due
    }

    pub(crate) fn has_next(&self) -> bool {
        self.run_next.is_occupied()
    }

    /// The lock of the wheel.
    pub(crate) fn wheel(&self) -> SpinGuard<'_, Wheel<TimerOwner<GreenRef>>> {
        self.wheel.lock()
    }

    /// How many alarms are set in this wheel, and in some others.
    pub(crate) fn alarms(&self) -> &'static AlarmCount {
        AlarmCount::of(ptr::from_ref(self).addr())
    }

    /// Gives when the timer will fire, in nanoseconds.
    pub(crate) fn insert_timer(&self, green: GreenRef, deadline: Deadline) -> u64 {
        let owner = TimerOwner::Thread(green);
        // SAFETY: control blocks stay in place, and a green thread waits for one timer at a time, which it cancels after each
        // wait.
        unsafe { self.insert_into(&mut self.wheel(), &green.timer, deadline, owner) }
    }

    /// As [`insert_timer`](Self::insert_timer), into the wheel that was locked.
    ///
    /// # Safety
    ///
    /// The timer is in no wheel, and stays where it is until it was cancelled or has expired. `wheel` is this shard's.
    pub(crate) unsafe fn insert_into(
        &self,
        wheel: &mut Wheel<TimerOwner<GreenRef>>,
        timer: &Timer<TimerOwner<GreenRef>>,
        deadline: Deadline,
        owner: TimerOwner<GreenRef>,
    ) -> u64 {
        // SAFETY: the timer is in no wheel, and stays in place, by this function's contract.
        let fires = unsafe { wheel.insert(ptr::NonNull::from(timer), deadline.as_nanos(), owner) };
        if fires < self.next_timer.load(Ordering::SeqCst) {
            self.next_timer.store(fires, Ordering::SeqCst);
        }
        fires
    }

    pub(crate) fn cancel_timer(&self, timer: &Timer<TimerOwner<GreenRef>>) {
        // SAFETY: the caller remembers this shard as that of the timer.
        unsafe { self.wheel.lock().cancel(timer) };
    }

    /// How many timers are under way.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.lock().len()
    }

    pub(crate) fn next_timer(&self) -> u64 {
        self.next_timer.load(Ordering::SeqCst)
    }

    /// Wakes the green threads and tasks whose deadline has come; if there are very many, some of them.
    pub(crate) fn expire_timers(&self, now: Deadline) {
        for _ in 0..LOOKS {
            if self.next_timer() > now.as_nanos() {
                return;
            }
            let mut expired = [const { None }; EXPIRED];
            let mut count = 0;
            {
                let mut wheel = self.wheel.lock();
                wheel.advance(now.as_nanos(), |owner| {
                    // SAFETY: it has just left the wheel, whose lock is held.
                    expired[count] = unsafe { owner.expire(self.alarms()) };
                    count += 1;
                    count < EXPIRED
                });
                self.next_timer
                    .store(wheel.next_deadline(), Ordering::SeqCst);
            }
            expired.into_iter().flatten().for_each(wake);
        }
    }

    /// No worker looks at the timers any more: wakes all tasks that wait for one. No green thread does.
    pub(super) fn abandon_timers(&self) {
        loop {
            let mut wheel = self.wheel();
            let Some(owner) = wheel.pop() else {
                return;
            };
            // SAFETY: it has just left the wheel, whose lock is held.
            let expired = unsafe { owner.expire(self.alarms()) };
            drop(wheel);
            expired.into_iter().for_each(wake);
        }
    }
}

/// Wakes whom an expired timer was for.
fn wake(expired: Expired<GreenRef>) {
    match expired {
        Expired::Thread(green) => green.unpark(),
        Expired::Task(waker) => task_waker::wake(waker),
    }
}

/// The shards of a runtime: as many as ever had a worker at once. None is ever taken away.
pub(crate) struct Shards {
    places: Box<[OnceLock<Arc<Shard>>]>,
    /// How many are in use; stored after the shard itself.
    used: AtomicUsize,
}

impl Shards {
    pub(crate) fn with_room_for(capacity: usize) -> Shards {
        Shards {
            places: (0..capacity).map(|_| OnceLock::new()).collect(),
            used: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// The shard at `index`, below [`len`](Self::len).
    pub(crate) fn get(&self, index: usize) -> &Arc<Shard> {
        self.places[index]
            .get()
            .expect("a shard stands at every index in use")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Shard>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Adds a shard without a worker and gives its index, if there is room. Only the monitor calls this, and who
    /// builds the runtime.
    pub(crate) fn add(&self) -> Option<usize> {
        let index = self.len();
        self.places.get(index)?.set(Arc::new(Shard::new())).ok()?;
        self.used.store(index + 1, Ordering::Release);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn what_changes_at_each_turn_shares_no_cache_line_with_anything_else() {
        const LINES: usize = 128;
        for (start, size) in [
            (offset_of!(Shard, progress), size_of::<Progress>()),
            (offset_of!(Shard, counters), size_of::<Counters>()),
        ] {
            assert_eq!((start % LINES, size % LINES), (0, 0));
        }
    }
}
