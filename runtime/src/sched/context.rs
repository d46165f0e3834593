//! Who is running: the few thread-local words of the runtime.
//!
//! | word | in a green thread's storage | in a worker's | elsewhere |
//! |---|---|---|---|
//! | `CURRENT` | the green thread while its own code runs, null in a native section | null | null |
//! | `GREEN` | the green thread | null | null |
//! | `WORKER` | null | the worker | null |
//! | `OWN` | false | true | true while the runtime works there for itself |
//!
//! `CURRENT` is what a shim looks at first: null means "pass straight through". Runtime code
//! that runs on a green thread's stack sets it to null for the time (a [`NativeSection`]), so that
//! a libc function it calls, knowingly or through a crate, is never taken for the user's.
//!
//! The words are plain thread-local cells without destructor: reading one is a single load, in
//! signal handlers too. A handler can interrupt a worker between two green threads, when the thread
//! pointer is still that of the one just left; so the words count only if the stack is not one of
//! a worker's (see `native_stack.rs`). It need not be that of the slot: coroutines, fibers and functions that grow
//! the stack are a green thread's code, too. After fork the child's words are cleared and the process is
//! *passive*, so everything passes through, until it builds a runtime of its own.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::base::arch;
use crate::base::process;
use crate::base::report;
use crate::body::native_stack;
use crate::body::rseq;
use crate::sched::green::{Green, GreenRef, ThreadWords};
use crate::sched::worker::Worker;

thread_local! {
    static CURRENT: Cell<*const Green> = const { Cell::new(ptr::null()) };
    static GREEN: Cell<*const Green> = const { Cell::new(ptr::null()) };
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
    static OWN: Cell<bool> = const { Cell::new(false) };
}

fn reference(green: *const Green) -> Option<GreenRef> {
    // SAFETY: the words hold null or a control block in a slot.
    NonNull::new(green.cast_mut()).map(|green| unsafe { GreenRef::new(green) })
}

/// The control block that `word` points to, if this code is its green thread's.
#[inline]
fn here(word: *const Green) -> Option<GreenRef> {
    let green = reference(word)?;
    let stack_pointer = arch::stack_pointer();
    (green.holds_stack(stack_pointer) || is_users(stack_pointer)).then_some(green)
}

/// Whether a stack outside the slots is one that a green thread's code has switched to. It is not if this is another process,
/// made by `clone` with a stack of its own: that has a green thread's storage, but no scheduler.
#[cold]
fn is_users(stack_pointer: usize) -> bool {
    !native_stack::holds(stack_pointer) && process::owns_tables()
}

/// The green thread whose own code is running here; `None` in native sections and on a worker's stacks.
#[inline]
pub(crate) fn current() -> Option<GreenRef> {
    here(CURRENT.get())
}

/// The green thread that this code belongs to, also in native sections.
#[inline]
pub(crate) fn green() -> Option<GreenRef> {
    here(GREEN.get())
}

/// The worker that runs the caller, be it on a green thread or in the scheduler.
///
/// The reference is good until the caller next parks or yields.
#[inline]
pub(crate) fn worker<'a>() -> Option<&'a Worker> {
    match green() {
        Some(green) => {
            let worker: *const Worker = green.worker();
            // SAFETY: the worker runs this very code.
            Some(unsafe { &*worker })
        }
        // SAFETY: null, or the worker that owns this OS thread.
        None => unsafe { WORKER.get().as_ref() },
    }
}

/// On a worker's OS thread, before its first turn, or null at its end.
pub(crate) fn set_worker(worker: *const Worker) {
    WORKER.set(worker);
}

/// First thing on a new green thread: its code is user code from now on.
pub(crate) fn start_green(green: GreenRef) {
    GREEN.set(green.as_ptr());
    CURRENT.set(green.as_ptr());
}

/// Runs `f` as native code, on whatever stacks it runs: the calling green thread counts as none meanwhile.
pub(crate) fn as_native<T>(f: impl FnOnce() -> T) -> T {
    struct Identity {
        green: *const Green,
        forks: u32,
    }
    impl Drop for Identity {
        fn drop(&mut self) {
            // A forked child has none to go back to.
            if process::forks() == self.forks {
                GREEN.set(self.green);
            }
        }
    }
    let _identity = Identity {
        green: GREEN.replace(ptr::null()),
        forks: process::forks(),
    };
    f()
}

/// Last thing on a green thread.
pub(crate) fn end_green() {
    CURRENT.set(ptr::null());
}

/// Last thing on an [adopted](crate::runtime::adoption) green thread, whose thread keeps the storage.
pub(crate) fn forget_green() {
    CURRENT.set(ptr::null());
    GREEN.set(ptr::null());
}

impl ThreadWords {
    /// Makes the calling thread's words say that no green thread runs here, and gives what they said before.
    pub(crate) fn lay_aside() -> ThreadWords {
        ThreadWords {
            current: CURRENT.replace(ptr::null()),
            green: GREEN.replace(ptr::null()),
            own: OWN.replace(false),
        }
    }

    /// The green thread that the thread was before, if it was one.
    pub(crate) fn green(self) -> Option<GreenRef> {
        reference(self.green)
    }

    pub(crate) fn restore(self) {
        OWN.set(self.own);
        GREEN.set(self.green);
        CURRENT.set(self.current);
    }
}

