//! poll and its variants.
//!
//! The kernel is asked first, without waiting; only if nothing is ready does the green thread park
//! on all descriptors at once. A poll that must not wait and finds nothing lets others run, or a
//! loop of such polls would keep a worker to itself for ever.
//!
//! A ppoll with a signal mask is a blocking section: the mask belongs to the kernel thread.

use std::ffi::c_int;
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Section};
use libc::{nfds_t, pollfd, sigset_t, size_t, timespec};
use rustix::io::Errno;

use crate::kernel::{self, finish};
use crate::section::yielding;

originals! {
    fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int;
    fn __poll_chk(entries: *mut pollfd, count: nfds_t, timeout: c_int, capacity: size_t) -> c_int;
    fn ppoll(
        entries: *mut pollfd,
        count: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int;
    fn __ppoll_chk(
        entries: *mut pollfd,
        count: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
        capacity: size_t,
    ) -> c_int;
}

/// poll(2) on a green thread; `timeout` of `None` is without limit.
///
/// # Safety
///
/// As for poll.
unsafe fn poll_until(
    section: &Section,
    entries: *mut pollfd,
    count: nfds_t,
    timeout: Option<Duration>,
) -> Result<c_int, Errno> {
    // SAFETY: `entries` and `count` are right for poll, by this function's contract.
    let ready = unsafe { kernel_call!(libc::SYS_poll, entries, count, 0) }?;
    if ready > 0 {
        section.give_way();
        return Ok(ready as c_int);
    }
    if timeout == Some(Duration::ZERO) {
        section.yield_outside_handlers();
        return Ok(0);
    }
    let entries = match count {
        0 => &mut [],
        // SAFETY: `entries` points to `count` of them, by this function's contract, and the kernel has accepted them.
        _ => unsafe { std::slice::from_raw_parts_mut(entries, count as usize) },
    };
    let ready = section.poll(entries, timeout.map(Deadline::after))?;
    Ok(ready as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::poll(entries, count, timeout));
    };
    // A negative time-out is none.
    let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: the caller gives so many entries.
    let outcome = unsafe { poll_until(&section, entries, count, timeout) };
    finish(section, outcome)
}

fn fits(count: nfds_t, capacity: size_t) -> bool {
    count as usize <= capacity / size_of::<pollfd>()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __poll_chk(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
    capacity: size_t,
) -> c_int {
    if !fits(count, capacity) {
        // It ends the process.
        return pass_on!(original::__poll_chk(entries, count, timeout, capacity));
    }
    // SAFETY: the array is large enough.
    unsafe { poll(entries, count, timeout) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ppoll(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::ppoll(entries, count, timeout, mask));
    };
    // SAFETY: the caller gives null or a time to read.
    let limit = unsafe { kernel::timeout(timeout) };
    let (Ok(limit), true) = (limit, mask.is_null()) else {
        return yielding(section, || {
            pass_on!(original::ppoll(entries, count, timeout, mask))
        });
    };
    // SAFETY: the caller gives so many entries.
    let outcome = unsafe { poll_until(&section, entries, count, limit) };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __ppoll_chk(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    capacity: size_t,
) -> c_int {
    if !fits(count, capacity) {
        // It ends the process.
        return pass_on! { original::__ppoll_chk(entries, count, timeout, mask, capacity) };
    }
    // SAFETY: the array is large enough.
    unsafe { ppoll(entries, count, timeout, mask) }
}

aliases! {
    fn __poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int = poll;
}
