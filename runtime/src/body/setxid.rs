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
//!
//! An [adopted](crate::runtime::adoption) green thread is one that glibc knows. If it calls setuid, glibc sends no signal to
//! what was its OS thread, which it takes for the caller; but it does to the worker that runs the green thread. That
//! one's handler therefore has the waiting OS thread take on the ids that the worker then has.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::arch;
use crate::base::process;
use crate::base::signal::{self, SignalInfo};
use crate::body::tls;

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

/// A worker's OS thread, or one whose thread was [adopted](crate::runtime::adoption). Nodes are used again, and never freed.
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

/// Says that the calling OS thread runs on other control blocks than its own, while it exists.
pub(crate) struct ThreadEntry(&'static Node);

impl ThreadEntry {
    /// On a worker's OS thread, before its first turn.
    pub(crate) fn new() -> ThreadEntry {
        ThreadEntry::with_home(arch::thread_pointer())
    }

    /// On an OS thread whose own thread pointer was `home`, and is another one by now.
    pub(crate) fn with_home(home: usize) -> ThreadEntry {
        let free = nodes().find(|node| {
            let taken =
                node.thread
                    .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed);
            taken.is_ok()
        });
        let node = free.unwrap_or_else(add_node);
        node.home.store(home, Ordering::Relaxed);
        node.thread.store(own_id(), Ordering::Release);
        ThreadEntry(node)
    }
}

impl Drop for ThreadEntry {
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
    // SAFETY: `new` and `old` are each null or an action's place, by this function's contract, and the size is that of
    // the kernel's mask.
    unsafe { arch::system_call(libc::SYS_rt_sigaction, arguments) }
}

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Uses no thread-local variable: the thread pointer changes on the way.
unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid record; of a queued signal it has these fields.
    let (code, value) = unsafe {
        let info = &*info.cast::<SignalInfo>();
        (info.code, info.value)
    };
    if code == libc::SI_QUEUE && value == token() {
        take_on();
        return;
    }
    let glibcs = GLIBCS.load(Ordering::Acquire);
    // SAFETY: stored before this handler was installed; what glibc gave the kernel as a handler of this type.
    let glibcs = unsafe { std::mem::transmute::<usize, Handler>(glibcs) };
    let here = arch::thread_pointer();
    let home = if process::is_passive() {
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
    // SAFETY: `home` is the control block by which glibc knows this kernel's thread. Nobody else runs on it, unless it is that of
    // an adopted green thread, for which this kernel's thread waits. There glibc's handler is all that runs twice: of the block,
    // it uses by atomic operations the two words by which it answers the caller of setxid, and no errno. Nothing here is
    // thread-local. What was there is put back before anything else runs, as all signals are blocked.
    unsafe {
        thread_pointer.set(home);
        glibcs(signal, info, context);
        thread_pointer.set(here);
    }
    pass_on(here);
}

/// Users and groups of an OS thread: real, effective and saved ones, and the supplementary groups.
struct Ids {
    users: [u32; 3],
    groups: [u32; 3],
    supplementary: [u32; MOST_GROUPS],
    count: usize,
}

/// The kernel's `NGROUPS_MAX`.
const MOST_GROUPS: usize = 65_536;

/// What one OS thread has another one take on.
struct IdTransfer {
    /// `FREE`, or `HELD` by the handler that transfers its ids.
    lock: AtomicU32,
    done: AtomicU32,
    /// Written by the holder of the lock, read by the OS thread that it has sent a signal.
    ids: UnsafeCell<Ids>,
}

// SAFETY: the fields' comments say who touches the ids when.
unsafe impl Sync for IdTransfer {}

static TRANSFER: IdTransfer = IdTransfer {
    lock: AtomicU32::new(FREE),
    done: AtomicU32::new(0),
    ids: UnsafeCell::new(Ids {
        users: [0; 3],
        groups: [0; 3],
        supplementary: [0; MOST_GROUPS],
        count: 0,
    }),
};

const FREE: u32 = 0;
const HELD: u32 = 1;

/// After this time it is asked whether the other OS thread still waits.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// What signals of ours bear.
fn token() -> usize {
    ptr::from_ref(&TRANSFER) as usize
}

/// In a worker's handler, whose thread pointer is `here`: if that is an adopted thread's, its OS thread takes on the
/// worker's ids before this returns.
fn pass_on(here: usize) {
    let own = own_id();
    let waits = |node: &Node| {
        let thread = node.thread.load(Ordering::Acquire);
        let is_other = ![0, TAKEN, own].contains(&thread);
        (is_other && node.home.load(Ordering::Relaxed) == here).then_some(thread)
    };
    let Some((node, thread)) = nodes().find_map(|node| Some((node, waits(node)?))) else {
        return;
    };
    let private = futex::Flags::PRIVATE;
    while TRANSFER.lock.swap(HELD, Ordering::Acquire) != FREE {
        let _ = futex::wait(&TRANSFER.lock, private, HELD, Some(&PAUSE));
    }
    TRANSFER.done.store(0, Ordering::Relaxed);
    // SAFETY: the lock is ours, and nobody else transfers ids.
    unsafe { (*TRANSFER.ids.get()).read() };
    if signal::queue(thread.cast_signed(), SIGNAL, token()) {
        while TRANSFER.done.load(Ordering::Acquire) == 0 && waits(node) == Some(thread) {
            let _ = futex::wait(&TRANSFER.done, private, 0, Some(&PAUSE));
        }
    }
    TRANSFER.lock.store(FREE, Ordering::Release);
    let _ = futex::wake(&TRANSFER.lock, private, 1);
}

/// In the handler of the OS thread that waits.
fn take_on() {
    // SAFETY: whoever has sent the signal holds the lock, and does not touch the ids before `done` is set.
    unsafe { (*TRANSFER.ids.get()).write() };
    TRANSFER.done.store(1, Ordering::Release);
    let _ = futex::wake(&TRANSFER.done, futex::Flags::PRIVATE, 1);
}

impl Ids {
    /// The calling OS thread's.
    fn read(&mut self) {
        let [real, effective, saved] = self.users.each_mut().map(|id| ptr::from_mut(id) as usize);
        let users = [real, effective, saved, 0, 0, 0];
        let [real, effective, saved] = self.groups.each_mut().map(|id| ptr::from_mut(id) as usize);
        let groups = [real, effective, saved, 0, 0, 0];
        let list = [
            MOST_GROUPS,
            self.supplementary.as_mut_ptr() as usize,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: places for three ids each, and for as many groups as there can be.
        unsafe {
            arch::system_call(libc::SYS_getresuid, users);
            arch::system_call(libc::SYS_getresgid, groups);
            self.count = arch::system_call(libc::SYS_getgroups, list).max(0) as usize;
        }
    }

    /// Gives them to the calling OS thread, the user last, who may do the rest. The threads of a process with different ids
    /// are a danger, so glibc ends the process if that fails, and so does this.
    fn write(&self) {
        let [users, groups] = [self.users, self.groups].map(|[real, effective, saved]| {
            [real as usize, effective as usize, saved as usize, 0, 0, 0]
        });
        let list = [self.count, self.supplementary.as_ptr() as usize, 0, 0, 0, 0];
        // SAFETY: the calls read the list and change the calling OS thread only.
        unsafe {
            // Who may not do this has them already.
            arch::system_call(libc::SYS_setgroups, list);
            let changed = arch::system_call(libc::SYS_setresgid, groups) == 0
                && arch::system_call(libc::SYS_setresuid, users) == 0;
            if !changed {
                libc::abort();
            }
        }
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
    TRANSFER.lock.store(FREE, Ordering::Relaxed);
}
