//! Address-keyed wait queues: the parking lot under every lock.
//!
//! A waiter is queued under the address of a 32-bit word while that word has an expected value, as
//! with the kernel's futex. Green threads wait in the queues here; OS threads wait in the kernel,
//! on the real futex of the same address, and are counted here. A wake-up serves both: the
//! green waiters and, if some are counted, the kernel's, in turn the ones or the others first. So a lock whose word is waited on by
//! `futex` semantics works between threads of both kinds, whoever implements it: std, parking_lot, the
//! pthread shims, or [`sync`](crate::sync).
//!
//! **No wake-up is lost** between green threads because the word is compared under the bucket's lock,
//! which the waker takes after it changed the word. Towards OS threads: the waiter counts itself, then
//! the kernel compares the word; the waker changes the word, fences, then reads the count. One of
//! the two sees the other.
//!
//! **Nobody is woken in vain for ever.** A lock of std is free once it is unlocked, and who runs can take it again before the one
//! that was woken has had a turn; with one worker that may go on without end. So a green thread that for some milliseconds is
//! woken from the same address again and again, and each time waits there again in the same turn, is *starving*: whoever wakes it
//! then owes it a turn, and lets it run before going on ([`hook::pay_turn`](crate::hook::pay_turn)).
//!
//! The table is static, so that a waker of any kind, at any time, needs no memory. Its buckets' locks
//! are spin locks: nobody parks, allocates or calls out under one.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering, fence};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;

use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::base::reason::Packed;
use crate::base::spin::{self, SpinLock};
use crate::base::thread_counts::Counted;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::wait::interrupt::{End, Interrupted, Limits};
use crate::wait::section::Section;

pub use crate::wait::signal_wake::{
    SignalWaiter, wake_one_from_signal, wake_one_green_from_signal,
};

/// Every bit: the bitset of a plain wait and a plain wake.
pub const ANY: u32 = u32::MAX;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// By a wake-up, or for no reason: look at the word again.
    Woken,
    /// At once: the word did not have the expected value.
    Changed,
    /// The deadline has passed.
    TimedOut,
}

const BUCKETS: usize = 1 << 16;

/// Green threads that one pass over a bucket wakes, before it lets the lock go.
const BATCH: usize = 16;

struct Bucket {
    queue: SpinLock<Queue>,
    /// OS threads that wait, or are about to, on some address of this bucket.
    kernel_waiters: AtomicU32,
    /// Whether OS threads or green threads are woken first the next time both may wait.
    turn: AtomicU32,
}

/// A doubly linked list of waiters, in the order of their arrival.
struct Queue {
    head: *const Waiter,
    tail: *const Waiter,
}

// SAFETY: the list is followed under the bucket's lock only, and a waiter leaves it before its
// stack frame ends.
unsafe impl Send for Queue {}

/// A waiting green thread; lives on its stack.
struct Waiter {
    /// Changes when the waiter is requeued, under the locks of both buckets.
    address: AtomicUsize,
    bitset: u32,
    green: GreenRef,
    /// It was woken from this address many times in a row, in vain.
    is_starving: bool,
    /// Where the lock that the word belongs to has its owner's thread id, or null.
    owner: *const AtomicI32,
    /// In the frame of [`wait_for_waker`], or null.
    prospect: *const Prospect<'static>,
    /// Set, with release order, once the waiter is out of the queue.
    woken: AtomicBool,
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        queue: SpinLock::new(Queue {
            head: ptr::null(),
            tail: ptr::null(),
        }),
        kernel_waiters: AtomicU32::new(0),
        turn: AtomicU32::new(0),
    }
}; BUCKETS];

fn bucket(address: usize) -> &'static Bucket {
    // Fibonacci hashing: the high bits of the product are well mixed.
    let hash = (address as u64 >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize]
}

impl Queue {
    fn push(&mut self, waiter: &Waiter) {
        waiter.next.set(ptr::null());
        waiter.previous.set(self.tail);
        if self.tail.is_null() {
            self.head = waiter;
        } else {
            // SAFETY: a queued waiter is in place.
            unsafe { (*self.tail).next.set(waiter) };
        }
        self.tail = waiter;
    }

