//! The sleep family.
//!
//! A relative sleep is a deadline on the monotonic clock, whatever clock the caller named: all of
//! them run at its rate. An absolute sleep on a clock that can be set looks at that clock again
//! every second, so that it follows a step of it. A sleep by a CPU clock is a blocking section.
//! Signals do not interrupt the sleep of a green thread, so there is never a remaining time.

use std::ffi::{c_int, c_uint};
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Section};
use libc::{clockid_t, timespec};

use crate::kernel::{checked, finish};
use crate::section;

originals! {
    fn sleep(seconds: c_uint) -> c_uint;
    fn usleep(microseconds: c_uint) -> c_int;
    fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int;
    fn clock_nanosleep(
        clock: clockid_t,
        flags: c_int,
        request: *const timespec,
        remaining: *mut timespec,
    ) -> c_int;
    fn thrd_sleep(request: *const timespec, remaining: *mut timespec) -> c_int, or -2;
}

/// How often a sleep looks at a clock that can be set.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

fn sleep_for(section: &Section, duration: Duration) {
    if duration.is_zero() {
        section.yield_now();
    } else {
        // A sleep that was cut short ends as if it were over: std takes any error for a fault.
        let _ = section.sleep_until(Deadline::after(duration));
    }
}

fn now(clock: clockid_t) -> Duration {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result is ours. The call succeeds for every clock that is slept by.
    unsafe { libc::clock_gettime(clock, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn sleep_until(section: &Section, clock: clockid_t, time: Duration) {
    let longest = if clock == libc::CLOCK_MONOTONIC {
        Duration::MAX
    } else {
        CLOCK_CHECK
    };
    loop {
        let left = time.saturating_sub(now(clock));
        if left.is_zero() {
            return;
        }
        if section
            .sleep_until(Deadline::after(left.min(longest)))
            .is_err()
        {
            return;
        }
    }
}

/// What the kernel accepts as a time to sleep; the rest is for the original to refuse.
///
/// # Safety
///
/// `request` is null or points to a `timespec`.
unsafe fn accepted(request: *const timespec) -> Option<Duration> {
    // SAFETY: `request` is null or points to a time, by this function's contract.
    checked(unsafe { *request.as_ref()? }).ok()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sleep(seconds: c_uint) -> c_uint {
    let Some(section) = hook::enter(Patch::TIME) else {
        return pass_on!(original::sleep(seconds));
    };
    sleep_for(&section, Duration::from_secs(seconds.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn usleep(microseconds: c_uint) -> c_int {
    let Some(section) = hook::enter(Patch::TIME) else {
        return pass_on!(original::usleep(microseconds));
    };
    sleep_for(&section, Duration::from_micros(microseconds.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int {
    let Some(section) = hook::enter(Patch::TIME) else {
        return pass_on!(original::nanosleep(request, remaining));
    };
    // SAFETY: the caller gives a time to read.
    let Some(duration) = (unsafe { accepted(request) }) else {
        // The kernel refuses the call.
        return pass_on!(original::nanosleep(request, remaining));
    };
    sleep_for(&section, duration);
    finish(section, Ok(0))
}

/// Whether a green thread can sleep by this clock.
fn is_sleeping_clock(clock: clockid_t) -> bool {
    use libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI};
    matches!(
        clock,
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_TAI
    )
}

/// Returns the error, as POSIX has it, and leaves `errno` alone.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    let Some(section) = hook::enter(Patch::TIME) else {
        return pass_on!(original::clock_nanosleep(clock, flags, request, remaining));
    };
    // SAFETY: the caller gives a time to read.
    let accepted = unsafe { accepted(request) };
    let (Some(time), true) = (accepted, is_sleeping_clock(clock)) else {
        // It is a CPU clock, or the kernel refuses the call.
        return section::yielding(section, || {
            pass_on!(original::clock_nanosleep(clock, flags, request, remaining))
        });
    };
    if flags & libc::TIMER_ABSTIME != 0 {
        sleep_until(&section, clock, time);
    } else {
        sleep_for(&section, time);
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_sleep(
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    let Some(section) = hook::enter(Patch::TIME) else {
        return pass_on!(original::thrd_sleep(request, remaining));
    };
    // SAFETY: the caller gives a time to read.
    let Some(duration) = (unsafe { accepted(request) }) else {
        // The kernel refuses the call.
        return pass_on!(original::thrd_sleep(request, remaining));
    };
    sleep_for(&section, duration);
    0
}

aliases! {
    fn __nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int = nanosleep;
}
