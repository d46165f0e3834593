//! Waiting on a 32-bit word, and waking those who do: what `futex` and the pthread locks share.
//!
//! A green thread waits in the runtime's queues, any other thread in the kernel, where it is
//! counted ([`KernelWaiter`]). A wake-up serves first the queue, then, if anyone is counted, the
//! kernel. So threads of both kinds meet on the same lock.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicI32, AtomicU32};

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
pub(crate) use greenpatch_runtime::futex::Wait;
use greenpatch_runtime::futex::{self, ANY, KernelWaiter, SignalWaiter};
pub(crate) use greenpatch_runtime::hook::thread::id as thread_id;
use greenpatch_runtime::hook::{self, Section};
use libc::timespec;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A point in time at which a wait ends, on the clock that the caller named.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    pub(crate) is_realtime: bool,
    pub(crate) time: timespec,
}

impl Until {
    /// The point of this clock; an error for clocks that a wait cannot be timed by.
    pub(crate) fn new(clock: libc::clockid_t, time: timespec) -> Result<Until, Errno> {
        let is_realtime = match clock {
            libc::CLOCK_REALTIME => true,
            libc::CLOCK_MONOTONIC => false,
            _ => return Err(Errno::INVAL),
        };
        Ok(Until { is_realtime, time })
    }

    pub(crate) fn deadline(self) -> Deadline {
        let time = Timespec {
            tv_sec: self.time.tv_sec,
            tv_nsec: self.time.tv_nsec,
        };
        if self.is_realtime {
            Deadline::from_realtime(time)
        } else {
            Deadline::from_monotonic(time)
        }
    }

    pub(crate) fn has_passed(self) -> bool {
        let clock = if self.is_realtime {
            ClockId::Realtime
        } else {
            ClockId::Monotonic
        };
        let now = clock_gettime(clock);
        (now.tv_sec, now.tv_nsec) >= (self.time.tv_sec, self.time.tv_nsec)
    }
}

/// Where a word stands, to be woken at when the word may be gone.
pub(crate) fn address(word: &AtomicU32) -> *const u32 {
    word.as_ptr()
}

/// How a thread off the runtime takes cancellation while it waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// The wait is no cancellation point.
    Ignored,
    /// The wait is one: cancellation unwinds out of it.
    Point,
}

/// Waits while `*word == expected`, until `until` or woken by a wake-up whose bitset meets `bitset`. May
/// return [`Wait::Woken`] without a wake-up, on a signal for example.
pub(crate) fn wait(
    word: &AtomicU32,
    expected: u32,
    bitset: u32,
    until: Option<Until>,
    cancellation: Cancellation,
) -> Wait {
    let Some(section) = hook::enter(Patch::LOCK) else {
        return wait_in_kernel(word, expected, bitset, until, cancellation);
    };
    park_until(&section, word, expected, bitset, None, until)
}

/// As [`wait`], no cancellation point, on the word of a mutex that holds its owner's thread id in `owner`: a dump tells
/// who that is.
pub(crate) fn wait_for_mutex(
    word: &AtomicU32,
    expected: u32,
    until: Option<Until>,
    owner: &AtomicI32,
) -> Wait {
    let Some(section) = hook::enter(Patch::LOCK) else {
        return wait_in_kernel(word, expected, ANY, until, Cancellation::Ignored);
    };
    park_until(&section, word, expected, ANY, Some(owner), until)
}

/// The wait of a green thread.
fn park_until(
    section: &Section,
    word: &AtomicU32,
    expected: u32,
    bitset: u32,
    owner: Option<&AtomicI32>,
    until: Option<Until>,
) -> Wait {
    let address = word.as_ptr();
    loop {
        let deadline = until.map(Until::deadline);
        let wait = match owner {
            // SAFETY: the borrows keep word and id in place.
            Some(owner) => unsafe {
                futex::park_green_for_mutex(section, address, expected, deadline, owner)
            },
            // SAFETY: the borrow keeps the word in place.
            None => unsafe { futex::park_green(section, address, expected, bitset, deadline) },
        };
        // The real-time clock may have been set back meanwhile.
        if wait != Wait::TimedOut || until.is_none_or(Until::has_passed) {
            return wait;
        }
    }
}

