//! `pthread_once`, one implementation for green threads and OS threads.
//!
//! Replaced as a whole because glibc's waits by system calls that no shim sees.
//!
//! # Algorithm
//!
//! The control word is 0 (not begun), the process id shifted by two bits with bit 0 set (running,
//! in that process), or 2 (done). Who changes it to "running" from any other state but "done" runs
//! the routine, stores 2 and wakes all. Who finds it running in this process waits while it has
//! that value.
//!
//! **Once.** The exchange that begins succeeds for one thread of all that saw the same value, and
//! none begins from "done", which is never left. **After.** "Done" is stored with release order
//! after the routine and read with acquire order, so the routine's effects are visible to whoever
//! returns. **Unwinding** out of the routine, by a panic, a C++ exception or cancellation, stores 0
//! and wakes all, of whom one begins anew. **Fork.** A routine that was running in another thread
//! of the parent does not exist in the child; its process id gives it away, and the child begins
//! anew.
//!
//! glibc has a count of forks where the process id stands here; the other two states are the same,
//! so a word in its initial or final state means the same to both.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use greenpatch_runtime::futex::ANY;
use libc::pthread_once_t;

use crate::word::{self, Cancellation};

type Routine = unsafe extern "C-unwind" fn();

const RUNNING: u32 = 1;
const DONE: u32 = 2;

fn running_here() -> u32 {
    (std::process::id() << 2) | RUNNING
}

/// # Safety
///
/// `routine` may be called.
unsafe fn call_once_with(control: &AtomicU32, routine: Routine) {
    if control.load(Ordering::Acquire) == DONE {
        return;
    }
    let running = running_here();
    let mut state = control.load(Ordering::Acquire);
    loop {
        if state == DONE {
            return;
        }
        if state == running {
            word::wait(control, running, ANY, None, Cancellation::Ignored);
            state = control.load(Ordering::Acquire);
            continue;
        }
        match control.compare_exchange(state, running, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => break,
            Err(current) => state = current,
        }
    }
    let unwound = Finish { control, state: 0 };
    // SAFETY: `routine` may be called, by this function's contract.
    unsafe { routine() };
    std::mem::forget(unwound);
    drop(Finish {
        control,
        state: DONE,
    });
}

/// Leaves the state "running" when it is dropped.
struct Finish<'a> {
    control: &'a AtomicU32,
    state: u32,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let address = self.control.as_ptr();
        self.control.store(self.state, Ordering::Release);
        word::wake(address, u32::MAX, ANY);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_once(control: *mut pthread_once_t, routine: Routine) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised control word that stays in place, and for a routine.
    unsafe { call_once_with(AtomicU32::from_ptr(control.cast()), routine) };
    0
}

/// C11's name for it; its flag is the same word.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn call_once(flag: *mut c_int, routine: Routine) {
    // SAFETY: C11 asks the caller for an initialised flag that stays in place, and for a routine.
    unsafe { pthread_once(flag.cast(), routine) };
}

aliases! {
    fn __pthread_once(control: *mut pthread_once_t, routine: Routine) -> c_int = pthread_once;
}
