//! Receiving on sockets.
//!
//! Every attempt carries `MSG_DONTWAIT`, which leaves the socket's own mode alone. What a blocking
//! receive promises beyond a single attempt is kept here: `MSG_WAITALL` fills the buffer, and
//! `SO_RCVTIMEO` holds for the whole call.
//!
//! Differences: a receive ignores `SO_RCVLOWAT`, and `MSG_PEEK` with `MSG_WAITALL` gives what there
//! is.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Call, Interest};
use libc::{iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};
use rustix::io::Errno;

use crate::kernel::{self, finish, keeping_errno};
use crate::new_fd::{opened_with, opened_with_each};
use crate::socket::socket_type;
use crate::transfer::{carry_out, move_all};
use crate::vectors::Vectors;

originals! {
    fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t;
    fn __recv_chk(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        capacity: size_t,
        flags: c_int,
    ) -> ssize_t;
    fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        flags: c_int,
        address: *mut sockaddr,
        address_length: *mut socklen_t,
    ) -> ssize_t;
    fn __recvfrom_chk(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        capacity: size_t,
        flags: c_int,
        address: *mut sockaddr,
        address_length: *mut socklen_t,
    ) -> ssize_t;
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec,
    ) -> c_int;
}

/// Receives with these flags never block, and are the kernel's alone.
const NEVER_WAITS: c_int = libc::MSG_OOB | libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;

/// With these flags, a short receive does not mean that there is no more.
const LEAVES_DATA: c_int = libc::MSG_PEEK | libc::MSG_TRUNC;

/// recvfrom(2) on a green thread.
///
/// # Safety
///
/// As for recvfrom.
pub(crate) unsafe fn receive(
    call: &Call<'_>,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> Result<usize, Errno> {
    let fd = call.number();
    let once = |done: usize, flags: c_int| {
        let (buffer, length) = (buffer.wrapping_byte_add(done), length - done);
        // SAFETY: the arguments are right for recvfrom, by this function's contract; the first `done` bytes are filled.
        unsafe {
            kernel_call!(
                libc::SYS_recvfrom,
                fd,
                buffer,
                length,
                flags,
                address,
                address_length
            )
        }
    };
    let attempt = |done| once(done, flags | libc::MSG_DONTWAIT);
    let patience = Call::socket_patience;
    if flags & NEVER_WAITS != 0 {
        let outcome = once(0, flags);
        call.section().give_way();
        outcome
    } else if fills_buffer(fd, flags) {
        move_all(call, Interest::Read, length, patience, attempt)
    } else if length == 0 || flags & LEAVES_DATA != 0 {
        call.retry(Interest::Read, patience, || attempt(0))
    } else {
        call.retry_stream_read(length, patience, || attempt(0))
    }
}

fn fills_buffer(fd: c_int, flags: c_int) -> bool {
    flags & libc::MSG_WAITALL != 0
        && flags & libc::MSG_PEEK == 0
        && socket_type(fd) == Ok(libc::SOCK_STREAM)
}

/// recvmsg(2) on a green thread.
///
/// # Safety
///
/// As for recvmsg.
unsafe fn receive_message(
    call: &Call<'_>,
    message: *mut msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    let fd = call.number();
    // SAFETY: `message` is right for recvmsg, by this function's contract. After EAGAIN it is as it was.
    let once = |flags: c_int| unsafe { kernel_call!(libc::SYS_recvmsg, fd, message, flags) };
    if flags & NEVER_WAITS != 0 || message.is_null() {
        let outcome = once(flags);
        call.section().give_way();
        return outcome;
    }
    // SAFETY: `message` is not null, and so points to a header, by this function's contract.
    let header = unsafe { *message };
    // SAFETY: the header's array has that many buffers, by this function's contract.
    let Some(vectors) = (unsafe { Vectors::new(header.msg_iov, header.msg_iovlen) }) else {
        return once(flags);
    };
    let length = vectors.total();
    let attempt = || once(flags | libc::MSG_DONTWAIT);
    let patience = Call::socket_patience;
    // Descriptors that come along end a receive, so only one without room for them goes on.
    if header.msg_controllen == 0 && fills_buffer(fd, flags) {
        move_all(call, Interest::Read, length, patience, |done| match done {
            0 => attempt(),
            // SAFETY: the header's buffers may be written to, by this function's contract.
            _ => unsafe { receive_part(fd, vectors, done, flags) },
        })
    } else if length == 0 || flags & LEAVES_DATA != 0 {
        call.retry(Interest::Read, patience, attempt)
    } else {
        call.retry_stream_read(length, patience, attempt)
    }
}

/// One attempt to fill what follows the first `done` bytes of `vectors`.
///
/// # Safety
///
/// The buffers may be written to.
unsafe fn receive_part(
    fd: c_int,
    vectors: Vectors,
    done: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    let rest = vectors.after(done);
    let mut message = rest.message();
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the buffers may be written to, by this function's contract; the message is ours.
    unsafe { kernel_call!(libc::SYS_recvmsg, fd, &raw mut message, flags) }
}

