//! How a thread becomes a green thread for the time of [`Runtime::run`](crate::Runtime::run).
//!
//! What makes a thread the one that it is, to Rust and to C, is its stack and its thread control block: `pthread_self()`,
//! `errno`, `std::thread::current()`, everything thread-local. These two are what a worker runs. So `run` moves
//! nothing to another thread. The calling thread itself becomes a green thread, with the stack and the block that it has,
//! and what was its kernel's thread takes a slot's in exchange:
//!
//! ```text
//!                        before       while it is adopted                after
//! caller's stack, block  its kernel's thread   a worker, one after another   its kernel's thread
//! slot's stack, block    nobody       its kernel's thread, which waits    nobody
//! ```
//!
//! That is why the function that `run` calls need not be `Send`, nor what it returns: it is called as any other function is,
//! by the same thread, in the frame below `run`'s. A panic unwinds it, and a call stack shows who called.
//!
//! The kernel's thread waits for the green thread's end by a raw futex. Signals still reach it, as they reach any thread that
//! waits. Their handlers run on the slot's stack and block: there `errno` is nobody's, and the words of `context.rs` say
//! that no green thread runs, so that a handler's calls pass straight through.
//!
//! Order, at both ends: the kernel's thread has left the caller's block before it queues the green thread, and
//! the worker has left it before it makes the end known (`GreenRef::finish`). So no two threads ever run on it, but for a
//! worker between two green threads, which uses nothing of it (see `worker.rs`).
//!
//! What belongs to the kernel's thread stays with it: its number, its signal mask, its processors. glibc has registered an
//! area of the block with the kernel, which writes the thread's processor there (rseq(2)). That would be the wrong one, so it
//! is taken back for the time, and says "not registered", as on every green thread.
//!
//! On a green thread `run` does the same, if the runtime is another one than its own; then its worker is what waits, in a
//! blocking section. On its own runtime, the function is just called. In a forked child the thread that forked goes on as
//! glibc has it: with its stack and block, on a kernel's thread of its own. So nothing is given back there.
//!
//! Rejected: a green thread of its own for the function, which is then on another thread, so that it must be `Send` and
//! `'static` in all but name; and a kernel's thread that serves as a worker meanwhile, which ties the caller's end to
//! work of others.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::sync::Arc;

use crate::base::arch;
use crate::base::process;
use crate::base::span;
use crate::body::rseq;
use crate::body::setxid;
use crate::body::tls::{self, Block};
use crate::sched::blocking_section;
use crate::sched::context::{self, NativeSection, UserSection};
use crate::sched::green::{GreenRef, Life, ThreadWords};
use crate::sched::scheduler::Shared;
use crate::sched::task::TaskHeader;

/// The stack of a kernel's thread that waits, on which signal handlers run: what Linux gives a program's main thread.
const STACK: usize = 8 << 20;

/// What [`Runtime::run`](crate::Runtime::run) does.
///
/// # Panics
///
/// As that says.
pub(crate) fn run<T>(
    shared: &Arc<Shared>,
    caller: &'static Location<'static>,
    f: impl FnOnce() -> T,
) -> T {
    assert!(
        !shared.is_cancelled(),
        "Runtime::run after Runtime::cancel_all: no green thread begins any more"
    );
    match context::green() {
        Some(green) if green.is_of(shared) => {
            let _user = UserSection::enter(green);
            f()
        }
        Some(host) => blocking_section::in_place(host, || run_adopted(shared, caller, f)),
        None => run_adopted(shared, caller, f),
    }
}

fn run_adopted<T>(
    shared: &Arc<Shared>,
    caller: &'static Location<'static>,
    f: impl FnOnce() -> T,
) -> T {
    let task = Arc::new(TaskHeader::new(Some("main".into()), Some(caller)));
    let id = task.id;
    let adopted = Adopted::new(Life::new(shared.clone(), task), arch::stack_pointer())
        .unwrap_or_else(|error| panic!("cannot start the main green thread: {error}"));
    let value = span::enter(id, Some("main"), f);
    drop(adopted);
    value
}

/// The calling thread is a green thread until this is dropped.
struct Adopted {
    green: GreenRef,
    rseq: Option<rseq::RseqArea>,
    forks: u32,
}

impl Adopted {
    #[inline(never)]
    fn new(life: Life, frame: usize) -> std::io::Result<Adopted> {
        let native = NativeSection::enter();
        if life.shared.is_inherited() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::NotConnected,
                "the runtime is that of the process that forked this one; build another runtime here",
            ));
        }
        let host = context::green();
        let stack = host.map_or_else(stack_of_os_thread, |host| host.stack());
        let block = Block::of_caller();
        let green = GreenRef::prepare_adopted(STACK, life, block, stack, frame)?;
        drop(native);
        green.words_before_adoption.set(ThreadWords::lay_aside());
        let rseq = rseq::unregister();
        let wait = if host.is_some() {
            wait_on_worker
        } else {
            wait_on_os_thread
        };
        // SAFETY: both functions queue the green thread and wait for its end.
        unsafe { green.hand_over(wait) };
        context::start_green(green);
        Ok(Adopted {
            green,
            rseq,
            forks: process::forks(),
        })
    }
}

impl Drop for Adopted {
    #[inline(never)]
    fn drop(&mut self) {
        // The child's kernel's thread is the one that the calling thread runs on.
        if self.forks != process::forks() {
            return;
        }
        // It may have left before.
        if context::green() == Some(self.green) {
            leave(self.green);
        }
        if let Some(rseq) = self.rseq.take() {
            rseq.register();
        }
    }
}

/// The calling green thread, which is adopted, is what it was before from now on.
#[inline(never)]
pub(crate) fn leave(green: GreenRef) {
    let words = green.words_before_adoption.get();
    context::forget_green();
    green.take_back();
    words.restore();
}

/// On the slot's stack and block. Not inlined: they were changed just before.
#[inline(never)]
fn wait_on_worker(green: GreenRef) {
    // SAFETY: this is the slot's own block, which is fresh.
    unsafe { tls::start_thread() };
    green.start();
    green.wait_for_end(None);
    // SAFETY: signal handlers were all that could use the block, and what they left there ends here.
    unsafe { tls::run_exit_destructors() };
}

/// As [`wait_on_worker`], on a kernel's thread whose block glibc knows.
#[inline(never)]
fn wait_on_os_thread(green: GreenRef) {
    let _entry = setxid::ThreadEntry::with_home(green.block().address());
    wait_on_worker(green);
}

/// The calling OS thread's stack, from the lowest address to the highest. Empty if it stands on one of the program's own
/// making: nobody knows how far that reaches, and what is mapped around it may be other stacks.
fn stack_of_os_thread() -> (usize, usize) {
    let here = arch::stack_pointer();
    stack_of_pthread()
        .filter(|&(lowest, end)| (lowest..end).contains(&here))
        .unwrap_or((here, here))
}

fn stack_of_pthread() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size) = (std::ptr::null_mut::<c_void>(), 0);
    // SAFETY: the calling thread's attributes, which are destroyed after they were made.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let error = libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (error == 0).then_some((lowest as usize, lowest as usize + size))
    }
}
