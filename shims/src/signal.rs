//! Waiting for signals: a blocking section on a green thread.
//!
//! Signals are sent to kernel threads and blocked by them. So a green thread waits as its worker, whose mask counts: as a
//! rule that which the thread had that built the runtime. A handler for which `pause` waits, runs on any thread that does
//! not block the signal, as among OS threads.

use std::ffi::c_int;

use libc::{siginfo_t, sigset_t, timespec};

sections! { THREAD:
in_place {
    fn pause() -> c_int;
    fn sigsuspend(mask: *const sigset_t) -> c_int;
    fn __sigsuspend(mask: *const sigset_t) -> c_int;
    fn sigpause(signal: c_int) -> c_int;
    fn __sigpause(signal: c_int, is_number: c_int) -> c_int;
    fn __xpg_sigpause(signal: c_int) -> c_int;
}
yielding {
    fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int;
    fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int;
    fn sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, time: *const timespec) -> c_int;
}
}
