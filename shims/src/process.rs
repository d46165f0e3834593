//! Waiting for child processes.
//!
//! | waiting for | how |
//! |---|---|
//! | the end of one child | its pidfd becomes readable; then the call, with `WNOHANG` |
//! | any child, one of a group, or one's being stopped or continued | the call with `WNOHANG`, again and again, at most every 10 ms |
//! | the command of `system`, the child of `pclose` | a blocking section |
//!
//! Any number of green threads may wait on one worker, for the same child too: one of them reaps it, and the others
//! get `ECHILD`, as threads do. (Rejected: a handler of SIGCHLD, which would be seen by whoever has one of his own.)

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Call, Interest, Section};
use libc::{FILE, id_t, idtype_t, pid_t, rusage, siginfo_t};
use rustix::io::Errno;

use crate::kernel::finish;
use crate::new_fd::{opened, opened_stream};
use crate::section;

originals! {
    fn wait4(child: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t;
    fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int;
    fn system(command: *const c_char) -> c_int;
    fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE;
}

/// Makes `attempt`, which gives `EAGAIN` as long as there is nothing to tell, until it gives something else: by the
/// pidfd of the child that `ends`, or by the clock.
fn wait_until<T>(
    section: &Section,
    ends: Option<pid_t>,
    attempt: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match attempt() {
        Err(Errno::AGAIN) => {}
        outcome => return outcome,
    }
    match ends.map(open_process) {
        // The child may have been reaped meanwhile, and its number be another process's; the first attempt tells.
        Some(Ok(process)) => {
            section
                .call(process.as_raw_fd())?
                .retry(Interest::Read, |_, _| Ok(None), attempt)
        }
        _ => hook::retry_by_timer(|| Ok(None), attempt),
    }
}

/// A descriptor that becomes readable when the process ends.
fn open_process(process: pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = unsafe { kernel_call!(libc::SYS_pidfd_open, process, 0) }? as c_int;
    // SAFETY: given out just now.
    Ok(unsafe { OwnedFd::from_raw_fd(opened(fd)) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn wait4(
    child: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    let waits = options & libc::WNOHANG == 0;
    let Some(section) = hook::enter(Patch::PROCESS).filter(|_| waits) else {
        return pass_on!(original::wait4(child, status, options, usage));
    };
    let attempt = || {
        let options = options | libc::WNOHANG;
        // SAFETY: the caller gives null or places for the status and the usage.
        match unsafe { kernel_call!(libc::SYS_wait4, child, status, options, usage) }? {
            0 => Err(Errno::AGAIN),
            child => Ok(child as pid_t),
        }
    };
    let ends = (child > 0 && options == 0).then_some(child);
    let outcome = wait_until(&section, ends, attempt);
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn waitpid(child: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller gives null or places for the status and the usage; with null nothing is written.
    unsafe { wait4(child, status, options, ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller gives null or places for the status and the usage; with null nothing is written.
    unsafe { wait4(-1, status, options, usage) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller gives null or places for the status and the usage; with null nothing is written.
    unsafe { wait4(-1, status, 0, ptr::null_mut()) }
}

aliases! {
    fn _IO_popen(command: *const c_char, mode: *const c_char) -> *mut FILE = popen;
    fn __wait(status: *mut c_int) -> pid_t = wait;
    fn __waitpid(child: pid_t, status: *mut c_int, options: c_int) -> pid_t = waitpid;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn waitid(
    kind: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> c_int {
    let waits = options & libc::WNOHANG == 0;
    let Some(section) = hook::enter(Patch::PROCESS).filter(|_| waits) else {
        return pass_on!(original::waitid(kind, id, info, options));
    };
    let mut own = MaybeUninit::<siginfo_t>::zeroed();
    let place = if info.is_null() {
        own.as_mut_ptr()
    } else {
        info
    };
    let attempt = || {
        let (options, usage) = (options | libc::WNOHANG, ptr::null_mut::<rusage>());
        // SAFETY: the place is the caller's or our own; no usage is asked for.
        unsafe { kernel_call!(libc::SYS_waitid, kind, id, place, options, usage) }?;
        // SAFETY: written by the kernel; no signal means that there is nothing to tell.
        match unsafe { (*place).si_signo } {
            0 => Err(Errno::AGAIN),
            _ => Ok(0),
        }
    };
    let ends = options & !libc::WNOWAIT == libc::WEXITED;
    let outcome = match kind {
        libc::P_PIDFD if ends && id as c_int >= 0 => {
            let fd = id as c_int;
            // In non-blocking mode the kernel does not wait either, and says so.
            section
                .call(fd)
                .and_then(|call| call.retry(Interest::Read, Call::patience, attempt))
        }
        libc::P_PID if ends => wait_until(&section, Some(id as pid_t), attempt),
        _ => wait_until(&section, None, attempt),
    };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn system(command: *const c_char) -> c_int {
    let call = || pass_on!(original::system(command));
    section::run(hook::enter(Patch::PROCESS), section::yielding, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: popen gives null or an open stream.
    unsafe { opened_stream(pass_on!(original::popen(command, mode))) }
}
