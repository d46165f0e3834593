//! Address-keyed wait queues: the parking lot under every lock.
//!
//! A waiter is queued under the address of a 32-bit word while that word has an expected value, as with the kernel's futex.
//! Green threads wait in the queues here; OS threads wait in the kernel, on the real futex of the same address, and are
//! counted here. A wake-up serves both: the green waiters and, if some are counted, the kernel's, in turn the ones or the
//! others first. So a lock whose word is waited on by `futex` semantics works between threads of both kinds, whoever
//! implements it: std, parking_lot, the pthread shims, or our own `sync`.
//!
//! **No wake-up is lost** between green threads because the word is compared under the bucket's lock,
//! which the waker takes after it changed the word. Towards OS threads: the waiter counts itself, then
//! the kernel compares the word; the waker changes the word, fences, then reads the count. One of
//! the two sees the other.
//!
//! **Nobody is woken in vain for ever.** A lock of std is free once it is unlocked, and who runs can take it again before the one
//! that was woken has had a turn; with one worker that may go on without end. So a green thread that for some milliseconds is
//! woken from the same address again and again, and each time waits there again in the same turn, is *starving*: whoever wakes it
//! then owes it a turn, and lets it run before its call returns (`owes_yield` in `green.rs`).
//!
//! The table is static, so that a waker of any kind, at any time, needs no memory. Its buckets' locks
//! are spin locks: nobody parks, allocates or calls out under one.
//!
//! The table itself is `table.rs`, the side of the OS threads `kernel.rs`. How a call's wait is cut short by deadline scopes
//! and cancellation is the affair of those above, who pass it to [`park`].

mod kernel;
mod requeue;
mod table;

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use self::kernel::wait_in_kernel_as;
use self::table::{BATCH, CanBeWoken, Parked, TABLE, bucket};
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::base::reason::Packed;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;

pub use self::kernel::{KernelWaiter, UncountedWaiter, has_kernel_waiters};
pub(crate) use self::kernel::{wait_in_kernel, wake_kernel};
pub use self::requeue::requeue_green;
pub(crate) use self::table::reset_after_fork;
pub use self::table::{ANY, Wait};

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
            let request = ParkRequest {
                reason,
                ..ParkRequest::new(word.as_ptr(), expected)
            };
            // SAFETY: the borrow keeps the word in place.
            unsafe { park_at(green, request, deadline) }
        }
        None => wait_in_kernel(word, expected, deadline),
    }
}

