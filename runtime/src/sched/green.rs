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
//! | `park`, `ending` | anyone, by atomic operations |
//! | `worker` | the worker that resumes it, before the switch; read by the green thread itself |
//! | `timer` | its own green thread, and whoever holds the lock of the wheel it stands in |
//! | `coroutine` | the worker that runs it |
//! | `block`, `stack` | written by the spawner under the lock of `name`; read by its own green thread and its worker, and under that lock by anyone |
//! | `adopted` | its own green thread and the worker that runs it, if it is [adopted](crate::runtime::adoption) |
//! | `next_free`, `previous_free` | whoever holds the pool's lock |
//! | `links` | whoever holds the lock of the run queue's backlog that it stands in, or took it out of there |
//! | `yielder`, `aside`, `entry_frame`, `budget`, `vain_wakes`, `owes_turn`, `alternate_stack`, `cancellation`, `probed` | its own green thread |
//! | `pin` | written by its own green thread in its first turn, by the worker after the last; read by anyone |
//! | `next_due`, `due` | whoever holds the lock of the due queue it stands in |
//! | `is_early` | its own green thread; while it is parked or queued, read by whoever queues it |
//! | `floating_point` | written by the spawner, then by the worker that runs it |
//! | `wait` | written by its own green thread, read by anyone |
//! | `runtime` | written by the spawner, read by anyone |
//! | `probe` | anyone, by atomic operations (see `probe.rs`) |
//! | `life` | put in by the spawner and taken out by whoever releases the slot, both under the lock of `name`; in between read-only: by those for whom the green thread surely lives, and under that lock by anyone ([`GreenRef::snapshot`]) |
//! | `name` | under its lock; the overflow handler reads it without |

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::base::arch::{self, FloatingPoint, StackSwitch};
use crate::base::deadline::Deadline;
use crate::base::patch::Patch;
use crate::base::process;
use crate::base::reason::Packed;
use crate::base::spin::SpinLock;
use crate::body::slot::{self, Slot};
use crate::body::tls::{self, Block};
use crate::sched::context::{self, Words};
use crate::sched::due_queue::Due;
use crate::sched::park::{ParkState, Sight};
use crate::sched::parking_lot;
use crate::sched::probe;
use crate::sched::run_queue::{Linked, Links};
use crate::sched::scheduler::Shared;
use crate::sched::shard::Shard;
use crate::sched::task::{Task, state};
use crate::sched::vain_wakes::VainWakes;
use crate::sched::wheel::Timer;
use crate::sched::worker::Worker;

/// Written when a control block is made; what a slot that was never made does not hold.
const MADE: u32 = 0x6772_6e21;

/// In `wait`: until it is woken.
const NO_LIMIT: u64 = u64::MAX;

/// Blocking operations that may succeed at once before a green thread yields all the same.
const BUDGET: u32 = 32;

/// What a green thread asks of its worker as it switches away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Action {
    /// Run me again after the others.
    Yield,
    /// Run me again after an unpark.
    Park,
    /// I have ended, and my stack may be abandoned as it is.
    Exit,
}

struct SlotStack {
    base: usize,
    limit: usize,
}

// SAFETY: a slot's stack is at least 64 KiB with a guard below it, and nobody else uses it
// while its green thread lives.
unsafe impl Stack for SlotStack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base).expect("a slot does not stand at address zero")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit).expect("a slot does not stand at address zero")
    }
}

type Context = Coroutine<(), Action, (), SlotStack>;

impl Action {
    #[inline(always)]
    fn from_number(number: usize) -> Action {
        match number {
            _ if number == Action::Yield as usize => Action::Yield,
            _ if number == Action::Park as usize => Action::Park,
            _ => Action::Exit,
        }
    }
}

/// What the kernel's thread of an adopted green thread does meanwhile.
struct KernelSide {
    green: GreenRef,
    wait: fn(GreenRef),
}

