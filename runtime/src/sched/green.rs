//! The control block of a green thread.
//!
//! It stands in the thread's slot, between stack and thread-local storage, from the slot's making
//! to the end of the process; one green thread after the other uses it. [`GreenRef`] is a pointer to
//! it that may outlive the green thread: what it offers then does nothing.
//!
//! Who touches which field:
//!
//! | field | by |
//! |---|---|
//! | `park`, `join_state` | anyone, by atomic operations |
//! | `parked_at`, `trimmed` | its own green thread, and whoever holds it while it is parked |
//! | `worker` | the worker that resumes it, before the switch; read by the green thread itself |
//! | `timer` | its own green thread, and whoever holds the lock of the wheel it stands in |
//! | `coroutine` | the worker that runs it |
//! | `block`, `stack` | written by the spawner under the lock of `name`; read by its own green thread and its worker, and under that lock by anyone |
//! | `adopted` | its own green thread and the worker that runs it, if it is [adopted](crate::runtime::adoption) |
//! | `links` | whoever holds the lock of the run queue's backlog that it stands in, or took it out of there |
//! | `yielder`, `words_before_adoption`, `entry_frame`, `budget`, `vain_wakes`, `owes_yield`, `alternate_stack`, `cancellation`, `probed`, `stand_in` | its own green thread |
//! | `pin` | written by its own green thread in its first turn, by the worker after the last; read by anyone |
//! | `next_due`, `due` | whoever holds the lock of the due queue it stands in |
//! | `is_switching` | written by the spawner, then by its own green thread; read by a signal handler that has interrupted it |
//! | `is_early` | its own green thread; while it is parked or queued, read by whoever queues it |
//! | `floating_point` | written by the spawner, then by the worker that runs it |
//! | `wait` | written by its own green thread, read by anyone |
//! | `runtime` | written by the spawner, read by anyone |
//! | `probe`, `future_signal` | anyone, by atomic operations (see `probe.rs`, `future_signal.rs`) |
//! | `life` | put in by the spawner and taken out by whoever releases the slot, both under the lock of `name`; read in between by those for whom the green thread surely lives, and under that lock by anyone |
//! | `name` | under its lock; the overflow handler reads it without |

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use corosensei::Yielder;

use crate::base::arch::{FloatingPoint, StackSwitch};
use crate::base::deadline::Deadline;
use crate::base::patch::Patch;
use crate::base::process;
use crate::base::reason::Packed;
use crate::base::spin::SpinLock;
use crate::body::slot::{self, SlotRef};
use crate::body::tls::Block;
use crate::sched::alarm::TimerOwner;
use crate::sched::coroutine::{Action, GreenCoroutine};
use crate::sched::due_queue::Due;
use crate::sched::future_signal::FutureSignal;
use crate::sched::park::{ParkState, ThreadState};
use crate::sched::probe;
use crate::sched::run_queue::{Linked, Links};
use crate::sched::scheduler::Shared;
use crate::sched::shard::Shard;
use crate::sched::task::{Task, join_state, state};
use crate::sched::vain_wakes::VainWakes;
use crate::sched::wheel::Timer;
use crate::sched::worker::Worker;

/// In `wait`: until it is woken.
pub(super) const NO_LIMIT: u64 = u64::MAX;

/// Blocking operations that may succeed at once before a green thread yields all the same.
pub(super) const BUDGET: u32 = 32;

/// What belongs to one green thread's life in the slot, not to the slot.
pub(crate) struct Life {
    pub(crate) shared: Arc<Shared>,
    /// What its handles share with it: name, id, cancellation.
    pub(crate) task: Arc<dyn Task>,
    pub(super) forks: u32,
}

impl Life {
    pub(crate) fn new(shared: Arc<Shared>, task: Arc<dyn Task>) -> Life {
        Life {
            shared,
            task,
            forks: process::forks(),
        }
    }
}

