//! What the workers of a runtime share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crossbeam_deque::Injector;

use crate::context::{self, NativeSection};
use crate::descriptor;
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
    /// Set when the handle is dropped: the workers leave once no green thread lives.
    closing: AtomicBool,
    live: AtomicUsize,
    workers_left: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(settings: Settings, shards: Box<[Shard]>) -> Result<Shared, BuildError> {
        let workers_left = AtomicUsize::new(shards.len());
        Ok(Shared {
            settings,
            shards,
            injector: Injector::new(),
            idle: Idle::new(),
            reactor: Arc::new(Reactor::new()?),
            bell: Bell::new(),
            sleeping: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            workers_left,
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
    pub(crate) fn timer_inserted(&self, fires: u64) {
        if self.shards.len() > 1 && self.idle.has_sleepers() && !self.reactor.arm(fires) {
            self.notify();
        }
    }

    /// A worker goes on to run something: if it was the one to take the timer's event, and another one
    /// sleeps, the timer must be set for the next deadline.
    pub(crate) fn keep_timer_armed(&self) {
        if self.shards.len() > 1
            && self.reactor.is_disarmed()
            && self.idle.has_sleepers()
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
        self.bell.ring();
    }

    pub(crate) fn all_sleep(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) as usize == self.shards.len()
    }

    /// The handle is dropped: the runtime ends with its last green thread.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.reactor.signal();
        self.bell.ring();
    }

    /// Whether the workers are to leave.
    pub(crate) fn is_over(&self) -> bool {
        self.closing.load(Ordering::SeqCst) && self.live.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn green_started(&self) {
        self.live.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn green_ended(&self) {
        if self.live.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_over() {
            self.reactor.signal();
            self.bell.ring();
        }
    }

    /// A worker leaves. The next one is told; the last one gives up the registered descriptors, which green
    /// threads of other runtimes may wait on.
    pub(crate) fn worker_leaves(&self) {
        self.reactor.signal();
        if self.workers_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            descriptor::abandon(&self.reactor);
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
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
