//! The futex calls that std, parking_lot and others make through `syscall`.
//!
//! | operation, private | green thread | other thread |
//! |---|---|---|
//! | `WAIT`, `WAIT_BITSET` | parks | counted, then the kernel's |
//! | `WAKE`, `WAKE_BITSET` | wakes green threads, then the kernel for the rest | the same |
//! | `REQUEUE`, `CMP_REQUEUE` | moves green threads; kernel waiters are woken instead | the same |
//! | `WAKE_OP` | changes the second word here, then wakes at both | the same |
//!
//! Kernel waiters are not requeued because they are counted by the address they began to wait on; a
//! waiter that is woken instead of moved looks at its word and waits again. `CMP_REQUEUE` compares
//! the word before the queue is locked: a waiter that comes in between may be moved although the
//! word has changed, which to it is a wake-up without cause.
//!
//! The newer calls `futex_wait`, `futex_wake` and `futex_requeue` are the same in other words, and `futex_waitv` on one
//! word is `futex_wait`. All else goes to the kernel: futexes shared between processes, those with priority inheritance, of
//! other sizes than 32 bits, and waits on several words. A green thread has such a wait made by another OS thread, and parks
//! (see `shared`); but those with priority inheritance, where the kernel knows the calling thread, are blocking sections.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicU32, Ordering};

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::futex::{self, ANY, KernelWaiter, Wait};
use greenpatch_runtime::hook::{self, Section};
use libc::timespec;
use rustix::io::Errno;

use crate::kernel::{self, finish, returned};
use crate::shared::hand_over;
use crate::word::{Until, wake};

/// A call of futex(2): its arguments.
struct FutexCall {
    arguments: [usize; 6],
    word: *const u32,
    /// The operation without its flags.
    operation: c_int,
    flags: c_int,
    value: u32,
    timeout: *const timespec,
    /// What stands in the place of the time-out.
    second_value: u32,
    second_word: *const u32,
    third_value: u32,
}

const FLAGS: c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

impl FutexCall {
    fn new(arguments: [usize; 6]) -> FutexCall {
        let [word, operation, value, timeout, second_word, third_value] = arguments;
        FutexCall {
            arguments,
            word: word as *const u32,
            operation: operation as c_int & !FLAGS,
            flags: operation as c_int & FLAGS,
            value: value as u32,
            timeout: timeout as *const timespec,
            second_value: timeout as u32,
            second_word: second_word as *const u32,
            third_value: third_value as u32,
        }
    }

    /// The call as it came.
    ///
    /// # Safety
    ///
    /// What futex(2) asks of its caller.
    unsafe fn in_kernel(&self) -> Result<usize, Errno> {
        // SAFETY: the arguments are right for futex, by this function's contract.
        unsafe { kernel::call(libc::SYS_futex, self.arguments) }
    }

    /// Whether it is a wait.
    fn can_block(&self) -> bool {
        !matches!(
            self.operation,
            libc::FUTEX_WAKE
                | libc::FUTEX_WAKE_BITSET
                | libc::FUTEX_WAKE_OP
                | libc::FUTEX_REQUEUE
                | libc::FUTEX_CMP_REQUEUE
                | libc::FUTEX_UNLOCK_PI
                | libc::FUTEX_TRYLOCK_PI
                | libc::FUTEX_CMP_REQUEUE_PI
        )
    }

    /// Whether it is a wait that is the same on whatever thread it is made.
    fn is_for_any_thread(&self) -> bool {
        matches!(self.operation, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET)
    }

    /// A count as the kernel takes it, which wakes one even when told to wake none.
    fn count(value: u32) -> u32 {
        (value as i32).max(1) as u32
    }
}

/// futex(2) on any thread.
///
/// # Safety
///
/// As for futex.
pub(crate) unsafe fn call(arguments: [usize; 6]) -> c_long {
    // SAFETY: the arguments are right for futex, by this function's contract.
    unsafe { futex_call(FutexCall::new(arguments)) }
}

