//! Calls of C functions: their values, errors and times.

use std::ffi::c_int;
use std::io;
use std::time::Duration;

/// The calling thread's `errno`.
pub fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .expect("it is from the system")
}

/// The value of a C call that must succeed.
#[track_caller]
pub fn ok<T: PartialOrd + From<i8>>(value: T) -> T {
    assert!(value >= T::from(0), "{}", io::Error::last_os_error());
    value
}

/// Asserts that a C call failed with this `errno`.
#[track_caller]
pub fn fails<T: PartialEq + From<i8>>(value: T, error: c_int) {
    let last = errno();
    assert!(value == T::from(-1), "did not fail");
    assert_eq!(last, error, "{}", io::Error::from_raw_os_error(last));
}

/// A time that lasts so long.
pub fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The time on `clock`, `later` from now.
pub fn on_clock(clock: libc::clockid_t, later: Duration) -> libc::timespec {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the result is ours.
    ok(unsafe { libc::clock_gettime(clock, &mut now) });
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + later)
}
