//! How a green thread comes into a slot, begins, ends, and leaves the slot.
//!
//! One that was spawned is *prepared* by its spawner, *begins* and *ends* on its own stack, is *finished* by its worker once
//! that stack was left, and *recycled* with its slot, then or as it is joined. One that was adopted is *handed over* instead,
//! and *taken back*.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use corosensei::{Coroutine, Yielder};

use crate::base::arch::{self, FloatingPoint};
use crate::base::process;
use crate::body::slot_pool;
use crate::body::tls::{self, Block};
use crate::sched::context;
use crate::sched::coroutine::{Action, SlotStack};
use crate::sched::green::{GreenRef, Life, Name};
use crate::sched::parking_lot;
use crate::sched::task::join_state;

/// What the kernel's thread does on a slot's stack while the thread that it belongs to is an adopted green thread.
struct KernelSide {
    green: GreenRef,
    wait: fn(GreenRef),
}

impl KernelSide {
    /// Runs on the slot's stack. It does not return, but ends by switching to where the green thread then stands.
    ///
    /// # Safety
    ///
    /// `this` is a `KernelSide` that stays until the green thread is queued.
    unsafe extern "C" fn run(this: *mut c_void) -> ! {
        // SAFETY: `this` points to a `KernelSide`, by this function's contract.
        let KernelSide { green, wait } = unsafe { this.cast::<KernelSide>().read() };
        let thread_pointer = tls::layout().thread_pointer;
        // SAFETY: nobody else runs on the slot's block, and this function uses no thread-local variable.
        unsafe { thread_pointer.set(green.slot.block.address()) };
        wait(green);
        // SAFETY: the green thread has ended, and its worker has left this block; no thread-local variable is used here.
        unsafe {
            thread_pointer.set(green.block().address());
            green.adopted.enter();
        }
        unreachable!("nobody goes back to a kernel's thread that has left the slot")
    }
}

/// A body larger than this is boxed.
const LARGEST_BODY: usize = 512;

/// Ends the process if a panic or an exception would leave the green thread's stack. One of the green thread's own code
/// does not come here: it is caught, or ends the process as uncaught (see `hook/exit.rs`). So it comes from the destructor
/// of a thread-local value or of a pthread key's, where std ends the process too.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!(
            "a panic or an exception left a destructor that ran as its green thread ended; the process cannot go on"
        );
        std::process::abort();
    }
}

impl GreenRef {
    /// Makes a new green thread in a slot, to be queued by the caller. `joinable` keeps the slot
    /// until [`join`](Self::join) or [`detach`](Self::detach). `body` is told who runs it; what it returns is dropped last
    /// of all, after the thread-local destructors.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if as many live as `max_green_threads` allows; those of the slot's pool.
    pub(crate) fn prepare<F, R>(
        stack_size: usize,
        life: Life,
        joinable: bool,
        body: F,
    ) -> std::io::Result<GreenRef>
    where
        F: FnOnce(GreenRef) -> R + Send + 'static,
    {
        // corosensei takes what it starts with in a limited space.
        if const { size_of::<F>() > LARGEST_BODY } {
            let body = Box::new(body);
            GreenRef::prepare_small(stack_size, life, joinable, body)
        } else {
            GreenRef::prepare_small(stack_size, life, joinable, body)
        }
    }