/// The control block; see the module's page.
/// What each turn uses stands in the first two cache lines.
#[repr(C, align(64))]
pub(crate) struct Green {
    pub(crate) park: ParkState,
    pub(super) budget: Cell<u32>,
    pub(super) worker: Cell<*const Worker>,
    /// Null if it is adopted.
    pub(super) yielder: Cell<*const Yielder<(), Action>>,
    /// The thread control block that it runs on: the slot's, or that of the thread which was adopted.
    pub(super) block: Cell<Block>,
    /// The only shard that may run it, or null.
    pin: AtomicPtr<Shard>,
    /// Its stack, from the lowest address to the highest: the slot's, or that of the thread which was adopted.
    pub(super) stack: Cell<(usize, usize)>,
    pub(super) patch: Cell<Patch>,
    /// Its next turn comes early, however many others are ready; see `shard.rs`.
    pub(crate) is_early: Cell<bool>,
    /// It has woken one that starves, and lets others run before it goes on.
    pub(crate) owes_yield: Cell<bool>,
    /// It leaves its stack or comes back to it, by corosensei; see `switch.rs`.
    pub(super) is_switching: AtomicBool,
    /// The last park may have returned for a probe only.
    pub(super) probed: Cell<bool>,
    /// `None` if it is adopted.
    pub(super) coroutine: UnsafeCell<Option<GreenCoroutine>>,
    links: Links<GreenRef>,
    /// While it does not run; at first its spawner's.
    pub(crate) floating_point: Cell<FloatingPoint>,
    pub(super) entry_frame: Cell<usize>,
    /// Where it and its worker stand if it is adopted.
    pub(super) adopted: StackSwitch,
    /// Of an adopted green thread: what `context.rs` said of its thread before.
    pub(crate) words_before_adoption: Cell<ThreadWords>,
    pub(crate) slot: SlotRef,
    /// The runtime of the present green thread, or of the last one, to be compared only; for those who look from
    /// outside.
    pub(super) runtime: AtomicUsize,
    /// The state word of the life's task, which tells whether it was cancelled.
    pub(super) cancellation: Cell<*const AtomicU32>,
    /// What it waits for (see `reason.rs`), since when and until when, in nanoseconds; for those who look from outside.
    pub(super) wait: [AtomicU64; 3],
    /// Where its stack ends while it is parked, but for the few frames of the switch itself.
    pub(super) parked_at: Cell<usize>,
    /// Since when it waited when its stack was last given back; see `trim.rs`.
    pub(super) trimmed: Cell<Option<Deadline>>,
    next_due: Cell<Option<GreenRef>>,
    due: Cell<u32>,
    pub(crate) vain_wakes: VainWakes,
    pub(crate) timer: Timer<TimerOwner<GreenRef>>,
    pub(super) wheel: Cell<*const Shard>,
    /// Of the future that it awaits in `block_on`.
    pub(crate) future_signal: FutureSignal,
    pub(crate) probe: probe::ProbeCell,
    pub(super) life: UnsafeCell<Option<Life>>,
    pub(super) name: SpinLock<Name>,
    pub(super) join_state: AtomicU32,
    pub(super) value: Cell<*mut c_void>,
    pub(crate) alternate_stack: Cell<Option<libc::stack_t>>,
    /// The OS thread that is kept for it, and for how much; see `stand_in.rs`, which alone knows the type.
    pub(super) stand_in: Cell<Option<(Arc<dyn Any + Send + Sync>, u32)>>,
}

// SAFETY: the table in the module's page says who touches which field, and what orders them: the
// park word's protocol between workers, a lock for the rest.
unsafe impl Sync for Green {}

/// What the words of `context.rs` said of a thread before it was [adopted](crate::runtime::adoption).
#[derive(Clone, Copy)]
pub(crate) struct ThreadWords {
    pub(super) current: *const Green,
    pub(super) green: *const Green,
    pub(super) own: bool,
}

impl ThreadWords {
    pub(crate) const NOBODY: ThreadWords = ThreadWords {
        current: ptr::null(),
        green: ptr::null(),
        own: false,
    };
}

#[derive(Clone)]
pub(crate) enum Name {
    None,
    Given(Arc<str>),
    /// As set by `pthread_setname_np`: at most 15 bytes and a zero.
    Thread([u8; 16]),
}

impl Name {
    /// What was set by `pthread_setname_np` need not be text.
    pub(crate) fn to_text(&self) -> Option<String> {
        match self {
            Name::None => None,
            Name::Given(name) => Some(name.as_ref().to_owned()),
            Name::Thread(name) => {
                let name = name.split(|&byte| byte == 0).next().unwrap_or(b"");
                Some(String::from_utf8_lossy(name).into_owned())
            }
        }
    }
}

/// What somebody outside sees of a green thread; it may have ended since.
pub(crate) struct GreenSnapshot {
    pub(crate) task: Arc<dyn Task>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) thread_state: ThreadState,
    /// If it is parked.
    pub(crate) waiting: Waiting,
    /// From the lowest address to the highest; see [`slot::deepest_use`].
    pub(crate) stack: (usize, usize),
    /// Bytes of stack that it may use.
    pub(crate) stack_size: usize,
}

/// A parked green thread's wait, as its words say. Of one that is about to park or to go on it may be half new.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) reason: Packed,
    pub(crate) since: Deadline,
    pub(crate) until: Option<Deadline>,
}

