//! Threads: on a green thread, `pthread_create` makes a green thread.
//!
//! An OS thread's creations stay OS threads, unless there is a process runtime, as under `greenpatch run`. So do those that
//! ask for what a green thread does not have: a stack of the caller's own, a scheduling policy, an affinity, a signal mask,
//! or a larger stack or guard than there are.
//!
//! A `pthread_t` may name a thread of either kind, on a thread of either kind. Whatever is asked of
//! a green one is answered by the runtime on every thread, patched or not: glibc does not know it.
//! A green thread that joins an OS thread looks again after 50 µs, then after ever longer times up
//! to 10 ms: the end of an OS thread is told to a futex shared with the kernel, which only a kernel
//! thread can wait on.

use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::exit::{self, CleanupBuffer};
use greenpatch_runtime::hook::thread::{Attributes, Start};
use greenpatch_runtime::hook::{self, Section};
use libc::{clockid_t, pthread_attr_t, pthread_t, sched_param, timespec};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::kernel::checked;

originals! {
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: Start,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        time: *const timespec,
    ) -> c_int;
    fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: clockid_t,
        time: *const timespec,
    ) -> c_int, or libc::ENOSYS;
    fn pthread_detach(thread: pthread_t) -> c_int;
    fn pthread_exit(value: *mut c_void) -> !;
    fn __pthread_register_cancel(buffer: *mut CleanupBuffer);
    fn __pthread_unregister_cancel(buffer: *mut CleanupBuffer);
    fn __pthread_unwind_next(buffer: *mut CleanupBuffer) -> !;
    fn sched_yield() -> c_int;
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
    fn pthread_attr_getaffinity_np(
        attributes: *const pthread_attr_t,
        size: usize,
        set: *mut libc::cpu_set_t,
    ) -> c_int;
    fn pthread_attr_getsigmask_np(
        attributes: *const pthread_attr_t,
        mask: *mut libc::sigset_t,
    ) -> c_int;
    fn pthread_getattr_default_np(attributes: *mut pthread_attr_t) -> c_int;
}

/// What `pthread_create` is asked for by these attributes, or null for the default, if a green thread can have it.
///
/// # Safety
///
/// `attributes` is null or points to initialised attributes.
unsafe fn read(attributes: *const pthread_attr_t) -> Option<Attributes> {
    if !attributes.is_null() {
        // SAFETY: the caller has initialised them.
        return unsafe { read_given(attributes) };
    }
    let mut defaults = MaybeUninit::uninit();
    // SAFETY: initialised by the call if it succeeds, and destroyed once.
    unsafe {
        if pthread_getattr_default_np(defaults.as_mut_ptr()) != 0 {
            return None;
        }
        let read = read_given(defaults.as_ptr());
        libc::pthread_attr_destroy(defaults.as_mut_ptr());
        read
    }
}