    fn remove(&mut self, waiter: &Waiter) {
        let (next, previous) = (waiter.next.get(), waiter.previous.get());
        if previous.is_null() {
            self.head = next;
        } else {
            // SAFETY: a queued waiter is in place.
            unsafe { (*previous).next.set(next) };
        }
        if next.is_null() {
            self.tail = previous;
        } else {
            // SAFETY: as above.
            unsafe { (*next).previous.set(previous) };
        }
    }

    fn len(&self) -> usize {
        let mut waiter = self.head;
        let mut len = 0;
        // SAFETY: a queued waiter is in place.
        while let Some(queued) = unsafe { waiter.as_ref() } {
            len += 1;
            waiter = queued.next.get();
        }
        len
    }

    /// The address of the first waiter.
    fn first(&self) -> Option<*const u32> {
        // SAFETY: a queued waiter is in place.
        let waiter = unsafe { self.head.as_ref() }?;
        Some(waiter.address.load(Ordering::Relaxed) as *const u32)
    }

    /// The first waiter at `address` from `waiter` on whose bitset meets `bitset`.
    fn find(&self, mut waiter: *const Waiter, address: usize, bitset: u32) -> Option<&Waiter> {
        // SAFETY: a queued waiter is in place.
        while let Some(candidate) = unsafe { waiter.as_ref() } {
            if candidate.address.load(Ordering::Relaxed) == address
                && candidate.bitset & bitset != 0
            {
                return Some(candidate);
            }
            waiter = candidate.next.get();
        }
        None
    }

    /// Takes out up to `BATCH` waiters at `address`, gives how many, and says whether one of them is `starving`.
    fn take(
        &mut self,
        address: usize,
        bitset: u32,
        count: u32,
        batch: &mut [Option<GreenRef>; BATCH],
        starving: &mut bool,
    ) -> usize {
        let mut taken = 0;
        let mut from = self.head;
        while taken < BATCH && (taken as u32) < count {
            let Some(waiter) = self.find(from, address, bitset) else {
                break;
            };
            let waiter: *const Waiter = waiter;
            // SAFETY: found in the queue just now, under its lock.
            let waiter = unsafe { &*waiter };
            from = waiter.next.get();
            self.remove(waiter);
            batch[taken] = Some(waiter.green);
            taken += 1;
            *starving |= waiter.is_starving;
            // From here on the waiter's frame may end.
            waiter.woken.store(true, Ordering::Release);
        }
        taken
    }
}

/// Waits while `*word == expected`: parks a green thread, blocks an OS thread in the kernel. May
/// return [`Wait::Woken`] without a wake-up.
pub fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Wait {
    let reason = Packed::futex(word.as_ptr() as usize);
    wait_because(reason, word, expected, deadline)
}

/// As [`wait`], for what `reason` says.
pub(crate) fn wait_because(
    reason: Packed,
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Deadline>,
) -> Wait {
    match context::green() {
        Some(green) => {
            let _native = NativeSection::enter();
            let place = Place {
                reason,
                ..Place::new(word.as_ptr(), expected)
            };
            // SAFETY: the borrow keeps the word in place.
            unsafe { park_at(green, place, deadline) }
        }
        None => wait_in_kernel(word, expected, deadline),
    }
}

/// As [`wait`] in `block_on`: `may_be_woken` tells the deadlock report whether anybody is left who could end the wait. It
/// is called under a bucket's lock, by any thread.
pub(crate) fn wait_for_waker(
    word: &AtomicU32,
    expected: u32,
    may_be_woken: &(dyn Fn() -> bool + Sync),
) -> Wait {
    match context::green() {
        Some(green) => {
            let _native = NativeSection::enter();
            let prospect = Prospect(may_be_woken);
            let place = Place {
                reason: Packed::future(word.as_ptr() as usize),
                prospect: ptr::from_ref(&prospect).cast(),
                ..Place::new(word.as_ptr(), expected)
            };
            // SAFETY: the borrow keeps the word in place, and this frame the prospect.
            unsafe { park_at(green, place, None) }
        }
        None if may_be_woken() => {
            wait_in_kernel_as(KernelWaiter::register(word.as_ptr()), word, expected, None)
        }
        None => wait_in_kernel(word, expected, None),
    }
}

