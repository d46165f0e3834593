//! The part of a worker that others see, and the list of them.
//!
//! A shard is a worker's place: its run queue, its timers, and what the monitor and other workers may know of
//! it. It outlives the OS thread that serves there (see `crew.rs`) and lasts as long as the runtime.
//!
//! Who touches which field:
//!
//! | field | by |
//! |---|---|
//! | `queue` | the OS thread that serves here |
//! | `thief` | anyone |
//! | `run_next` | put in by the worker, taken out by anyone; see `run_next.rs` |
//! | `progress`, `counters` | stored by the worker, loaded by anyone |
//! | `stuck` | stored by the monitor, loaded by anyone |
//! | `pinned` | see `pinned.rs` |
//! | `early` | put in by the worker, taken out by anyone |
//! | `wheel` | under its lock |
//!
//! `progress` and `counters` change at each turn, so they have cache lines of their own: workers that look for work read
//! what else stands here again and again. Beside three workers that do, a turn takes 39 ns at the median instead of 45; beside one
//! or none there is no difference. (Rejected: a line of its own for the runtime's count of living green threads, which each spawn
//! and each end changes. It made no difference with 1, 2 and 4 workers.)

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Arc, OnceLock};

use crate::base::counters::Counters;
use crate::base::deadline::Deadline;
use crate::base::spin::SpinLock;
use crate::sched::crew::Post;
use crate::sched::due_queue::DueQueue;
use crate::sched::green::{Green, GreenRef};
use crate::sched::pinned::Pinned;
use crate::sched::run_next::RunNext;
use crate::sched::run_queue::{RunQueue, Thief};
use crate::sched::wheel::{Timer, Wheel};

/// Timers that expire in one go, before the wheel's lock is let go.
const EXPIRED: usize = 64;

/// How often the wheel's lock is taken at one look: what is left then, if millions are due at once, waits for
/// the next look, and those that have expired can run.
const LOOKS: usize = 16;

/// Turns that others have, at most, before it is the turn of a green thread that is to have it early: as many as it accepts
/// connections in a turn of its own, so that those who come and those who are there get about as much of the worker.
const EARLY_TURNS: u32 = 32;

/// What a worker tells of itself as it goes along, by plain stores. Two cache lines, as processors fetch them in pairs.
#[repr(align(128))]
pub(crate) struct Progress {
    /// Turns taken, and sleeps: it changes as long as the worker gets on.
    turns: AtomicU32,
    /// The turn of the latest blocking section, times two, plus one until the section ends. It counts only
    /// during that very turn: a green thread that parks in its section leaves the mark behind.
    section: AtomicU64,
    /// The green thread of the latest turn, until the worker finds nothing more to run.
    running: AtomicPtr<Green>,
    /// Whether the worker looks around between two green threads, the first of which stands in `running` still.
    looking_around: AtomicBool,
    /// Whether the worker sleeps, in the reactor or on standby.
    asleep: AtomicBool,
    /// The kernel's number for the OS thread that serves, or served last; 0 while one is being started.
    os_thread: AtomicI32,
    /// How often the worker has found what to do next as soon as it looked for it; see `standby.rs`.
    prompt: AtomicU32,
    /// Set by the monitor if the worker has taken turns for long without a look around.
    look_due: AtomicBool,
}

/// What the monitor sees of a worker at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) turns: u32,
    pub(crate) section: u64,
    pub(crate) asleep: bool,
}

impl Sight {
    /// Whether the turn is in a blocking section.
    pub(crate) fn is_marked(&self) -> bool {
        self.section == u64::from(self.turns) * 2 + 1
    }
}

impl Progress {
    fn new() -> Progress {
        Progress {
            turns: AtomicU32::new(0),
            section: AtomicU64::new(0),
            running: AtomicPtr::new(ptr::null_mut()),
            looking_around: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            os_thread: AtomicI32::new(0),
            prompt: AtomicU32::new(0),
            look_due: AtomicBool::new(false),
        }
    }

