//! The guard of what waits on a green thread: while a [`Section`] lives, libc's functions pass straight through their shims.
//!
//! [`enter`] is what every shim begins with. `Some(section)` means: the caller is user code on a green thread of a runtime
//! whose patch set holds the family. `None` means: make the original call. The runtime's own types begin with
//! [`enter_own`], whatever the patch set.
//!
//! What a call does with its section stands in the files beside: sleeping in `sleep.rs`, descriptors in `call.rs`, `poll.rs` and
//! `accept.rs`, words in `futex.rs`.

use rustix::io::Errno;

use crate::base::patch::Patch;
use crate::sched::blocking_section;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::wait::interrupt::WaitEnd;

/// A native section on a green thread; dropping it makes the thread's code user code again.
pub struct Section {
    green: GreenRef,
    _native: NativeSection,
}

/// The guard of a shim; see the module's page. One thread-local load and a test on other threads;
/// allocates nothing, safe in signal handlers.
#[inline]
pub fn enter(family: Patch) -> Option<Section> {
    enter_if(|patch| patch.contains(family))
}

/// As [`enter`], for a function that belongs to several families: the runtime has one of them in its patch set.
#[inline]
pub fn enter_either(families: Patch) -> Option<Section> {
    enter_if(|patch| patch.intersects(families))
}

#[inline]
fn enter_if(is_wanted: impl FnOnce(Patch) -> bool) -> Option<Section> {
    let green = context::current()?;
    if !is_wanted(green.patch()) {
        return None;
    }
    Some(Section {
        green,
        _native: NativeSection::enter_on(green),
    })
}

/// As [`enter`], whatever the patch set: for what concerns a green thread's identity.
#[inline]
pub fn enter_any() -> Option<Section> {
    enter(Patch::none())
}

/// As [`enter_any`], and also inside another section: for the runtime's own yielding types.
pub(crate) fn enter_own() -> Option<Section> {
    let green = context::green()?;
    Some(Section {
        green,
        _native: NativeSection::enter_on(green),
    })
}

/// Counts against the budget of a green thread that did not have to wait; if that is spent, or the green thread owes others a
/// turn, lets others run.
pub(crate) fn give_way() {
    if let Some(section) = enter_own()
        && (section.green.owes_yield.take() || section.green.spend_budget())
    {
        section.yield_now();
    }
}

/// Lets a starving green thread run that the caller has just woken, before the caller goes on; see
/// [`futex`](crate::futex). To be called where user code has woken somebody.
#[inline]
pub fn yield_if_owed() {
    enter(Patch::LOCK).inspect(Section::yield_if_owed);
}

/// As [`yield_if_owed`], for the runtime's own types, whatever the patch set.
pub(crate) fn yield_if_owed_own() {
    enter_own().inspect(Section::yield_if_owed);
}

impl Section {
    fn yield_if_owed(&self) {
        if self.green.owes_yield.take() {
            self.yield_outside_handlers();
        }
    }

    pub(crate) fn green(&self) -> GreenRef {
        self.green
    }

    /// Whether the runtime has this family in its patch set.
    pub fn is_patched(&self, family: Patch) -> bool {
        self.green.patch().contains(family)
    }

    /// Lets other green threads run.
    pub fn yield_now(&self) {
        self.green.yield_now();
    }

    /// Runs `f`, which may block the OS thread, as a blocking section: see [`crate::blocking()`]. The green thread
    /// may yield afterwards.
    pub fn blocking<F: FnOnce() -> T, T>(&self, f: F) -> T {
        blocking_section::marked(self.green, f)
    }

    /// As [`blocking`](Self::blocking), and does not yield: for what a signal handler may do.
    pub fn blocking_in_place<F: FnOnce() -> T, T>(&self, f: F) -> T {
        blocking_section::in_place(self.green, f)
    }

    /// As [`blocking`](Self::blocking), on the stack of the worker's OS thread, which has room for what would overflow a
    /// small green thread: name service modules of any origin, say. There `f` is as on an OS thread: every shim passes
    /// through, and the runtime's own types block.
    ///
    /// # Safety
    ///
    /// `f` uses no [`Section`].
    pub unsafe fn blocking_on_workers_stack<F: FnOnce() -> T, T>(&self, f: F) -> T {
        // SAFETY: `f` uses no section, by this function's contract, and without one nothing on another stack can switch
        // green threads.
        self.blocking(|| unsafe { self.green.on_workers_stack(f) })
    }

    /// Counts an operation that did not wait against the green thread's budget of them; if that is spent, lets others
    /// run, unless a signal handler makes the call.
    #[inline]
    pub fn give_way(&self) {
        if self.green.spend_budget() {
            self.yield_outside_handlers();
        }
    }

    /// Lets other green threads run, unless a signal handler makes the call: the green thread could go on on another
    /// OS thread, and take along a signal mask that is the first one's.
    pub fn yield_outside_handlers(&self) {
        if !self.green.may_be_in_signal_handler() {
            self.green.yield_now();
        }
    }

    /// The error of a wait that ended so. What cuts all waits short from now on leaves a loop around the call turning on
    /// its worker: others must have their turn.
    pub(super) fn cut_short(&self, end: WaitEnd) -> Errno {
        match end {
            WaitEnd::Deadline => Errno::AGAIN,
            WaitEnd::Interrupted(interrupted) => {
                self.green.yield_now();
                interrupted.into()
            }
        }
    }
}

/// Lets the other green threads of this worker run; on an OS thread, yields the processor.
#[inline(always)]
pub fn yield_now() {
    match context::green() {
        Some(green) => green.yield_now(),
        None => rustix::thread::sched_yield(),
    }
}
