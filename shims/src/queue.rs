//! Message queues, and System V's semaphores.
//!
//! A POSIX message queue is a descriptor that can be polled; sending and receiving park on it. Of System V's objects
//! nothing tells that they have changed: a green thread looks again and again, at most every 10 ms.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Call, Interest, Section};
use libc::{mode_t, mq_attr, mqd_t, sembuf, size_t, ssize_t, timespec};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::fd::closing;
use crate::kernel::{self, finish, finish_count};
use crate::new_fd::opened;
use crate::section;

originals! {
    fn msgsnd(queue: c_int, message: *const c_void, length: size_t, flags: c_int) -> c_int;
    fn msgrcv(queue: c_int, message: *mut c_void, length: size_t, kind: c_long, flags: c_int) -> ssize_t;
    fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int;
    fn semtimedop(set: c_int, operations: *mut sembuf, count: size_t, timeout: *const timespec) -> c_int;
    fn mq_open(name: *const c_char, flags: c_int, mode: mode_t, attributes: *const mq_attr) -> mqd_t;
    fn __mq_open_2(name: *const c_char, flags: c_int) -> mqd_t;
    fn mq_close(queue: mqd_t) -> c_int;
    fn mq_send(queue: mqd_t, message: *const c_char, length: size_t, priority: c_uint) -> c_int;
    fn mq_timedsend(queue: mqd_t, message: *const c_char, length: size_t, priority: c_uint, until: *const timespec) -> c_int;
    fn mq_receive(queue: mqd_t, message: *mut c_char, length: size_t, priority: *mut c_uint) -> ssize_t;
    fn mq_timedreceive(queue: mqd_t, message: *mut c_char, length: size_t, priority: *mut c_uint, until: *const timespec) -> ssize_t;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn msgsnd(
    queue: c_int,
    message: *const c_void,
    length: size_t,
    flags: c_int,
) -> c_int {
    let waits = flags & libc::IPC_NOWAIT == 0;
    let Some(section) = hook::enter(Patch::OS).filter(|_| waits) else {
        return pass_on!(original::msgsnd(queue, message, length, flags));
    };
    let flags = flags | libc::IPC_NOWAIT;
    // SAFETY: the caller gives a message of this length, behind its type.
    let attempt = || unsafe { kernel_call!(libc::SYS_msgsnd, queue, message, length, flags) };
    let outcome = hook::retry_by_timer(|| Ok(None), attempt);
    finish(section, outcome.map(|_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn msgrcv(
    queue: c_int,
    message: *mut c_void,
    length: size_t,
    kind: c_long,
    flags: c_int,
) -> ssize_t {
    let waits = flags & libc::IPC_NOWAIT == 0;
    let Some(section) = hook::enter(Patch::OS).filter(|_| waits) else {
        return pass_on!(original::msgrcv(queue, message, length, kind, flags));
    };
    let flags = flags | libc::IPC_NOWAIT;
    let attempt = || {
        // SAFETY: the caller gives room for a message of this length, behind its type.
        match unsafe { kernel_call!(libc::SYS_msgrcv, queue, message, length, kind, flags) } {
            Err(Errno::NOMSG) => Err(Errno::AGAIN),
            outcome => outcome,
        }
    };
    let outcome = hook::retry_by_timer(|| Ok(None), attempt);
    finish_count(section, outcome)
}

/// As many operations at once as are carried out without waiting in the kernel.
const MOST_OPERATIONS: usize = 16;

/// These operations with `IPC_NOWAIT`, if they are few and none of them has it.
///
/// # Safety
///
/// `operations` points to `count`, or is null.
unsafe fn without_waiting(
    operations: *const sembuf,
    count: size_t,
) -> Option<[sembuf; MOST_OPERATIONS]> {
    if operations.is_null() || count > MOST_OPERATIONS {
        return None;
    }
    // SAFETY: `operations` is not null, and so points to `count`, by this function's contract.
    let given = unsafe { std::slice::from_raw_parts(operations, count) };
    let nothing = sembuf {
        sem_num: 0,
        sem_op: 0,
        sem_flg: 0,
    };
    let mut copy = [nothing; MOST_OPERATIONS];
    for (copy, given) in copy.iter_mut().zip(given) {
        if c_int::from(given.sem_flg) & libc::IPC_NOWAIT != 0 {
            return None;
        }
        *copy = *given;
        copy.sem_flg |= libc::IPC_NOWAIT as i16;
    }
    Some(copy)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn semtimedop(
    set: c_int,
    operations: *mut sembuf,
    count: size_t,
    timeout: *const timespec,
) -> c_int {
    let call = || pass_on!(original::semtimedop(set, operations, count, timeout));
    let Some(section) = hook::enter(Patch::OS) else {
        return call();
    };
    // SAFETY: the caller gives so many operations, and null or a time to read.
    let (ours, limit) = unsafe { (without_waiting(operations, count), kernel::timeout(timeout)) };
    let (Some(ours), Ok(limit)) = (ours, limit) else {
        return section::yielding(section, call);
    };
    let attempt = || {
        // SAFETY: `count` operations of ours.
        unsafe { kernel_call!(libc::SYS_semop, set, ours.as_ptr(), count) }
    };
    let outcome = hook::retry_by_timer(|| Ok(limit.map(Deadline::after)), attempt);
    finish(section, outcome.map(|_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int {
    if hook::enter(Patch::OS).is_none() {
        return pass_on!(original::semop(set, operations, count));
    }
    // SAFETY: the caller gives so many operations; null is no time-out.
    unsafe { semtimedop(set, operations, count, std::ptr::null()) }
}

/// Variadic in C: see `fcntl`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_open(
    name: *const c_char,
    flags: c_int,
    mode: mode_t,
    attributes: *const mq_attr,
) -> mqd_t {
    opened(pass_on!(original::mq_open(name, flags, mode, attributes)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __mq_open_2(name: *const c_char, flags: c_int) -> mqd_t {
    opened(pass_on!(original::__mq_open_2(name, flags)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_close(queue: mqd_t) -> c_int {
    closing(queue, || pass_on!(original::mq_close(queue)))
}

/// Makes `attempt` on a message queue, which is told a time that has passed, and parks until it succeeds or `until`, a
/// time on the real-time clock.
fn retry_on_queue(
    section: &Section,
    queue: mqd_t,
    interest: Interest,
    until: Option<Duration>,
    attempt: impl Fn(*const timespec) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    const PASSED: timespec = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let allowed = |call: &Call<'_>, interest| {
        call.patience(interest)?;
        let until = until.and_then(|until| Timespec::try_from(until).ok());
        Ok(until.map(Deadline::from_realtime))
    };
    let attempt = || match attempt(&PASSED) {
        Err(Errno::TIMEDOUT) => Err(Errno::AGAIN),
        outcome => outcome,
    };
    match section.call(queue)?.retry(interest, allowed, attempt) {
        Err(Errno::AGAIN) if !hook::is_nonblocking(queue) => Err(Errno::TIMEDOUT),
        outcome => outcome,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_timedsend(
    queue: mqd_t,
    message: *const c_char,
    length: size_t,
    priority: c_uint,
    until: *const timespec,
) -> c_int {
    let call = || pass_on! { original::mq_timedsend(queue, message, length, priority, until) };
    let Some(section) = hook::enter(Patch::OS) else {
        return call();
    };
    // SAFETY: the caller gives null or a time to read.
    let Ok(time) = (unsafe { kernel::timeout(until) }) else {
        return call();
    };
    let outcome = retry_on_queue(&section, queue, Interest::Write, time, |passed| {
        // SAFETY: the caller gives a message of this length.
        unsafe {
            kernel_call!(
                libc::SYS_mq_timedsend,
                queue,
                message,
                length,
                priority,
                passed
            )
        }
    });
    finish(section, outcome.map(|_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_send(
    queue: mqd_t,
    message: *const c_char,
    length: size_t,
    priority: c_uint,
) -> c_int {
    if hook::enter(Patch::OS).is_none() {
        return pass_on!(original::mq_send(queue, message, length, priority));
    }
    // SAFETY: the caller gives a message of this length; null is no time-out.
    unsafe { mq_timedsend(queue, message, length, priority, std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_timedreceive(
    queue: mqd_t,
    message: *mut c_char,
    length: size_t,
    priority: *mut c_uint,
    until: *const timespec,
) -> ssize_t {
    let call = || pass_on! { original::mq_timedreceive(queue, message, length, priority, until) };
    let Some(section) = hook::enter(Patch::OS) else {
        return call();
    };
    // SAFETY: the caller gives null or a time to read.
    let Ok(time) = (unsafe { kernel::timeout(until) }) else {
        return call();
    };
    let outcome = retry_on_queue(&section, queue, Interest::Read, time, |passed| {
        // SAFETY: the caller gives room for a message of this length, and null or a place for its priority.
        unsafe {
            kernel_call!(
                libc::SYS_mq_timedreceive,
                queue,
                message,
                length,
                priority,
                passed
            )
        }
    });
    finish_count(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mq_receive(
    queue: mqd_t,
    message: *mut c_char,
    length: size_t,
    priority: *mut c_uint,
) -> ssize_t {
    if hook::enter(Patch::OS).is_none() {
        return pass_on!(original::mq_receive(queue, message, length, priority));
    }
    // SAFETY: the caller gives room for a message of this length, and null or a place for its priority; null is no
    // time-out.
    unsafe { mq_timedreceive(queue, message, length, priority, std::ptr::null()) }
}