/// As [`wait`], for a word whose waker may be a signal handler, and that calls `wake_one_from_signal`. A cancellation
/// point.
///
/// # Errors
///
/// `ETIMEDOUT`; `EINTR` if a signal handler has run on an OS thread.
pub(crate) fn wait_for_signal(
    word: &AtomicU32,
    expected: u32,
    until: Option<Until>,
) -> Result<(), Errno> {
    let in_kernel = |cancellation| match call_kernel(word, expected, ANY, until, cancellation) {
        Err(Errno::AGAIN) => Ok(()),
        outcome => outcome,
    };
    let Some(section) = hook::enter(Patch::LOCK) else {
        return in_kernel(Cancellation::Point);
    };
    let Ok(_waiter) = SignalWaiter::register() else {
        return match section.blocking(|| in_kernel(Cancellation::Ignored)) {
            Err(Errno::INTR) => Ok(()),
            outcome => outcome,
        };
    };
    match park_until(&section, word, expected, ANY, None, until) {
        Wait::TimedOut => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}

fn wait_in_kernel(
    word: &AtomicU32,
    expected: u32,
    bitset: u32,
    until: Option<Until>,
    cancellation: Cancellation,
) -> Wait {
    match call_kernel(word, expected, bitset, until, cancellation) {
        Err(Errno::AGAIN) => Wait::Changed,
        Err(Errno::TIMEDOUT) => Wait::TimedOut,
        _ => Wait::Woken,
    }
}

fn call_kernel(
    word: &AtomicU32,
    expected: u32,
    bitset: u32,
    until: Option<Until>,
    cancellation: Cancellation,
) -> Result<(), Errno> {
    let _waiter = match until {
        Some(_) => KernelWaiter::register(word.as_ptr()),
        None => KernelWaiter::register_endless(word.as_ptr()),
    };
    let mut operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    if until.is_some_and(|until| until.is_realtime) {
        operation |= libc::FUTEX_CLOCK_REALTIME;
    }
    let time = until.map(|until| until.time);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let arguments = [
        word.as_ptr() as usize,
        operation as usize,
        expected as usize,
        time as usize,
        0,
        bitset as usize,
    ];
    let result = match cancellation {
        // SAFETY: the word and the time outlive the call.
        Cancellation::Ignored => unsafe { crate::kernel::raw(libc::SYS_futex, arguments) },
        // SAFETY: the word and the time outlive the call; the frames from here up to the caller can be unwound.
        Cancellation::Point => unsafe { call_cancellable(libc::SYS_futex, &arguments) },
    };
    match -result as c_int {
        error @ 1.. => Err(Errno::from_raw_os_error(error)),
        _ => Ok(()),
    }
}

unsafe extern "C-unwind" {
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_ASYNCHRONOUS`, which the libc crate lacks.
const CANCEL_ASYNCHRONOUS: c_int = 1;

/// Makes a system call during which cancellation acts at once, as libc makes those of its
/// cancellation points.
///
/// Cancellation unwinds from any instruction in here. So this function has nothing to clean up, and
/// is never part of one that has: its callers are unwound at the call, as by a panic.
///
/// # Safety
///
/// The arguments are right for the call, and the frames above may be unwound.
#[inline(never)]
unsafe fn call_cancellable(number: c_long, arguments: &[usize; 6]) -> isize {
    let mut before = 0;
    // SAFETY: the arguments are right for the call, and the frames above may be unwound, by this function's contract; this
    // frame has nothing to clean up. The second change of the type puts back what was there.
    unsafe {
        pthread_setcanceltype(CANCEL_ASYNCHRONOUS, &mut before);
        let result = crate::kernel::raw(number, *arguments);
        pthread_setcanceltype(before, &mut before);
        result
    }
}

/// Wakes up to `count` waiters of `word` whose bitset meets `bitset`, and gives how many. One that was woken in vain for long
/// runs before the caller goes on.
pub(crate) fn wake(word: *const u32, count: u32, bitset: u32) -> u32 {
    let woken = futex::wake_bitset(word, count, bitset);
    if woken != 0 {
        hook::yield_if_owed();
    }
    woken
}
