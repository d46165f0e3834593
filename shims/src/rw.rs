//! read and write on sockets, pipes, files and whatever else can be waited for.
//!
//! | descriptor | how it is tried without blocking |
//! |---|---|
//! | socket | `MSG_DONTWAIT`, see `receive` and `send` |
//! | pipe | `RWF_NOWAIT` |
//! | FIFO opened by its path | poll(2), then the call in a section, of `PIPE_BUF` bytes at most if it is a write |
//! | file, directory | not at all: the call is a blocking section |
//! | anything else | poll(2), then the call, in a section: a large write to a terminal can block |
//!
//! A write to a blocking pipe moves everything, as in the kernel; up to `PIPE_BUF` bytes go at once
//! or not at all.

use std::ffi::{c_int, c_long, c_void};

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Call, Interest, Kind};
use libc::{iovec, off_t, size_t, ssize_t};
use rustix::io::Errno;

use crate::kernel::is_ready;
#[cfg(feature = "socket")]
use crate::receive::receive_vectors;
#[cfg(feature = "socket")]
use crate::send::transmit_vectors;
use crate::transfer::{carry_out, move_all, when_ready};
use crate::vectors::Vectors;
use crate::{compiled, section};

originals! {
    fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t;
    fn __read_chk(fd: c_int, buffer: *mut c_void, length: size_t, capacity: size_t) -> ssize_t;
    fn readv(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t;
    fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t;
    fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t;
    fn preadv2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
    fn pwritev2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
}

/// Sockets are of the one family, everything else is of the other.
const FAMILIES: Patch = Patch::SOCKET.union(Patch::OS);

/// The offset by which preadv2 and pwritev2 mean the descriptor's own position.
const AT_POSITION: c_long = -1;

/// preadv2 or pwritev2 on a pipe, without waiting.
///
/// # Safety
///
/// The buffers may be written to or read.
unsafe fn attempt_on_pipe(
    number: c_long,
    fd: c_int,
    buffers: *const iovec,
    count: usize,
) -> Result<usize, Errno> {
    let (low, high, flags) = (AT_POSITION, AT_POSITION, libc::RWF_NOWAIT);
    // SAFETY: the buffers may be written to or read, whichever the call does, by this function's contract.
    unsafe { kernel_call!(number, fd, buffers, count, low, high, flags) }
}

/// readv(2) on a green thread.
///
/// # Safety
///
/// The buffers may be written to.
unsafe fn read_vectors(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    let fd = call.number();
    let (buffers, count) = (vectors.as_ptr(), vectors.count());
    // SAFETY: the buffers may be written to, by this function's contract.
    let once = || unsafe { kernel_call!(libc::SYS_readv, fd, buffers, count) };
    // SAFETY: the buffers may be written to, by this function's contract.
    let attempt = || unsafe { attempt_on_pipe(libc::SYS_preadv2, fd, buffers, count) };
    if vectors.total() == 0 {
        return once();
    }
    by_kind(call, once, |call, kind| match kind {
        // SAFETY: the buffers may be written to, by this function's contract.
        #[cfg(feature = "socket")]
        Kind::Socket => unsafe { receive_vectors(call, vectors) },
        #[cfg(not(feature = "socket"))]
        Kind::Socket => once(),
        Kind::Pipe => match call.retry(Interest::Read, Call::patience, attempt) {
            Err(Errno::OPNOTSUPP) => {
                when_ready(&call.rest(), Interest::Read, vectors.total(), once)
            }
            Err(Errno::PERM) => on_file(&call.rest(), once),
            outcome => outcome,
        },
        Kind::File => on_file(call, once),
        Kind::Other => when_ready(call, Interest::Read, vectors.total(), once),
    })
}

/// writev(2) on a green thread.
///
/// # Safety
///
/// The buffers may be read.
unsafe fn write_vectors(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    let fd = call.number();
    let (buffers, count) = (vectors.as_ptr(), vectors.count());
    // SAFETY: the buffers may be read, by this function's contract.
    let once = || unsafe { kernel_call!(libc::SYS_writev, fd, buffers, count) };
    if vectors.total() == 0 {
        return once();
    }
    by_kind(call, once, |call, kind| match kind {
        // SAFETY: the buffers may be read, by this function's contract.
        #[cfg(feature = "socket")]
        Kind::Socket => unsafe { transmit_vectors(call, vectors) },
        #[cfg(not(feature = "socket"))]
        Kind::Socket => once(),
        // SAFETY: the buffers may be read, by this function's contract.
        Kind::Pipe => match unsafe { write_to_pipe(call, vectors) } {
            // SAFETY: the buffers may be read, by this function's contract.
            Err(Errno::OPNOTSUPP) => unsafe { write_to_fifo(&call.rest(), vectors) },
            Err(Errno::PERM) => on_file(&call.rest(), once),
            outcome => outcome,
        },
        Kind::File => on_file(call, once),
        Kind::Other => when_ready(call, Interest::Write, vectors.total(), once),
    })
}

/// Makes a call on a file, which may block. A signal handler may do so, too, and is not switched away from.
fn on_file(call: &Call<'_>, once: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let section = call.section();
    let outcome = section.blocking_in_place(|| {
        let _going_on = call.go_on()?;
        once()
    });
    section.give_way();
    outcome
}

/// # Safety
///
/// The buffers may be read.
unsafe fn write_to_pipe(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    let fd = call.number();
    let total = vectors.total();
    move_all(call, Interest::Write, total, Call::patience, |done| {
        let rest;
        let (buffers, count) = if done == 0 {
            (vectors.as_ptr(), vectors.count())
        } else {
            rest = vectors.after(done);
            (rest.as_ptr(), rest.count())
        };
        // SAFETY: the buffers may be read, by this function's contract.
        unsafe { attempt_on_pipe(libc::SYS_pwritev2, fd, buffers, count) }
    })
}

/// A FIFO that poll(2) calls writable has room for `PIPE_BUF` bytes.
///
/// # Safety
///
/// The buffers may be read.
unsafe fn write_to_fifo(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    let fd = call.number();
    let total = vectors.total();
    move_all(call, Interest::Write, total, Call::patience, |done| {
        if !is_ready(fd, Interest::Write) {
            return Err(Errno::AGAIN);
        }
        let rest = vectors.after(done).limited_to(libc::PIPE_BUF);
        // Another writer that got there first makes the call block.
        call.section().blocking_in_place(|| {
            // SAFETY: the buffers may be read, by this function's contract, and `rest` is a part of them.
            unsafe { kernel_call!(libc::SYS_writev, fd, rest.as_ptr(), rest.count()) }
        })
    })
}

/// Acts by what the descriptor is; if that is of a family that is off, makes the call `once`.
///
/// What the runtime remembers of it is out of date if the number was closed and used again inside libc, or since it was asked; a
/// socket that turns out to be none is looked at again. By then others may have had their turn.
fn by_kind(
    call: &Call<'_>,
    once: impl Fn() -> Result<usize, Errno>,
    act: impl Fn(&Call<'_>, Kind) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut call = *call;
    loop {
        let kind = call.kind();
        let family = match kind {
            Kind::Socket => Patch::SOCKET,
            Kind::Pipe | Kind::File | Kind::Other => Patch::OS,
        };
        let outcome = if compiled().contains(family) && call.section().is_patched(family) {
            act(&call, kind)
        } else {
            let _going_on = call.go_on()?;
            once()
        };
        match outcome {
            Err(Errno::NOTSOCK) => hook::outdated(call.number()),
            outcome => return outcome,
        }
        call = call.rest();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    let original = || pass_on!(original::read(fd, buffer, length));
    carry_out(FAMILIES, fd, original, |call| {
        let buffer = iovec {
            iov_base: buffer,
            iov_len: length,
        };
        // SAFETY: the caller gives room for so many bytes.
        unsafe { read_vectors(call, Vectors::single(&buffer)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    capacity: size_t,
) -> ssize_t {
    if length > capacity {
        // It ends the process.
        return pass_on!(original::__read_chk(fd, buffer, length, capacity));
    }
    // SAFETY: the buffer is large enough.
    unsafe { read(fd, buffer, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn readv(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    let original = || pass_on!(original::readv(fd, vectors, count));
    carry_out(FAMILIES, fd, original, |call| {
        // SAFETY: the caller gives so many buffers. A negative count is too large.
        match unsafe { Vectors::new(vectors, count as usize) } {
            // SAFETY: the caller gives so many buffers, which can be written to.
            Some(vectors) => unsafe { read_vectors(call, vectors) },
            // SAFETY: the kernel refuses it.
            None => unsafe { kernel_call!(libc::SYS_readv, fd, vectors, count) },
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    let original = || pass_on!(original::write(fd, buffer, length));
    carry_out(FAMILIES, fd, original, |call| {
        let buffer = iovec {
            iov_base: buffer.cast_mut(),
            iov_len: length,
        };
        // SAFETY: the caller gives so many bytes to read.
        unsafe { write_vectors(call, Vectors::single(&buffer)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    let original = || pass_on!(original::writev(fd, vectors, count));
    carry_out(FAMILIES, fd, original, |call| {
        // SAFETY: the caller gives so many buffers. A negative count is too large.
        match unsafe { Vectors::new(vectors, count as usize) } {
            // SAFETY: the caller gives so many buffers, which can be read.
            Some(vectors) => unsafe { write_vectors(call, vectors) },
            // SAFETY: the kernel refuses it.
            None => unsafe { kernel_call!(libc::SYS_writev, fd, vectors, count) },
        }
    })
}

/// At the descriptor's own position this is readv, but for the flags, none of which says how to wait.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    if offset == AT_POSITION && flags == 0 {
        return pass_on!(readv(fd, vectors, count));
    }
    let call = || pass_on!(original::preadv2(fd, vectors, count, offset, flags));
    section::run(hook::enter_either(FAMILIES), section::yielding, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    if offset == AT_POSITION && flags == 0 {
        return pass_on!(writev(fd, vectors, count));
    }
    let call = || pass_on!(original::pwritev2(fd, vectors, count, offset, flags));
    section::run(hook::enter_either(FAMILIES), section::yielding, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn eventfd_read(fd: c_int, value: *mut u64) -> c_int {
    // SAFETY: the caller gives a place for the value.
    if unsafe { read(fd, value.cast(), size_of::<u64>()) } == size_of::<u64>() as ssize_t {
        0
    } else {
        -1
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn eventfd_write(fd: c_int, value: u64) -> c_int {
    let value = (&raw const value).cast();
    // SAFETY: a value of ours.
    if unsafe { write(fd, value, size_of::<u64>()) } == size_of::<u64>() as ssize_t {
        0
    } else {
        -1
    }
}

// Other names; those with 64 in them are so on 64-bit architectures.
aliases! {
    fn __read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t = read;
    fn __write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t = write;
    fn preadv64v2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = preadv2;
    fn pwritev64v2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = pwritev2;
}
