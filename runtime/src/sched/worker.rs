//! A worker: an OS thread that runs green threads.
//!
//! **The way from one green thread to the next** on the same worker takes the next one from a queue, writes
//! the thread pointer once, and switches stacks. In between, the worker runs with the thread pointer of the
//! green thread it has just left, which may already run on another worker: so that code uses no
//! thread-local variable, allocates nothing and makes no libc call. Before it does anything of the kind, it
//! goes [home](Worker::go_home), to its own thread pointer, and calls a function that is not inlined,
//! because the compiler takes the thread pointer for constant within a function.
//!
//! **Queues.** A green thread that another one has just woken stands in the run-next slot: its data is warm. The slot is
//! passed over after some turns in a row, so that a pair cannot keep the worker to itself. A green thread that accepts
//! connections has its turns early, but no more than every second turn of the worker goes to such ones (`due_queue.rs`).
//! All others stand in the worker's run queue (`run_queue.rs`), which is first-in first-out and from which other workers
//! steal. What is woken from outside the workers goes to the injector.
//!
//! **Fairness.** Every [`CLOCK_TURNS`] turns the worker looks at the clock and, if some time has passed, at
//! timers, reactor, injector and other workers' queues, even if its own queue is full (`steal.rs`). While turns are so
//! long that some milliseconds pass without a look, the monitor asks for one. (A fixed number of turns between two looks,
//! 61 in Go, costs a system call too many while turns are short, and is too rare when they are long.)

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::body::tls;
use crate::sched::coroutine::Action;
use crate::sched::green::GreenRef;
use crate::sched::idle::SleepPlace;
use crate::sched::reactor::{EVENTS, Events};
use crate::sched::run_queue::RunQueue;
use crate::sched::scheduler::Shared;
use crate::sched::shard::Shard;
use crate::sched::standby::Pace;

/// How many batches a busy worker takes from the injector when it looks around.
const SHARES: usize = 8;

/// Turns after which a busy worker looks at the clock, and the time after which it then looks at
/// injector, timers and reactor. Short turns are thus bounded by time, long ones by number.
const CLOCK_TURNS: u32 = 16;
const LOOK_AROUND_NANOS: u64 = 50_000;

/// Turns in a row that the run-next slot may take while others wait in the queue.
const NEXT_TURNS: u32 = 16;

/// Why a worker stops running green threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The runtime is over.
    Over,
    /// The worker has retired and was not called in again.
    Retired,
}

/// A worker; lives on its OS thread's stack.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) shard: Arc<Shard>,
    thread_pointer: arch::ThreadPointer,
    home: usize,
    /// The worker's own floating-point environment.
    floating_point: arch::FloatingPoint,
    /// The floating-point environment that the processor has now.
    in_force: Cell<arch::FloatingPoint>,
    at_home: Cell<bool>,
    turn: Cell<u32>,
    next_turns: Cell<u32>,
    /// The latest turn that a green thread had early.
    early_turn: Cell<u32>,
    last_look: Cell<u64>,
    pub(crate) balanced: Cell<u64>,
    pub(crate) pace: Pace,
    /// Set while events and timers are handled: what they wake is queued in order.
    pub(crate) dispatching: Cell<bool>,
    pub(crate) events: RefCell<Events>,
    random: Cell<u32>,
}

impl Worker {
    /// # Safety
    ///
    /// The calling OS thread was started to serve at `index`.
    pub(super) unsafe fn new(shared: Arc<Shared>, index: usize) -> Worker {
        let shard = shared.shards.get(index).clone();
        let turn = shard.progress.turn();
        Worker {
            shared,
            index,
            shard,
            thread_pointer: tls::layout().thread_pointer,
            home: arch::thread_pointer(),
            floating_point: arch::FloatingPoint::current(),
            in_force: Cell::new(arch::FloatingPoint::current()),
            at_home: Cell::new(true),
            // Counts on from the last worker that served here, whose mark of a blocking section must not be taken for this one's.
            turn: Cell::new(turn),
            next_turns: Cell::new(0),
            early_turn: Cell::new(turn),
            last_look: Cell::new(0),
            balanced: Cell::new(0),
            pace: Pace::default(),
            dispatching: Cell::new(false),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            random: Cell::new(index as u32 + 1),
        }
    }

    #[inline]
    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    #[inline]
    pub(crate) fn queue(&self) -> &RunQueue<GreenRef> {
        // SAFETY: a worker is used by its own OS thread only, which serves at this shard.
        unsafe { self.shard.queue() }
    }

    /// Runs green threads until the runtime is over, or the worker has retired for good.
    #[inline(never)]
    pub(super) fn run(&self) -> Leave {
        let mut is_time = self.is_time_to_look_around();
        loop {
            match self.find_next(is_time) {
                Ok(green) => is_time = self.run_from(green),
                Err(leave) => return leave,
            }
        }
    }

