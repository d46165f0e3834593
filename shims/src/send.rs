//! Sending on sockets.
//!
//! Every attempt carries `MSG_DONTWAIT`, which leaves the socket's own mode alone. What a blocking
//! send promises beyond a single attempt is kept here: a stream takes everything, and `SO_SNDTIMEO`
//! holds for the whole call. Descriptors sent along go with the first part.
//!
//! With `MSG_FASTOPEN`, a send may connect first, and is a blocking section.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Call, Interest, Section};
use libc::{iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use rustix::io::Errno;

use crate::kernel::finish;
use crate::socket::is_unix_address;
use crate::transfer::{carry_out, move_all};
use crate::vectors::Vectors;

originals! {
    fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t;
    fn sendto(
        fd: c_int,
        buffer: *const c_void,
        length: size_t,
        flags: c_int,
        address: *const sockaddr,
        address_length: socklen_t,
    ) -> ssize_t;
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
}

/// Sends with these flags are the kernel's alone.
const AS_IT_CAME: c_int = libc::MSG_FASTOPEN | libc::MSG_DONTWAIT;

/// An error after the first part belongs to the next call, and so does its SIGPIPE.
fn attempt_flags(done: usize) -> c_int {
    if done == 0 {
        libc::MSG_DONTWAIT
    } else {
        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL
    }
}

/// Makes a send that is the kernel's alone.
fn as_it_came(
    section: &Section,
    flags: c_int,
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if flags & libc::MSG_DONTWAIT != 0 {
        let outcome = call();
        section.give_way();
        outcome
    } else {
        // A signal handler may send.
        section.blocking_in_place(call)
    }
}

/// sendto(2) on a green thread.
///
/// # Safety
///
/// As for sendto.
unsafe fn transmit(
    call: &Call<'_>,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> Result<usize, Errno> {
    let fd = call.number();
    let once = |done: usize, flags: c_int| {
        let (buffer, length) = (buffer.wrapping_byte_add(done), length - done);
        // SAFETY: the arguments are right for sendto, by this function's contract; the first `done` bytes are sent.
        unsafe {
            kernel_call!(
                libc::SYS_sendto,
                fd,
                buffer,
                length,
                flags,
                address,
                address_length
            )
        }
    };
    let attempt = |done| once(done, flags | attempt_flags(done));
    if flags & AS_IT_CAME != 0 {
        as_it_came(call.section(), flags, || once(0, flags))
    // SAFETY: `address` is null or has `address_length` bytes, as sendto has it, by this function's contract.
    } else if unsafe { is_unix_address(address.cast(), address_length) } {
        // If the peer's queue is full, poll(2) calls the socket writable all the same.
        call.retry_by_timer(Interest::Write, Call::socket_patience, || attempt(0))
    } else {
        move_all(
            call,
            Interest::Write,
            length,
            Call::socket_patience,
            attempt,
        )
    }
}

/// sendmsg(2) on a green thread.
///
/// # Safety
///
/// As for sendmsg.
unsafe fn transmit_message(
    call: &Call<'_>,
    message: *const msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    let fd = call.number();
    // SAFETY: `message` is right for sendmsg, by this function's contract.
    let once = |flags: c_int| unsafe { kernel_call!(libc::SYS_sendmsg, fd, message, flags) };
    if flags & AS_IT_CAME != 0 || message.is_null() {
        return as_it_came(call.section(), flags, || once(flags));
    }
    // SAFETY: `message` is not null, and so points to a header, by this function's contract.
    let header = unsafe { *message };
    // SAFETY: the header's array has that many buffers, by this function's contract.
    let Some(vectors) = (unsafe { Vectors::new(header.msg_iov, header.msg_iovlen) }) else {
        return once(flags);
    };
    let patience = Call::socket_patience;
    // SAFETY: the header's name is null or has that many bytes, by this function's contract.
    if unsafe { is_unix_address(header.msg_name, header.msg_namelen) } {
        // As in `transmit`.
        return call.retry_by_timer(Interest::Write, patience, || once(flags | attempt_flags(0)));
    }
    move_all(
        call,
        Interest::Write,
        vectors.total(),
        patience,
        |done| match done {
            0 => once(flags | attempt_flags(0)),
            // SAFETY: the header's buffers may be read, by this function's contract.
            _ => unsafe { transmit_part(fd, header, vectors, done, flags) },
        },
    )
}

/// One attempt to send what follows the first `done` bytes of `vectors`, to the same address as `header`.
///
/// # Safety
///
/// The buffers may be read.
unsafe fn transmit_part(
    fd: c_int,
    header: msghdr,
    vectors: Vectors,
    done: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    let rest = vectors.after(done);
    let mut message = rest.message();
    message.msg_name = header.msg_name;
    message.msg_namelen = header.msg_namelen;
    let flags = flags | attempt_flags(done);
    // SAFETY: the buffers may be read, by this function's contract; the message is ours.
    unsafe { kernel_call!(libc::SYS_sendmsg, fd, &raw const message, flags) }
}

/// writev(2) to a socket on a green thread.
///
/// # Safety
///
/// The buffers may be read.
pub(crate) unsafe fn transmit_vectors(call: &Call<'_>, vectors: Vectors) -> Result<usize, Errno> {
    if let Some(iovec { iov_base, iov_len }) = vectors.only() {
        // SAFETY: the only buffer may be read, by this function's contract; there is no address.
        return unsafe { transmit(call, iov_base, iov_len, 0, ptr::null(), 0) };
    }
    let message = vectors.message();
    // SAFETY: the buffers may be read, by this function's contract; the message is ours.
    unsafe { transmit_message(call, &raw const message, 0) }
}

/// sendmmsg(2) on a green thread: as many as go at once, then the next by itself, which may wait.
///
/// # Safety
///
/// As for sendmmsg.
unsafe fn transmit_messages(
    call: &Call<'_>,
    messages: *mut mmsghdr,
    count: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    let fd = call.number();
    if flags & libc::MSG_FASTOPEN != 0 {
        // SAFETY: `messages` points to `count` headers that are right for sendmmsg, by this function's contract.
        return as_it_came(call.section(), flags, || unsafe {
            kernel_call!(libc::SYS_sendmmsg, fd, messages, count, flags)
        });
    }
    let mut done = 0;
    while done < count {
        let next = messages.wrapping_add(done);
        let (left, now) = (count - done, flags | libc::MSG_DONTWAIT);
        // SAFETY: `messages` points to `count` headers that are right for sendmmsg, by this function's contract, and
        // `done` of them are sent.
        let attempt = || unsafe { kernel_call!(libc::SYS_sendmmsg, fd, next, left, now) };
        let step = if done == 0 { *call } else { call.rest() };
        let outcome = match step.retry(Interest::Write, |_, _| Err(Errno::AGAIN), attempt) {
            Ok(0) => break,
            Ok(sent) => {
                done += sent;
                // SAFETY: it is the last message that the kernel took, and the kernel has written how much of it.
                unsafe { complete(&call.rest(), next.wrapping_add(sent - 1), flags) }
            }
            Err(Errno::AGAIN) if flags & libc::MSG_DONTWAIT == 0 => {
                // Others may have had their turn since the attempt.
                let call = call.rest();
                // SAFETY: `next` is one of `count` headers that are right for sendmsg, by this function's contract.
                unsafe { transmit_message(&call, &raw const (*next).msg_hdr, flags) }.map(|sent| {
                    // SAFETY: `next` is one of the caller's headers, into whose lengths sendmmsg(2) writes.
                    unsafe { (*next).msg_len = sent as c_uint };
                    done += 1;
                })
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Sends the rest of a message that a stream took in part. An error says that no more can be sent.
///
/// # Safety
///
/// A message of which the kernel has sent `msg_len` bytes.
unsafe fn complete(call: &Call<'_>, message: *mut mmsghdr, flags: c_int) -> Result<(), Errno> {
    let fd = call.number();
    // SAFETY: the kernel has sent from this message, by this function's contract, so it can be read.
    let mmsghdr {
        msg_hdr: header,
        msg_len: gone,
    } = unsafe { *message };
    // SAFETY: the kernel has sent from the header's buffers, by this function's contract, so there are that many.
    let vectors = unsafe { Vectors::new(header.msg_iov, header.msg_iovlen) };
    let (gone, vectors) = (gone as usize, vectors.ok_or(Errno::INVAL)?);
    let left = vectors.total().saturating_sub(gone);
    if left == 0 {
        return Ok(());
    }
    let patience = |call: &Call<'_>, interest| {
        if flags & libc::MSG_DONTWAIT != 0 {
            return Err(Errno::AGAIN);
        }
        call.socket_patience(interest)
    };
    let sent = move_all(call, Interest::Write, left, patience, |done| {
        // SAFETY: the kernel has sent from the header's buffers, by this function's contract, so they may be read.
        unsafe { transmit_part(fd, header, vectors, gone + done, flags) }
    })?;
    // SAFETY: the kernel has written `msg_len`, by this function's contract, so it can be written to.
    unsafe { (*message).msg_len = (gone + sent) as c_uint };
    if sent == left {
        Ok(())
    } else {
        Err(Errno::AGAIN)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn send(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let original = || pass_on!(original::send(fd, buffer, length, flags));
    carry_out(Patch::SOCKET, fd, original, |call| {
        // SAFETY: the caller gives so many bytes to read.
        unsafe { transmit(call, buffer, length, flags, ptr::null(), 0) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    let original =
        || pass_on! { original::sendto(fd, buffer, length, flags, address, address_length) };
    carry_out(Patch::SOCKET, fd, original, |call| {
        // SAFETY: the caller gives so many bytes to read, and null or an address of this length.
        unsafe { transmit(call, buffer, length, flags, address, address_length) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let original = || pass_on!(original::sendmsg(fd, message, flags));
    carry_out(Patch::SOCKET, fd, original, |call| {
        // SAFETY: the caller gives a header whose buffers can be read.
        unsafe { transmit_message(call, message, flags) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let Some(section) = hook::enter(Patch::SOCKET) else {
        return pass_on!(original::sendmmsg(fd, messages, count, flags));
    };
    // The kernel takes no more than this at a time, and says so by its count.
    let count = (count as usize).min(libc::UIO_MAXIOV as usize);
    let outcome = section.call(fd).and_then(|call| {
        // SAFETY: the caller gives so many headers whose buffers can be read.
        unsafe { transmit_messages(&call, messages, count, flags) }
    });
    finish(section, outcome.map(|count| count as c_int))
}

aliases! {
    fn __send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t = send;
    fn __sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int = sendmmsg;
}