/// readv(2) from a socket on a green thread.
///
/// # Safety
///
/// The buffers may be written to.
pub(crate) unsafe fn receive_vectors(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    if let Some(iovec { iov_base, iov_len }) = vectors.only() {
        // SAFETY: the only buffer may be written to, by this function's contract; there is no place for an address.
        return unsafe { receive(call, iov_base, iov_len, 0, ptr::null_mut(), ptr::null_mut()) };
    }
    let mut message = vectors.message();
    // SAFETY: the buffers may be written to, by this function's contract; the message is ours.
    unsafe { receive_message(call, &raw mut message, 0) }
}

/// recvmmsg(2) on a green thread. As in the kernel, the time-out counts from the call but does not
/// end the wait for the first message.
///
/// # Safety
///
/// As for recvmmsg.
unsafe fn receive_messages(
    call: &Call<'_>,
    messages: *mut mmsghdr,
    count: usize,
    flags: c_int,
    end: Option<Deadline>,
) -> Result<usize, Errno> {
    let fd = call.number();
    let mut done = 0;
    while done < count {
        let patience = |call: &Call<'_>, interest| {
            let limit = call.socket_patience(interest)?;
            Ok(if done == 0 {
                limit
            } else {
                limit.into_iter().chain(end).min()
            })
        };
        let attempt = || {
            let (at, left) = (messages.wrapping_add(done), count - done);
            let flags = flags | libc::MSG_DONTWAIT;
            // SAFETY: `messages` points to `count` headers that are right for recvmmsg, by this function's contract,
            // and `done` of them are filled.
            unsafe { kernel_call!(libc::SYS_recvmmsg, fd, at, left, flags, 0) }
        };
        let step = if done == 0 { *call } else { call.rest() };
        match step.retry(Interest::Read, patience, attempt) {
            Ok(0) => break,
            Ok(received) => done += received,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        let is_enough = flags & (libc::MSG_WAITFORONE | libc::MSG_DONTWAIT) != 0;
        if is_enough || end.is_some_and(Deadline::has_passed) {
            break;
        }
    }
    Ok(done)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recv(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let original = || pass_on!(original::recv(fd, buffer, length, flags));
    carry_out(Patch::SOCKET, fd, original, |call| {
        let nowhere = ptr::null_mut();
        // SAFETY: the caller gives room for so many bytes.
        unsafe { receive(call, buffer, length, flags, nowhere, ptr::null_mut()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    capacity: size_t,
    flags: c_int,
) -> ssize_t {
    if length > capacity {
        // It ends the process.
        return pass_on!(original::__recv_chk(fd, buffer, length, capacity, flags));
    }
    // SAFETY: the buffer is large enough.
    unsafe { recv(fd, buffer, length, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    let original =
        || pass_on! { original::recvfrom(fd, buffer, length, flags, address, address_length) };
    carry_out(Patch::SOCKET, fd, original, |call| {
        // SAFETY: the caller gives room for so many bytes, and null or room for the address and its length.
        unsafe { receive(call, buffer, length, flags, address, address_length) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    capacity: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    if length > capacity {
        // It ends the process.
        return pass_on! { original::__recvfrom_chk(fd, buffer, length, capacity, flags, address, address_length) };
    }
    // SAFETY: the buffer is large enough.
    unsafe { recvfrom(fd, buffer, length, flags, address, address_length) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let original = || pass_on!(original::recvmsg(fd, message, flags));
    let length = carry_out(Patch::SOCKET, fd, original, |call| {
        // SAFETY: the caller gives a header to fill, whose buffers can be written to.
        unsafe { receive_message(call, message, flags) }
    });
    if length >= 0 {
        // SAFETY: received.
        unsafe { opened_with(message) };
    }
    length
}

/// The original recvmmsg(2); tells of the descriptors that come along.
///
/// # Safety
///
/// As for recvmmsg.
unsafe fn recvmmsg_as_it_is(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the arguments are right for recvmmsg, by this function's contract; so many were received.
    unsafe {
        let received = original::recvmmsg(fd, messages, count, flags, timeout);
        opened_with_each(messages, usize::try_from(received).unwrap_or(0));
        received
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let Some(section) = hook::enter(Patch::SOCKET) else {
        return pass_on!(recvmmsg_as_it_is(fd, messages, count, flags, timeout));
    };
    // SAFETY: the caller gives null or a time to read.
    let limit = unsafe { kernel::timeout(timeout) };
    let (Ok(limit), true) = (limit, flags & NEVER_WAITS == 0) else {
        // The kernel refuses the call, or it does not wait.
        let received = pass_on!(recvmmsg_as_it_is(fd, messages, count, flags, timeout));
        keeping_errno(|| section.give_way());
        return received;
    };
    let end = limit.map(Deadline::after);
    let outcome = section.call(fd).and_then(|call| {
        // SAFETY: the caller gives so many headers to fill, whose buffers can be written to.
        unsafe { receive_messages(&call, messages, count as usize, flags, end) }
    });
    // SAFETY: so many were received.
    unsafe { opened_with_each(messages, outcome.unwrap_or(0)) };
    // SAFETY: `timeout` is null or the caller's time, into which recvmmsg(2) writes what is left.
    if let (Some(end), Ok(_), Some(left)) = (end, outcome, unsafe { timeout.as_mut() }) {
        let remaining = end.remaining();
        left.tv_sec = remaining.as_secs() as libc::time_t;
        left.tv_nsec = remaining.subsec_nanos().into();
    }
    finish(section, outcome.map(|count| count as c_int))
}

aliases! {
    fn __recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t = recv;
}
