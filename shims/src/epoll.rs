//! Waiting on an epoll set, as event loops do that run inside a green thread.
//!
//! An epoll set is itself a descriptor that becomes readable when there are events in it, so to the
//! runtime the wait is one for a single descriptor.
//!
//! A wait with a signal mask is a blocking section: the mask belongs to the kernel thread.

use std::ffi::c_int;
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Call, Interest, Section};
use libc::{epoll_event, sigset_t, timespec};
use rustix::io::Errno;

use crate::kernel::{self, finish, returned};
use crate::section;

originals! {
    fn epoll_wait(
        set: c_int,
        events: *mut epoll_event,
        room: c_int,
        timeout: c_int,
    ) -> c_int;
    fn epoll_pwait(
        set: c_int,
        events: *mut epoll_event,
        room: c_int,
        timeout: c_int,
        mask: *const sigset_t,
    ) -> c_int;
    fn epoll_pwait2(
        set: c_int,
        events: *mut epoll_event,
        room: c_int,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int, or returned(Err(Errno::NOSYS));
}

/// epoll_wait(2) on a green thread; `timeout` of `None` is without limit.
///
/// # Safety
///
/// As for epoll_wait.
unsafe fn wait_for(
    section: &Section,
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: Option<Duration>,
) -> Result<c_int, Errno> {
    let attempt = || {
        // SAFETY: `events` has `room` for so many, by this function's contract.
        match unsafe { kernel_call!(libc::SYS_epoll_wait, set, events, room, 0) }? {
            0 => Err(Errno::AGAIN),
            count => Ok(count as c_int),
        }
    };
    let outcome = if timeout == Some(Duration::ZERO) {
        // A loop of such calls would keep a worker to itself for ever.
        let outcome = attempt();
        section.yield_outside_handlers();
        outcome
    } else {
        let patience = |_: &Call<'_>, _| Ok(timeout.map(Deadline::after));
        section
            .call(set)
            .and_then(|call| call.retry(Interest::Read, patience, attempt))
    };
    match outcome {
        Err(Errno::AGAIN) => Ok(0),
        outcome => outcome,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_wait(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::epoll_wait(set, events, room, timeout));
    };
    // A negative time-out is none.
    let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: the caller gives room for so many events.
    let outcome = unsafe { wait_for(&section, set, events, room, timeout) };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    if mask.is_null() {
        return pass_on!(epoll_wait(set, events, room, timeout));
    }
    let call = || pass_on!(original::epoll_pwait(set, events, room, timeout, mask));
    section::run(hook::enter(Patch::SELECT), section::yielding, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait2(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::epoll_pwait2(set, events, room, timeout, mask));
    };
    // SAFETY: the caller gives null or a time to read.
    let (Ok(limit), true) = (unsafe { kernel::timeout(timeout) }, mask.is_null()) else {
        return section::yielding(section, || {
            pass_on!(original::epoll_pwait2(set, events, room, timeout, mask))
        });
    };
    // SAFETY: the caller gives room for so many events.
    let outcome = unsafe { wait_for(&section, set, events, room, limit) };
    finish(section, outcome)
}