impl KernelSide {
    /// On the slot's stack. Returns nowhere: it ends where the green thread then stands.
    ///
    /// # Safety
    ///
    /// `this` is a `KernelSide` that stays until the green thread is queued.
    unsafe extern "C" fn run(this: *mut c_void) -> ! {
        // SAFETY: the caller's promise.
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

/// Calls `f` as native code where it is. Not inlined: its frame may be large, and is to stand on no other stack.
#[inline(never)]
fn in_place<F: FnOnce() -> T, T>(f: F) -> T {
    context::as_native(f)
}

/// What belongs to one green thread's life in the slot, not to the slot.
pub(crate) struct Life {
    pub(crate) shared: Arc<Shared>,
    /// Its handle's part: name, id, cancellation.
    pub(crate) task: Arc<dyn Task>,
    forks: u32,
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

/// A body larger than this is boxed.
const LARGEST_BODY: usize = 512;

/// Ends the process if a panic or an exception would leave the green thread's stack. That of its own code is caught, or
/// nobody catches it (see `hook/exit.rs`), so it comes from a destructor of a thread-local or pthread key's value, where
/// std ends the process too.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!(
            "a panic or an exception left a destructor that ran as its green thread ended; the process cannot go on"
        );
        std::process::abort();
    }
}

/// The life word: who waits for the end of a green thread that `pthread_create` made, and whether
/// it has come. One word, so that exactly one side releases the slot, and touches nothing after.
mod ending {
    /// The slot waits for a join or a detach.
    pub(super) const JOINABLE: u32 = 0;
    /// Somebody has claimed the join.
    pub(super) const CLAIMED: u32 = 1;
    /// The slot is released as soon as the green thread has ended.
    pub(super) const DETACHED: u32 = 2;
    /// Set when the green thread has ended and its stack was left.
    pub(super) const ENDED: u32 = 4;
}

/// The control block; see the module's page.
/// What each turn uses stands in the first two cache lines.
#[repr(C, align(64))]
pub(crate) struct Green {
    pub(crate) park: ParkState,
    budget: Cell<u32>,
    worker: Cell<*const Worker>,
    /// Null if it is adopted.
    yielder: Cell<*const Yielder<(), Action>>,
    /// The thread control block that it runs on: the slot's, or that of the thread which was adopted.
    block: Cell<Block>,
    /// The only shard that may run it, or null.
    pin: AtomicPtr<Shard>,
    /// Its stack, from the lowest address to the highest: the slot's, or that of the thread which was adopted.
    stack: Cell<(usize, usize)>,
    patch: Cell<Patch>,
    /// Its next turn comes early, however many others are ready; see `shard.rs`.
    pub(crate) is_early: Cell<bool>,
    /// It has woken one that starves, and lets others run before it goes on.
    pub(crate) owes_turn: Cell<bool>,
    /// The last park may have returned for a probe only.
    probed: Cell<bool>,
    /// `None` if it is adopted.
    coroutine: UnsafeCell<Option<Context>>,
    links: Links<GreenRef>,
    /// While it does not run; at first its spawner's.
    pub(crate) floating_point: Cell<FloatingPoint>,
    entry_frame: Cell<usize>,
    made: AtomicU32,
    /// Where it and its worker stand if it is adopted.
    adopted: StackSwitch,
    /// Of an adopted green thread: what `context.rs` said of its thread before.
    pub(crate) aside: Cell<Words>,
    pub(crate) slot: Slot,
    /// The runtime of the present green thread, or of the last one, to be compared only; for those who look from
    /// outside.
    runtime: AtomicUsize,
    /// The state word of the life's task, which tells whether it was cancelled.
    cancellation: Cell<*const AtomicU32>,
    /// What it waits for (see `reason.rs`), since when and until when, in nanoseconds; for those who look from outside.
    wait: [AtomicU64; 3],
    next_due: Cell<Option<GreenRef>>,
    due: Cell<u32>,
    pub(crate) vain_wakes: VainWakes,
    pub(crate) timer: Timer<GreenRef>,
    wheel: Cell<*const Shard>,
    pub(crate) probe: probe::Place,
    life: UnsafeCell<Option<Life>>,
    name: SpinLock<Name>,
    ending: AtomicU32,
    value: Cell<*mut c_void>,
    pub(crate) alternate_stack: Cell<Option<libc::stack_t>>,
    pub(crate) next_free: Cell<Option<GreenRef>>,
    pub(crate) previous_free: Cell<Option<GreenRef>>,
}