/// As [`wait`], and cut short by deadline scopes and cancellation: for waits whose result can say so. `Ok` means: look
/// at the word again.
///
/// # Errors
///
/// `TimedOut` if `deadline` or that of a [`timeout`](crate::time::timeout) around the caller has passed, `Cancelled` if
/// the green thread was cancelled. The waiter is out of the queue, and no wake-up was spent on it.
pub fn wait_interruptible(
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Deadline>,
) -> Result<(), Interrupted> {
    wait_within(word, expected, &Limits::new(deadline)).map_err(Interrupted::from)
}

/// As [`wait_interruptible`]; tells the wait's own deadline from others.
pub(crate) fn wait_within(word: &AtomicU32, expected: u32, limits: &Limits) -> Result<(), End> {
    limits.check_cancelled()?;
    let Some(green) = context::green() else {
        return match wait_in_kernel(word, expected, limits.until()) {
            Wait::TimedOut => limits.check(),
            _ => Ok(()),
        };
    };
    let _native = NativeSection::enter();
    let place = Place::new(word.as_ptr(), expected);
    // SAFETY: the borrow keeps the word in place.
    unsafe { park(green, place, limits.until(), || limits.check()) }.map(drop)
}

/// As [`wait`], but always blocks the kernel thread, green thread or not.
fn wait_in_kernel(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Wait {
    let waiter = match deadline {
        Some(_) => KernelWaiter::register(word.as_ptr()),
        None => KernelWaiter::register_endless(word.as_ptr()),
    };
    wait_in_kernel_as(waiter, word, expected, deadline)
}

fn wait_in_kernel_as(
    _waiter: KernelWaiter,
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Deadline>,
) -> Wait {
    let timeout = deadline.map(Deadline::timeout);
    match futex::wait(word, futex::Flags::PRIVATE, expected, timeout.as_ref()) {
        Err(Errno::AGAIN) => Wait::Changed,
        Err(Errno::TIMEDOUT) => Wait::TimedOut,
        _ => Wait::Woken,
    }
}

/// Wakes up to `count` waiters of `word`; gives how many.
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    wake_address(word, count)
}

/// As [`wake`], for a word that may be gone by now, if who was to be woken has seen it change: only its address counts.
pub(crate) fn wake_address(word: *const AtomicU32, count: u32) -> u32 {
    wake_bitset(word.cast(), count, ANY)
}

/// As [`wake`], for waiters whose bitset meets `bitset`; only the word's address counts.
///
/// While OS threads wait on the same address, they and the green threads are served first in turn, so that neither
/// starves.
pub fn wake_bitset(address: *const u32, count: u32, bitset: u32) -> u32 {
    if !has_kernel_waiters(address) {
        return wake_green(address, count, bitset);
    }
    let turn = &bucket(address as usize).turn;
    let kernel_first = turn.fetch_xor(1, Ordering::Relaxed) == 0;
    if kernel_first {
        let woken = wake_kernel(address, count, bitset);
        return woken + wake_green(address, count - woken, bitset);
    }
    let woken = wake_green(address, count, bitset);
    woken + wake_kernel(address, count - woken, bitset)
}

/// The real call.
pub(crate) fn wake_kernel(address: *const u32, count: u32, bitset: u32) -> u32 {
    if count == 0 {
        return 0;
    }
    let operation = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let most = count.min(i32::MAX as u32);
    let arguments = [
        address as usize,
        operation as usize,
        most as usize,
        0,
        0,
        bitset as usize,
    ];
    // SAFETY: the kernel only compares the address with those of its waiters.
    let woken = unsafe { arch::system_call(libc::SYS_futex, arguments) };
    u32::try_from(woken).unwrap_or(0)
}

/// Parks the green thread that `section` stands for while `*address == expected`.
///
/// # Safety
///
/// `address` is that of an aligned word which stays readable until the call returns.
pub unsafe fn park_green(
    section: &Section,
    address: *const u32,
    expected: u32,
    bitset: u32,
    deadline: Option<Deadline>,
) -> Wait {
    let place = Place {
        bitset,
        ..Place::new(address, expected)
    };
    // SAFETY: the caller's promise.
    unsafe { park_at(section.green(), place, deadline) }
}

