//! Moving bytes from one descriptor to another inside the kernel: sendfile, splice, tee, vmsplice.
//!
//! What they block on is one of the two sides, and no flag is good for both: `SPLICE_F_NONBLOCK` speaks of pipes
//! alone. So a green thread waits until poll(2) calls both sides ready, and then makes the call, with that flag, in a
//! blocking section. To a socket no more is moved at once than it has room for. That the call "would block"
//! nevertheless tells that another thread was faster. What the kernel would refuse does not wait to be refused.
//!
//! sendfile(2) to a pipe is splice(2); to a stream socket it goes on until all is sent, as in the kernel.

use std::ffi::{c_int, c_uint};
use std::ptr;

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Call, Interest, Kind, Section};
use libc::{iovec, off_t, size_t, ssize_t};
use rustix::io::Errno;

use crate::kernel::{finish_count, is_ready};
use crate::section;

originals! {
    fn splice(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t, length: size_t, flags: c_uint) -> ssize_t;
    fn tee(from: c_int, to: c_int, length: size_t, flags: c_uint) -> ssize_t;
    fn vmsplice(pipe: c_int, vectors: *const iovec, count: size_t, flags: c_uint) -> ssize_t;
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, length: size_t) -> ssize_t;
}

/// One of the descriptors, to which the call belongs once it has waited, or has found that it would have to.
#[derive(Clone, Copy)]
struct Side<'a> {
    call: Call<'a>,
    interest: Interest,
}