/// # Safety
///
/// `attributes` points to initialised attributes.
unsafe fn read_given(attributes: *const pthread_attr_t) -> Option<Attributes> {
    let (mut base, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    let (mut state, mut inheritance, mut policy) = (0, 0, 0);
    let mut param = sched_param { sched_priority: 0 };
    // SAFETY: all zeros is a set of no processors.
    let mut affinity: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: all zeros is a set of no signals.
    let mut mask: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the caller has initialised the attributes; the results are ours.
    let has_mask = unsafe {
        libc::pthread_attr_getstack(attributes, &mut base, &mut size);
        libc::pthread_attr_getguardsize(attributes, &mut guard);
        pthread_attr_getdetachstate(attributes, &mut state);
        libc::pthread_attr_getinheritsched(attributes, &mut inheritance);
        libc::pthread_attr_getschedpolicy(attributes, &mut policy);
        libc::pthread_attr_getschedparam(attributes, &mut param);
        pthread_attr_getaffinity_np(attributes, size_of_val(&affinity), &mut affinity);
        pthread_attr_getsigmask_np(attributes, &mut mask) == 0
    };
    let has_own_stack = !base.wrapping_byte_add(size).is_null();
    // SAFETY: the caller has initialised the attributes; the result is ours.
    unsafe { libc::pthread_attr_getstacksize(attributes, &mut size) };
    let has_own_policy = inheritance == libc::PTHREAD_EXPLICIT_SCHED;
    let is_usual = policy == libc::SCHED_OTHER && param.sched_priority == 0;
    if has_own_stack || has_own_policy && !is_usual || has_mask || !is_full(&affinity) {
        return None;
    }
    Some(Attributes {
        stack_size: size,
        guard_size: guard,
        is_detached: state == libc::PTHREAD_CREATE_DETACHED,
        has_own_policy,
    })
}

/// Attributes without affinity read as all processors there could be.
fn is_full(affinity: &libc::cpu_set_t) -> bool {
    // SAFETY: a set of bits in words.
    let words =
        unsafe { &*ptr::from_ref(affinity).cast::<[u64; size_of::<libc::cpu_set_t>() / 8]>() };
    words.iter().all(|&word| word == u64::MAX)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let Some(home) = hook::thread::home() else {
        return pass_on! { original::pthread_create(thread, attributes, start, argument) };
    };
    // SAFETY: what pthread_create asks of its caller: null or initialised attributes.
    let outcome = match unsafe { read(attributes) } {
        // SAFETY: what pthread_create asks of its caller: that the routine may be called so on another thread, and a place for
        // its `pthread_t`.
        Some(attributes) => unsafe {
            hook::thread::create(&home, thread, start, argument, attributes)
        },
        None => Err(Errno::INVAL),
    };
    match outcome {
        Ok(()) => 0,
        Err(Errno::INVAL) => {
            pass_on! { original::pthread_create(thread, attributes, start, argument) }
        }
        Err(error) => error.raw_os_error(),
    }
}

/// Writes a joined thread's value where the caller wants it, and gives the error as pthreads do.
///
/// # Safety
///
/// `place` is null or can be written to.
unsafe fn hand_over(outcome: Result<*mut c_void, Errno>, place: *mut *mut c_void) -> c_int {
    match outcome {
        Ok(value) => {
            if !place.is_null() {
                // SAFETY: not null, so the caller lets it be written to.
                unsafe { *place = value };
            }
            0
        }
        Err(error) => error.raw_os_error(),
    }
}

/// Joins an OS thread from a green thread; see the module's page.
///
/// # Safety
///
/// As for `pthread_join`.
unsafe fn join_native(
    section: &Section,
    thread: pthread_t,
    value: *mut *mut c_void,
    deadline: Option<Deadline>,
) -> c_int {
    const FIRST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(10);

    // SAFETY: `pthread_self` asks nothing of its caller.
    if thread == unsafe { libc::pthread_self() } {
        return libc::EDEADLK;
    }
    let mut pause = FIRST;
    loop {
        // SAFETY: the caller names a thread that is still to be joined, and null or a place for its value.
        let error = unsafe { original::pthread_tryjoin_np(thread, value) };
        if error != libc::EBUSY {
            return error;
        }
        if deadline.is_some_and(Deadline::has_passed) {
            return libc::ETIMEDOUT;
        }
        let next = Deadline::after(pause);
        section.pause_until(deadline.map_or(next, |deadline| deadline.min(next)));
        pause = (pause * 2).min(LONGEST);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller names a thread that is still to be joined.
    match unsafe { hook::thread::join(thread, None) } {
        // An OS thread.
        Err(Errno::SRCH) => {}
        // SAFETY: the caller gives null or a place for the value.
        outcome => return unsafe { hand_over(outcome, value) },
    }
    match hook::enter(Patch::THREAD) {
        // SAFETY: the caller names a thread that is still to be joined, and null or a place for its value.
        Some(section) => unsafe { join_native(&section, thread, value, None) },
        None => pass_on!(original::pthread_join(thread, value)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_tryjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
) -> c_int {
    // SAFETY: what pthread_tryjoin_np asks of its caller: a thread that is still to be joined.
    match unsafe { hook::thread::join(thread, Some(Deadline::from_nanos(0))) } {
        // An OS thread.
        Err(Errno::SRCH) => pass_on!(original::pthread_tryjoin_np(thread, value)),
        Err(Errno::TIMEDOUT) => libc::EBUSY,
        // SAFETY: the function asks its caller for null or a place for the value.
        outcome => unsafe { hand_over(outcome, value) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_timedjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    time: *const timespec,
) -> c_int {
    // SAFETY: the function asks its caller for a thread that is still to be joined, a valid time, and null or a place for the
    // value.
    unsafe { join_by(thread, value, libc::CLOCK_REALTIME, time) }
        .unwrap_or_else(|| pass_on!(original::pthread_timedjoin_np(thread, value, time)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_clockjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the function asks its caller for a thread that is still to be joined, a valid time, and null or a place for the
    // value.
    unsafe { join_by(thread, value, clock, time) }
        .unwrap_or_else(|| pass_on!(original::pthread_clockjoin_np(thread, value, clock, time)))
}

/// `pthread_clockjoin_np` if a green thread takes part; `None` leaves it to the original.
///
/// # Safety
///
/// As for `pthread_clockjoin_np`.
unsafe fn join_by(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    time: *const timespec,
) -> Option<c_int> {
    let is_green = hook::thread::is_green(thread);
    let section = if is_green {
        None
    } else {
        Some(hook::enter(Patch::THREAD)?)
    };
    // SAFETY: the caller gives null or a time to read.
    let deadline = match unsafe { time.as_ref() }
        .map(|time| deadline(clock, *time))
        .transpose()
    {
        Ok(deadline) => deadline,
        Err(error) => return Some(error.raw_os_error()),
    };
    Some(match section {
        // SAFETY: the caller names a thread that is still to be joined, and null or a place for its value.
        Some(section) => unsafe { join_native(&section, thread, value, deadline) },
        // SAFETY: a green thread of which the same holds.
        None => unsafe { hand_over(hook::thread::join(thread, deadline), value) },
    })
}

fn deadline(clock: clockid_t, time: timespec) -> Result<Deadline, Errno> {
    checked(time)?;
    let time = Timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec,
    };
    match clock {
        libc::CLOCK_REALTIME => Ok(Deadline::from_realtime(time)),
        libc::CLOCK_MONOTONIC => Ok(Deadline::from_monotonic(time)),
        _ => Err(Errno::INVAL),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_detach(thread: pthread_t) -> c_int {
    // SAFETY: what pthread_detach asks of its caller: a thread that is still to be joined or detached.
    match unsafe { hook::thread::detach(thread) } {
        Ok(()) => 0,
        // An OS thread.
        Err(Errno::SRCH) => pass_on!(original::pthread_detach(thread)),
        Err(error) => error.raw_os_error(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    match exit::own_stack() {
        // SAFETY: what pthread_exit asks of its caller: that its frames may be unwound.
        Some(stack) => unsafe { exit::exit(stack, value) },
        None => {
            hook::process::main_thread_exits();
            // SAFETY: an OS thread, of which the original asks the same.
            unsafe { original::pthread_exit(value) }
        }
    }
}

/// As [`exit::own_stack`], on green threads for which glibc cannot keep cleanup handlers and unwind.
fn stack_unknown_to_glibc() -> Option<exit::OwnStack> {
    exit::own_stack().filter(|stack| !stack.is_known_to_glibc())
}

/// What `pthread_cleanup_push` calls in C code that is compiled without exceptions.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_register_cancel(buffer: *mut CleanupBuffer) {
    match stack_unknown_to_glibc() {
        // SAFETY: the header's macro keeps the buffer in its frame until it is popped.
        Some(_) => unsafe { exit::push_cleanup(buffer) },
        // An OS thread.
        None => pass_on!(original::__pthread_register_cancel(buffer)),
    }
}

/// What `pthread_cleanup_pop` calls there.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_unregister_cancel(buffer: *mut CleanupBuffer) {
    match stack_unknown_to_glibc() {
        // SAFETY: the header's macro pops what it has pushed.
        Some(_) => unsafe { exit::pop_cleanup(buffer) },
        // An OS thread.
        None => pass_on!(original::__pthread_unregister_cancel(buffer)),
    }
}

/// What the handler's frame calls when the handler has run.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __pthread_unwind_next(buffer: *mut CleanupBuffer) -> ! {
    match stack_unknown_to_glibc() {
        // SAFETY: the header's macro calls it at the place that its buffer leads to.
        Some(stack) => unsafe { exit::exit_further(stack, buffer) },
        // SAFETY: an OS thread, of which the original asks the same.
        None => unsafe { original::__pthread_unwind_next(buffer) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sched_yield() -> c_int {
    let Some(section) = hook::enter(Patch::THREAD) else {
        // SAFETY: `sched_yield` asks nothing of its caller.
        return unsafe { original::sched_yield() };
    };
    section.yield_now();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __sched_yield() -> c_int {
    // SAFETY: `sched_yield` asks nothing of its caller.
    unsafe { sched_yield() }
}

/// The old name of sched_yield.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_yield() -> c_int {
    // SAFETY: `sched_yield` asks nothing of its caller.
    unsafe { sched_yield() }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_yield() {
    // SAFETY: `sched_yield` asks nothing of its caller.
    unsafe { sched_yield() };
}
