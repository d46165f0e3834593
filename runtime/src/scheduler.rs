//! What the workers of a runtime share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crossbeam_deque::Injector;

use crate::context::{self, NativeSection};
use crate::deadline::Deadline;
use crate::error::BuildError;
use crate::green::GreenRef;
use crate::idle::Idle;
use crate::monitor::Bell;
use crate::patch::Patch;
use crate::reactor::Reactor;
use crate::settings::Settings;
use crate::worker::Shard;

/// The shared part of a runtime. Workers, handles and each living green thread keep it alive.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) shards: Box<[Shard]>,
    pub(crate) injector: Injector<GreenRef>,
    pub(crate) idle: Idle,
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) bell: Bell,
    sleeping: AtomicU32,
    shut_down: AtomicBool,
    live: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(settings: Settings, shards: Box<[Shard]>) -> Result<Shared, BuildError> {
        Ok(Shared {
            settings,
            shards,
            injector: Injector::new(),
            idle: Idle::new(),
            reactor: Arc::new(Reactor::new()?),
            bell: Bell::new(),
            sleeping: AtomicU32::new(0),
            shut_down: AtomicBool::new(false),
            live: AtomicUsize::new(0),
        })
    }

    pub(crate) fn patch(&self) -> Patch {
        self.settings.patch
    }

    /// Whether some worker could find something to run outside its own queue.
    pub(crate) fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.shards.iter().any(Shard::has_work)
    }

    /// How many workers search at once: the more search, the less each finds.
    pub(crate) fn search_limit(&self) -> u64 {
        self.shards.len().div_ceil(2) as u64
    }

    /// New work is visible: wakes a sleeping worker unless another one searches already.
    #[inline]
    pub(crate) fn notify(&self) {
        if self.idle.notify() {
            self.reactor.signal();
        }
    }

    /// Queues a green thread from outside the workers.
    fn inject(&self, green: GreenRef) {
        self.injector.push(green);
        self.notify();
    }

    /// A worker goes to sleep: the reactor must wake it for the next timer. False if that is due.
    pub(crate) fn arm_timer(&self) -> bool {
        let next = self
            .shards
            .iter()
            .map(Shard::next_timer)
            .min()
            .unwrap_or(u64::MAX);
        next == u64::MAX || self.reactor.arm(next)
    }

    /// A running worker has a new timer: if another one sleeps, it must wake in time.
    pub(crate) fn timer_inserted(&self, deadline: Deadline) {
        if self.shards.len() > 1
            && self.idle.has_sleepers()
            && !self.reactor.arm(deadline.as_nanos())
        {
            self.notify();
        }
    }

    pub(crate) fn worker_sleeps(&self) {
        self.sleeping.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn worker_wakes(&self) {
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        self.bell.ring();
    }

    pub(crate) fn all_sleep(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) as usize == self.shards.len()
    }

    pub(crate) fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.reactor.signal();
        self.bell.ring();
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }

    pub(crate) fn green_started(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn green_ended(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

/// Queues a green thread that an unpark has made ready.
pub(crate) fn schedule(green: GreenRef) {
    let _native = NativeSection::enter();
    let shared = &green.life().shared;
    match context::worker() {
        Some(worker) if Arc::ptr_eq(&worker.shared, shared) => worker.push_next(green),
        _ => {
            // Once injected, the green thread may run and end, and its runtime with it.
            let shared = shared.clone();
            shared.inject(green);
        }
    }
}

/// Queues a new green thread.
pub(crate) fn start(green: GreenRef) {
    let _native = NativeSection::enter();
    let shared = green.life().shared.clone();
    shared.green_started();
    match context::worker() {
        Some(worker) if Arc::ptr_eq(&worker.shared, &shared) => worker.push(green),
        _ => shared.inject(green),
    }
}
