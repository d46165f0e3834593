//! Waits for what processes share: futexes, and the pthread objects that glibc builds on them.
//!
//! The other process may use glibc without us. So the objects keep glibc's layout and protocol, and who waits does so in the kernel,
//! on the shared word. A green thread has that done by another OS thread, and parks ([`Section::hand_over`]; why it is
//! one OS thread for each wait is the page of `sched/stand_in.rs`). What is handed over depends on who glibc takes for the
//! object's owner, which is the thread that calls:
//!
//! | object | handed over | why |
//! |---|---|---|
//! | barrier, futex | the whole call | it has no owner |
//! | semaphore, mutex | the futex wait alone | to try is quick, and the mutex is to be the green thread's |
//! | mutex with priority inheritance | every call, to one OS thread that is kept | the kernel must know the owner |
//! | read-write lock | the whole call, after a try | a writer's id is put right afterwards |
//! | condition variable | the whole call, with a mutex of its own | see `pthread_cond` |
//!
//! (Rejected: our own implementations of glibc's condition variable, read-write lock and barrier, which differ between glibc's versions.)
//!
//! The system may have no OS thread left. Then, where the green thread itself can look, it parks for a while and looks again;
//! other calls are blocking sections.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::futex::{ANY, park_green};
use greenpatch_runtime::hook::{self, Section};
use rustix::io::Errno;

use crate::kernel::{errno, set_errno};
use crate::section::yielding;
use crate::word::{Until, Wait};

/// Makes a call that waits for another process and has the same effect on whatever thread it is made. `object` is what it
/// waits for, to be told in dumps. `errno` is what the call has set.
pub(crate) fn handed_over<O, T>(object: *const O, call: impl Fn() -> T) -> T {
    match hook::enter(Patch::LOCK) {
        Some(section) => hand_over(section, object, call),
        None => call(),
    }
}

/// As [`handed_over`], on a green thread.
pub(crate) fn hand_over<O, T>(section: Section, object: *const O, call: impl Fn() -> T) -> T {
    let telling = || (call(), errno());
    // SAFETY: by the first function's contract the call may be made on any thread; it is glibc's or the kernel's, and neither
    // panics nor knows of sections. What it is given stays in place as the caller waits for its end.
    let outcome = unsafe { section.hand_over(object.addr(), &telling, || ()) };
    let Some((value, error)) = outcome else {
        return yielding(section, call);
    };
    drop(section);
    set_errno(error);
    value
}

/// Waits on a green thread while the shared `word` is `expected`, as glibc does; may return early.
pub(crate) fn wait(
    section: &Section,
    word: &AtomicU32,
    expected: u32,
    until: Option<Until>,
) -> Wait {
    let mut operation = libc::FUTEX_WAIT_BITSET;
    if until.is_some_and(|until| until.is_realtime) {
        operation |= libc::FUTEX_CLOCK_REALTIME;
    }
    let time = until.map(|until| until.time);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let call = || {
        // SAFETY: the borrow keeps the word in place, and the time is in this frame.
        unsafe {
            kernel_call!(
                libc::SYS_futex,
                word.as_ptr(),
                operation,
                expected,
                time,
                0,
                ANY
            )
        }
    };
    // SAFETY: a system call that may be made on any thread.
    match unsafe { section.hand_over(word.as_ptr().addr(), &call, || ()) } {
        Some(Err(Errno::TIMEDOUT)) => Wait::TimedOut,
        Some(Err(Errno::AGAIN)) => Wait::Changed,
        Some(_) => Wait::Woken,
        None => pause(section, until),
    }
}

/// Parks for a while, no longer than until `until`: for a green thread that has nobody to wait in its place.
pub(crate) fn pause(section: &Section, until: Option<Until>) -> Wait {
    const WHILE: Duration = Duration::from_millis(5);

    let word = AtomicU32::new(0);
    let next = Deadline::after(WHILE);
    let next = until.map_or(next, |until| until.deadline().min(next));
    // SAFETY: the word is in this frame.
    unsafe { park_green(section, word.as_ptr(), 0, ANY, Some(next)) };
    if until.is_some_and(Until::has_passed) {
        Wait::TimedOut
    } else {
        Wait::Woken
    }
}
