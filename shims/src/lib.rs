//! Definitions of libc's blocking functions that park a green thread instead of blocking its
//! worker.
//!
//! The linker takes these definitions before libc's, for Rust's std, every crate and every C
//! library in the program, so plain blocking code yields on green threads without a change. There
//! is nothing to call here: linking the crate is using it. [`SYMBOLS`] names every function.
//!
//! # The pattern
//!
//! ```text
//! unsafe extern "C-unwind" fn recv(…) -> ssize_t {
//!     let Some(section) = hook::enter(Patch::SOCKET) else { return original::recv(…) };
//!     let outcome = …try without blocking; on EAGAIN park until ready, try again…;
//!     finish(section, outcome)
//! }
//! ```
//!
//! For calls that read or write, `transfer::carry_out` is this.
//!
//! | file | what |
//! |---|---|
//! | `symbols`, `unpatched` | the tables of all functions: those replaced, those that block, those that never do |
//! | `original`, `kernel` | the way to libc's own definitions and to the kernel; `errno` |
//! | `section` | functions that are the original in a blocking section, one a line |
//! | `transfer`, `vectors` | what all calls that move bytes have in common |
//! | `time` | feature `time` |
//! | `socket`, `receive`, `send` | feature `socket` |
//! | `rw` | features `socket` and `os` |
//! | `fd`, `new_fd`, `terminal` | features `socket`, `os`, `select` and `process` |
//! | `poll`, `select`, `epoll` | feature `select` |
//! | `syscall`, `futex`, `futex2`, `word`, `pthread_mutex`, `pthread_cond`, `pthread_once`, `pthread_rwlock`, `read_write`, `pthread_barrier`, `semaphore`, `c11` | feature `lock` |
//! | `c11_status` | features `lock` and `thread` |
//! | `thread`, `c11_thread`, `identity`, `signal` | feature `thread` |
//! | `open`, `files`, `file_lock`, `splice`, `queue` | feature `os` |
//! | `names` | feature `dns` |
//! | `process` | feature `process` |
//!
//! With a feature off, its functions are not defined at all.
//!
//! # Invariants
//!
//! - Off a green thread, and for a family outside the runtime's patch set, a shim is the original:
//!   same result, same `errno`; the cost is one thread-local load, a branch and an indirect call.
//!   The locks alone have one implementation for all threads, so that a green thread and an OS
//!   thread can wait for each other; it behaves as the original does, but inherits no priorities.
//! - Shims run before `main`, in signal handlers and after fork. Up to the point where a green
//!   thread has to wait they do not allocate, log, panic or take a lock.
//! - While a [`Section`](greenpatch_runtime::hook::Section) lives, shims pass through; so they may
//!   call each other and libc. Work for a green thread goes to the kernel directly, which leaves
//!   `errno` alone; `kernel::finish` writes it last, when the section has ended.
//! - No descriptor is left in another mode than its owner gave it.
//! - Every function may be unwound, by a panic in a callback or by thread cancellation, like the
//!   original.

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
compile_error!(
    "greenpatch-shims replaces functions of glibc on x86-64 Linux; no other target is supported"
);

#[cfg(target_feature = "crt-static")]
compile_error!(
    "greenpatch-shims finds the functions it replaces in the shared libc; build without crt-static"
);

#[macro_use]
#[cfg_attr(
    not(feature = "patch"),
    allow(dead_code, unused_macros, reason = "each family needs a part of it")
)]
mod kernel;
#[macro_use]
#[cfg_attr(
    not(feature = "patch"),
    allow(dead_code, unused_macros, reason = "each family needs a part of it")
)]
mod original;
#[macro_use]
#[cfg_attr(
    not(feature = "patch"),
    allow(dead_code, unused_macros, reason = "each family needs a part of it")
)]
mod section;
mod symbols;
#[cfg_attr(
    not(feature = "patch"),
    allow(dead_code, unused_macros, reason = "each family needs a part of it")
)]
mod transfer;
mod unpatched;
#[cfg_attr(
    not(feature = "patch"),
    allow(dead_code, unused_macros, reason = "each family needs a part of it")
)]
mod vectors;

#[cfg(any(feature = "lock", feature = "thread"))]
mod c11_status;

#[cfg(feature = "time")]
mod time;

#[cfg(any(
    feature = "socket",
    feature = "os",
    feature = "select",
    feature = "process"
))]
mod fd;
#[cfg(any(
    feature = "socket",
    feature = "os",
    feature = "select",
    feature = "process"
))]
mod new_fd;
#[cfg(any(feature = "socket", feature = "os"))]
mod rw;
#[cfg(any(
    feature = "socket",
    feature = "os",
    feature = "select",
    feature = "process"
))]
mod terminal;

#[cfg(feature = "socket")]
mod receive;
#[cfg(feature = "socket")]
mod send;
#[cfg(feature = "socket")]
mod socket;

#[cfg(feature = "select")]
mod epoll;
#[cfg(feature = "select")]
mod poll;
#[cfg(feature = "select")]
mod select;

#[cfg(feature = "lock")]
mod atomic;
#[cfg(feature = "lock")]
mod c11;
#[cfg(feature = "lock")]
mod futex;
#[cfg(feature = "lock")]
mod futex2;
#[cfg(feature = "lock")]
mod pthread_barrier;
#[cfg(feature = "lock")]
mod pthread_cond;
#[cfg(feature = "lock")]
mod pthread_mutex;
#[cfg(feature = "lock")]
mod pthread_once;
#[cfg(feature = "lock")]
mod pthread_rwlock;
#[cfg(feature = "lock")]
mod read_write;
#[cfg(feature = "lock")]
mod semaphore;
#[cfg(feature = "lock")]
mod shared;
#[cfg(feature = "lock")]
mod syscall;
#[cfg(feature = "lock")]
mod word;

#[cfg(feature = "os")]
mod file_lock;
#[cfg(feature = "os")]
mod files;
#[cfg(feature = "os")]
mod open;
#[cfg(feature = "os")]
mod queue;
#[cfg(feature = "os")]
mod splice;

#[cfg(feature = "dns")]
mod names;

#[cfg(feature = "process")]
mod process;

#[cfg(feature = "thread")]
mod c11_thread;
#[cfg(feature = "thread")]
mod identity;
#[cfg(feature = "thread")]
mod signal;
#[cfg(feature = "thread")]
mod thread;

use greenpatch_runtime::{Patch, hook};

pub use symbols::{Behaviour, SYMBOLS, Symbol};
pub use unpatched::{Known, UNPATCHED, Unpatched, known};

/// The families that are compiled in.
pub const fn compiled() -> Patch {
    let features = [
        (cfg!(feature = "time"), Patch::TIME),
        (cfg!(feature = "socket"), Patch::SOCKET),
        (cfg!(feature = "select"), Patch::SELECT),
        (cfg!(feature = "lock"), Patch::LOCK),
        (cfg!(feature = "thread"), Patch::THREAD),
        (cfg!(feature = "os"), Patch::OS),
        (cfg!(feature = "dns"), Patch::DNS),
        (cfg!(feature = "process"), Patch::PROCESS),
    ];
    let mut families = Patch::none();
    let mut index = 0;
    while index < features.len() {
        if features[index].0 {
            families = families.union(features[index].1);
        }
        index += 1;
    }
    families
}

/// Whether the blocking calls of all these families, made here, park a green thread: they are compiled in, and the caller
/// is a green thread of a runtime that has them in its patch set, outside a
/// [`blocking`](greenpatch_runtime::blocking) section.
pub fn is_patched(families: Patch) -> bool {
    compiled().contains(families) && hook::enter(families).is_some()
}