// SAFETY: the table in the module's page says who touches which field, and what orders them: the
// park word's protocol between workers, a lock for the rest.
unsafe impl Sync for Green {}

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
pub(crate) struct Snapshot {
    pub(crate) task: Arc<dyn Task>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) sight: Sight,
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
    pub(crate) fn new(slot: Slot) -> Green {
        Green {
            park: ParkState::unused(),
            made: AtomicU32::new(0),
            worker: Cell::new(ptr::null()),
            yielder: Cell::new(ptr::null()),
            entry_frame: Cell::new(0),
            floating_point: Cell::new(FloatingPoint::current()),
            coroutine: UnsafeCell::new(None),
            adopted: StackSwitch::new(),
            aside: Cell::new(Words::NOBODY),
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
            next_due: Cell::new(None),
            due: Cell::new(0),
            is_early: Cell::new(false),
            vain_wakes: VainWakes::default(),
            owes_turn: Cell::new(false),
            timer: Timer::new(),
            wheel: Cell::new(ptr::null()),
            probe: probe::Place::empty(),
            probed: Cell::new(false),
            life: UnsafeCell::new(None),
            name: SpinLock::new(Name::None),
            ending: AtomicU32::new(ending::DETACHED),
            value: Cell::new(ptr::null_mut()),
            alternate_stack: Cell::new(None),
            next_free: Cell::new(None),
            previous_free: Cell::new(None),
        }
    }

    /// The control block is complete, and can be found by its address from now on.
    pub(crate) fn set_made(&self) {
        self.made.store(MADE, Ordering::Release);
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

    /// Switches to the worker, and returns when a worker resumes this green thread. Always inlined: a processor guesses where a
    /// function returns to, and after a switch it guesses wrong.
    #[inline(always)]
    fn suspend(&self, action: Action) {
        // SAFETY: null, or set by `begin` on this stack; then it lives as long as the coroutine's function.
        match unsafe { self.yielder.get().as_ref() } {
            Some(yielder) => yielder.suspend(action),
            // SAFETY: a green thread without a yielder is adopted, and was entered or is about to be handed over.
            None => unsafe { self.adopted.leave(action as usize) },
        }
    }

    /// Runs `f` on the stack of the worker's OS thread, below the frames of the scheduler, with this green thread's
    /// storage. Runs on this green thread.
    ///
    /// An adopted OS thread has the stack that OS threads have, where `f` runs. If another green thread was adopted, the
    /// stack is that of its worker, which waits meanwhile, on a slot's.
    ///
    /// # Safety
    ///
    /// `f` does not switch away from this green thread.
    pub(crate) unsafe fn on_workers_stack<F: FnOnce() -> T, T>(&self, f: F) -> T {
        // SAFETY: as in `suspend`.
        let Some(yielder) = (unsafe { self.yielder.get().as_ref() }) else {
            return match self.aside.get().green() {
                // SAFETY: the caller's `f` switches away from neither; what was adopted stands below this one, as its worker does.
                Some(host) => unsafe { host.on_workers_stack(f) },
                None => in_place(f),
            };
        };
        let f = SameThread(f);
        // The worker's frames stay as they are until this green thread switches away.
        yielder.on_parent_stack(move || context::as_native(|| f.call()))
    }

    /// Lets the other green threads of this worker run first. Runs on this green thread.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        self.suspend(Action::Yield);
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
        let id = self.life().task.head().id;
        self.probe.answer(id, self.stack.get(), self.entry_frame());
    }

    /// Waits for an unpark or for `deadline`; may return before either. Runs on this green thread, which waits for
    /// what `reason` says.
    pub(crate) fn park_until(&self, this: GreenRef, deadline: Option<Deadline>, reason: Packed) {
        let [why, since, until] = &self.wait;
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
        // SAFETY: the caller's promise.
        match unsafe { &*self.name.data_ptr() } {
            Name::None => b"<unnamed>",
            Name::Given(name) => name.as_bytes(),
            Name::Thread(name) => name.split(|&byte| byte == 0).next().unwrap_or(b""),
        }
    }
}

/// A function that is called on the OS thread where it was made, for all that its type says.
struct SameThread<F>(F);

// SAFETY: see the type.
unsafe impl<F> Send for SameThread<F> {}

impl<F: FnOnce() -> T, T> SameThread<F> {
    fn call(self) -> T {
        (self.0)()
    }
}

/// A pointer to a control block, valid for the rest of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GreenRef(NonNull<Green>);

// SAFETY: `Green` is Sync, and control blocks are never freed.
unsafe impl Send for GreenRef {}
// SAFETY: as above.
unsafe impl Sync for GreenRef {}

