//! What a `pthread_t` says of its thread, when that is a green thread.
//!
//! glibc would look for a kernel thread behind it. A green thread has a stack and a name of its
//! own; processors, priority and CPU time it has none of, as whatever worker is free runs it, and
//! it can be sent no signal. The functions that would give it such things fail with `ENOTSUP`,
//! unless they ask for what is so anyway, or for what no thread can have. They answer for a green thread on every thread, patched
//! or not.
//!
//! `sigaltstack` on a green thread changes a record only: the kernel's alternate stack is the
//! worker's.

use std::ffi::{CStr, c_char, c_int, c_void};

use greenpatch_runtime::hook;
use greenpatch_runtime::hook::thread::Attributes;
use libc::{clockid_t, cpu_set_t, pthread_attr_t, pthread_t, sched_param, sigval, stack_t};
use rustix::io::Errno;

use crate::kernel::finish;

originals! {
    fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int;
    fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int;
    fn pthread_getname_np(thread: pthread_t, name: *mut c_char, length: usize) -> c_int;
    fn pthread_setaffinity_np(thread: pthread_t, size: usize, set: *const cpu_set_t) -> c_int;
    fn pthread_getaffinity_np(thread: pthread_t, size: usize, set: *mut cpu_set_t) -> c_int;
    fn pthread_attr_getaffinity_np(attributes: *const pthread_attr_t, size: usize, set: *mut cpu_set_t) -> c_int;
    fn pthread_setschedparam(thread: pthread_t, policy: c_int, param: *const sched_param) -> c_int;
    fn pthread_getschedparam(
        thread: pthread_t,
        policy: *mut c_int,
        param: *mut sched_param,
    ) -> c_int;
    fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int;
    fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) -> c_int;
    fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int;
    fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: sigval) -> c_int;
    fn pthread_cancel(thread: pthread_t) -> c_int;
    fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int;
}

fn is_green(thread: pthread_t) -> bool {
    hook::thread::is_green(thread)
}