impl Green {
    pub(super) fn new(slot: SlotRef) -> Green {
        Green {
            park: ParkState::unused(),
            worker: Cell::new(ptr::null()),
            yielder: Cell::new(ptr::null()),
            entry_frame: Cell::new(0),
            floating_point: Cell::new(FloatingPoint::current()),
            coroutine: UnsafeCell::new(None),
            adopted: StackSwitch::new(),
            words_before_adoption: Cell::new(ThreadWords::NOBODY),
            block: Cell::new(slot.block),
            stack: Cell::new((slot.stack_limit, slot.stack_base)),
            budget: Cell::new(BUDGET),
            patch: Cell::new(Patch::none()),
            links: Links::new(),
            slot,
            runtime: AtomicUsize::new(0),
            cancellation: Cell::new(ptr::null()),
            wait: [const { AtomicU64::new(0) }; 3],
            pin: AtomicPtr::new(ptr::null_mut()),
            parked_at: Cell::new(0),
            trimmed: Cell::new(None),
            next_due: Cell::new(None),
            due: Cell::new(0),
            is_early: Cell::new(false),
            vain_wakes: VainWakes::default(),
            owes_yield: Cell::new(false),
            is_switching: AtomicBool::new(false),
            timer: Timer::new(),
            wheel: Cell::new(ptr::null()),
            future_signal: FutureSignal::new(),
            probe: probe::ProbeCell::empty(),
            probed: Cell::new(false),
            life: UnsafeCell::new(None),
            name: SpinLock::new(Name::None),
            join_state: AtomicU32::new(join_state::DETACHED),
            value: Cell::new(ptr::null_mut()),
            alternate_stack: Cell::new(None),
            stand_in: Cell::new(None),
        }
    }

    /// What belongs to the present green thread.
    ///
    /// Only for a control block whose green thread surely lives: that is the calling one, one that the caller has just
    /// taken out of PARKED, one in a run queue, or one whose join the caller has claimed.
    #[inline]
    pub(crate) fn life(&self) -> &Life {
        // SAFETY: written before the green thread was first queued and not again before its slot
        // is released (see the table above); whoever else looks only reads.
        unsafe { (*self.life.get()).as_ref() }.expect("the green thread lives")
    }

    #[inline]
    pub(crate) fn worker(&self) -> &Worker {
        // SAFETY: set on each resume to the worker that runs us, which outlives our turn.
        unsafe { &*self.worker.get() }
    }

    /// The turn that the worker is in. Runs on this green thread.
    pub(crate) fn turn(&self) -> u32 {
        self.worker().shard().progress.turn()
    }

    #[inline]
    pub(crate) fn patch(&self) -> Patch {
        self.patch.get()
    }

    /// The shard that it is pinned to. As [`life`](Self::life), only for a green thread that lives, or has just ended.
    #[inline]
    pub(crate) fn pin(&self) -> Option<&Shard> {
        // SAFETY: null, or a shard of its runtime, which lasts as long as the green thread.
        unsafe { self.pin.load(Ordering::Relaxed).as_ref() }
    }

    pub(crate) fn set_pin(&self, shard: *const Shard) {
        self.pin.store(shard.cast_mut(), Ordering::Relaxed);
    }

    /// The thread control block that it runs on.
    #[inline]
    pub(crate) fn block(&self) -> Block {
        self.block.get()
    }

    /// Whether `address` lies in its stack.
    #[inline]
    pub(crate) fn holds_stack(&self, address: usize) -> bool {
        let (limit, base) = self.stack.get();
        (limit..base).contains(&address)
    }

    /// Its stack, from the lowest address to the highest.
    pub(crate) fn stack(&self) -> (usize, usize) {
        self.stack.get()
    }

    /// Bytes of stack that it may use.
    fn stack_size(&self) -> usize {
        if self.is_adopted() {
            let (limit, base) = self.stack.get();
            base - limit
        } else {
            self.slot.promised_stack_size()
        }
    }

    /// Whether it is an [adopted](crate::runtime::adoption) thread, whose stack and block are not the slot's.
    pub(crate) fn is_adopted(&self) -> bool {
        self.block.get() != self.slot.block
    }

    /// Whether it is an adopted OS thread, one that glibc knows, and not another green thread.
    pub(crate) fn is_adopted_os_thread(&self) -> bool {
        self.is_adopted() && slot::find(self.block.get().address()).is_none()
    }

    /// The stack pointer of the frame that calls the green thread's body.
    pub(crate) fn entry_frame(&self) -> usize {
        self.entry_frame.get()
    }