/// As [`wait`] in `block_on`: `may_be_woken` tells the deadlock report whether anybody is left who could end the wait. It
/// is called under a bucket's lock, by any thread. `deadline` and `give_up` are as in [`park`].
pub(crate) fn wait_for_waker<E>(
    word: &AtomicU32,
    expected: u32,
    may_be_woken: &(dyn Fn() -> bool + Sync),
    deadline: Option<Deadline>,
    give_up: impl Fn() -> Result<(), E>,
) -> Result<Wait, E> {
    match context::green() {
        Some(green) => {
            let _native = NativeSection::enter();
            let can_be_woken = CanBeWoken(may_be_woken);
            let request = ParkRequest {
                reason: Packed::future(word.as_ptr() as usize),
                can_be_woken: ptr::from_ref(&can_be_woken).cast(),
                ..ParkRequest::new(word.as_ptr(), expected)
            };
            // SAFETY: the borrow keeps the word in place, and this frame keeps what `can_be_woken` points to.
            unsafe { park(green, request, deadline, give_up) }
        }
        None => {
            let waited = if may_be_woken() {
                let waiter = KernelWaiter::register(word.as_ptr());
                wait_in_kernel_as(waiter, word, expected, deadline)
            } else {
                wait_in_kernel(word, expected, deadline)
            };
            if waited == Wait::TimedOut {
                give_up()?;
            }
            Ok(waited)
        }
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
/// While OS threads wait on the same address too, they and the green threads are served first alternately, so that neither
/// starves.
pub fn wake_bitset(address: *const u32, count: u32, bitset: u32) -> u32 {
    if !has_kernel_waiters(address) {
        return wake_green(address, count, bitset);
    }
    let green_first = &bucket(address as usize).green_first;
    if !green_first.fetch_not(Ordering::Relaxed) {
        let woken = wake_kernel(address, count, bitset);
        return woken + wake_green(address, count - woken, bitset);
    }
    let woken = wake_green(address, count, bitset);
    woken + wake_kernel(address, count - woken, bitset)
}

/// Where a green thread waits, and while what stands there.
pub(crate) struct ParkRequest {
    address: *const u32,
    expected: u32,
    bitset: u32,
    reason: Packed,
    /// As in [`Parked`].
    owner: *const AtomicI32,
    can_be_woken: *const CanBeWoken<'static>,
}

impl ParkRequest {
    pub(crate) fn new(address: *const u32, expected: u32) -> ParkRequest {
        ParkRequest {
            address,
            expected,
            bitset: ANY,
            reason: Packed::futex(address as usize),
            owner: ptr::null(),
            can_be_woken: ptr::null(),
        }
    }

    /// Only for wake-ups whose bitset meets this one.
    pub(crate) fn with_bitset(self, bitset: u32) -> ParkRequest {
        ParkRequest { bitset, ..self }
    }

    /// Told as the reason to those who look from outside.
    pub(crate) fn because(self, reason: Packed) -> ParkRequest {
        ParkRequest { reason, ..self }
    }

    /// For the mutex that the word belongs to. `owner` is read as long as the wait lasts.
    pub(crate) fn for_mutex(self, owner: *const AtomicI32) -> ParkRequest {
        ParkRequest {
            reason: Packed::mutex(self.address as usize),
            owner,
            ..self
        }
    }
}

/// # Safety
///
/// As for [`park`].
pub(crate) unsafe fn park_at(
    green: GreenRef,
    request: ParkRequest,
    deadline: Option<Deadline>,
) -> Wait {
    let give_up = || match deadline {
        Some(deadline) if deadline.has_passed() => Err(()),
        _ => Ok(()),
    };
    // SAFETY: the word and its owner's stay readable, and `green` is the calling green thread in a native section, by
    // this function's contract.
    unsafe { park(green, request, deadline, give_up) }.unwrap_or(Wait::TimedOut)
}

/// Parks until woken, or until `give_up`, which is asked after each return of the park and at `deadline` at the
/// latest, fails.
///
/// # Safety
///
/// The request's address is that of an aligned word which stays readable until the call returns, and so does its owner's, if it
/// has one; `green` is the calling green thread, in a native section.
pub(crate) unsafe fn park<E>(
    green: GreenRef,
    request: ParkRequest,
    deadline: Option<Deadline>,
    give_up: impl Fn() -> Result<(), E>,
) -> Result<Wait, E> {
    let address = request.address;
    let waiter = Parked {
        address: AtomicUsize::new(address as usize),
        bitset: request.bitset,
        green,
        is_starving: green.vain_wakes.waits_at(address as usize, green.turn()),
        owner: request.owner,
        can_be_woken: request.can_be_woken,
        woken: AtomicBool::new(false),
        next: Cell::new(ptr::null()),
        previous: Cell::new(ptr::null()),
    };
    {
        let mut queue = bucket(address as usize).queue.lock();
        // SAFETY: the word is aligned and stays readable, by this function's contract; other threads change it by
        // atomic operations.
        let current = unsafe { AtomicU32::from_ptr(address.cast_mut()) }.load(Ordering::SeqCst);
        if current != request.expected {
            return Ok(Wait::Changed);
        }
        queue.push(&waiter);
    }
    loop {
        green.park_until(green, deadline, request.reason);
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

/// Takes a waiter out of whatever queue it is in; false if a waker has done so.
fn withdraw(waiter: &Parked) -> bool {
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

/// Wakes one green waiter of `address`, whatever its bitset. Any thread may call this.
pub(crate) fn wake_one(address: *const u32) {
    wake_green(address, 1, ANY);
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
        green.owes_yield.set(true);
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
        // SAFETY: the wait of a queued waiter has not returned, so what its frame holds is still there; it leaves
        // the queue under the lock that we hold.
        if let Some(CanBeWoken(may_be_woken)) = unsafe { found.can_be_woken.as_ref() } {
            return may_be_woken();
        }
        waiter = found.next.get();
    }
    false
}