/// As [`park_green`], for the word of a pthread mutex whose owner's thread id stands at `owner`: for those who look from
/// outside.
///
/// # Safety
///
/// As for [`park_green`], of `owner` too.
pub unsafe fn park_green_for_mutex(
    section: &Section,
    address: *const u32,
    expected: u32,
    deadline: Option<Deadline>,
    owner: *const AtomicI32,
) -> Wait {
    let place = Place {
        reason: Packed::mutex(address as usize),
        owner,
        ..Place::new(address, expected)
    };
    // SAFETY: the caller's promise.
    unsafe { park_at(section.green(), place, deadline) }
}

/// The thread id of the owner of the mutex at `address`, if a green thread waits for it.
pub(crate) fn owner_of(address: usize) -> Option<i32> {
    let queue = bucket(address).queue.lock();
    let mut waiter = queue.head;
    loop {
        let found = queue.find(waiter, address, ANY)?;
        // SAFETY: the wait of a queued waiter has not returned, so the mutex is still there (the promise of
        // `park_green_for_mutex`); it leaves the queue under the lock that we hold.
        if let Some(owner) = unsafe { found.owner.as_ref() } {
            return Some(owner.load(Ordering::Relaxed));
        }
        waiter = found.next.get();
    }
}

/// Whether anybody is left who could end the wait at `address` of a green thread in `block_on`. False if none waits there.
pub(crate) fn may_be_woken(address: usize) -> bool {
    let queue = bucket(address).queue.lock();
    let mut waiter = queue.head;
    while let Some(found) = queue.find(waiter, address, ANY) {
        // SAFETY: the wait of a queued waiter has not returned, so the prospect in its frame is still there; it leaves
        // the queue under the lock that we hold.
        if let Some(Prospect(may_be_woken)) = unsafe { found.prospect.as_ref() } {
            return may_be_woken();
        }
        waiter = found.next.get();
    }
    false
}

/// Whether anybody is left who could end a wait.
struct Prospect<'a>(&'a (dyn Fn() -> bool + Sync));

/// Where a green thread waits, and while what stands there.
struct Place {
    address: *const u32,
    expected: u32,
    bitset: u32,
    reason: Packed,
    /// As in [`Waiter`].
    owner: *const AtomicI32,
    prospect: *const Prospect<'static>,
}

impl Place {
    fn new(address: *const u32, expected: u32) -> Place {
        Place {
            address,
            expected,
            bitset: ANY,
            reason: Packed::futex(address as usize),
            owner: ptr::null(),
            prospect: ptr::null(),
        }
    }
}

/// # Safety
///
/// As for [`park`].
unsafe fn park_at(green: GreenRef, place: Place, deadline: Option<Deadline>) -> Wait {
    let give_up = || match deadline {
        Some(deadline) if deadline.has_passed() => Err(()),
        _ => Ok(()),
    };
    // SAFETY: the caller's promise.
    unsafe { park(green, place, deadline, give_up) }.unwrap_or(Wait::TimedOut)
}

/// Parks until woken, or until `give_up`, which is asked after each return of the park and at `deadline` at the
/// latest, fails.
///
/// # Safety
///
/// As for [`park_green`], of the place's address; `green` is the calling green thread, in a native section.
unsafe fn park<E>(
    green: GreenRef,
    place: Place,
    deadline: Option<Deadline>,
    give_up: impl Fn() -> Result<(), E>,
) -> Result<Wait, E> {
    let address = place.address;
    let waiter = Waiter {
        address: AtomicUsize::new(address as usize),
        bitset: place.bitset,
        green,
        is_starving: green.vain_wakes.waits_at(address as usize, green.turn()),
        owner: place.owner,
        prospect: place.prospect,
        woken: AtomicBool::new(false),
        next: Cell::new(ptr::null()),
        previous: Cell::new(ptr::null()),
    };
    {
        let mut queue = bucket(address as usize).queue.lock();
        // SAFETY: the caller's promise; other threads change the word by atomic operations.
        let current = unsafe { AtomicU32::from_ptr(address.cast_mut()) }.load(Ordering::SeqCst);
        if current != place.expected {
            return Ok(Wait::Changed);
        }
        queue.push(&waiter);
    }
    loop {
        green.park_until(green, deadline, place.reason);
        if waiter.woken.load(Ordering::Acquire) {
            green.vain_wakes.wakes(green.turn());
            return Ok(Wait::Woken);
        }
        if let Err(end) = give_up() {
            return if withdraw(&waiter) {
                Err(end)
            } else {
                Ok(Wait::Woken)
            };
        }
    }
}

