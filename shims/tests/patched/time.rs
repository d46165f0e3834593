//! The sleep family keeps its promises on every kind of thread.

use std::ffi::c_int;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use harness::c::{fails, ok, on_clock, timespec};
use harness::{SHORT, on_every_kind_of_thread};

on_every_kind_of_thread! {
    every_sleep_takes_its_time,
    an_absolute_sleep_ends_when_its_clock_says_so,
    a_time_that_has_passed_is_no_sleep,
    a_sleep_by_a_cpu_clock_is_the_kernels,
    nonsense_is_refused,
    clock_nanosleep_returns_the_error_and_leaves_errno_alone,
    a_sleep_of_nothing_succeeds,
}

unsafe extern "C" {
    fn thrd_sleep(request: *const libc::timespec, remaining: *mut libc::timespec) -> c_int;
    fn __nanosleep(request: *const libc::timespec, remaining: *mut libc::timespec) -> c_int;
}

#[track_caller]
fn takes(at_least: Duration, sleep: impl FnOnce()) {
    let start = Instant::now();
    sleep();
    assert!(
        start.elapsed() >= at_least,
        "slept {:?} only",
        start.elapsed()
    );
}

fn every_sleep_takes_its_time() {
    let request = timespec(SHORT);
    // SAFETY: valid times throughout.
    unsafe {
        takes(SHORT, || {
            assert_eq!(libc::usleep(SHORT.as_micros() as u32), 0)
        });
        takes(SHORT, || {
            assert_eq!(libc::nanosleep(&request, null_mut()), 0)
        });
        takes(SHORT, || assert_eq!(__nanosleep(&request, null_mut()), 0));
        takes(SHORT, || assert_eq!(thrd_sleep(&request, null_mut()), 0));
        for clock in [
            libc::CLOCK_MONOTONIC,
            libc::CLOCK_REALTIME,
            libc::CLOCK_BOOTTIME,
        ] {
            takes(SHORT, || {
                assert_eq!(libc::clock_nanosleep(clock, 0, &request, null_mut()), 0);
            });
        }
        takes(Duration::from_secs(1), || assert_eq!(libc::sleep(1), 0));
    }
}

fn an_absolute_sleep_ends_when_its_clock_says_so() {
    use libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI};
    for clock in [CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI] {
        let end = on_clock(clock, SHORT);
        // SAFETY: a valid time.
        let error = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &end, null_mut()) };
        assert_eq!(error, 0);
        let now = on_clock(clock, Duration::ZERO);
        assert!((now.tv_sec, now.tv_nsec) >= (end.tv_sec, end.tv_nsec));
    }
}

fn a_time_that_has_passed_is_no_sleep() {
    let past = timespec(Duration::from_secs(1));
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME] {
        // SAFETY: a valid time.
        let error = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &past, null_mut()) };
        assert_eq!(error, 0);
    }
}

fn a_sleep_by_a_cpu_clock_is_the_kernels() {
    let past = timespec(Duration::ZERO);
    let clock = libc::CLOCK_PROCESS_CPUTIME_ID;
    // SAFETY: a valid time.
    let error = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &past, null_mut()) };
    assert_eq!(error, 0);
}

fn nonsense_is_refused() {
    for (tv_sec, tv_nsec) in [(0, 1_000_000_000), (0, -1), (-1, 0)] {
        let request = libc::timespec { tv_sec, tv_nsec };
        // SAFETY: refused.
        unsafe {
            fails(libc::nanosleep(&request, null_mut()), libc::EINVAL);
            let clock = libc::CLOCK_MONOTONIC;
            assert_eq!(
                libc::clock_nanosleep(clock, 0, &request, null_mut()),
                libc::EINVAL
            );
        }
    }
    // SAFETY: refused.
    unsafe {
        fails(libc::nanosleep(null(), null_mut()), libc::EFAULT);
        let thread_clock = libc::CLOCK_THREAD_CPUTIME_ID;
        let request = timespec(SHORT);
        assert_eq!(
            libc::clock_nanosleep(thread_clock, 0, &request, null_mut()),
            libc::EINVAL
        );
    }
}

fn clock_nanosleep_returns_the_error_and_leaves_errno_alone() {
    let request = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    // SAFETY: refused.
    unsafe {
        *libc::__errno_location() = 77;
        let error = libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &request, null_mut());
        assert_eq!(error, libc::EINVAL);
        assert_eq!(*libc::__errno_location(), 77);
    }
}

fn a_sleep_of_nothing_succeeds() {
    // SAFETY: always sound.
    unsafe {
        assert_eq!(libc::sleep(0), 0);
        ok(libc::usleep(0));
        ok(libc::nanosleep(&timespec(Duration::ZERO), null_mut()));
    }
}
