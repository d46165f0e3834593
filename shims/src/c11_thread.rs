//! C11's names for threads: pthreads whose start routine gives an `int`.
//!
//! `thrd_current` and `thrd_equal` need no definition of ours: a green thread's `pthread_self` is its own.

use std::ffi::{c_int, c_void};
use std::ptr;

use greenpatch_runtime::hook;
use greenpatch_runtime::hook::thread::Start;
use libc::pthread_t;

use crate::c11_status::status;

originals! {
    fn thrd_create(thread: *mut pthread_t, start: IntStart, argument: *mut c_void) -> c_int, or 2;
}

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: Start,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_detach(thread: pthread_t) -> c_int;
    fn pthread_exit(value: *mut c_void) -> !;
}

type IntStart = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// `thrd_start_t` and its argument, on their way to the new thread.
struct C11Start {
    start: IntStart,
    argument: *mut c_void,
}

/// A result as pthreads pass it, cut down to its `int` by whoever joins.
fn as_pointer(result: c_int) -> *mut c_void {
    ptr::without_provenance_mut(result as usize)
}

unsafe extern "C-unwind" fn run(routine: *mut c_void) -> *mut c_void {
    let C11Start { start, argument } = {
        // SAFETY: made by `thrd_create` for this thread alone.
        *unsafe { Box::from_raw(routine.cast::<C11Start>()) }
    };
    // SAFETY: the caller of thrd_create has promised that the routine may be called so on another thread.
    as_pointer(unsafe { start(argument) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_create(
    thread: *mut pthread_t,
    start: IntStart,
    argument: *mut c_void,
) -> c_int {
    if hook::thread::home().is_none() {
        return pass_on!(original::thrd_create(thread, start, argument));
    }
    let routine = Box::into_raw(Box::new(C11Start { start, argument }));
    // SAFETY: what thrd_create asks of its caller; `run` is given what it takes.
    let error = unsafe { pthread_create(thread, ptr::null(), run, routine.cast()) };
    if error != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(routine) });
    }
    status(error)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_join(thread: pthread_t, result: *mut c_int) -> c_int {
    let mut value = ptr::null_mut();
    // SAFETY: the caller names a thread that is still to be joined; the place for its value is ours.
    let error = unsafe { pthread_join(thread, &mut value) };
    if !result.is_null() {
        // SAFETY: the caller gives null or a place for the result.
        unsafe { *result = value.addr() as c_int };
    }
    status(error)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_detach(thread: pthread_t) -> c_int {
    // SAFETY: what `thrd_detach` asks of its caller: a thread that is still to be joined or detached.
    status(unsafe { pthread_detach(thread) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_exit(result: c_int) -> ! {
    // SAFETY: what `thrd_exit` asks of its caller: that its frames may be unwound.
    unsafe { pthread_exit(as_pointer(result)) }
}
