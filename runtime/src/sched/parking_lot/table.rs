//! The table of the parking lot: buckets of waiters, by the hash of the address that they wait at; and the words that all its
//! files use.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use crate::base::spin::{self, SpinLock};
use crate::sched::green::GreenRef;

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
pub(super) const BATCH: usize = 16;

pub(super) struct Bucket {
    pub(super) queue: SpinLock<Queue>,
    /// OS threads that wait, or are about to, on some address of this bucket.
    pub(super) kernel_waiters: AtomicU32,
    /// Whether green threads are woken first the next time both they and OS threads may wait.
    pub(super) green_first: AtomicBool,
}

/// A doubly linked list of waiters, in the order of their arrival.
pub(super) struct Queue {
    pub(super) head: *const Parked,
    tail: *const Parked,
}

// SAFETY: the list is followed under the bucket's lock only, and a waiter leaves it before its
// stack frame ends.
unsafe impl Send for Queue {}

/// A waiting green thread; lives on its stack.
pub(super) struct Parked {
    /// Changes when the waiter is requeued, under the locks of both buckets.
    pub(super) address: AtomicUsize,
    pub(super) bitset: u32,
    pub(super) green: GreenRef,
    /// It was woken from this address many times in a row, in vain.
    pub(super) is_starving: bool,
    /// Where the lock that the word belongs to has its owner's thread id, or null.
    pub(super) owner: *const AtomicI32,
    /// In the frame of `wait_for_waker`, or null.
    pub(super) can_be_woken: *const CanBeWoken<'static>,
    /// Set, with release order, once the waiter is out of the queue.
    pub(super) woken: AtomicBool,
    pub(super) next: Cell<*const Parked>,
    pub(super) previous: Cell<*const Parked>,
}

pub(super) static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        queue: SpinLock::new(Queue {
            head: ptr::null(),
            tail: ptr::null(),
        }),
        kernel_waiters: AtomicU32::new(0),
        green_first: AtomicBool::new(false),
    }
}; BUCKETS];

pub(super) fn bucket(address: usize) -> &'static Bucket {
    // Fibonacci hashing: the high bits of the product are well mixed.
    let hash = (address as u64 >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize]
}

impl Queue {
    pub(super) fn push(&mut self, waiter: &Parked) {
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

    pub(super) fn remove(&mut self, waiter: &Parked) {
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
            // SAFETY: a queued waiter is in place.
            unsafe { (*next).previous.set(previous) };
        }
    }

    pub(super) fn len(&self) -> usize {
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
    pub(super) fn first(&self) -> Option<*const u32> {
        // SAFETY: a queued waiter is in place.
        let waiter = unsafe { self.head.as_ref() }?;
        Some(waiter.address.load(Ordering::Relaxed) as *const u32)
    }

    /// The first waiter at `address` from `waiter` on whose bitset meets `bitset`.
    pub(super) fn find(
        &self,
        mut waiter: *const Parked,
        address: usize,
        bitset: u32,
    ) -> Option<&Parked> {
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
    pub(super) fn take(
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
            let waiter: *const Parked = waiter;
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

/// Whether anybody is left who could end a wait.
pub(super) struct CanBeWoken<'a>(pub(super) &'a (dyn Fn() -> bool + Sync));

/// Puts the table in order after a fork: the parent's waiters do not exist here, and nobody holds a lock.
///
/// Threads that wait in the kernel by now were not counted; so one is, in each bucket, for ever.
///
/// # Safety
///
/// No green thread exists in this process, and no other thread looks at the table: the process is passive.
pub(crate) unsafe fn reset_after_fork() {
    for bucket in &TABLE {
        // SAFETY: no other thread uses the lock, and no green thread exists that could hold it, by this function's
        // contract.
        unsafe {
            spin::seize(&bucket.queue, |queue| {
                queue.head = ptr::null();
                queue.tail = ptr::null();
            })
        };
        bucket.kernel_waiters.store(1, Ordering::SeqCst);
    }
}
