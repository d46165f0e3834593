//! Sending one OS thread a signal with a value, calling a handler that was installed before ours, and keeping signals off
//! the runtime's own threads.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::{io, ptr, thread};

use rustix::io::Errno;

use crate::base::arch;

/// `siginfo_t` of a signal that was queued with a value.
#[repr(C, align(8))]
pub(crate) struct SignalInfo {
    signal: c_int,
    error: c_int,
    pub(crate) code: c_int,
    process: c_int,
    user: u32,
    pub(crate) value: usize,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<SignalInfo>() == size_of::<libc::siginfo_t>());

/// Sends one of this process's OS threads a signal that bears a value. False if there is no such thread. Async-signal-safe.
pub(crate) fn queue(os_thread: i32, signal: c_int, value: usize) -> bool {
    let process = rustix::process::getpid().as_raw_pid();
    queue_at(process, os_thread, signal, value).is_ok()
}

/// Sends an OS thread of a process a signal that bears a value. Async-signal-safe.
///
/// # Errors
///
/// `ESRCH` if the process has no such thread, `EPERM` if it is another user's.
pub(crate) fn queue_at(
    process: i32,
    os_thread: i32,
    signal: c_int,
    value: usize,
) -> Result<(), Errno> {
    let info = SignalInfo {
        signal,
        error: 0,
        code: libc::SI_QUEUE,
        process: rustix::process::getpid().as_raw_pid(),
        user: rustix::process::getuid().as_raw(),
        value,
        rest: [0; 12],
    };
    let arguments = [
        process as usize,
        os_thread as usize,
        signal as usize,
        ptr::from_ref(&info) as usize,
        0,
        0,
    ];
    // SAFETY: the arguments are those of rt_tgsigqueueinfo(2), the last a valid siginfo_t.
    match unsafe { arch::system_call(libc::SYS_rt_tgsigqueueinfo, arguments) } {
        0.. => Ok(()),
        error => Err(Errno::from_raw_os_error(-error as i32)),
    }
}

/// Calls the handler of an action that was installed before ours; false if it names none.
///
/// # Safety
///
/// The action is one that was installed for this signal, and the arguments are those of a handler of it.
pub(crate) unsafe fn call_previous(
    action: &libc::sigaction,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) -> bool {
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => return false,
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: SA_SIGINFO says that it is of this type.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            // SAFETY: the action was installed for this signal, and the arguments are those of its handler, by this
            // function's contract.
            unsafe { handler(signal, info, context) };
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is of this type.
            let handler: unsafe extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            // SAFETY: the action was installed for this signal, by this function's contract.
            unsafe { handler(signal) };
        }
    }
    true
}

/// Starts a thread on which, and on those that it starts, no handler of the program runs, from its first instruction on.
pub(crate) fn spawn_undisturbed<T: Send + 'static>(
    thread: thread::Builder,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    // It begins with the caller's mask.
    let before = block_signals();
    let spawned = thread.spawn(body);
    restore_signals(&before);
    spawned
}

/// Blocks all signals on the calling thread and on those that it starts, but not those that a fault raises. Gives what was
/// blocked before.
fn block_signals() -> libc::sigset_t {
    let faults = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by the first call, and is a valid one in the others. libc leaves out its own signals. The
    // last call fills in what was blocked before; it does not fail, as its arguments are valid.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for fault in faults {
            libc::sigdelset(set.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

/// Has the calling thread's signals blocked as [`block_signals`] has found them.
fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: a valid set, and nobody asks for the one before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
}