    fn prepare_small<F, R>(
        stack_size: usize,
        life: Life,
        joinable: bool,
        body: F,
    ) -> std::io::Result<GreenRef>
    where
        F: FnOnce(GreenRef) -> R + Send + 'static,
    {
        life.shared.admit()?;
        let green =
            GreenRef::acquire(stack_size).inspect_err(|_| life.shared.dismiss_admitted())?;
        let stack = SlotStack {
            base: green.slot.stack_base,
            limit: green.slot.stack_limit,
        };
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            let unwinding = AbortOnUnwind;
            // Read here, because it must be that of this frame.
            green.entry_frame.set(arch::stack_pointer());
            green.begin(yielder);
            let after = body(green);
            green.end();
            drop(after);
            std::mem::forget(unwinding);
        });
        green.floating_point.set(FloatingPoint::current());
        let join_state = if joinable {
            join_state::JOINABLE
        } else {
            join_state::DETACHED
        };
        let slot = &green.slot;
        green.occupy(
            life,
            join_state,
            slot.block,
            (slot.stack_limit, slot.stack_base),
        );
        green.is_switching.store(true, Ordering::Relaxed);
        // SAFETY: the slot is ours until the green thread is queued.
        unsafe { *green.coroutine.get() = Some(coroutine) };
        Ok(green)
    }

    /// Makes a green thread of the calling thread, in a slot whose own stack has at least `stack_size` bytes. `block` and
    /// `stack` are the thread's, and `entry_frame` is the frame that calls the green thread's body.
    /// [`hand_over`](Self::hand_over) must follow.
    pub(crate) fn prepare_adopted(
        stack_size: usize,
        life: Life,
        block: Block,
        stack: (usize, usize),
        entry_frame: usize,
    ) -> std::io::Result<GreenRef> {
        let green = GreenRef::acquire(stack_size)?;
        life.shared.admit_adopted();
        green.occupy(life, join_state::CLAIMED, block, stack);
        green.yielder.set(ptr::null());
        green.is_switching.store(false, Ordering::Relaxed);
        green.entry_frame.set(entry_frame);
        green.floating_point.set(FloatingPoint::current());
        Ok(green)
    }

    /// The kernel's thread leaves the calling thread, which an adopted green thread is made of: it calls `wait` on the
    /// slot's own stack and block, and later goes back to where the green thread then stands, as
    /// [`take_back`](Self::take_back) says. Returns when a worker has resumed the green thread.
    ///
    /// # Safety
    ///
    /// `wait` queues the green thread, and returns when it has ended.
    pub(crate) unsafe fn hand_over(self, wait: fn(GreenRef)) {
        let mut waiter = KernelSide { green: self, wait };
        let stack_top = self.slot.stack_base;
        // SAFETY: the slot's stack is ours until the green thread is queued, and `waiter` stays until then.
        unsafe {
            let argument = (&raw mut waiter).cast();
            (self.adopted).start(stack_top, KernelSide::run, argument);
        }
        self.suspend(Action::Park);
    }

    /// Ends an adopted green thread, which goes on as the thread that it was before, on the kernel's thread that it had.
    /// Runs on this green thread.
    pub(crate) fn take_back(self) {
        self.end_kept_stand_in();
        let floating_point = FloatingPoint::current();
        self.life().shared.dismiss_admitted();
        self.suspend(Action::Exit);
        floating_point.enter();
        self.recycle();
    }

    /// Puts a new green thread into a slot that was acquired.
    fn occupy(self, life: Life, join_state: u32, block: Block, stack: (usize, usize)) {
        let green = self;
        green.patch.set(life.shared.patch());
        let runtime = Arc::as_ptr(&life.shared) as usize;
        green.runtime.store(runtime, Ordering::Relaxed);
        let name = life.task.header().name.clone();
        green.cancellation.set(&life.task.header().state);
        life.task.header().set_green(green);
        green.alternate_stack.set(None);
        green.join_state.store(join_state, Ordering::Relaxed);
        green.value.set(ptr::null_mut());
        green.probed.set(false);
        green.park.start();
        let mut its_name = green.name.lock();
        *its_name = name.map_or(Name::None, Name::Given);
        green.block.set(block);
        green.stack.set(stack);
        // SAFETY: the slot is ours, and whoever looks from outside waits for the lock.
        unsafe { *green.life.get() = Some(life) };
        drop(its_name);
    }

    /// Runs first on the green thread's own stack.
    fn begin(self, yielder: &Yielder<(), Action>) {
        self.yielder.set(yielder);
        self.is_switching.store(false, Ordering::Relaxed);
        // SAFETY: this is the green thread's own block.
        unsafe { tls::start_thread() };
        context::start_green(self);
    }

    /// Runs last on the green thread's own stack: does what a thread does as it exits.
    fn end(self) {
        // SAFETY: this is the green thread's own block, and its code has ended.
        unsafe { tls::run_exit_destructors() };
        if process::forks() != self.life().forks {
            // The last thread of a forked child ends, and the process with it. It does so on this
            // stack: the worker's may be in other use by now.
            std::process::exit(0);
        }
        self.end_kept_stand_in();
        self.life().shared.dismiss_admitted();
        context::end_green();
    }

    /// Ends the green thread from somewhere deep in its stack, which is abandoned as it is.
    ///
    /// # Safety
    ///
    /// Runs on the green thread itself, and no destructor of a frame above still has to run.
    pub(crate) unsafe fn end_early(self) -> ! {
        self.end();
        self.suspend(Action::Exit);
        unreachable!("a green thread that has ended is not resumed")
    }

    /// Runs on the worker, after the green thread has ended and its stack was left.
    pub(crate) fn finish(self) {
        // SAFETY: only the worker that runs a green thread touches its coroutine. One that ended early is forgotten
        // with its stack, which holds nothing that still has to be dropped.
        unsafe { std::mem::forget((*self.coroutine.get()).take()) };
        self.park.retire();
        if self.join_state.fetch_or(join_state::LEFT, Ordering::AcqRel) == join_state::DETACHED {
            self.recycle();
        } else {
            // The joiner may have released the slot by now; then this wakes nobody, or
            // somebody too early, which every waiter allows for, as dumpers do for a probe sent back.
            fence(Ordering::SeqCst);
            self.probe.decline();
            parking_lot::wake(&self.join_state, u32::MAX);
        }
    }

    pub(super) fn recycle(self) {
        let mut its_name = self.name.lock();
        let name = std::mem::replace(&mut *its_name, Name::None);
        // SAFETY: the green thread has ended and nobody joins it any more; whoever looks from outside waits for the
        // lock.
        let life = unsafe { (*self.life.get()).take() };
        drop(its_name);
        self.probe.decline();
        slot_pool::release(self.slot);
        drop((life, name));
    }

    /// Whether nobody can join it.
    pub(crate) fn is_detached(self) -> bool {
        self.join_state.load(Ordering::Relaxed) & join_state::DETACHED != 0
    }
}
