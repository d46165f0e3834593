//! Locks on files: flock(2), lockf(3) and those of fcntl(2).
//!
//! Nothing tells that such a lock has become free, and its holder may be a green thread of the same worker. So
//! a green thread tries without waiting, and again and again until it has the lock, at most every 10 ms: any number may
//! wait on one worker. Who waits so does not stand in the kernel's queue, hence waiters do not get the lock in the order
//! in which they came, and the kernel finds no deadlock (`EDEADLK`) between processes.

use std::ffi::c_int;

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Section};
use libc::off_t;
use rustix::io::Errno;

use crate::kernel::finish;
use crate::section;

originals! {
    fn flock(fd: c_int, operation: c_int) -> c_int;
    fn lockf(fd: c_int, command: c_int, length: off_t) -> c_int;
}

/// Makes `attempt`, which does not wait for locks but perhaps for a file server, until it has the lock.
///
/// `EACCES` is the answer of some file systems to another's lock, and of security modules to any lock. Only the
/// kernel can tell the two apart, so there the call that `waits` is made.
fn wait_for_lock(
    section: &Section,
    attempt: impl Fn() -> Result<usize, Errno>,
    waits: impl Fn() -> Result<usize, Errno>,
) -> Result<c_int, Errno> {
    let outcome = hook::retry_by_timer(|| Ok(None), || section.blocking_in_place(&attempt));
    match outcome {
        Err(Errno::ACCESS) => section.blocking_in_place(waits),
        outcome => outcome,
    }
    .map(|_| 0)
}

/// The command that does what this one does, but does not wait; `None` if it does not wait itself.
pub(crate) fn without_waiting(command: c_int) -> Option<c_int> {
    match command {
        libc::F_SETLKW => Some(libc::F_SETLK),
        libc::F_OFD_SETLKW => Some(libc::F_OFD_SETLK),
        _ => None,
    }
}

/// fcntl(2) on a green thread with a command that waits, and the one that does not.
///
/// # Safety
///
/// As for fcntl.
pub(crate) unsafe fn set_record_lock(
    section: &Section,
    fd: c_int,
    waiting: c_int,
    trying: c_int,
    lock: usize,
) -> Result<c_int, Errno> {
    // SAFETY: `lock` is right for fcntl with either command, by this function's contract.
    let call = |command: c_int| unsafe { kernel_call!(libc::SYS_fcntl, fd, command, lock) };
    wait_for_lock(section, || call(trying), || call(waiting))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn flock(fd: c_int, operation: c_int) -> c_int {
    let waits = operation & libc::LOCK_NB == 0 && operation != libc::LOCK_UN;
    let call = || pass_on!(original::flock(fd, operation));
    match hook::enter(Patch::OS) {
        Some(section) if waits => {
            // SAFETY: integers only.
            let lock = |operation: c_int| unsafe { kernel_call!(libc::SYS_flock, fd, operation) };
            let trying = operation | libc::LOCK_NB;
            let outcome = wait_for_lock(&section, || lock(trying), || lock(operation));
            finish(section, outcome)
        }
        Some(section) => section::in_place(section, call),
        None => call(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lockf(fd: c_int, command: c_int, length: off_t) -> c_int {
    let call = || pass_on!(original::lockf(fd, command, length));
    match hook::enter(Patch::OS) {
        Some(section) if command == libc::F_LOCK => {
            // SAFETY: plain data, for which zero is a value.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            lock.l_type = libc::F_WRLCK as i16;
            lock.l_whence = libc::SEEK_CUR as i16;
            lock.l_len = length;
            let lock = &raw mut lock as usize;
            // SAFETY: the lock is ours.
            let outcome =
                unsafe { set_record_lock(&section, fd, libc::F_SETLKW, libc::F_SETLK, lock) };
            finish(section, outcome)
        }
        Some(section) => section::in_place(section, call),
        None => call(),
    }
}

// On 64-bit architectures another name.
aliases! {
    fn lockf64(fd: c_int, command: c_int, length: off_t) -> c_int = lockf;
}