    /// Looks around if it is time to, and finds the next green thread to run.
    #[inline(never)]
    fn find_next(&self, is_time_to_look_around: bool) -> Result<GreenRef, Leave> {
        if is_time_to_look_around {
            self.go_home();
            self.shard.progress.set_looking_around(true);
            self.look_around()?;
            self.shard.progress.set_looking_around(false);
        }
        if let Some(green) = self.take() {
            return Ok(green);
        }
        self.go_home();
        self.find_work()
    }

    /// Runs one green thread after the other, until there is something else to do. True if it is time to look around.
    ///
    /// What a green thread has asked for is done after the next one was found and its thread pointer was set. The reason is that
    /// reading the floating-point environment costs 4 ns, but next to nothing right after an instruction that waits for all
    /// earlier ones, as setting the thread pointer does.
    #[inline(never)]
    fn run_from(&self, mut green: GreenRef) -> bool {
        self.enter_block(green);
        self.enter_floating_point(green.floating_point.get());
        loop {
            self.shard.run(green);
            self.shard.counters.switches.add();
            // SAFETY: the green thread came out of a queue, so its stack was left and no other
            // worker runs it; its thread pointer is set; this function uses no thread-local variable.
            let action = unsafe { green.resume(self) };
            let is_time = self.is_time_to_look_around();
            let next = if is_time || action == Action::Exit {
                None
            } else {
                self.take()
            };
            let Some(next) = next else {
                self.save_floating_point(green);
                if action == Action::Exit {
                    self.go_home();
                    self.finish(green);
                } else {
                    self.put_back(green, action);
                }
                return is_time;
            };
            self.enter_block(next);
            self.save_floating_point(green);
            self.put_back(green, action);
            self.enter_floating_point(next.floating_point.get());
            green = next;
        }
    }

    /// Does what a green thread that has left asks for.
    #[inline(always)]
    fn put_back(&self, green: GreenRef, action: Action) {
        if action == Action::Yield || !green.park.commit() {
            self.requeue(green);
        }
    }

    /// Sets the thread pointer of a green thread.
    #[inline(always)]
    fn enter_block(&self, green: GreenRef) {
        self.at_home.set(false);
        // SAFETY: the block of a green thread that no other worker runs; the callers use no thread-local variable.
        unsafe { self.thread_pointer.set(green.block().address()) };
    }

    /// Before others may run `green`, which was the last to run here.
    #[inline(always)]
    fn save_floating_point(&self, green: GreenRef) {
        let floating_point = arch::FloatingPoint::current();
        if self.in_force.replace(floating_point) != floating_point {
            green.floating_point.set(floating_point);
        }
    }

    /// The thread pointer of the worker's OS thread.
    pub(crate) fn home(&self) -> usize {
        self.home
    }

    /// Goes back to the worker's own thread pointer, and to its own floating-point environment.
    #[inline(always)]
    fn go_home(&self) {
        if !self.at_home.replace(true) {
            // SAFETY: the block of this OS thread; the callers use no thread-local variable.
            unsafe { self.thread_pointer.set(self.home) };
            self.enter_floating_point(self.floating_point);
        }
    }

    /// Compares first, because writing the registers costs more and nearly all green threads have the same environment.
    #[inline(always)]
    fn enter_floating_point(&self, floating_point: arch::FloatingPoint) {
        if self.in_force.replace(floating_point) != floating_point {
            floating_point.enter();
        }
    }

    #[inline]
    pub(crate) fn count_turn(&self) -> u32 {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        self.shard.progress.take_turn(turn);
        turn
    }

    #[inline]
    fn is_time_to_look_around(&self) -> bool {
        let is_clock_turn = self.count_turn().is_multiple_of(CLOCK_TURNS);
        is_clock_turn && Deadline::now().as_nanos() > self.last_look.get() + LOOK_AROUND_NANOS
            || self.shard.progress.is_look_due()
    }

    #[inline]
    fn take(&self) -> Option<GreenRef> {
        let (pinned, early) = (&self.shard.pinned_queue, &self.shard.early);
        if !(pinned.is_empty() && early.is_empty())
            && let Some(green) = self.take_due()
        {
            return Some(green);
        }
        let turns = self.next_turns.get();
        if turns < NEXT_TURNS
            && let Some(green) = self.shard.take_next()
        {
            self.next_turns.set(turns + 1);
            self.shard.progress.count_prompt();
            return Some(green);
        }
        self.next_turns.set(0);
        self.queue().pop().or_else(|| self.shard.take_next())
    }

    /// Takes a green thread of the two due queues whose turn has come, or any of theirs if there is nothing else to do.
    #[cold]
    fn take_due(&self) -> Option<GreenRef> {
        let (pinned, early) = (&self.shard.pinned_queue, &self.shard.early);
        let turn = self.turn.get();
        // However many have their turns early, they get every second turn at most.
        let may_be_early = turn.wrapping_sub(self.early_turn.get()) > 1;
        let due_early = if may_be_early {
            early.take_due(turn)
        } else {
            None
        };
        if due_early.is_some() {
            self.early_turn.set(turn);
            return due_early;
        }
        let due = pinned.take_due(turn);
        let is_free = self.queue().is_empty() && !self.shard.has_next();
        if due.is_some() || !is_free {
            return due;
        }
        pinned.take().or_else(|| early.take())
    }

