//! System calls without libc, and `errno`.
//!
//! A raw call gives its error as a value and leaves `errno` alone, passes through no interposed
//! function, and is safe in signal handlers.

use std::ffi::{c_int, c_long};
use std::time::Duration;

pub(crate) use greenpatch_runtime::hook::system_call as raw;
use greenpatch_runtime::hook::{Interest, Section};
use libc::timespec;
use rustix::io::Errno;

/// Makes the system call `$number` with up to six integers or pointers.
macro_rules! kernel_call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::kernel::call($number, [$($argument as usize),*])
    };
}

/// Makes a system call; what it returned, or the error.
///
/// # Safety
///
/// The arguments are right for the call.
#[inline]
pub(crate) unsafe fn call<const N: usize>(
    number: c_long,
    arguments: [usize; N],
) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    // SAFETY: the arguments are right for the call, by this function's contract.
    let result = unsafe { raw(number, all) };
    if (-4095..0).contains(&result) {
        Err(Errno::from_raw_os_error(-result as i32))
    } else {
        Ok(result as usize)
    }
}

/// The calling thread's `errno`.
#[inline]
pub(crate) fn errno() -> c_int {
    // SAFETY: always the address of the calling thread's variable.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
#[inline]
pub(crate) fn set_errno(code: c_int) {
    // SAFETY: always the address of the calling thread's variable.
    unsafe { *libc::__errno_location() = code }
}

/// What a C function returns for `outcome`: its value, or -1 with `errno` set.
#[inline]
pub(crate) fn returned<T: From<i8>>(outcome: Result<T, Errno>) -> T {
    outcome.unwrap_or_else(|error| {
        set_errno(error.raw_os_error());
        T::from(-1)
    })
}

/// Ends a shim on a green thread. The section ends first, so that nothing comes after `errno`.
#[inline]
pub(crate) fn finish<T: From<i8>>(section: Section, outcome: Result<T, Errno>) -> T {
    drop(section);
    returned(outcome)
}

/// As [`finish`], for functions that return a count.
#[inline]
pub(crate) fn finish_count(section: Section, outcome: Result<usize, Errno>) -> libc::ssize_t {
    finish(section, outcome.map(|count| count as libc::ssize_t))
}

/// Runs `act` so that the caller of the shim does not see what it does to `errno`.
#[inline]
pub(crate) fn keeping_errno<T>(act: impl FnOnce() -> T) -> T {
    let before = errno();
    let value = act();
    set_errno(before);
    value
}

/// poll(2) on one descriptor without waiting: whether it is ready for `interest`, be it for an error.
pub(crate) fn is_ready(fd: c_int, interest: Interest) -> bool {
    let mut entry = libc::pollfd {
        fd,
        events: match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        },
        revents: 0,
    };
    // SAFETY: one entry, and it is ours.
    unsafe { kernel_call!(libc::SYS_poll, &raw mut entry, 1, 0) }.is_ok_and(|ready| ready != 0)
}

/// What the kernel accepts as a time; an error for what it refuses.
pub(crate) fn checked(time: timespec) -> Result<Duration, Errno> {
    if time.tv_sec < 0 || !(0..1_000_000_000).contains(&time.tv_nsec) {
        return Err(Errno::INVAL);
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// A time-out as C passes it: null is none.
///
/// # Safety
///
/// `time` is null or points to a `timespec`.
pub(crate) unsafe fn timeout(time: *const timespec) -> Result<Option<Duration>, Errno> {
    // SAFETY: `time` is null or points to a time, by this function's contract.
    unsafe { time.as_ref() }
        .map(|time| checked(*time))
        .transpose()
}