    /// Whether its waits are to be cut short. Runs on this green thread.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        // SAFETY: the task stays as long as this green thread's life.
        let state = unsafe { &*self.cancellation.get() };
        state.load(Ordering::Acquire) & state::CANCELLED != 0 || self.life().shared.is_cancelled()
    }

    /// Whether its green thread runs on `shared`, or did last.
    pub(crate) fn is_of(&self, shared: &Shared) -> bool {
        self.runtime.load(Ordering::Relaxed) == ptr::from_ref(shared) as usize
    }

    /// What the words of its wait say; they mean something while it is parked.
    pub(crate) fn waiting(&self) -> Waiting {
        let [why, since, until] = &self.wait;
        let limit = until.load(Ordering::Relaxed);
        Waiting {
            reason: Packed::from_word(why.load(Ordering::Relaxed)),
            since: Deadline::from_nanos(since.load(Ordering::Relaxed)),
            until: (limit != NO_LIMIT).then(|| Deadline::from_nanos(limit)),
        }
    }

    /// Counts one blocking operation that did not have to wait. True when the budget is spent: the green thread
    /// should yield, so that one whose I/O is always ready does not starve the others.
    #[inline]
    pub(crate) fn spend_budget(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left == 0
    }

    /// Before an operation of a future, which must not park: whether the budget is spent, and the future should let its task be
    /// polled later. The green thread then owes others a turn, which whoever polls futures gives them; the next operations go
    /// through, whosever they are.
    #[inline]
    pub(crate) fn puts_off(&self) -> bool {
        let is_spent = self.budget.get() == 0;
        if is_spent {
            self.budget.set(BUDGET);
            self.owes_yield.set(true);
        }
        is_spent
    }

    pub(crate) fn set_thread_name(&self, name: [u8; 16]) {
        let before = std::mem::replace(&mut *self.name.lock(), Name::Thread(name));
        drop(before);
    }

    /// The name as `pthread_getname_np` gives it: cut to 15 bytes, with a zero.
    pub(crate) fn thread_name(&self) -> [u8; 16] {
        let mut cut = [0; 16];
        match &*self.name.lock() {
            Name::None => {}
            Name::Given(name) => {
                let length = name.floor_char_boundary(15);
                cut[..length].copy_from_slice(&name.as_bytes()[..length]);
            }
            Name::Thread(name) => cut = *name,
        }
        cut
    }

    /// The name's bytes, without a lock: for the overflow handler, when the green thread itself
    /// is the one that overflowed.
    ///
    /// # Safety
    ///
    /// The green thread is stopped and nobody renames it.
    pub(crate) unsafe fn name_of_stopped(&self) -> &[u8] {
        // SAFETY: nobody changes the name meanwhile, by this function's contract.
        match unsafe { &*self.name.data_ptr() } {
            Name::None => b"<unnamed>",
            Name::Given(name) => name.as_bytes(),
            Name::Thread(name) => name.split(|&byte| byte == 0).next().unwrap_or(b""),
        }
    }
}

/// A pointer to a control block, valid for the rest of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GreenRef(NonNull<Green>);

// SAFETY: `Green` is Sync, and control blocks are never freed.
unsafe impl Send for GreenRef {}

// SAFETY: `Green` is Sync, and control blocks are never freed.
unsafe impl Sync for GreenRef {}

impl Deref for GreenRef {
    type Target = Green;

    #[inline]
    fn deref(&self) -> &Green {
        // SAFETY: regions are never unmapped, and their control blocks stay control blocks.
        unsafe { self.0.as_ref() }
    }
}

impl Due for GreenRef {
    #[inline]
    fn next_due(&self) -> &Cell<Option<GreenRef>> {
        &self.next_due
    }

    #[inline]
    fn due(&self) -> &Cell<u32> {
        &self.due
    }
}

impl Linked for GreenRef {
    #[inline]
    fn links(&self) -> &Links<GreenRef> {
        &self.links
    }
}

impl GreenRef {
    /// # Safety
    ///
    /// `green` is a control block in a slot.
    #[inline]
    pub(crate) unsafe fn new(green: NonNull<Green>) -> GreenRef {
        GreenRef(green)
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *mut Green {
        self.0.as_ptr()
    }

    /// The task of the green thread that lives here, or has ended and is still to be joined. From any thread, at any time.
    pub(crate) fn task(self) -> Option<Arc<dyn Task>> {
        let _name = self.name.lock();
        // SAFETY: put in and taken out under the lock that we hold; others only read.
        let life = unsafe { (*self.life.get()).as_ref() }?;
        Some(life.task.clone())
    }

    /// What the green thread that lives here is and does, if one does. From any thread, at any time.
    pub(crate) fn snapshot(self) -> Option<GreenSnapshot> {
        let name = self.name.lock();
        // SAFETY: put in and taken out under the lock that we hold; others only read.
        let life = unsafe { (*self.life.get()).as_ref() }?;
        if self.join_state.load(Ordering::Acquire) & join_state::LEFT != 0 {
            return None;
        }
        Some(GreenSnapshot {
            task: life.task.clone(),
            shared: life.shared.clone(),
            name: name.clone(),
            thread_state: self.park.look(),
            waiting: self.waiting(),
            stack: self.stack(),
            stack_size: self.stack_size(),
        })
    }

    /// What [`set_value`](Self::set_value) was given. On the green thread itself, or by who has claimed its join.
    pub(crate) fn value(self) -> *mut c_void {
        self.value.get()
    }
}