/// # Safety
///
/// As for futex.
unsafe fn futex_call(call: FutexCall) -> c_long {
    let usable = |word: *const u32| !word.is_null() && word.is_aligned();
    let is_ours = call.flags & libc::FUTEX_PRIVATE_FLAG != 0 && usable(call.word);
    let outcome = match call.operation {
        libc::FUTEX_WAIT if is_ours && call.flags & libc::FUTEX_CLOCK_REALTIME == 0 => {
            // SAFETY: the call is right for futex, by this function's contract, and its word is aligned.
            return unsafe { wait(&call, ANY) };
        }
        libc::FUTEX_WAIT_BITSET if is_ours && call.third_value != 0 => {
            // SAFETY: the call is right for futex, by this function's contract, and its word is aligned.
            return unsafe { wait(&call, call.third_value) };
        }
        libc::FUTEX_WAKE if is_ours => Ok(wake(call.word, FutexCall::count(call.value), ANY)),
        libc::FUTEX_WAKE_BITSET if is_ours && call.third_value != 0 => Ok(wake(
            call.word,
            FutexCall::count(call.value),
            call.third_value,
        )),
        libc::FUTEX_REQUEUE if is_ours && usable(call.second_word) => Ok(requeue(&call)),
        libc::FUTEX_CMP_REQUEUE if is_ours && usable(call.second_word) => {
            // SAFETY: the word is aligned, and it is readable, by this function's contract.
            if unsafe { load(call.word) } == call.third_value {
                Ok(requeue(&call))
            } else {
                Err(Errno::AGAIN)
            }
        }
        libc::FUTEX_WAKE_OP if is_ours && usable(call.second_word) => {
            match WakeOp::decode(call.third_value) {
                // SAFETY: both words are aligned, and the second can be written to, by this function's contract.
                Some(op) => Ok(unsafe { wake_op(&call, op) }),
                // SAFETY: the call is right for futex, by this function's contract.
                None => unsafe { call.in_kernel() }.map(|count| count as u32),
            }
        }
        _ => {
            // It may be a wait that the kernel alone knows.
            let _waiter = KernelWaiter::register(call.word);
            // SAFETY: the call is right for futex, by this function's contract.
            let wait = || unsafe { call.in_kernel() }.map(|count| count as u32);
            match hook::enter(Patch::LOCK).filter(|_| call.can_block()) {
                Some(section) if call.is_for_any_thread() => hand_over(section, call.word, wait),
                Some(section) => section.blocking(wait),
                None => wait(),
            }
        }
    };
    returned(outcome.map(|count| c_long::from(count as i32)))
}

/// # Safety
///
/// The word is aligned and readable.
unsafe fn load(word: *const u32) -> u32 {
    // SAFETY: the word is aligned and readable, by this function's contract.
    unsafe { AtomicU32::from_ptr(word.cast_mut()) }.load(Ordering::SeqCst)
}

/// # Safety
///
/// As for futex; the word is aligned.
unsafe fn wait(call: &FutexCall, bitset: u32) -> c_long {
    let Some(section) = hook::enter(Patch::LOCK) else {
        let _waiter = if call.timeout.is_null() {
            KernelWaiter::register_endless(call.word)
        } else {
            KernelWaiter::register(call.word)
        };
        // SAFETY: the call is right for futex, by this function's contract.
        return returned(unsafe { call.in_kernel() }.map(|value| value as c_long));
    };
    // SAFETY: the call is right for futex and its word is aligned, by this function's contract.
    let outcome = unsafe { park(&section, call, bitset) };
    finish(section, outcome.map(|()| 0))
}

/// # Safety
///
/// As for futex; the word is aligned.
unsafe fn park(section: &Section, call: &FutexCall, bitset: u32) -> Result<(), Errno> {
    // SAFETY: the time-out is null or points to a time, by this function's contract.
    let duration = unsafe { call.timeout.as_ref() }
        .map(|time| kernel::checked(*time))
        .transpose()?;
    let is_relative = call.operation == libc::FUTEX_WAIT;
    let fixed = duration.filter(|_| is_relative).map(Deadline::after);
    let until = duration.filter(|_| !is_relative).map(|_| Until {
        is_realtime: call.flags & libc::FUTEX_CLOCK_REALTIME != 0,
        // SAFETY: it was read above.
        time: unsafe { *call.timeout },
    });
    loop {
        let deadline = fixed.or(until.map(Until::deadline));
        // SAFETY: the word is aligned and stays readable, by this function's contract.
        match unsafe { futex::park_green(section, call.word, call.value, bitset, deadline) } {
            Wait::Woken => return Ok(()),
            Wait::Changed => return Err(Errno::AGAIN),
            // The real-time clock may have been set back meanwhile.
            Wait::TimedOut if until.is_some_and(|until| !until.has_passed()) => {}
            Wait::TimedOut => return Err(Errno::TIMEDOUT),
        }
    }
}

fn requeue(call: &FutexCall) -> u32 {
    // Here the kernel takes a count of none as it stands.
    let (wakes, moves) = (call.value, call.second_value);
    let (woken, moved) = futex::requeue_green(call.word, call.second_word, wakes, moves);
    let rest = (wakes - woken).saturating_add(moves - moved);
    let others = if rest > 0 {
        wake_in_kernel(call.word, rest)
    } else {
        0
    };
    woken + moved + others
}

