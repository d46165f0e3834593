//! Waiting on a word while it has an expected value, as with the kernel's futex: green threads park, OS threads block.
//!
//! A waiter is queued under the word's address, and a wake-up at that address serves waiters of both kinds. This is what locks
//! are made of. How the queues work is the page of `sched/parking_lot.rs`.

use std::sync::atomic::{AtomicI32, AtomicU32};

use crate::base::deadline::Deadline;
use crate::sched::context::{self, NativeSection};
use crate::sched::parking_lot;
use crate::sched::parking_lot::{ParkRequest, park, park_at, wait_in_kernel};
use crate::wait::interrupt::{Interrupted, Limits, WaitEnd};
use crate::wait::section::Section;

pub use crate::sched::parking_lot::{
    ANY, KernelWaiter, UncountedWaiter, Wait, has_kernel_waiters, requeue_green, wait, wake,
    wake_bitset, wake_green,
};
pub(crate) use crate::sched::parking_lot::{wait_because, wake_address};
pub use crate::wait::signal_wake::{SignalWaiter, wake_one_from_signal};

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
pub(crate) fn wait_within(word: &AtomicU32, expected: u32, limits: &Limits) -> Result<(), WaitEnd> {
    limits.check_cancelled()?;
    let Some(green) = context::green() else {
        return match wait_in_kernel(word, expected, limits.until()) {
            Wait::TimedOut => limits.check(),
            _ => Ok(()),
        };
    };
    let _native = NativeSection::enter();
    let request = ParkRequest::new(word.as_ptr(), expected);
    // SAFETY: the borrow keeps the word in place.
    unsafe { park(green, request, limits.until(), || limits.check()) }.map(drop)
}

/// As [`wait`] in `block_on`, within `limits`; `may_be_woken` is as in the parking lot.
pub(crate) fn wait_for_waker(
    word: &AtomicU32,
    expected: u32,
    may_be_woken: &(dyn Fn() -> bool + Sync),
    limits: Option<&Limits>,
) -> Result<(), WaitEnd> {
    limits.map_or(Ok(()), Limits::check)?;
    let give_up = || limits.map_or(Ok(()), Limits::check);
    let until = limits.and_then(Limits::until);
    parking_lot::wait_for_waker(word, expected, may_be_woken, until, give_up).map(drop)
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
    let request = ParkRequest::new(address, expected).with_bitset(bitset);
    // SAFETY: the word is aligned and stays readable, by this function's contract; a section stands for the calling
    // green thread, which is native meanwhile.
    unsafe { park_at(section.green(), request, deadline) }
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
    let request = ParkRequest::new(address, expected).for_mutex(owner);
    // SAFETY: the word and the owner's are aligned and stay readable, by this function's contract; a section stands for
    // the calling green thread, which is native meanwhile.
    unsafe { park_at(section.green(), request, deadline) }
}
