//! What the workers of a runtime share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crossbeam_deque::Injector;
use rustix::thread::{sched_getcpu, sched_yield};

use crate::base::counters::OutsideCounters;
use crate::base::error::BuildError;
use crate::base::kernel_futex;
use crate::base::patch::Patch;
use crate::base::process;
use crate::base::wait_flag::WaitFlag;
use crate::sched::green::{Green, GreenRef};
use crate::sched::idle::{Idle, SleepPlace};
use crate::sched::reactor::{Duty, Reactor};
use crate::sched::run_next::RunNext;
use crate::sched::settings::Settings;
use crate::sched::shard::Shards;
use crate::sched::spare_workers::WorkerCount;
use crate::sched::standby::Standby;

/// The shared part of a runtime. Workers, handles and each living green thread keep it alive.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) shards: Shards,
    pub(crate) worker_count: WorkerCount,
    pub(crate) injector: Injector<GreenRef>,
    pub(crate) idle: Idle,
    pub(crate) standby: Standby,
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) monitor_waits: WaitFlag,
    pub(crate) counters: OutsideCounters,
    sleeping: AtomicU32,
    /// Set when the handle is dropped: the workers leave once no green thread lives.
    pub(super) closing: AtomicBool,
    pub(super) live: AtomicUsize,
    peak_live: AtomicUsize,
    /// Green threads that were made and have not ended; counted only if there is a limit.
    admitted: AtomicUsize,
    /// Set once all green threads, and those still to start, are cancelled.
    pub(super) cancelled: AtomicBool,
    /// Somebody waits in [`wait_for_all`](Self::wait_for_all).
    pub(super) awaited: AtomicBool,
    /// Changes when all green threads but one have ended, and when that one has, while that is awaited.
    pub(super) ended: AtomicU32,
    /// Tells a forked child that this runtime is its parent's.
    forks: u32,
}

impl Shared {
    pub(crate) fn new(settings: Settings, duty: Duty) -> Result<Shared, BuildError> {
        Ok(Shared {
            shards: Shards::with_room_for(settings.workers + settings.spare_workers()),
            worker_count: WorkerCount::new(settings.workers),
            settings,
            injector: Injector::new(),
            idle: Idle::new(),
            standby: Standby::new(),
            reactor: Arc::new(Reactor::new(duty)?),
            monitor_waits: WaitFlag::new(),
            counters: OutsideCounters::default(),
            sleeping: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            peak_live: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            ended: AtomicU32::new(0),
            forks: process::forks(),
        })
    }

    pub(crate) fn patch(&self) -> Patch {
        self.settings.patch
    }