    /// Counts that the worker has found what to do next at once. To be called by the worker itself.
    #[inline]
    pub(crate) fn count_prompt(&self) {
        let count = self.prompt.load(Ordering::Relaxed);
        self.prompt.store(count.wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether the monitor asks the worker to look around.
    #[inline]
    pub(crate) fn is_look_due(&self) -> bool {
        self.look_due.load(Ordering::Relaxed)
    }

    pub(crate) fn set_look_due(&self, is_due: bool) {
        self.look_due.store(is_due, Ordering::Relaxed);
    }

    /// How often the worker has found what to do next at once, modulo 2^32.
    pub(crate) fn prompt(&self) -> u32 {
        self.prompt.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn take_turn(&self, turn: u32) {
        self.turns.store(turn, Ordering::Relaxed);
    }

    /// The turn that the worker is in.
    #[inline]
    pub(crate) fn turn(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn run(&self, green: GreenRef) {
        self.running.store(green.as_ptr(), Ordering::Relaxed);
    }

    /// The worker has nothing to run.
    pub(crate) fn rest(&self) {
        self.running.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The green thread that the worker runs, or ran last.
    pub(crate) fn running(&self) -> Option<GreenRef> {
        let green = ptr::NonNull::new(self.running.load(Ordering::Relaxed));
        // SAFETY: the word holds null or a control block.
        green.map(|green| unsafe { GreenRef::new(green) })
    }

    /// First thing on the worker's OS thread.
    pub(crate) fn begin(&self) {
        let os_thread = rustix::thread::gettid().as_raw_pid();
        self.os_thread.store(os_thread, Ordering::Relaxed);
        self.set_looking_around(false);
    }

    /// An OS thread is about to be started for the worker.
    pub(crate) fn expect_start(&self) {
        self.os_thread.store(0, Ordering::Relaxed);
    }

    /// The kernel's number for the OS thread that serves or did last; `None` if it has not begun yet.
    pub(crate) fn os_thread(&self) -> Option<i32> {
        let os_thread = self.os_thread.load(Ordering::Relaxed);
        (os_thread != 0).then_some(os_thread)
    }

    pub(crate) fn set_looking_around(&self, looking_around: bool) {
        self.looking_around.store(looking_around, Ordering::Relaxed);
    }

    pub(crate) fn is_looking_around(&self) -> bool {
        self.looking_around.load(Ordering::Relaxed)
    }

    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }

    fn open_mark(&self) -> u64 {
        u64::from(self.turn()) * 2 + 1
    }

    /// On the running green thread: marks this turn. False if it is marked already.
    #[inline]
    pub(crate) fn open_section(&self) -> bool {
        let mark = self.open_mark();
        let is_new = self.section.load(Ordering::Relaxed) != mark;
        self.section.store(mark, Ordering::Relaxed);
        is_new
    }

    /// On the running green thread: takes back this turn's mark, if it has one.
    #[inline]
    pub(crate) fn close_section(&self) {
        let mark = self.open_mark();
        if self.section.load(Ordering::Relaxed) == mark {
            self.section.store(mark - 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn look(&self) -> Sight {
        Sight {
            turns: self.turn(),
            section: self.section.load(Ordering::Relaxed),
            asleep: self.asleep.load(Ordering::Relaxed),
        }
    }
}

/// A worker's place; see the module's page.
pub(crate) struct Shard {
    queue: RunQueue<GreenRef>,
    pub(crate) thief: Thief<GreenRef>,
    pub(crate) run_next: RunNext<Green>,
    pub(crate) progress: Progress,
    pub(crate) counters: Counters,
    /// Set by the monitor while the worker does not get on: its run-next slot may be stolen.
    pub(crate) stuck: AtomicBool,
    pub(crate) post: Post,
    pub(crate) pinned: Pinned,
    /// Green threads that many others depend on: behind those that accept connections stand all the clients that have
    /// connected, who would otherwise wait for a round of the queue for every few of them.
    pub(crate) early: DueQueue,
    wheel: SpinLock<Wheel<GreenRef>>,
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
            post: Post::vacant(),
            pinned: Pinned::new(),
            early: DueQueue::new(),
            wheel: SpinLock::new(Wheel::new(Deadline::now().as_nanos())),
            next_timer: AtomicU64::new(u64::MAX),
        }
    }

    /// The worker's own end of its queue.
    ///
    /// # Safety
    ///
    /// The caller is the OS thread that serves here, be it on a green thread or in the scheduler: the post's
    /// protocol hands the queue from one OS thread to the next.
    #[inline]
    pub(crate) unsafe fn queue(&self) -> &RunQueue<GreenRef> {
        &self.queue
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
        let due = self.pinned.queue.len() + self.early.len();
        self.thief.len() + usize::from(self.has_next()) + due
    }

    pub(crate) fn has_next(&self) -> bool {
        self.run_next.is_occupied()
    }

    /// Gives when the timer will fire, in nanoseconds.
    pub(crate) fn insert_timer(&self, green: GreenRef, deadline: Deadline) -> u64 {
        let mut wheel = self.wheel.lock();
        // SAFETY: control blocks stay in place, and a green thread waits for one timer at a time,
        // which it cancels after each wait.
        let fires =
            unsafe { wheel.insert(ptr::NonNull::from(&green.timer), deadline.as_nanos(), green) };
        if fires < self.next_timer.load(Ordering::SeqCst) {
            self.next_timer.store(fires, Ordering::SeqCst);
        }
        fires
    }

    pub(crate) fn cancel_timer(&self, timer: &Timer<GreenRef>) {
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

    /// Unparks the green threads whose deadline has come; if there are very many, some of them.
    pub(crate) fn expire_timers(&self, now: Deadline) {
        for _ in 0..LOOKS {
            if self.next_timer() > now.as_nanos() {
                return;
            }
            let mut expired = [None; EXPIRED];
            let mut count = 0;
            {
                let mut wheel = self.wheel.lock();
                wheel.advance(now.as_nanos(), |green| {
                    expired[count] = Some(green);
                    count += 1;
                    count < EXPIRED
                });
                self.next_timer
                    .store(wheel.next_deadline(), Ordering::SeqCst);
            }
            for green in expired.into_iter().flatten() {
                green.unpark();
            }
        }
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
