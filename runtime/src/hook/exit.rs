//! How a pthread's start routine is left: by its return, by `pthread_exit`, or by what nobody catches.
//!
//! The routine runs as the outermost frame of its stack (`arch::call_outermost`), as on an OS thread. So a panic or an
//! exception that leaves it is one that nobody catches, and its own language says what it was and ends the process.
//!
//! `pthread_exit` unwinds the stack up to there, so that destructors and cleanup handlers run, and then returns from the
//! routine in its place. Cleanup handlers of C code that is compiled without exceptions stand in buffers on the stack, to
//! which the way leads by `siglongjmp`. All this goes by the stack that the caller is on, not by what it may do there: code
//! in native sections exits as well, and so does a forked child, in which the green thread's stack is all that is left of
//! it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::thread::Start;
use crate::base::arch;
use crate::runtime::adoption;
use crate::sched::context;
use crate::sched::green::GreenRef;

thread_local! {
    /// The way back from this green thread's start routine; 0 if it has none, or has returned from it.
    static WAY_BACK: Cell<usize> = const { Cell::new(0) };
    /// The cleanup handlers of this green thread, the last one first.
    static CLEANUPS: Cell<*mut CleanupBuffer> = const { Cell::new(ptr::null_mut()) };
}

/// Calls a start routine. Gives what it returns, or what `pthread_exit` was called with in it.
///
/// # Safety
///
/// `start` may be called with `argument` on this green thread.
pub(super) unsafe fn call_start(start: Start, argument: *mut c_void) -> *mut c_void {
    // SAFETY: the caller vouches for the routine; the word is this thread's own and outlives the call.
    let value = unsafe { arch::call_outermost(argument, start, WAY_BACK.with(Cell::as_ptr)) };
    WAY_BACK.set(0);
    value
}

/// The green thread on whose stack the caller runs: in native sections too, and in a child that was forked on it, where
/// nothing else is left of it.
#[derive(Clone, Copy)]
pub struct OwnStack {
    green: GreenRef,
    _not_send: PhantomData<*const ()>,
}

impl OwnStack {
    /// Whether the green thread is an OS thread that became one for the time of [`Runtime::run`](crate::Runtime::run):
    /// glibc knows it, its stack and its cleanup handlers.
    pub fn is_known_to_glibc(&self) -> bool {
        self.green.is_adopted_os_thread()
    }
}

/// `None` on other stacks.
pub fn own_stack() -> Option<OwnStack> {
    let green = context::green().or_else(|| {
        let pointer = arch::stack_pointer();
        // On the slot's stack of an adopted one, its kernel's thread waits.
        GreenRef::find(pointer)
            .filter(|green| green.slot.holds_stack(pointer) && !green.is_adopted())
    })?;
    Some(OwnStack {
        green,
        _not_send: PhantomData,
    })
}

/// As `pthread_exit`: unwinds the stack, so that destructors and cleanup handlers run, and ends the
/// green thread with `value`.
///
/// # Safety
///
/// The frames above may be unwound.
pub unsafe fn exit(stack: OwnStack, value: *mut c_void) -> ! {
    if stack.green.is_adopted() {
        unsafe extern "C-unwind" {
            fn pthread_exit(value: *mut c_void) -> !;
        }
        // It is the thread that it was before which exits, from here on: its cleanup handlers are known to glibc alone, which
        // passes by the frame of `run` if it cannot read the stack.
        adoption::leave(stack.green);
        // SAFETY: the caller gives up the frames above, and the thread is one that glibc knows, or another green one.
        unsafe { pthread_exit(value) }
    }
    stack.green.set_value(value);
    // SAFETY: the caller gives up the frames above.
    unsafe { unwind(stack.green) }
}

/// Goes on with [`exit`] after a cleanup handler of C code has run; `buffer` was that handler's.
///
/// # Safety
///
/// As for `__pthread_unwind_next`: called at the place that the buffer leads to.
pub unsafe fn exit_further(stack: OwnStack, buffer: *mut CleanupBuffer) -> ! {
    // SAFETY: the buffer is that of the handler's frame, which is being unwound, as are those above it.
    unsafe {
        pop_cleanup(buffer);
        unwind(stack.green)
    }
}

/// # Safety
///
/// The frames above may be unwound.
unsafe fn unwind(green: GreenRef) -> ! {
    let exception = Box::leak(Box::new(Exception {
        class: *b"GRNPEXIT",
        private: [0; 7],
    }));
    // SAFETY: a valid exception object, which lives until `leave`, and a stop function of the right type, which is given
    // the control block that it takes.
    let code = unsafe { _Unwind_ForcedUnwind(exception, stop, green.as_ptr().cast()) };
    debug_assert_ne!(code, 0, "the stop function does not let it come to an end");
    // An unwinder that cannot read the stack has left it as it was.
    // SAFETY: the frames that are left behind are those that could not be read.
    unsafe { leave(exception, green) }
}

