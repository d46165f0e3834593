//! setuid and its kin, while green threads run.
//!
//! The kernel knows user and group ids of threads only. So glibc sends each of the process's threads signal 33, whose
//! handler makes the call there, clears a mark in the thread's control block, and counts it done; glibc waits until no
//! thread is marked. The handler finds the control block by the thread pointer, which on a worker is most often that of a
//! green thread: the mark would stay, and glibc go on for ever. So a handler stands before glibc's, which gives the OS
//! thread its own thread pointer back for as long as glibc's runs. It finds that by the thread's id, in a list of the workers,
//! as it may strike at any point of theirs, between two green threads too.
//!
//! To glibc, a green thread that calls setuid is none of the threads it knows; so the call is made twice on its worker's
//! OS thread, which changes nothing the second time.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::arch;
use crate::context;
use crate::tls;

/// glibc's `SIGSETXID`. Its own sigaction refuses it.
const SIGNAL: c_int = 33;

/// What the kernel calls `struct sigaction`.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// A worker's OS thread. Nodes are used again, and never freed.
struct Node {
    /// 0 if nobody has the node, `TAKEN` while `home` is written.
    thread: AtomicU32,
    /// The OS thread's own thread pointer.
    home: AtomicUsize,
    next: *const Node,
}

const TAKEN: u32 = u32::MAX;

static NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

/// glibc's handler; 0 before it is known.
static GLIBCS: AtomicUsize = AtomicUsize::new(0);

fn nodes() -> impl Iterator<Item = &'static Node> {
    let mut node = NODES.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: nodes are never freed.
        let current = unsafe { node.as_ref() }?;
        node = current.next;
        Some(current)
    })
}

fn own_id() -> u32 {
    // SAFETY: the call has no arguments.
    unsafe { arch::system_call(libc::SYS_gettid, [0; 6]) as u32 }
}

/// Says that the calling OS thread runs green threads, while it exists.
pub(crate) struct Registered(&'static Node);

impl Registered {
    /// On a worker's OS thread, before its first turn.
    pub(crate) fn new() -> Registered {
        let free = nodes().find(|node| {
            let turn = node
                .thread
                .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed);
            turn.is_ok()
        });
        let node = free.unwrap_or_else(add_node);
        node.home.store(arch::thread_pointer(), Ordering::Relaxed);
        node.thread.store(own_id(), Ordering::Release);
        Registered(node)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::Release);
    }
}

fn add_node() -> &'static Node {
    let node = Box::leak(Box::new(Node {
        thread: AtomicU32::new(TAKEN),
        home: AtomicUsize::new(0),
        next: ptr::null(),
    }));
    let mut first = NODES.load(Ordering::Relaxed);
    loop {
        node.next = first;
        match NODES.compare_exchange(first, node, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return node,
            Err(current) => first = current,
        }
    }
}

/// Puts our handler before glibc's, unless it stands there. To be called when there has been a thread beside the first:
/// glibc installs its handler with that one.
pub(crate) fn install_handler() {
    let mut action = Action {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: a place for the action.
    let error = unsafe { sigaction(ptr::null(), &mut action) };
    let ours = handle as *const () as usize;
    if error != 0 || action.handler <= libc::SIG_IGN || action.handler == ours {
        return;
    }
    GLIBCS.store(action.handler, Ordering::Release);
    action.handler = ours;
    // No other handler sees the thread pointer changed.
    action.mask = u64::MAX;
    // SAFETY: the handler has the type that glibc's has, and is async-signal-safe.
    unsafe { sigaction(&action, ptr::null_mut()) };
}

/// # Safety
///
/// As for rt_sigaction.
unsafe fn sigaction(new: *const Action, old: *mut Action) -> isize {
    let arguments = [
        SIGNAL as usize,
        new as usize,
        old as usize,
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: the caller's promise.
    unsafe { arch::system_call(libc::SYS_rt_sigaction, arguments) }
}

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Uses no thread-local variable: the thread pointer changes on the way.
unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let glibcs = GLIBCS.load(Ordering::Acquire);
    // SAFETY: stored before this handler was installed; what glibc gave the kernel as a handler of this type.
    let glibcs = unsafe { std::mem::transmute::<usize, Handler>(glibcs) };
    let here = arch::thread_pointer();
    let home = if context::is_passive() {
        here
    } else {
        home_of(own_id()).unwrap_or(here)
    };
    if home == here {
        // SAFETY: the arguments are the kernel's.
        unsafe { glibcs(signal, info, context) };
        return;
    }
    let thread_pointer = tls::layout().thread_pointer;
    // SAFETY: this OS thread's own control block, which nobody else runs on; nothing here is thread-local. What was there
    // is put back before anything else runs, as all signals are blocked.
    unsafe {
        thread_pointer.set(home);
        glibcs(signal, info, context);
        thread_pointer.set(here);
    }
}

fn home_of(thread: u32) -> Option<usize> {
    let node = nodes().find(|node| node.thread.load(Ordering::Acquire) == thread)?;
    Some(node.home.load(Ordering::Relaxed))
}

/// The parent's workers do not exist in a forked child.
pub(crate) fn reset_after_fork() {
    for node in nodes() {
        node.thread.store(0, Ordering::Relaxed);
    }
}