/// OS threads that the runtime has started for itself.
static OWN_THREADS: AtomicU32 = AtomicU32::new(0);

/// Whether the calling OS thread works for the runtime itself, so that what it starts are OS threads.
pub(crate) fn is_own() -> bool {
    OWN.get()
}

/// How many OS threads the runtime has started for itself.
pub(crate) fn own_threads() -> usize {
    OWN_THREADS.load(Ordering::SeqCst) as usize
}

/// The calling OS thread works for the runtime itself until this is dropped.
pub(crate) struct OwnWork {
    was_own: bool,
    is_whole_thread: bool,
    _not_send: PhantomData<*const ()>,
}

impl OwnWork {
    /// Marks the calling OS thread for a while. Does nothing on a green thread, where a native section serves the purpose.
    pub(crate) fn enter() -> OwnWork {
        OwnWork::new(false)
    }

    /// Marks an OS thread that was started for the runtime's work, until it ends. Without that thread green threads would wait
    /// for ever, so a panic that ends it ends the process.
    pub(crate) fn thread() -> OwnWork {
        OWN_THREADS.fetch_add(1, Ordering::SeqCst);
        OwnWork::new(true)
    }

    fn new(is_whole_thread: bool) -> OwnWork {
        OwnWork {
            was_own: OWN.replace(green().is_none() || OWN.get()),
            is_whole_thread,
            _not_send: PhantomData,
        }
    }
}

impl Drop for OwnWork {
    fn drop(&mut self) {
        if self.is_whole_thread && thread::panicking() {
            report::write_to_stderr(
                "greenpatch: a thread of the runtime's own has panicked; the process cannot go on\n",
            );
            std::process::abort();
        }
        OWN.set(self.was_own);
        if self.is_whole_thread {
            OWN_THREADS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// In the child after fork: no scheduler runs there, so nothing may park.
pub(crate) extern "C" fn forget_after_fork() {
    process::begin_child();
    // On a worker's stack, as a signal handler may be, the word may be that of a green thread which has gone on elsewhere.
    if !native_stack::holds(arch::stack_pointer())
        && let Some(green) = reference(GREEN.get())
    {
        rseq::move_after_fork(green.worker().home());
    }
    CURRENT.set(ptr::null());
    GREEN.set(ptr::null());
    WORKER.set(ptr::null());
    OWN.set(false);
    OWN_THREADS.store(0, Ordering::SeqCst);
}

/// User code that runtime code calls on a green thread's stack: until it is dropped, shims do not pass through, though the
/// caller may stand in a native section.
pub(crate) struct UserSection {
    green: *const Green,
    before: *const Green,
    _not_send: PhantomData<*const ()>,
}

impl UserSection {
    /// Called on the stack of `green`.
    pub(crate) fn enter(green: GreenRef) -> UserSection {
        UserSection {
            green: green.as_ptr(),
            before: CURRENT.replace(green.as_ptr()),
            _not_send: PhantomData,
        }
    }
}

impl Drop for UserSection {
    fn drop(&mut self) {
        // A fork in between has cleared the identity, and an adopted green thread may have been left.
        if GREEN.get() == self.green {
            CURRENT.set(self.before);
        }
    }
}

/// Runtime code on a green thread: until it is dropped, shims pass through. Does nothing elsewhere, where they do so
/// anyway.
pub(crate) struct NativeSection {
    /// Null elsewhere.
    green: *const Green,
    /// What `CURRENT` was.
    before: *const Green,
    _not_send: PhantomData<*const ()>,
}

impl NativeSection {
    #[inline]
    pub(crate) fn enter() -> NativeSection {
        NativeSection::begin(green())
    }

    /// As [`enter`](Self::enter), for those who have found out that they are on `green`.
    #[inline]
    pub(crate) fn enter_on(green: GreenRef) -> NativeSection {
        NativeSection::begin(Some(green))
    }

    #[inline]
    fn begin(green: Option<GreenRef>) -> NativeSection {
        let (green, before) = match green {
            Some(green) => (green.as_ptr().cast_const(), CURRENT.replace(ptr::null())),
            None => (ptr::null(), ptr::null()),
        };
        NativeSection {
            green,
            before,
            _not_send: PhantomData,
        }
    }
}

impl Drop for NativeSection {
    #[inline]
    fn drop(&mut self) {
        // A fork in between has cleared the identity, and an adopted green thread may have been left; what runs here then is
        // not what this section was entered by.
        if !self.green.is_null() && GREEN.get() == self.green {
            CURRENT.set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process that is to die.
    const DOOMED: &str = "GREENPATCH_TEST_DOOMED";

    #[test]
    fn a_panic_of_a_thread_of_the_runtimes_own_ends_the_process_with_its_message() {
        use std::os::unix::process::ExitStatusExt;
        use std::process::Command;

        if std::env::var_os(DOOMED).is_some() {
            let doomed = thread::spawn(|| {
                let _own = OwnWork::thread();
                panic!("a worker's own");
            });
            let _ = doomed.join();
            return;
        }
        let name = "sched::context::tests::a_panic_of_a_thread_of_the_runtimes_own_ends_the_process_with_its_message";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(DOOMED, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{stderr}");
        for part in ["a worker's own", "the process cannot go on"] {
            assert!(stderr.contains(part), "no '{part}' in: {stderr}");
        }
    }
}
