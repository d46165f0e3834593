//! Waiting in the kernel (futex(2)) on words of the runtime's own.
//!
//! The OS thread blocks, whether or not a green thread runs on it. Both calls are raw system calls: they leave `errno` alone,
//! use no thread-local storage, and may be made in signal handlers and between two green threads.

use std::sync::atomic::AtomicU32;

use rustix::thread::futex;

use crate::base::arch;
use crate::base::wait_flag::WaitFlag;

/// Blocks the OS thread while `word` is `expected`. May return early.
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    // A changed word, a signal and a wake-up all lead the caller to look again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, None);
}

/// Wakes up to `count` OS threads that wait on `word`. Only its address counts, so the word may be gone.
pub(crate) fn wake(word: *const AtomicU32, count: u32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let most = count.min(i32::MAX as u32);
    let arguments = [word as usize, operation as usize, most as usize, 0, 0, 0];
    // SAFETY: the kernel only compares the address with those of its waiters.
    let _ = unsafe { arch::system_call(libc::SYS_futex, arguments) };
}

/// Notifies the waiter of a flag, if it waits on the flag's own word.
pub(crate) fn notify(flag: &WaitFlag) {
    if flag.notify() {
        wake(flag.word().0, 1);
    }
}