    /// Queues a green thread behind all others, between two turns.
    #[inline(always)]
    fn requeue(&self, green: GreenRef) {
        if green.pin().is_some() {
            return self.shard.push_pinned(green);
        }
        self.enqueue(green);
    }

    /// Queues a green thread as it waits for its turn.
    #[inline(always)]
    pub(crate) fn enqueue(&self, green: GreenRef) {
        if green.is_early.get() {
            self.shard.push_early(green);
        } else {
            self.queue().push(green);
        }
    }

    #[inline(never)]
    fn finish(&self, green: GreenRef) {
        green.leave_worker();
        green.finish();
        self.shared.green_ended();
    }

    /// Queues a new or awakened green thread behind all others. Runs at home or on a green thread.
    pub(crate) fn push(&self, green: GreenRef) {
        self.enqueue(green);
        if !self.dispatching.get() {
            self.shared.notify();
        }
    }

    /// Queues a green thread that the running one has woken: it is next, and what was next goes to
    /// the queue. Runs at home or on a green thread.
    pub(crate) fn push_next(&self, green: GreenRef) {
        if self.dispatching.get() {
            return self.push(green);
        }
        match self.shard.put_next(green) {
            Some(before) => self.push(before),
            None => self
                .shared
                .notify_next(&self.shard.run_next, self.turn.get()),
        }
    }

    /// Looks at timers, reactor, injector and other workers' queues, or retires.
    #[inline(never)]
    fn look_around(&self) -> Result<(), Leave> {
        self.shard.progress.set_look_due(false);
        if self.shared.is_over() {
            return Err(Leave::Over);
        }
        if self.may_retire() {
            self.retire()?;
        }
        self.dispatch(|| {
            self.expire_timers();
            self.shard.counters.reactor_polls.add();
            let signalled = self
                .shared
                .reactor
                .turn(&mut self.events.borrow_mut(), false);
            if signalled && self.shared.idle.is_signalled(SleepPlace::Reactor) {
                // The signal was meant for a sleeping worker: send it again.
                self.shared.reactor.signal();
            }
        });
        self.queue().take_share(&self.shared.injector, SHARES);
        self.relieve_stuck();
        self.balance(self.last_look.get());
        self.shared.keep_timer_armed();
        Ok(())
    }

    fn expire_timers(&self) {
        let now = Deadline::now();
        self.last_look.set(now.as_nanos());
        for shard in self.shared.shards.iter() {
            shard.expire_timers(now);
        }
    }

    /// Handles events; what they wake is queued in order, and one more worker is woken if that is
    /// more than one green thread.
    fn dispatch(&self, handle: impl FnOnce()) {
        let queued = || self.queue().len() + self.shard.early.len();
        let before = queued();
        self.dispatching.set(true);
        handle();
        self.dispatching.set(false);
        if queued() > before.max(1) {
            self.shared.notify();
        }
    }

    /// Finds a green thread to run, or sleeps until there is one. Without work, a surplus worker retires.
    #[inline(never)]
    fn find_work(&self) -> Result<GreenRef, Leave> {
        let shared = &*self.shared;
        let mut searching = false;
        let mut stolen: Option<GreenRef> = None;
        self.shard.progress.rest();
        loop {
            if shared.is_over() {
                if searching {
                    shared.idle.stop_searching();
                }
                return Err(Leave::Over);
            }
            self.dispatch(|| self.expire_timers());
            let own = stolen.take().or_else(|| self.take());
            let mut found = own.or_else(|| self.take_injected());
            if found.is_none() && shared.worker_count.serving() > 1 {
                if !searching {
                    searching = shared.idle.start_searching(shared.search_limit());
                }
                if searching {
                    found = self.steal();
                }
            }
            let retires = found.is_none() && self.may_retire();
            if (found.is_some() || retires)
                && std::mem::take(&mut searching)
                && shared.idle.stop_searching()
                && shared.may_have_work()
            {
                shared.notify();
            }
            if let Some(green) = found {
                shared.keep_timer_armed();
                return Ok(green);
            }
            if retires {
                self.retire()?;
                continue;
            }
            stolen = self.sleep(searching);
            searching = true;
        }
    }

    pub(crate) fn take_injected(&self) -> Option<GreenRef> {
        self.queue().pop_injected(&self.shared.injector)
    }

    /// A number below `limit` (xorshift).
    pub(crate) fn random(&self, limit: usize) -> usize {
        let mut number = self.random.get();
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        self.random.set(number);
        number as usize % limit
    }
}
