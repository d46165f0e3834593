//! The switch between a green thread and its worker: to leave for a reason, and to be resumed.
//!
//! Nothing stands between the two but the switch itself, and both sides are inlined into their callers. A wait's reason and
//! timer are noted before it; a probe is answered after it.

use std::sync::atomic::Ordering;

use corosensei::CoroutineResult;

use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::sched::context;
use crate::sched::coroutine::Action;
use crate::sched::green::{BUDGET, Green, GreenRef, NO_LIMIT};
use crate::sched::worker::Worker;

/// Calls `f` as native code on the present stack. Not inlined: its frame may be large, and must not become part of a frame on
/// another stack.
#[inline(never)]
fn in_place<F: FnOnce() -> T, T>(f: F) -> T {
    context::as_native(f)
}

impl Green {
    /// Switches to the worker, and returns when a worker resumes this green thread. Always inlined: a processor guesses where a
    /// function returns to, and after a switch it guesses wrong.
    #[inline(always)]
    pub(super) fn suspend(&self, action: Action) {
        // SAFETY: null, or set by `begin` on this stack; then it lives as long as the coroutine's function.
        match unsafe { self.yielder.get().as_ref() } {
            Some(yielder) => {
                self.is_switching.store(true, Ordering::Relaxed);
                yielder.suspend(action);
                self.is_switching.store(false, Ordering::Relaxed);
            }
            // SAFETY: a green thread without a yielder is adopted, and was entered or is about to be handed over.
            None => unsafe { self.adopted.leave(action as usize) },
        }
    }

    /// Runs `f` on the stack of the worker's OS thread, below the frames of the scheduler, with this green thread's
    /// storage. Runs on this green thread.
    ///
    /// If this green thread is an adopted OS thread, `f` runs on its own stack, which is an OS thread's. If it is another green
    /// thread that was adopted, `f` runs on the stack of that one's worker, which waits meanwhile.
    ///
    /// # Safety
    ///
    /// `f` does not switch away from this green thread.
    pub(crate) unsafe fn on_workers_stack<F: FnOnce() -> T, T>(&self, f: F) -> T {
        // SAFETY: null, or set by `begin` on this green thread's stack; then it lives as long as the coroutine's
        // function.
        let Some(yielder) = (unsafe { self.yielder.get().as_ref() }) else {
            return match self.words_before_adoption.get().green() {
                // SAFETY: the caller's `f` switches away from neither of the two green threads, and the one that was adopted
                // stays where it is, and so do its worker's frames, as long as this one runs.
                Some(host) => unsafe { host.on_workers_stack(f) },
                None => in_place(f),
            };
        };
        let f = SameThread(f);
        // The worker's frames stay as they are until this green thread switches away.
        yielder.on_parent_stack(move || context::as_native(|| f.call()))
    }

    /// In a signal handler that has interrupted this green thread: whether that is between two stacks, in corosensei's code,
    /// which does not tell unwinders what it has pushed.
    pub(crate) fn is_switching(&self) -> bool {
        self.is_switching.load(Ordering::Relaxed)
    }

    /// Lets the other green threads of this worker run first. Runs on this green thread.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        self.suspend(Action::Yield);
    }

    /// Waits for an unpark; may return without one. Runs on this green thread.
    #[inline(always)]
    fn park(&self) {
        if self.park.begin() {
            self.suspend(Action::Park);
        }
        if self.probe.is_set() {
            self.answer_probe();
        }
    }

    #[cold]
    #[inline(never)]
    fn answer_probe(&self) {
        self.probed.set(true);
        let id = self.life().task.header().id;
        self.probe.answer(id, self.stack.get(), self.entry_frame());
    }

    /// Waits for an unpark or for `deadline`; may return before either. Runs on this green thread, which waits for
    /// what `reason` says.
    pub(crate) fn park_until(&self, this: GreenRef, deadline: Option<Deadline>, reason: Packed) {
        let [why, since, until] = &self.wait;
        self.parked_at.set(arch::stack_pointer());
        let limit = deadline.map_or(NO_LIMIT, Deadline::as_nanos);
        // A wait that goes on after a probe has lasted from its beginning.
        let goes_on = self.probed.get()
            && self.probed.replace(false)
            && why.load(Ordering::Relaxed) == reason.word()
            && until.load(Ordering::Relaxed) == limit;
        if !goes_on {
            since.store(Deadline::now_coarse().as_nanos(), Ordering::Relaxed);
            until.store(limit, Ordering::Relaxed);
            why.store(reason.word(), Ordering::Relaxed);
        }
        let Some(deadline) = deadline else {
            return self.park();
        };
        let shard = self.worker().shard();
        self.wheel.set(shard);
        let fires = shard.insert_timer(this, deadline);
        self.life().shared.timer_inserted(fires);
        self.park();
        // SAFETY: shards live as long as the runtime, which this green thread keeps alive.
        unsafe { &*self.wheel.get() }.cancel_timer(&self.timer);
    }

    /// Whether the caller, on this green thread, may be a signal handler. Exact on the green thread's own stack, but that
    /// what a handler left behind, in an array that nobody has written since, is taken for one that runs; on any other stack,
    /// whose extent nobody knows, true.
    pub(crate) fn may_be_in_signal_handler(&self) -> bool {
        let here = arch::stack_pointer();
        if !self.holds_stack(here) {
            return true;
        }
        // SAFETY: the green thread's stack, from the caller's frame up to that of its first function.
        unsafe { arch::has_signal_frame(here, self.entry_frame.get()) }
    }
}

impl GreenRef {
    /// Runs the green thread until it switches away.
    ///
    /// # Safety
    ///
    /// Runs on a worker whose queue handed out this green thread, with the thread pointer set to
    /// its block.
    #[inline(always)]
    pub(crate) unsafe fn resume(self, worker: &Worker) -> Action {
        self.worker.set(worker);
        self.budget.set(BUDGET);
        self.park.resume();
        // SAFETY: only the worker that runs a green thread touches its coroutine.
        let Some(coroutine) = (unsafe { (*self.coroutine.get()).as_mut() }) else {
            // SAFETY: without a coroutine it is adopted, and it has left; the caller uses no thread-local variable.
            return Action::from_number(unsafe { self.adopted.enter() });
        };
        match coroutine.resume(()) {
            CoroutineResult::Yield(action) => action,
            CoroutineResult::Return(()) => Action::Exit,
        }
    }
}

/// A function that is called on the OS thread where it was made, so that it need not be `Send`.
struct SameThread<F>(F);

// SAFETY: it is called on the OS thread where it was made.
unsafe impl<F> Send for SameThread<F> {}

impl<F: FnOnce() -> T, T> SameThread<F> {
    fn call(self) -> T {
        (self.0)()
    }
}