/// Where a cleanup handler of C code without exceptions stands: glibc's `__pthread_unwind_buf_t`. The header's
/// `pthread_cleanup_push` makes it on the stack, saves the registers in it and registers it.
#[repr(C)]
pub struct CleanupBuffer {
    registers: [usize; 8],
    mask_was_saved: c_int,
    /// The buffer registered before; the rest is glibc's.
    before: *mut CleanupBuffer,
    _rest: [usize; 3],
}

/// As `__pthread_register_cancel`, on a green thread.
///
/// # Safety
///
/// The buffer stays until it is popped.
pub unsafe fn push_cleanup(buffer: *mut CleanupBuffer) {
    // SAFETY: the caller's buffer, which nobody else writes to.
    unsafe { (*buffer).before = CLEANUPS.replace(buffer) };
}

/// As `__pthread_unregister_cancel`, on a green thread.
///
/// # Safety
///
/// The buffer was pushed.
pub unsafe fn pop_cleanup(buffer: *mut CleanupBuffer) {
    // SAFETY: a buffer that was pushed stays until it is popped, which is now.
    CLEANUPS.set(unsafe { (*buffer).before });
}

/// Goes to the last cleanup handler. If there is none, goes back to the caller of the start routine, or ends a green thread
/// without one.
///
/// # Safety
///
/// Made by [`unwind`], the exception is not used any more; the frames below the one that this goes to need no
/// unwinding.
unsafe fn leave(exception: *mut Exception, green: GreenRef) -> ! {
    unsafe extern "C" {
        fn siglongjmp(registers: *mut CleanupBuffer, value: c_int) -> !;
    }
    // SAFETY: the caller gives up the exception, which is a box.
    drop(unsafe { Box::from_raw(exception) });
    // SAFETY: the buffer was filled by setjmp in a frame that is still there, or the way back stored by a call that has
    // not returned; nothing below needs unwinding, nor anything at all on a stack that is left for good.
    unsafe {
        match (CLEANUPS.get(), WAY_BACK.get()) {
            (buffer, _) if !buffer.is_null() => siglongjmp(buffer, 1),
            (_, 0) => green.end_early(),
            (_, way_back) => arch::return_from_outermost(way_back, green.value()),
        }
    }
}

/// The stack pointer of the frame that the last cleanup handler belongs to; none is `usize::MAX`.
fn next_cleanup() -> usize {
    let buffer = CLEANUPS.get();
    if buffer.is_null() {
        return usize::MAX;
    }
    // SAFETY: registered, so it is still there.
    arch::saved_stack_pointer(unsafe { &(*buffer).registers })
}

/// The unwinder's exception header, as the Itanium C++ ABI lays it out.
#[repr(C, align(16))]
struct Exception {
    class: [u8; 8],
    private: [usize; 7],
}

/// `_UA_END_OF_STACK`: there is no frame left.
const END_OF_STACK: c_int = 16;

type Stop =
    extern "C-unwind" fn(c_int, c_int, u64, *mut Exception, *mut c_void, *mut c_void) -> c_int;

unsafe extern "C-unwind" {
    fn _Unwind_ForcedUnwind(exception: *mut Exception, stop: Stop, argument: *mut c_void) -> c_int;
    safe fn _Unwind_GetCFA(context: *mut c_void) -> usize;
}

/// Called by the unwinder before each frame.
extern "C-unwind" fn stop(
    _version: c_int,
    actions: c_int,
    _class: u64,
    exception: *mut Exception,
    context: *mut c_void,
    green: *mut c_void,
) -> c_int {
    // SAFETY: `unwind` passes a control block, which is never freed.
    let green = unsafe { GreenRef::new(NonNull::new_unchecked(green.cast())) };
    let frame = _Unwind_GetCFA(context);
    // The unwinder gives each frame's own stack pointer; those of the frames to leave are lower, if they are on the same stack.
    // The program may have switched to one of its own, which may be anywhere.
    let is_at = |goal| frame >= goal && green.holds_stack(frame) == green.holds_stack(goal);
    if actions & END_OF_STACK != 0 || is_at(green.entry_frame()) || is_at(next_cleanup()) {
        // SAFETY: made by `unwind`, and the unwinder is done with it, as this function does not return. It runs
        // on the green thread, of which every frame below the one to go to has been unwound.
        unsafe { leave(exception, green) }
    }
    0
}
