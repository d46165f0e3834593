//! Looking into a process from outside: who may attach to it, how the request reaches it, and what it answers.
//!
//! `greenpatch top` and `greenpatch dump` attach to any process that has built a runtime. Nothing of that is to be felt by the
//! program: no descriptor of its, no signal handler, no file.
//!
//! # How a request reaches the process
//!
//! An OS thread, `green-attach` by name, waits for SIGSTKFLT in `rt_sigtimedwait`. It is started with the first runtime, unless the
//! setting `attach` says otherwise. Who attaches
//!
//! 1. finds the thread by its name in `/proc/PID/task`, and sees in its `status` that it has its signals blocked;
//! 2. sends the signal *to this thread*, with a number of its own choice as the value;
//! 3. connects to the Unix socket that the process opens now, whose abstract name holds that number;
//! 4. sees by the socket's credentials that it is this process's.
//!
//! The process takes one connection, of its owner or of root by the credentials of the socket (an owner who is its real, effective
//! and saved user, as for ptrace: a program that acts for a user for a while has more than that one's secrets), and closes the listening socket,
//! at the latest after some seconds. Each connection has an OS thread of its own, which answers requests until the other side
//! closes it. So whatever the workers are at, stuck and deadlocked ones too, somebody answers; and a client that does not read
//! makes nobody wait but that thread, for ten seconds at most.
//!
//! # Why so
//!
//! - *The signal harms nobody.* It is blocked by the only thread that it is sent to, so no handler runs, no call fails with
//!   `EINTR`, and its default action is not taken. A process without such a thread is not sent anything. That is what sets it
//!   apart from the dump signal, and from a Java virtual machine's SIGQUIT, whose default action kills a process that is no such
//!   machine.
//! - *Which signal.* SIGSTKFLT, which Linux defines and never sends. A thread that waits for a signal may be handed one that was
//!   meant for the whole process: this one nobody sends. (Rejected: SIGURG, which the kernel sends for out-of-band data.)
//! - *No file.* An abstract name needs no directory that only the owner may enter, is gone with its socket, however the process
//!   ends, and, as it holds a number that nobody can guess, cannot be taken before. (Rejected: a directory of mode 0700 below
//!   `/tmp`, which others may make first, and whose sockets outlive a process that is killed.)
//! - *No ptrace*, nor what needs the permission for it, as `pidfd_getfd` and the memory of the process do: where Yama restricts
//!   ptrace, a program may not even attach to one of the same user.
//! - *Not a green thread, nor the monitor.* The first would wait for a worker, the second makes the others wait.
//!
//! # Namespaces, forks
//!
//! Abstract names belong to a network namespace. Who attaches to a process in another one, a container's say, enters that for the
//! connection, which only root may; the error says what else can be done. Process ids are those that the caller sees. A
//! forked child has no such thread until it builds a runtime of its own; a program that is executed has none either.
//!
//! # What is said
//!
//! Lines of text. The process begins with a greeting, an object with the number of the [protocol](PROTOCOL), its own `version`,
//! `process` and `program`, and the `requests` that it knows. Then it answers each line with one line, a JSON object:
//!
//! | request | answer |
//! |---|---|
//! | `dump` | `runtimes`: of each [`Dump`](crate::Dump), what its `to_json` gives |
//! | `text` | `text`: the same as a dump signal writes |
//! | a name that the program has [provided](provide) | what the program says |
//!
//! The first two may be followed by `backtraces`, `running`, `only=ID`, `limit=GREEN_THREADS` and `patience=MILLISECONDS`: see
//! [`DumpOptions`](crate::DumpOptions). A request that cannot be answered has `error` in its answer. New fields and requests
//! do not change the protocol's number; a reader leaves out fields that it does not know.

mod client;
mod door;
mod json;
mod session;

pub use client::{AttachError, connect};
pub use door::open;
pub use session::provide;

pub(crate) use door::start;
pub(crate) use session::reset_after_fork;

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

use crate::base::arch;

/// The version of what is said.
pub const PROTOCOL: u32 = 1;

/// The name of the OS thread that waits for requests.
const THREAD: &str = "green-attach";

/// What it waits for.
const SIGNAL: c_int = libc::SIGSTKFLT;

/// How long a connection is waited for, and how long a client may take to read what fits into its socket no more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that are served at once.
const CLIENTS: usize = 8;

/// The abstract name of the socket for a request with this number.
fn socket_name(number: u64) -> String {
    format!("greenpatch-attach-{number:016x}")
}

/// Who is at the other end of a Unix socket: the process that has connected, or that listens. The process id is 0 if the other
/// end is in a namespace whose processes this one does not see. (rustix takes it for one that is never 0.)
fn peer(socket: impl AsFd) -> Result<libc::ucred, Errno> {
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let arguments = [
        socket.as_fd().as_raw_fd() as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_PEERCRED as usize,
        peer.as_mut_ptr() as usize,
        ptr::from_mut(&mut size) as usize,
        0,
    ];
    // SAFETY: the arguments are those of getsockopt(2): an open descriptor, and places for a value and its size.
    match unsafe { arch::system_call(libc::SYS_getsockopt, arguments) } {
        // SAFETY: zeroed, and filled in; it consists of integers.
        0 => Ok(unsafe { peer.assume_init() }),
        error => Err(Errno::from_raw_os_error(-error as i32)),
    }
}
