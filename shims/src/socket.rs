//! Making and connecting sockets.
//!
//! accept has no flag for a single call that must not block, so green threads wait until the listener is readable and
//! then take turns in making the blocking call. Another process that shares the
//! listener can still be faster; then the call blocks the worker until the next connection.
//!
//! connect has none either. The socket is put into non-blocking mode for the moment of the call,
//! while nobody can be using it, and the outcome is fetched by a second connect once the socket is
//! writable: unlike `SO_ERROR` that leaves a socket which failed ready for another attempt, as
//! a blocking connect does.

use std::ffi::{c_int, c_void};
use std::ptr;

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Call, Interest, Section};
use libc::{sockaddr, socklen_t};
use rustix::io::Errno;

use crate::kernel::{finish, is_ready};
use crate::new_fd::{opened, opened_pair};

originals! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int;
    fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int;
    fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
    fn setsockopt(
        fd: c_int,
        level: c_int,
        option: c_int,
        value: *const c_void,
        length: socklen_t,
    ) -> c_int;
    fn getsockopt(
        fd: c_int,
        level: c_int,
        option: c_int,
        value: *mut c_void,
        length: *mut socklen_t,
    ) -> c_int;
}

fn socket_option(fd: c_int, option: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    let (value_at, length_at) = (&raw mut value, &raw mut length);
    // SAFETY: the value and its length are ours.
    unsafe {
        kernel_call!(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            option,
            value_at,
            length_at
        )
    }?;
    Ok(value)
}

/// `SOCK_STREAM`, `SOCK_DGRAM` and so on.
pub(crate) fn socket_type(fd: c_int) -> Result<c_int, Errno> {
    socket_option(fd, libc::SO_TYPE)
}

/// Whether this is the address of a Unix socket.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
pub(crate) unsafe fn is_unix_address(address: *const c_void, length: socklen_t) -> bool {
    let family = address.cast::<libc::sa_family_t>();
    !family.is_null()
        && length as usize >= size_of::<libc::sa_family_t>()
        // SAFETY: `address` is not null and has `length` bytes, by this function's contract, which are enough.
        && c_int::from(unsafe { family.read_unaligned() }) == libc::AF_UNIX
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    opened(pass_on!(original::socket(domain, kind, protocol)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    // SAFETY: both are written on success.
    unsafe {
        opened_pair(
            pass_on!(original::socketpair(domain, kind, protocol, pair)),
            pair,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let Some(section) = hook::enter(Patch::SOCKET) else {
        return opened(pass_on!(original::accept(fd, address, length)));
    };
    // SAFETY: the caller gives null or room for the address and its length.
    let outcome = unsafe { accept_on(&section, fd, address, length, 0) };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(section) = hook::enter(Patch::SOCKET) else {
        return opened(pass_on!(original::accept4(fd, address, length, flags)));
    };
    // SAFETY: the caller gives null or room for the address and its length.
    let outcome = unsafe { accept_on(&section, fd, address, length, flags) };
    finish(section, outcome)
}

/// accept4(2) on a green thread.
///
/// # Safety
///
/// As for accept4.
unsafe fn accept_on(
    section: &Section,
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> Result<c_int, Errno> {
    // SAFETY: `address` and `length` are right for accept4, by this function's contract.
    let call = || unsafe { kernel_call!(libc::SYS_accept4, fd, address, length, flags) };
    // What does not listen never becomes readable in this sense; the kernel has the right error for
    // it.
    let outcome = if socket_option(fd, libc::SO_ACCEPTCONN) != Ok(1) || hook::is_nonblocking(fd) {
        let outcome = call();
        section.give_way();
        outcome
    } else {
        let whole = section.call(fd)?;
        whole.retry_accept(whole.socket_deadline(Interest::Read), call)
    };
    outcome.map(|accepted| opened(accepted as c_int))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn connect(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    let Some(section) = hook::enter(Patch::SOCKET) else {
        return pass_on!(original::connect(fd, address, length));
    };
    // SAFETY: the caller gives an address of this length.
    let outcome = unsafe { connect_on(&section, fd, address, length) };
    finish(section, outcome.map(|_| 0))
}

/// connect(2) on a green thread.
///
/// # Safety
///
/// As for connect.
unsafe fn connect_on(
    section: &Section,
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> Result<usize, Errno> {
    // SAFETY: `address` and `length` are right for connect, by this function's contract.
    let call = || unsafe { kernel_call!(libc::SYS_connect, fd, address, length) };
    let waits = |kind| kind == libc::SOCK_STREAM || kind == libc::SOCK_SEQPACKET;
    if !socket_type(fd).is_ok_and(waits) || hook::is_nonblocking(fd) {
        return call();
    }
    let whole = section.call(fd)?;
    let attempt = || {
        set_nonblocking(fd, true)?;
        let outcome = call();
        set_nonblocking(fd, false)?;
        outcome
    };
    // SAFETY: `address` is null or has `length` bytes, as connect has it, by this function's contract.
    if unsafe { is_unix_address(address.cast(), length) } {
        // If the listener's queue is full, nothing tells of its end.
        return whole.retry_by_timer(Interest::Write, Call::socket_patience, attempt);
    }
    match attempt() {
        // EALREADY: an earlier connect of a socket that was in non-blocking mode then.
        Err(Errno::INPROGRESS | Errno::ALREADY) => {}
        outcome => {
            section.give_way();
            return outcome;
        }
    }
    let outcome = whole
        .rest()
        .retry(Interest::Write, Call::socket_patience, || {
            if !is_ready(fd, Interest::Write) {
                return Err(Errno::AGAIN);
            }
            match call() {
                Err(Errno::ISCONN) => Ok(0),
                Err(Errno::ALREADY | Errno::INPROGRESS) => Err(Errno::AGAIN),
                outcome => outcome,
            }
        });
    match outcome {
        // Only a time-out gives this, and connect calls it so.
        Err(Errno::AGAIN) => Err(Errno::INPROGRESS),
        outcome => outcome,
    }
}

fn set_nonblocking(fd: c_int, on: bool) -> Result<(), Errno> {
    let on = c_int::from(on);
    // SAFETY: FIONBIO reads an int.
    unsafe { kernel_call!(libc::SYS_ioctl, fd, libc::FIONBIO, ptr::from_ref(&on)) }?;
    Ok(())
}

/// `SO_RCVTIMEO` and `SO_SNDTIMEO` in the form with 64-bit time on every architecture, which the
/// libc crate lacks.
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let status = pass_on!(original::setsockopt(fd, level, option, value, length));
    let is_timeout = matches!(
        option,
        libc::SO_RCVTIMEO | libc::SO_SNDTIMEO | SO_RCVTIMEO_NEW | SO_SNDTIMEO_NEW
    );
    if status == 0 && level == libc::SOL_SOCKET && is_timeout {
        hook::timeouts_changed();
    }
    status
}

/// The option whose value is a new descriptor, of the process at the other end; in kernels since 6.5.
const SO_PEERPIDFD: c_int = 77;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let status = pass_on!(original::getsockopt(fd, level, option, value, length));
    if status == 0 && level == libc::SOL_SOCKET && option == SO_PEERPIDFD {
        // SAFETY: written on success, with the length of what was written.
        unsafe {
            if *length as usize == size_of::<c_int>() {
                opened(value.cast::<c_int>().read_unaligned());
            }
        }
    }
    status
}

aliases! {
    fn __connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int = connect;
}