/// Wake-ups in a row after which it is asked for how long they have gone on.
const VAIN_WAKES: u32 = 8;

/// How long a green thread is woken and waits for the same again before it is starving. Those that answer each other are woken
/// so, too; to let them run costs little, as rarely as that.
const VAIN_TIME: Duration = Duration::from_millis(5);

/// How often a green thread was woken in vain, in a row. Used by that green thread alone.
#[derive(Default)]
pub(crate) struct VainWakes {
    address: Cell<usize>,
    count: Cell<u32>,
    /// When there had been so many for the first time.
    since: Cell<Option<Deadline>>,
    /// The worker's turn in which it was last woken.
    turn: Cell<u32>,
}

impl VainWakes {
    /// The green thread waits at `address`, in this turn: whether it is starving.
    #[inline]
    fn waits_at(&self, address: usize, turn: u32) -> bool {
        let is_vain = self.address.replace(address) == address && self.turn.get() == turn;
        if !is_vain {
            self.count.set(0);
            self.since.set(None);
            return false;
        }
        let count = self.count.get() + 1;
        self.count.set(count % VAIN_WAKES);
        count == VAIN_WAKES && self.have_lasted()
    }

    #[cold]
    fn have_lasted(&self) -> bool {
        let now = Deadline::now_coarse();
        match self.since.get() {
            None => {
                self.since.set(Some(now));
                false
            }
            Some(since) => {
                let have_lasted = since.plus(VAIN_TIME) <= now;
                if have_lasted {
                    self.since.set(None);
                }
                have_lasted
            }
        }
    }

    /// The green thread was woken, and goes on in this turn.
    #[inline]
    fn wakes(&self, turn: u32) {
        self.turn.set(turn);
    }
}

/// Takes a waiter out of whatever queue it is in; false if a waker has done so.
fn withdraw(waiter: &Waiter) -> bool {
    loop {
        let address = waiter.address.load(Ordering::Relaxed);
        let mut queue = bucket(address).queue.lock();
        if waiter.address.load(Ordering::Relaxed) != address {
            continue;
        }
        if waiter.woken.load(Ordering::Acquire) {
            return false;
        }
        queue.remove(waiter);
        return true;
    }
}

/// Wakes up to `count` green waiters of `address` whose bitset meets `bitset`; gives how many. Any
/// thread may call this.
pub fn wake_green(address: *const u32, count: u32, bitset: u32) -> u32 {
    if process::is_passive() {
        return 0;
    }
    let address = address as usize;
    let bucket = bucket(address);
    let _native = NativeSection::enter();
    let mut woken = 0;
    let mut starving = false;
    while woken < count {
        let mut batch = [None; BATCH];
        let mut queue = bucket.queue.lock();
        let taken = queue.take(address, bitset, count - woken, &mut batch, &mut starving);
        drop(queue);
        if taken == 0 {
            break;
        }
        woken += taken as u32;
        for green in batch.into_iter().flatten() {
            green.unpark();
        }
    }
    if starving && let Some(green) = context::green() {
        green.owes_turn.set(true);
    }
    woken
}

/// Wakes every green thread that waits on some word.
pub(crate) fn wake_all_green() {
    for bucket in &TABLE {
        let waiting = bucket.queue.lock().len();
        for _ in 0..waiting {
            let first = bucket.queue.lock().first();
            let Some(address) = first else {
                break;
            };
            wake_green(address, 1, ANY);
        }
    }
}