impl Deref for GreenRef {
    type Target = Green;

    #[inline]
    fn deref(&self) -> &Green {
        // SAFETY: regions are never unmapped, and their control blocks stay control blocks.
        unsafe { self.0.as_ref() }
    }
}

/// Whether a control block was made at `green`.
///
/// # Safety
///
/// `green` is aligned, in a region's memory, where a control block would stand.
pub(crate) unsafe fn is_made(green: *const Green) -> bool {
    // SAFETY: the word is zero until `set_made`; no reference to the whole block is made.
    let made: &AtomicU32 = unsafe { &(*green).made };
    made.load(Ordering::Acquire) == MADE
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

    /// Makes a new green thread in a slot, to be queued by the caller. `joinable` keeps the slot
    /// until [`join`](Self::join) or [`detach`](Self::detach). What `body` returns is dropped last
    /// of all, after the thread-local destructors.
    pub(crate) fn prepare<F, R>(
        stack_size: usize,
        life: Life,
        joinable: bool,
        body: F,
    ) -> std::io::Result<GreenRef>
    where
        F: FnOnce() -> R + Send + 'static,
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
        F: FnOnce() -> R + Send + 'static,
    {
        let green = slot::acquire(stack_size)?;
        let stack = SlotStack {
            base: green.slot.stack_base,
            limit: green.slot.stack_limit,
        };
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            let unwinding = AbortOnUnwind;
            // Read here, so that it is this frame's.
            green.entry_frame.set(arch::stack_pointer());
            green.begin(yielder);
            let after = body();
            green.end();
            drop(after);
            std::mem::forget(unwinding);
        });
        green.floating_point.set(FloatingPoint::current());
        let ending = if joinable {
            ending::JOINABLE
        } else {
            ending::DETACHED
        };
        let slot = &green.slot;
        green.occupy(
            life,
            ending,
            slot.block,
            (slot.stack_limit, slot.stack_base),
        );
        // SAFETY: the slot is ours until the green thread is queued.
        unsafe { *green.coroutine.get() = Some(coroutine) };
        Ok(green)
    }

    /// Makes a green thread of the calling thread, whose block and stack these are, and whose frame its body's, in a slot whose own stack has at least
    /// `stack_size` bytes. [`hand_over`](Self::hand_over) is to follow.
    pub(crate) fn prepare_adopted(
        stack_size: usize,
        life: Life,
        block: Block,
        stack: (usize, usize),
        entry_frame: usize,
    ) -> std::io::Result<GreenRef> {
        let green = slot::acquire(stack_size)?;
        green.occupy(life, ending::CLAIMED, block, stack);
        green.yielder.set(ptr::null());
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
        let floating_point = FloatingPoint::current();
        self.suspend(Action::Exit);
        floating_point.enter();
        self.recycle();
    }

    /// Puts a new green thread into a slot that was acquired.
    fn occupy(self, life: Life, ending: u32, block: Block, stack: (usize, usize)) {
        let green = self;
        green.patch.set(life.shared.patch());
        let runtime = Arc::as_ptr(&life.shared) as usize;
        green.runtime.store(runtime, Ordering::Relaxed);
        let name = life.task.head().name.clone();
        green.cancellation.set(&life.task.head().state);
        life.task.head().set_green(green);
        green.alternate_stack.set(None);
        green.ending.store(ending, Ordering::Relaxed);
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

    /// First on the green thread's own stack.
    fn begin(self, yielder: &Yielder<(), Action>) {
        self.yielder.set(yielder);
        // SAFETY: this is the green thread's own block.
        unsafe { tls::start_thread() };
        context::start_green(self);
    }

    /// Last on the green thread's own stack: what a thread does as it exits.
    fn end(self) {
        // SAFETY: this is the green thread's own block, and its code has ended.
        unsafe { tls::run_exit_destructors() };
        if process::forks() != self.life().forks {
            // The last thread of a forked child ends, and the process with it. It does so on this
            // stack: the worker's may be in other use by now.
            std::process::exit(0);
        }
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

    /// On the worker, after the green thread has ended and its stack was left.
    pub(crate) fn finish(self) {
        // SAFETY: as in `resume`; a coroutine that ended early is forgotten with its stack, which
        // holds nothing that still has to be dropped.
        unsafe { std::mem::forget((*self.coroutine.get()).take()) };
        self.park.retire();
        if self.ending.fetch_or(ending::ENDED, Ordering::AcqRel) == ending::DETACHED {
            self.recycle();
        } else {
            // The joiner may have released the slot by now; then this wakes nobody, or
            // somebody too early, which every waiter allows for, as dumpers do for a probe sent back.
            fence(Ordering::SeqCst);
            self.probe.decline();
            parking_lot::wake(&self.ending, u32::MAX);
        }
    }

    fn recycle(self) {
        let mut its_name = self.name.lock();
        let name = std::mem::replace(&mut *its_name, Name::None);
        // SAFETY: the green thread has ended and nobody joins it any more; whoever looks from outside waits for the
        // lock.
        let life = unsafe { (*self.life.get()).take() };
        drop(its_name);
        self.probe.decline();
        slot::release(self);
        drop((life, name));
    }

    /// The task of the green thread that lives here, or has ended and is still to be joined. From any thread, at any time.
    pub(crate) fn task(self) -> Option<Arc<dyn Task>> {
        let _name = self.name.lock();
        // SAFETY: put in and taken out under the lock that we hold; others only read.
        let life = unsafe { (*self.life.get()).as_ref() }?;
        Some(life.task.clone())
    }

    /// Whether nobody can join it.
    pub(crate) fn is_detached(self) -> bool {
        self.ending.load(Ordering::Relaxed) & ending::DETACHED != 0
    }

    /// What the green thread that lives here is and does, if one does. From any thread, at any time.
    pub(crate) fn snapshot(self) -> Option<Snapshot> {
        let name = self.name.lock();
        // SAFETY: put in and taken out under the lock that we hold; others only read.
        let life = unsafe { (*self.life.get()).as_ref() }?;
        if self.ending.load(Ordering::Acquire) & ending::ENDED != 0 {
            return None;
        }
        Some(Snapshot {
            task: life.task.clone(),
            shared: life.shared.clone(),
            name: name.clone(),
            sight: self.park.look(),
            waiting: self.waiting(),
            stack: self.stack(),
            stack_size: self.stack_size(),
        })
    }

    /// The value that `pthread_join` hands out.
    pub(crate) fn set_value(self, value: *mut c_void) {
        self.value.set(value);
    }

    /// What [`set_value`](Self::set_value) was given. On the green thread itself, or by who has claimed its join.
    pub(crate) fn value(self) -> *mut c_void {
        self.value.get()
    }

    /// Claims the right to join: false if somebody else joins it or it is detached.
    pub(crate) fn claim_join(self) -> bool {
        self.ending
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !ending::ENDED == ending::JOINABLE).then_some(word | ending::CLAIMED)
            })
            .is_ok()
    }

    /// Waits for the end; the caller has claimed the join. `None` if the deadline came first, and
    /// the claim is given back.
    pub(crate) fn join(self, deadline: Option<Deadline>) -> Option<*mut c_void> {
        if !self.wait_for_end(deadline) {
            return None;
        }
        let value = self.value();
        self.recycle();
        Some(value)
    }

    /// Waits for the end; the caller has claimed the join. False if the deadline came first, and the claim is given back.
    pub(crate) fn wait_for_end(self, deadline: Option<Deadline>) -> bool {
        // It lives, or is still to be joined.
        let reason = Packed::join(self.life().task.head().id);
        while self.ending.load(Ordering::Acquire) & ending::ENDED == 0 {
            let waited = parking_lot::wait_because(reason, &self.ending, ending::CLAIMED, deadline);
            if waited == parking_lot::Wait::TimedOut {
                // Given back only while it has not ended: afterwards the claim is the right to release.
                let given_back = self.ending.compare_exchange(
                    ending::CLAIMED,
                    ending::JOINABLE,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if given_back.is_ok() {
                    return false;
                }
            }
        }
        true
    }

    /// Lets the slot go as soon as the green thread ends; false if it is joined or detached already.
    pub(crate) fn detach(self) -> bool {
        let detached = self
            .ending
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & !ending::ENDED == ending::JOINABLE).then_some(word | ending::DETACHED)
            });
        if detached == Ok(ending::JOINABLE | ending::ENDED) {
            self.recycle();
        }
        detached.is_ok()
    }
}