impl<'a> Side<'a> {
    fn from(section: &'a Section, fd: c_int) -> Result<Side<'a>, Errno> {
        Ok(Side {
            call: section.call(fd)?,
            interest: Interest::Read,
        })
    }

    fn to(section: &'a Section, fd: c_int) -> Result<Side<'a>, Errno> {
        Ok(Side {
            call: section.call(fd)?,
            interest: Interest::Write,
        })
    }

    fn fd(&self) -> c_int {
        self.call.number()
    }

    fn rest(self) -> Side<'a> {
        Side {
            call: self.call.rest(),
            ..self
        }
    }

    fn is_ready(&self) -> bool {
        is_ready(self.fd(), self.interest)
    }

    /// Parks until poll(2) calls it ready, unless the caller does not want to wait.
    fn wait(&self, waits: impl Fn() -> bool) -> Result<(), Errno> {
        let patience = |call: &Call<'_>, interest| {
            if !waits() {
                return Err(Errno::AGAIN);
            }
            match call.kind() {
                Kind::Socket => call.socket_patience(interest),
                _ => call.patience(interest),
            }
        };
        let attempt = || {
            if self.is_ready() {
                Ok(())
            } else {
                Err(Errno::AGAIN)
            }
        };
        match self.call.retry(self.interest, patience, attempt) {
            // A file is always ready.
            Err(Errno::PERM) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Makes `call` in a blocking section, unless another thread has closed a side of which this is not the first step.
fn step<const N: usize>(
    section: &Section,
    sides: &[Side<'_>; N],
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    section.blocking(|| {
        let mut going_on = [const { None }; N];
        for (place, side) in going_on.iter_mut().zip(sides) {
            *place = side.call.go_on()?;
        }
        call()
    })
}

/// Makes `call` with these flags and `SPLICE_F_NONBLOCK` once the sides are ready.
fn move_between<const N: usize>(
    section: &Section,
    sides: [Side<'_>; N],
    flags: c_uint,
    call: impl Fn(c_uint) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let attempt = |sides: &_| step(section, sides, || call(flags | libc::SPLICE_F_NONBLOCK));
    let two_pipes = sides.iter().all(|side| side.call.kind() == Kind::Pipe);
    // Of two pipes, the kernel looks at the mode of both, whichever has to be waited for.
    let waits = || {
        let is_nonblocking = |side: &Side<'_>| hook::is_nonblocking(side.fd());
        flags & libc::SPLICE_F_NONBLOCK == 0 && !(two_pipes && sides.iter().any(is_nonblocking))
    };
    // What is to be refused is refused at once. Of a pipe the flag keeps the call from waiting, and a file is there.
    let can_be_tried =
        |side: &Side<'_>| matches!(side.call.kind(), Kind::Pipe | Kind::File) || side.is_ready();
    if sides.iter().all(can_be_tried) {
        match attempt(&sides) {
            Err(Errno::AGAIN) => {}
            outcome => return outcome,
        }
    }
    let sides = sides.map(Side::rest);
    loop {
        for side in &sides {
            side.wait(waits)?;
        }
        match attempt(&sides) {
            Err(Errno::AGAIN) => {}
            outcome => return outcome,
        }
        if sides.iter().all(Side::is_ready) {
            // For a reason that poll does not know of. The caller's own flags decide whether to wait for its end.
            return step(section, &sides, || call(flags));
        }
    }
}

fn move_from_to(
    section: &Section,
    from: c_int,
    to: c_int,
    flags: c_uint,
    call: impl Fn(c_uint) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let sides = [Side::from(section, from)?, Side::to(section, to)?];
    move_between(section, sides, flags, call)
}

/// The flags of splice, tee and vmsplice.
const KNOWN_FLAGS: c_uint =
    libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MORE | libc::SPLICE_F_GIFT;

fn is_pipe(fd: c_int) -> bool {
    hook::kind(fd) == Kind::Pipe
}

/// Whether the kernel may take this offset of a descriptor, or the lack of one.
fn may_have(fd: c_int, offset: *mut off_t) -> bool {
    offset.is_null() || hook::kind(fd) == Kind::File
}

/// `SO_MEMINFO`: what a socket's buffers hold and may hold.
const SO_MEMINFO: c_int = 55;
const SENT: usize = 2;
const SEND_BUFFER: usize = 3;
const QUEUED: usize = 5;

/// The least that a socket which poll(2) calls writable has room for.
const LEAST_ROOM: usize = 512;

/// How many bytes may be sent to a socket that poll(2) calls writable without waiting: half of what its buffer has
/// room for, as what stands in it takes more than its bytes.
fn room(socket: c_int) -> usize {
    let mut amounts = [0u32; 9];
    let mut length = size_of_val(&amounts) as libc::socklen_t;
    let (place, length) = (amounts.as_mut_ptr(), &raw mut length);
    // SAFETY: the place and its length are ours.
    let outcome = unsafe {
        kernel_call!(
            libc::SYS_getsockopt,
            socket,
            libc::SOL_SOCKET,
            SO_MEMINFO,
            place,
            length
        )
    };
    if outcome.is_err() {
        return LEAST_ROOM;
    }
    let taken = amounts[SENT].max(amounts[QUEUED]);
    (amounts[SEND_BUFFER].saturating_sub(taken) as usize / 2).max(LEAST_ROOM)
}

/// No more than `to`, if it is a socket, has room for.
fn limited(length: usize, to: c_int) -> usize {
    match hook::kind(to) {
        Kind::Socket => length.min(room(to)),
        _ => length,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn splice(
    from: c_int,
    from_offset: *mut off_t,
    to: c_int,
    to_offset: *mut off_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    let call = || pass_on! { original::splice(from, from_offset, to, to_offset, length, flags) };
    let Some(section) = hook::enter(Patch::OS).filter(|_| length > 0) else {
        return call();
    };
    let is_right = flags & !KNOWN_FLAGS == 0
        && (is_pipe(from) || is_pipe(to))
        && may_have(from, from_offset)
        && may_have(to, to_offset);
    if !is_right {
        return section::yielding(section, call);
    }
    let outcome = move_from_to(&section, from, to, flags, |flags| {
        let length = limited(length, to);
        // SAFETY: the caller gives null or places for the offsets.
        unsafe {
            kernel_call!(
                libc::SYS_splice,
                from,
                from_offset,
                to,
                to_offset,
                length,
                flags
            )
        }
    });
    finish_count(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn tee(from: c_int, to: c_int, length: size_t, flags: c_uint) -> ssize_t {
    let call = || pass_on!(original::tee(from, to, length, flags));
    let Some(section) = hook::enter(Patch::OS).filter(|_| length > 0) else {
        return call();
    };
    if flags & !KNOWN_FLAGS != 0 || !is_pipe(from) || !is_pipe(to) {
        return section::yielding(section, call);
    }
    let outcome = move_from_to(&section, from, to, flags, |flags| {
        // SAFETY: integers only.
        unsafe { kernel_call!(libc::SYS_tee, from, to, length, flags) }
    });
    finish_count(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn vmsplice(
    pipe: c_int,
    vectors: *const iovec,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    let call = || pass_on!(original::vmsplice(pipe, vectors, count, flags));
    let Some(section) = hook::enter(Patch::OS).filter(|_| count > 0) else {
        return call();
    };
    if flags & !KNOWN_FLAGS != 0 || !is_pipe(pipe) {
        return section::yielding(section, call);
    }
    // SAFETY: F_GETFL takes no argument.
    let mode = unsafe { kernel_call!(libc::SYS_fcntl, pipe, libc::F_GETFL) };
    let is_read_end = mode.is_ok_and(|mode| mode as c_int & libc::O_ACCMODE == libc::O_RDONLY);
    let side = if is_read_end {
        Side::from(&section, pipe)
    } else {
        Side::to(&section, pipe)
    };
    let outcome = side.and_then(|side| {
        move_between(&section, [side], flags, |flags| {
            // SAFETY: the caller gives so many buffers.
            unsafe { kernel_call!(libc::SYS_vmsplice, pipe, vectors, count, flags) }
        })
    });
    finish_count(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    length: size_t,
) -> ssize_t {
    let call = || pass_on!(original::sendfile(to, from, offset, length));
    let Some(section) = hook::enter(Patch::OS) else {
        return call();
    };
    let is_simple = length == 0 || hook::kind(from) != Kind::File || hook::is_nonblocking(to);
    match hook::kind(to) {
        Kind::Pipe if !is_simple => {
            let outcome = move_from_to(&section, from, to, 0, |flags| {
                let nowhere = ptr::null_mut::<off_t>();
                // SAFETY: the caller gives null or a place for the offset.
                unsafe { kernel_call!(libc::SYS_splice, from, offset, to, nowhere, length, flags) }
            });
            finish_count(section, outcome)
        }
        Kind::Socket if !is_simple && is_stream(to) => {
            // SAFETY: the caller gives null or a place for the offset.
            let outcome = unsafe { send_file(&section, to, from, offset, length) };
            finish_count(section, outcome)
        }
        _ => section::yielding(section, call),
    }
}

fn is_stream(socket: c_int) -> bool {
    let mut kind: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    let (place, length) = (&raw mut kind, &raw mut length);
    // SAFETY: the value and its length are ours.
    let outcome = unsafe {
        kernel_call!(
            libc::SYS_getsockopt,
            socket,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            place,
            length
        )
    };
    outcome.is_ok() && kind == libc::SOCK_STREAM
}

/// sendfile(2) to a stream socket in blocking mode.
///
/// # Safety
///
/// As for sendfile.
unsafe fn send_file(
    section: &Section,
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    length: usize,
) -> Result<usize, Errno> {
    let mut sides = [Side::from(section, from)?, Side::to(section, to)?];
    let mut waits = !sides[1].is_ready();
    let mut sent = 0;
    while sent < length {
        let readiness = if waits {
            sides = sides.map(Side::rest);
            sides[1].wait(|| true)
        } else {
            Ok(())
        };
        let part = readiness.and_then(|()| {
            step(section, &sides, || {
                let length = limited(length - sent, to);
                // SAFETY: `offset` is right for sendfile, by this function's contract; the kernel moves it along.
                unsafe { kernel_call!(libc::SYS_sendfile, to, from, offset, length) }
            })
        });
        waits = true;
        match part {
            Ok(0) => break,
            Ok(count) => sent += count,
            // What has been sent counts.
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

// On 64-bit architectures another name.
aliases! {
    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, length: size_t) -> ssize_t = sendfile;
}