/// Wakes up to `wake` green waiters of `from` and moves up to `requeue` others to `to`; gives both
/// numbers.
pub fn requeue_green(from: *const u32, to: *const u32, wake: u32, requeue: u32) -> (u32, u32) {
    if process::is_passive() {
        return (0, 0);
    }
    let woken = wake_green(from, wake, ANY);
    let (from, to) = (from as usize, to as usize);
    let _native = NativeSection::enter();
    let (source, target) = (bucket(from), bucket(to));
    let mut moved = 0;
    if ptr::eq(source, target) {
        let queue = source.queue.lock();
        while moved < requeue && from != to {
            let Some(waiter) = queue.find(queue.head, from, ANY) else {
                break;
            };
            waiter.address.store(to, Ordering::Relaxed);
            moved += 1;
        }
        return (woken, moved);
    }
    // Two buckets are locked in the order of their addresses.
    let (mut source_queue, mut target_queue);
    if ptr::from_ref(source) < ptr::from_ref(target) {
        source_queue = source.queue.lock();
        target_queue = target.queue.lock();
    } else {
        target_queue = target.queue.lock();
        source_queue = source.queue.lock();
    }
    while moved < requeue {
        let Some(waiter) = source_queue.find(source_queue.head, from, ANY) else {
            break;
        };
        let waiter: *const Waiter = waiter;
        // SAFETY: found in the queue just now, under its lock.
        let waiter = unsafe { &*waiter };
        source_queue.remove(waiter);
        waiter.address.store(to, Ordering::Relaxed);
        target_queue.push(waiter);
        moved += 1;
    }
    (woken, moved)
}

/// Counts an OS thread that waits on an address by the real futex call, so that wakers make the
/// real call too. Made before the call, dropped after it.
pub struct KernelWaiter {
    bucket: &'static Bucket,
    _endless: Option<Counted>,
}

impl KernelWaiter {
    /// Counts the caller as a waiter of `address`.
    #[inline]
    pub fn register(address: *const u32) -> KernelWaiter {
        KernelWaiter::new(address, None)
    }

    /// As [`register`](Self::register), of a caller who waits without deadline, and whom this process alone can wake.
    #[inline]
    pub fn register_endless(address: *const u32) -> KernelWaiter {
        KernelWaiter::new(address, Some(Counted::endless_waiter()))
    }

    #[inline]
    fn new(address: *const u32, endless: Option<Counted>) -> KernelWaiter {
        let bucket = bucket(address as usize);
        bucket.kernel_waiters.fetch_add(1, Ordering::SeqCst);
        KernelWaiter {
            bucket,
            _endless: endless,
        }
    }
}

impl Drop for KernelWaiter {
    fn drop(&mut self) {
        self.bucket.kernel_waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// OS threads that wait in the kernel on addresses nobody here knows.
static UNCOUNTED: AtomicU32 = AtomicU32::new(0);

/// An OS thread that waits in the kernel by a call that names its addresses in a way of its own
/// (`futex_waitv`): while there is one, every wake goes to the kernel too.
pub struct UncountedWaiter(());

impl UncountedWaiter {
    /// Made before the call, dropped after it.
    pub fn register() -> UncountedWaiter {
        UNCOUNTED.fetch_add(1, Ordering::SeqCst);
        UncountedWaiter(())
    }
}

impl Drop for UncountedWaiter {
    fn drop(&mut self) {
        UNCOUNTED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether an OS thread may wait on `address` in the kernel. To be asked after the word changed.
#[inline]
pub fn has_kernel_waiters(address: *const u32) -> bool {
    fence(Ordering::SeqCst);
    bucket(address as usize)
        .kernel_waiters
        .load(Ordering::SeqCst)
        != 0
        || UNCOUNTED.load(Ordering::SeqCst) != 0
        || process::is_passive()
}

/// Puts the table in order after a fork: the parent's waiters do not exist here, and nobody holds a lock.
///
/// Threads that wait in the kernel by now were not counted; so one is, in each bucket, for ever.
///
/// # Safety
///
/// No green thread exists in this process, and no other thread looks at the table: the process is passive.
pub(crate) unsafe fn reset_after_fork() {
    for bucket in &TABLE {
        // SAFETY: the caller's promise.
        unsafe {
            spin::seize(&bucket.queue, |queue| {
                queue.head = ptr::null();
                queue.tail = ptr::null();
            })
        };
        bucket.kernel_waiters.store(1, Ordering::SeqCst);
    }
}