fn wake_in_kernel(word: *const u32, count: u32) -> u32 {
    if !futex::has_kernel_waiters(word) {
        return 0;
    }
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let count = count.min(i32::MAX as u32);
    // SAFETY: the kernel only compares the address with those of its waiters.
    unsafe { kernel_call!(libc::SYS_futex, word, operation, count) }.map_or(0, |woken| woken as u32)
}

/// What `FUTEX_WAKE_OP` does to the second word, and asks of its old value.
#[derive(Clone, Copy)]
struct WakeOp {
    change: fn(u32, u32) -> u32,
    operand: u32,
    compare: fn(&i32, &i32) -> bool,
    comparand: i32,
}

impl WakeOp {
    /// Taken apart as futex(2) describes it; `None` for what the kernel does not know.
    fn decode(code: u32) -> Option<WakeOp> {
        const OPERAND_IS_SHIFT: u32 = 8;
        let signed_12_bits = |bits: u32| ((bits << 20) as i32) >> 20;
        let (op, comparison) = (code >> 28, code >> 24 & 15);
        let mut operand = signed_12_bits(code >> 12) as u32;
        if op & OPERAND_IS_SHIFT != 0 {
            operand = 1 << (operand & 31);
        }
        let change: fn(u32, u32) -> u32 = match op & !OPERAND_IS_SHIFT {
            0 => |_, operand| operand,
            1 => u32::wrapping_add,
            2 => |old, operand| old | operand,
            3 => |old, operand| old & !operand,
            4 => |old, operand| old ^ operand,
            _ => return None,
        };
        let compare = match comparison {
            0 => i32::eq,
            1 => i32::ne,
            2 => i32::lt,
            3 => i32::le,
            4 => i32::gt,
            5 => i32::ge,
            _ => return None,
        };
        Some(WakeOp {
            change,
            operand,
            compare,
            comparand: signed_12_bits(code),
        })
    }
}

/// # Safety
///
/// Both words are aligned; the second can be written to.
unsafe fn wake_op(call: &FutexCall, op: WakeOp) -> u32 {
    // SAFETY: the second word is aligned and can be written to, by this function's contract.
    let second = unsafe { AtomicU32::from_ptr(call.second_word.cast_mut()) };
    let mut old = second.load(Ordering::Relaxed);
    while let Err(current) = second.compare_exchange_weak(
        old,
        (op.change)(old, op.operand),
        Ordering::SeqCst,
        Ordering::Relaxed,
    ) {
        old = current;
    }
    let mut woken = wake(call.word, FutexCall::count(call.value), ANY);
    if (op.compare)(&(old as i32), &op.comparand) {
        woken += wake(call.second_word, FutexCall::count(call.second_value), ANY);
    }
    woken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the macro `FUTEX_OP` of futex(2).
    fn encode(op: u32, operand: i32, comparison: u32, comparand: i32) -> u32 {
        op << 28 | comparison << 24 | (operand as u32 & 0xfff) << 12 | comparand as u32 & 0xfff
    }

    fn changed(op: u32, operand: i32, old: u32) -> u32 {
        let op = WakeOp::decode(encode(op, operand, 0, 0)).unwrap();
        (op.change)(old, op.operand)
    }

    #[test]
    fn the_second_word_is_changed_as_the_kernel_changes_it() {
        assert_eq!(changed(0, -1, 7), u32::MAX);
        assert_eq!(changed(1, -2, 7), 5);
        assert_eq!(changed(2, 8, 7), 15);
        assert_eq!(changed(3, 3, 7), 4);
        assert_eq!(changed(4, 5, 7), 2);
        assert_eq!(changed(2 | 8, 4, 1), 17);
        assert!(WakeOp::decode(encode(5, 0, 0, 0)).is_none());
    }

    #[test]
    fn the_old_value_is_compared_as_a_signed_number() {
        let holds = |comparison, old: i32, comparand| {
            let op = WakeOp::decode(encode(0, 0, comparison, comparand)).unwrap();
            (op.compare)(&old, &op.comparand)
        };
        assert!(holds(0, -1, -1));
        assert!(holds(1, 2, 1));
        assert!(holds(2, -5, -4));
        assert!(holds(3, 3, 3));
        assert!(holds(4, 5, 4));
        assert!(holds(5, 4, 4));
        assert!(WakeOp::decode(encode(0, 0, 6, 0)).is_none());
    }
}
