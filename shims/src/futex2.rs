//! The newer futex calls, in terms of futex(2).

use std::ffi::{c_int, c_long};

use greenpatch_runtime::futex::{ANY, UncountedWaiter};

use crate::futex;
use crate::kernel::{self, returned};
use crate::shared::handed_over;

pub(crate) const FUTEX_WAITV: c_long = 449;
pub(crate) const FUTEX_WAKE: c_long = 454;
pub(crate) const FUTEX_WAIT: c_long = 455;
pub(crate) const FUTEX_REQUEUE: c_long = 456;

/// The flags of a private futex of 32 bits: `FUTEX2_SIZE_U32 | FUTEX2_PRIVATE`.
const PRIVATE_32: u32 = 2 | 128;

/// `struct futex_waitv`.
#[repr(C)]
struct FutexWaitv {
    value: u64,
    word: u64,
    flags: u32,
    reserved: u32,
}

/// One of the four calls.
///
/// # Safety
///
/// As for the call.
pub(crate) unsafe fn call(number: c_long, arguments: [usize; 6]) -> c_long {
    // SAFETY: the arguments are right for the call, by this function's contract.
    let classic = unsafe {
        match number {
            FUTEX_WAKE => wake(arguments),
            FUTEX_WAIT => wait(arguments),
            FUTEX_REQUEUE => requeue(arguments),
            _ => wait_for_one(arguments),
        }
    };
    match classic {
        // SAFETY: the arguments are right for the call, by this function's contract; these are the same in other words.
        Some(arguments) => unsafe { futex::call(arguments) },
        // SAFETY: the arguments are right for the call, by this function's contract.
        None => unsafe { in_kernel(number, arguments) },
    }
}

/// What is not ours. A wait names its words in a way that is not looked into.
///
/// # Safety
///
/// As for the call.
unsafe fn in_kernel(number: c_long, arguments: [usize; 6]) -> c_long {
    // SAFETY: the arguments are right for the call, by this function's contract.
    let call = || unsafe { kernel::call(number, arguments) };
    let is_wait = number == FUTEX_WAIT || number == FUTEX_WAITV;
    let outcome = if is_wait {
        let _waiter = UncountedWaiter::register();
        handed_over(arguments[0] as *const u32, call)
    } else {
        call()
    };
    returned(outcome.map(|value| value as c_long))
}

fn operation(operation: c_int) -> usize {
    (operation | libc::FUTEX_PRIVATE_FLAG) as usize
}

/// `futex_wake(word, mask, count, flags)`.
fn wake([word, mask, count, flags, ..]: [usize; 6]) -> Option<[usize; 6]> {
    // What futex(2) takes for 1, this call takes as it stands.
    let is_ours = flags as u32 == PRIVATE_32 && u32::try_from(mask).is_ok() && count as i32 > 0;
    let classic = operation(libc::FUTEX_WAKE_BITSET);
    is_ours.then_some([word, classic, count, 0, 0, mask])
}

/// `futex_wait(word, value, mask, flags, time, clock)`.
fn wait([word, value, mask, flags, time, clock]: [usize; 6]) -> Option<[usize; 6]> {
    let is_ours =
        flags as u32 == PRIVATE_32 && u32::try_from(value).is_ok() && u32::try_from(mask).is_ok();
    let clock_flag = match clock as c_int {
        libc::CLOCK_REALTIME => libc::FUTEX_CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC => 0,
        _ if time == 0 => 0,
        _ => return None,
    };
    let classic = operation(libc::FUTEX_WAIT_BITSET | clock_flag);
    is_ours.then_some([word, classic, value, time, 0, mask])
}

/// `futex_requeue(waiters, flags, wakes, moves)`.
///
/// # Safety
///
/// As for the call.
unsafe fn requeue([waiters, flags, wakes, moves, ..]: [usize; 6]) -> Option<[usize; 6]> {
    // SAFETY: `waiters` points to two, by this function's contract, or is null, which the kernel is to refuse.
    let [from, to] = unsafe { (waiters as *const [FutexWaitv; 2]).as_ref() }?;
    let is_ours = flags == 0
        && [from, to].iter().all(|waiter| waiter.is_ours())
        && wakes as i32 >= 0
        && moves as i32 >= 0;
    let (word, second, value) = (from.word as usize, to.word as usize, from.value as usize);
    let classic = operation(libc::FUTEX_CMP_REQUEUE);
    is_ours.then_some([word, classic, wakes, moves, second, value])
}

/// `futex_waitv(waiters, count, flags, time, clock)`, which gives the index of the word that was woken.
///
/// # Safety
///
/// As for the call.
unsafe fn wait_for_one([waiters, count, flags, time, clock, _]: [usize; 6]) -> Option<[usize; 6]> {
    if count as u32 != 1 || flags != 0 {
        return None;
    }
    // SAFETY: `waiters` points to one, by this function's contract, or is null, which the kernel is to refuse.
    let waiter =
        unsafe { (waiters as *const FutexWaitv).as_ref() }.filter(|waiter| waiter.is_ours())?;
    let (word, value) = (waiter.word as usize, waiter.value as usize);
    wait([word, value, ANY as usize, PRIVATE_32 as usize, time, clock])
}

impl FutexWaitv {
    fn is_ours(&self) -> bool {
        self.flags == PRIVATE_32 && self.reserved == 0 && u32::try_from(self.value).is_ok()
    }
}
