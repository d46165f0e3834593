//! How a call that may have to wait is carried out: try, ask whether waiting is allowed, park, try
//! again.
//!
//! Whether the caller wants to wait at all (`O_NONBLOCK`, `MSG_DONTWAIT`) and how long
//! (`SO_RCVTIMEO`) is its *patience*. Asking for it takes system calls, so it is asked for at the
//! first `EAGAIN` and not before: a call that can be served at once asks nothing.

use std::cell::{Cell, OnceCell};
use std::mem;
use std::os::fd::RawFd;
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Call, Interest, Patience};
use libc::ssize_t;
use rustix::io::Errno;

use crate::kernel::{finish_count, is_ready};

/// A shim of a call on `fd`: `green` is what it does on a green thread for which one of the families is patched; elsewhere it
/// is the original.
#[inline]
pub(crate) fn carry_out(
    families: Patch,
    fd: RawFd,
    original: impl FnOnce() -> ssize_t,
    green: impl FnOnce(&Call<'_>) -> Result<usize, Errno>,
) -> ssize_t {
    let Some(section) = hook::enter_either(families) else {
        return original();
    };
    let outcome = section.call(fd).and_then(|call| green(&call));
    finish_count(section, outcome)
}

/// Moves `total` bytes, as a blocking call does: goes on after a partial transfer for as long as
/// patience allows. `attempt` is told how many bytes are done.
///
/// What has been moved counts: an error after the first part is left for the next call to find. If another thread closes the
/// descriptor, the rest does not go to whatever has its number next.
pub(crate) fn move_all<'a>(
    call: &Call<'a>,
    interest: Interest,
    total: usize,
    patience: impl Fn(&Call<'a>, Interest) -> Patience,
    mut attempt: impl FnMut(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    // A time-out holds for the whole call, so it is counted from the first wait.
    let asked = OnceCell::new();
    let patience = |call: &Call<'a>, interest| *asked.get_or_init(|| patience(call, interest));
    let mut outcome = call.retry(interest, patience, || attempt(0));
    let mut done = 0;
    loop {
        match outcome {
            Ok(0) => return Ok(done),
            Ok(count) => done += count,
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        }
        if done >= total {
            return Ok(done);
        }
        let Ok(deadline) = patience(call, interest) else {
            return Ok(done);
        };
        outcome = call
            .rest()
            .retry(interest, |_, _| Ok(deadline), || attempt(done));
    }
}

/// Carries out `once`, which moves `length` bytes at most, once poll(2) says that it will not block. For descriptors that have
/// no other way to be asked; another thread that gets there between the two makes it block, which a spare worker makes
/// up for.
pub(crate) fn when_ready(
    call: &Call<'_>,
    interest: Interest,
    length: usize,
    once: impl Fn() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let fd = call.number();
    let once = || call.section().blocking_in_place(&once);
    let attempt = || {
        if is_ready(fd, interest) {
            once()
        } else {
            Err(Errno::AGAIN)
        }
    };
    let is_limited = Cell::new(false);
    let patience = |_: &Call<'_>, interest| {
        if !may_wait(fd, interest) {
            return Err(Errno::AGAIN);
        }
        let limit = match interest {
            Interest::Read => terminal_limit(fd, length),
            Interest::Write => None,
        };
        if limit == Some(Duration::ZERO) {
            return Err(Errno::AGAIN);
        }
        is_limited.set(limit.is_some());
        Ok(limit.map(Deadline::after))
    };
    match call.retry(interest, patience, attempt) {
        // The time that a read of a terminal waits ends in success.
        Err(Errno::AGAIN) if is_limited.get() => Ok(0),
        // In non-blocking mode, and in a direction for which it is not open, the call has its own answer; what epoll
        // refuses cannot be waited for.
        Err(Errno::AGAIN | Errno::PERM) => {
            // Others may have had their turn since the attempt.
            let _going_on = call.rest().go_on()?;
            once()
        }
        outcome => outcome,
    }
}

/// Whether a descriptor is open in this direction, and in blocking mode.
fn may_wait(fd: RawFd, interest: Interest) -> bool {
    // SAFETY: F_GETFL takes no argument.
    let flags = unsafe { kernel_call!(libc::SYS_fcntl, fd, libc::F_GETFL) };
    let other = match interest {
        Interest::Read => libc::O_WRONLY,
        Interest::Write => libc::O_RDONLY,
    };
    flags.is_ok_and(|flags| {
        let flags = flags as i32;
        flags & libc::O_NONBLOCK == 0 && flags & libc::O_ACCMODE != other
    })
}

/// How long a read of `length` bytes waits at most, if this is a terminal and poll(2) does not tell when the read is through:
/// termios(3), on MIN and TIME. Zero is for the kernel to say.
fn terminal_limit(fd: RawFd, length: usize) -> Option<Duration> {
    const TENTH: Duration = Duration::from_millis(100);
    // The kernel's own structure begins alike, and is shorter.
    // SAFETY: termios is plain data, for which zero is a value.
    let mut mode: libc::termios = unsafe { mem::zeroed() };
    let mut number = 0_u32;
    // SAFETY: the kernel writes no more than there is room for.
    let is_master = unsafe {
        kernel_call!(libc::SYS_ioctl, fd, libc::TCGETS, &raw mut mode).ok()?;
        kernel_call!(libc::SYS_ioctl, fd, libc::TIOCGPTN, &raw mut number).is_ok()
    };
    // The mode that a master tells is its slave's.
    if is_master || mode.c_lflag & libc::ICANON != 0 {
        return None;
    }
    match (mode.c_cc[libc::VMIN], mode.c_cc[libc::VTIME]) {
        (0, tenths) => Some(TENTH * u32::from(tenths)),
        // A full buffer ends the read, too.
        (least, 0) if length < usize::from(least) => Some(Duration::ZERO),
        _ => None,
    }
}