fn status(outcome: Result<(), Errno>) -> c_int {
    outcome.map_or_else(Errno::raw_os_error, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_getattr_np(
    thread: pthread_t,
    attributes: *mut pthread_attr_t,
) -> c_int {
    let Some((base, found)) = hook::thread::attributes(thread) else {
        // An OS thread.
        return pass_on!(original::pthread_getattr_np(thread, attributes));
    };
    // SAFETY: what the function asks of its caller: room for attributes.
    match unsafe { libc::pthread_attr_init(attributes) } {
        0 => {}
        error => return error,
    }
    // SAFETY: initialised just now.
    let error = unsafe { fill_in(attributes, base, &found) };
    if error != 0 {
        // SAFETY: initialised just now, and the caller does not get them.
        unsafe { libc::pthread_attr_destroy(attributes) };
    }
    error
}

/// Writes what a green thread has into attributes; the first error. The affinity is asked for when somebody reads it
/// ([`pthread_attr_getaffinity_np`]): std asks for the attributes of each thread that it starts, and a set of processors
/// in them costs a system call and two allocations.
///
/// # Safety
///
/// `attributes` points to initialised attributes.
unsafe fn fill_in(attributes: *mut pthread_attr_t, base: *mut c_void, found: &Attributes) -> c_int {
    let state = if found.is_detached {
        libc::PTHREAD_CREATE_DETACHED
    } else {
        libc::PTHREAD_CREATE_JOINABLE
    };
    let inheritance = if found.has_own_policy {
        libc::PTHREAD_EXPLICIT_SCHED
    } else {
        libc::PTHREAD_INHERIT_SCHED
    };
    // SAFETY: the caller has initialised the attributes.
    let errors = unsafe {
        [
            libc::pthread_attr_setstack(attributes, base, found.stack_size),
            libc::pthread_attr_setguardsize(attributes, found.guard_size),
            libc::pthread_attr_setdetachstate(attributes, state),
            libc::pthread_attr_setinheritsched(attributes, inheritance),
        ]
    };
    errors.into_iter().find(|&error| error != 0).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_attr_getaffinity_np(
    attributes: *const pthread_attr_t,
    size: usize,
    set: *mut cpu_set_t,
) -> c_int {
    let (mut base, mut stack_size) = (std::ptr::null_mut(), 0);
    // SAFETY: the function asks its caller for initialised attributes.
    let error = unsafe { libc::pthread_attr_getstack(attributes, &mut base, &mut stack_size) };
    if error != 0 || !hook::thread::is_in_slot(base) {
        return pass_on!(original::pthread_attr_getaffinity_np(attributes, size, set));
    }
    // SAFETY: the function asks its caller for room for so many bytes.
    unsafe { affinity(size, set) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    // SAFETY: the function asks its caller for a C string.
    match hook::thread::set_name(thread, unsafe { CStr::from_ptr(name) }) {
        // SAFETY: the thread is glibc's, and so are the arguments.
        Err(Errno::SRCH) => unsafe { original::pthread_setname_np(thread, name) },
        outcome => status(outcome),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_getname_np(
    thread: pthread_t,
    name: *mut c_char,
    length: usize,
) -> c_int {
    let Some(known) = hook::thread::name(thread) else {
        return pass_on!(original::pthread_getname_np(thread, name, length));
    };
    if length < known.len() {
        return libc::ERANGE;
    }
    // SAFETY: what the function asks of its caller: room for that many.
    unsafe { name.cast::<[u8; 16]>().write(known) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_setaffinity_np(
    thread: pthread_t,
    size: usize,
    set: *const cpu_set_t,
) -> c_int {
    if is_green(thread) {
        return libc::ENOTSUP;
    }
    pass_on!(original::pthread_setaffinity_np(thread, size, set))
}

/// For a green thread, where its caller's kernel thread may run.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_getaffinity_np(
    thread: pthread_t,
    size: usize,
    set: *mut cpu_set_t,
) -> c_int {
    if !is_green(thread) {
        return pass_on!(original::pthread_getaffinity_np(thread, size, set));
    }
    // SAFETY: what the function asks of its caller: room for so many bytes.
    unsafe { affinity(size, set) }
}

/// Writes the processors that the calling kernel's thread may run on.
///
/// # Safety
///
/// `set` points to room for `size` bytes.
unsafe fn affinity(size: usize, set: *mut cpu_set_t) -> c_int {
    // SAFETY: room for that many bytes, by this function's contract.
    let outcome = unsafe { kernel_call!(libc::SYS_sched_getaffinity, 0, size, set) };
    status(outcome.map(|written| {
        let rest = set.cast::<u8>().wrapping_add(written);
        // SAFETY: the rest of the caller's bytes, which begins where the kernel has stopped.
        unsafe { rest.write_bytes(0, size - written) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_setschedparam(
    thread: pthread_t,
    policy: c_int,
    param: *const sched_param,
) -> c_int {
    if !is_green(thread) {
        return pass_on!(original::pthread_setschedparam(thread, policy, param));
    }
    // SAFETY: what the function asks of its caller: parameters to read.
    schedule_as(policy, unsafe { (*param).sched_priority })
}

/// What comes of asking for a policy and a priority: nothing if there is no such pair, or if it is the one that every green
/// thread has.
fn schedule_as(policy: c_int, priority: c_int) -> c_int {
    match (policy & !libc::SCHED_RESET_ON_FORK, priority) {
        (libc::SCHED_OTHER, 0) => 0,
        (libc::SCHED_BATCH | libc::SCHED_IDLE, 0) => libc::ENOTSUP,
        (libc::SCHED_FIFO | libc::SCHED_RR, 1..=99) => libc::ENOTSUP,
        _ => libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_getschedparam(
    thread: pthread_t,
    policy: *mut c_int,
    param: *mut sched_param,
) -> c_int {
    if !is_green(thread) {
        return pass_on!(original::pthread_getschedparam(thread, policy, param));
    }
    // SAFETY: the function asks its caller for places for both.
    unsafe {
        *policy = libc::SCHED_OTHER;
        *param = sched_param { sched_priority: 0 };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int {
    if !is_green(thread) {
        return pass_on!(original::pthread_setschedprio(thread, priority));
    }
    schedule_as(libc::SCHED_OTHER, priority)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_getcpuclockid(
    thread: pthread_t,
    clock: *mut clockid_t,
) -> c_int {
    if is_green(thread) {
        // POSIX's error for a system without clocks of threads.
        return libc::ENOENT;
    }
    pass_on!(original::pthread_getcpuclockid(thread, clock))
}

/// Whether this is a green thread other than the caller. A signal to oneself goes to the kernel
/// thread that runs the caller, as glibc does it.
fn is_other_green(thread: pthread_t) -> bool {
    // SAFETY: `pthread_self` asks nothing of its caller.
    is_green(thread) && thread != unsafe { libc::pthread_self() }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
    if is_other_green(thread) {
        // Signal 0 asks whether the thread is there.
        return if signal == 0 { 0 } else { libc::ENOTSUP };
    }
    pass_on!(original::pthread_kill(thread, signal))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_sigqueue(
    thread: pthread_t,
    signal: c_int,
    value: sigval,
) -> c_int {
    if is_green(thread) {
        return libc::ENOTSUP;
    }
    pass_on!(original::pthread_sigqueue(thread, signal, value))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cancel(thread: pthread_t) -> c_int {
    if is_green(thread) {
        return libc::ENOTSUP;
    }
    pass_on!(original::pthread_cancel(thread))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
    let Some(section) = hook::enter_any() else {
        return pass_on!(original::sigaltstack(new, old));
    };
    // SAFETY: the caller gives null or a stack's description to read.
    let outcome = unsafe { new.as_ref() }
        .map(|new| acceptable(*new))
        .transpose()
        .map(|new| {
            let before = hook::thread::alternate_stack(&section, new);
            if !old.is_null() {
                // SAFETY: the caller gives null or a place for the description before.
                unsafe { *old = before };
            }
            0
        });
    finish(section, outcome)
}

/// The flag by which a handler's stack is disarmed while it runs; the libc crate lacks it.
const SS_AUTODISARM: c_int = 1 << 31;

fn acceptable(stack: stack_t) -> Result<stack_t, Errno> {
    match stack.ss_flags & !SS_AUTODISARM {
        libc::SS_DISABLE => Ok(stack),
        0 | libc::SS_ONSTACK if stack.ss_size < libc::MINSIGSTKSZ => Err(Errno::NOMEM),
        0 | libc::SS_ONSTACK => Ok(stack_t {
            ss_flags: stack.ss_flags & !libc::SS_ONSTACK,
            ..stack
        }),
        _ => Err(Errno::INVAL),
    }
}
