//! The process runtime, which makes the threads of a whole program green: where `pthread_create` is called on an OS
//! thread, the main thread say, the new thread is a green thread of this runtime.
//!
//! There is none unless [`adopt_threads`] asks for it, as the preload library does. It is built when the first thread is
//! created, so a program without threads has no workers; and again in a forked child that creates one. Threads that the
//! runtime starts for its own work are OS threads all the same.
//!
//! | state | who moves it |
//! |---|---|
//! | `OFF` | nobody asked; `adopt_threads` leads to `IDLE` |
//! | `IDLE` | the thread that creates the first one: to `STARTING` |
//! | `STARTING` | the same thread: to `READY` or `FAILED`; others wait for that |
//! | `READY`, `FAILED` | a fork, in the child: back to `IDLE`, as from `STARTING` |

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::futex;

use crate::base::os_thread;
use crate::base::report;
use crate::runtime::handle::Runtime;
use crate::sched::context::{self, OwnWork};

const OFF: u32 = 0;
const IDLE: u32 = 1;
const STARTING: u32 = 2;
const READY: u32 = 3;
const FAILED: u32 = 4;

static STATE: AtomicU32 = AtomicU32::new(OFF);

/// What builds the runtime: a `fn() -> Option<Runtime>`, null while off.
static START: AtomicUsize = AtomicUsize::new(0);

/// The runtime while `READY`; never freed.
static RUNTIME: AtomicPtr<Runtime> = AtomicPtr::new(ptr::null_mut());

/// Turns the process runtime on: `start` builds it when the first thread is created, or says why it cannot and gives
/// `None`; then threads stay OS threads. Called again, it has no effect.
pub fn adopt_threads(start: fn() -> Option<Runtime>) {
    START.store(start as usize, Ordering::Release);
    if STATE
        .compare_exchange(OFF, IDLE, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
    {
        // std's threads need a pthread key, which std takes at this call, if it was not asked before. Later the program may
        // have taken all that there are.
        drop(thread::current());
        // SAFETY: the handler only writes atomics.
        unsafe { libc::pthread_atfork(None, None, Some(forget_after_fork)) };
    }
}

/// The child has none of its parent's workers.
extern "C" fn forget_after_fork() {
    RUNTIME.store(ptr::null_mut(), Ordering::Relaxed);
    STATE.store(IDLE, Ordering::Relaxed);
}

/// The process runtime if it was needed by now and could be built.
pub fn runtime() -> Option<&'static Runtime> {
    // SAFETY: null, or a leaked box.
    unsafe { RUNTIME.load(Ordering::Acquire).as_ref() }
}

/// The process runtime for a thread to be created by the caller, built if it is the first; `None` if there is to be none,
/// on green threads, and on the runtime's own OS threads.
pub(super) fn home() -> Option<&'static Runtime> {
    if STATE.load(Ordering::Acquire) == OFF || context::green().is_some() || context::is_own() {
        return None;
    }
    loop {
        match STATE.compare_exchange(IDLE, STARTING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => start(),
            Err(STARTING) => {
                let _ = futex::wait(&STATE, futex::Flags::PRIVATE, STARTING, None);
            }
            Err(_) => return runtime(),
        }
    }
}

#[cold]
fn start() {
    let _own = OwnWork::enter();
    // SAFETY: stored by `adopt_threads` before the state left `OFF`.
    let start: fn() -> Option<Runtime> =
        unsafe { std::mem::transmute(START.load(Ordering::Acquire)) };
    let state = match start() {
        Some(runtime) => {
            RUNTIME.store(Box::into_raw(Box::new(runtime)), Ordering::Release);
            READY
        }
        None => FAILED,
    };
    STATE.store(state, Ordering::Release);
    let _ = futex::wake(&STATE, futex::Flags::PRIVATE, i32::MAX as u32);
}

/// How often the OS threads are counted that a process outlives its main thread for.
const PERIOD: Duration = Duration::from_millis(10);

/// Before the main thread ends by `pthread_exit`: the process is to end with its last thread, as POSIX says, but the workers
/// never end. So one more thread of the runtime's own waits for that.
pub fn main_thread_exits() {
    let is_main = rustix::thread::gettid() == rustix::process::getpid();
    if runtime().is_none() || !is_main || context::green().is_some() {
        return;
    }
    let _own = OwnWork::enter();
    let waits = thread::Builder::new()
        .name("green-last".to_owned())
        .spawn(exit_with_the_last_thread);
    if let Err(error) = waits {
        report::warn(format_args!(
            "the process will not end by itself after its main thread: no thread could be had that waits for the others: \
             {error}"
        ));
    }
}

fn exit_with_the_last_thread() {
    let _own = OwnWork::thread();
    let Some(runtime) = runtime() else {
        return;
    };
    loop {
        runtime.shared.wait_for_all(0, None);
        let threads = os_thread::all().map_or(0, |threads| threads.len());
        if threads <= context::own_threads() && runtime.live() == 0 {
            break;
        }
        thread::sleep(PERIOD);
    }
    const STATUS: c_int = 0;
    // SAFETY: the process has no thread of the user's, whom its destructors could disturb.
    unsafe { libc::exit(STATUS) };
}