    /// Whether some worker surely finds something to run outside its own queue.
    pub(crate) fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.shards.iter().any(|shard| shard.has_work())
    }

    /// Whether some worker may find something to run outside its own queue, if it waits for a moment.
    pub(crate) fn may_have_work(&self) -> bool {
        !self.injector.is_empty() || self.shards.iter().any(|shard| shard.may_have_work())
    }

    /// How many workers search at once: the more search, the less each finds.
    pub(crate) fn search_limit(&self) -> u64 {
        self.worker_count.serving().div_ceil(2) as u64
    }

    /// New work is visible: wakes a sleeping worker unless another one searches already.
    #[inline]
    pub(crate) fn notify(&self) {
        match self.idle.notify() {
            Some(SleepPlace::Reactor) => self.reactor.signal(),
            Some(SleepPlace::Standby) => self.standby.signal(),
            None => {}
        }
    }

    /// The calling worker has put a green thread into its empty run-next slot in this turn: wakes a sleeping worker unless
    /// another one searches already or looks at the slots by itself.
    #[inline]
    pub(crate) fn notify_next(&self, run_next: &RunNext<Green>, turn: u32) {
        if self.idle.notify_next() {
            run_next.announce(turn);
            // Asked before: once it is signalled, the sleeper may not sleep any more.
            let is_in_the_way = self.sleeper_shares_processor();
            self.reactor.signal();
            if is_in_the_way {
                sched_yield();
            }
        }
    }

    /// Whether some worker went to sleep on the caller's processor. The kernel likes to wake a thread where it was: in a virtual
    /// machine it takes idle processors for ones that the host has preempted, and avoids them. Between two workers, which have had
    /// equal shares, it does not preempt either. So the woken one would wait until the caller sleeps (measured: 102 µs if that
    /// computes for 100, and 4 if it yields).
    #[cold]
    fn sleeper_shares_processor(&self) -> bool {
        let processor = sched_getcpu() as u32;
        (self.shards.iter()).any(|shard| shard.progress.sleeps_on(processor))
    }

    /// Queues a green thread from outside the workers.
    pub(super) fn inject(&self, green: GreenRef) {
        self.injector.push(green);
        self.notify();
    }

    /// A worker goes to sleep in the reactor, which must wake it for the next timer. False if that is due.
    pub(crate) fn arm_timer(&self) -> bool {
        let next = self.next_timer();
        next == u64::MAX || self.reactor.arm(next)
    }

    /// When the next timer of all is due, in nanoseconds.
    pub(crate) fn next_timer(&self) -> u64 {
        let timers = self.shards.iter().map(|shard| shard.next_timer());
        timers.min().unwrap_or(u64::MAX)
    }

    /// A running worker has a new timer: if another one is in the reactor, it must wake in time.
    pub(crate) fn timer_inserted(&self, fires: u64) {
        if self.worker_count.serving() > 1 && self.idle.has_pollers() && !self.reactor.arm(fires) {
            self.notify();
        }
    }

    /// As [`timer_inserted`](Self::timer_inserted), by no worker of this runtime: a single one may be in the reactor, too.
    pub(crate) fn timer_inserted_outside(&self, fires: u64) {
        if self.idle.has_pollers() && !self.reactor.arm(fires) {
            self.notify();
        }
    }

    /// A worker goes on to run something: if it was the one to take the timer's event, and another one
    /// is in the reactor, the timer must be set for the next deadline.
    pub(crate) fn keep_timer_armed(&self) {
        if self.worker_count.serving() > 1
            && self.reactor.is_disarmed()
            && self.idle.has_pollers()
            && !self.arm_timer()
        {
            self.notify();
        }
    }

    pub(crate) fn worker_sleeps(&self) {
        self.sleeping.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn worker_wakes(&self) {
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        kernel_futex::notify(&self.monitor_waits);
    }

    /// How many workers sleep.
    pub(crate) fn sleeping(&self) -> usize {
        self.sleeping.load(Ordering::SeqCst) as usize
    }

    /// Counts a green thread that is about to be made, if there is a limit.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if as many exist as there may be; then it is not counted.
    #[inline]
    pub(super) fn admit(&self) -> io::Result<()> {
        match self.settings.max_green_threads {
            None => Ok(()),
            Some(most) => self.admit_up_to(most),
        }
    }

    #[cold]
    fn admit_up_to(&self, most: usize) -> io::Result<()> {
        let admitted = self
            .admitted
            .try_update(Ordering::AcqRel, Ordering::Relaxed, |admitted| {
                (admitted < most).then_some(admitted + 1)
            });
        admitted.map(drop).map_err(|_| {
            io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "the runtime has {most} green threads, as many as max_green_threads allows; wait for the end of some, \
                     or raise it"
                ),
            )
        })
    }

    /// As [`admit`](Self::admit), of a thread that exists already and becomes a green one.
    pub(super) fn admit_adopted(&self) {
        if self.settings.max_green_threads.is_some() {
            self.admitted.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// One that was admitted has ended. Called before that is made known, so that whoever has joined it may spawn another.
    #[inline]
    pub(super) fn dismiss_admitted(&self) {
        if self.settings.max_green_threads.is_some() {
            self.admitted.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn green_started(&self) {
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        if live > self.peak_live.load(Ordering::Relaxed) {
            self.peak_live.fetch_max(live, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether this process is a child forked from the runtime's.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != process::forks()
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// The most green threads that have lived at once.
    pub(crate) fn peak_live(&self) -> usize {
        self.peak_live.load(Ordering::Relaxed)
    }
}
