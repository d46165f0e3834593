//! How the runtime learns of new descriptors, so that nothing known of an earlier one is taken for the new one's.
//!
//! A number is free for the next descriptor as soon as the kernel has taken it from the last one. That is before the close of
//! that one has ended, which may take long, and before the runtime is told of the end. Whoever gets the number meanwhile is
//! taken for the old descriptor unless the runtime is told: calls on it that have to wait fail with `EBADF`. So a function that
//! gives out a descriptor has a shim even if it waits for nothing: what libc's functions open inside, no shim sees. Those that
//! only call the original and tell are lines here; the others stand with their families and use [`opened`] and its kin.
//! LIMITATIONS.md names the few ways to a new descriptor of which nobody tells.

use std::ffi::{c_char, c_int, c_long, c_uint};

use greenpatch_runtime::hook;
use libc::{FILE, mode_t, pid_t};

use crate::kernel::{self, keeping_errno, returned};

/// Tells the runtime of a descriptor that the kernel has just given out, and hands it on.
pub(crate) fn opened(fd: c_int) -> c_int {
    keeping_errno(|| hook::opened(fd));
    fd
}

/// As [`opened`] for the two that `pair` points to, if `status` is success.
///
/// # Safety
///
/// The call that gave `status` has written both.
pub(crate) unsafe fn opened_pair(status: c_int, pair: *const c_int) -> c_int {
    if status == 0 {
        // SAFETY: the call has written both, by this function's contract.
        let [one, other] = unsafe { *pair.cast::<[c_int; 2]>() };
        opened(one);
        opened(other);
    }
    status
}

/// As [`opened`] for a stream.
///
/// # Safety
///
/// `stream` is null or open.
pub(crate) unsafe fn opened_stream(stream: *mut FILE) -> *mut FILE {
    if !stream.is_null() {
        // SAFETY: the stream is not null, and so open, by this function's contract.
        opened(unsafe { number_of(stream) });
    }
    stream
}

/// The descriptor of a stream; -1 if it has none.
///
/// # Safety
///
/// `stream` is open.
pub(crate) unsafe fn number_of(stream: *mut FILE) -> c_int {
    // SAFETY: the stream is open, by this function's contract.
    keeping_errno(|| unsafe { libc::fileno(stream) })
}

/// As [`opened`] for those that have come along with a message.
///
/// # Safety
///
/// The message has been received.
#[cfg(any(feature = "socket", feature = "lock"))]
pub(crate) unsafe fn opened_with(message: *const libc::msghdr) {
    /// A descriptor of the sender's process, in kernels since 6.5.
    const SCM_PIDFD: c_int = 4;
    // SAFETY: the kernel has written the control messages, and the length of all.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header that the kernel has written whole.
    while let Some(control) = unsafe { next.as_ref() } {
        if control.cmsg_level == libc::SOL_SOCKET
            && matches!(control.cmsg_type, libc::SCM_RIGHTS | SCM_PIDFD)
        {
            // SAFETY: the kernel has written as many bytes as the header says; these consist of descriptors.
            unsafe {
                let fds = libc::CMSG_DATA(control).cast::<c_int>();
                let length = control.cmsg_len - libc::CMSG_LEN(0) as usize;
                for index in 0..length / size_of::<c_int>() {
                    opened(fds.add(index).read_unaligned());
                }
            }
        }
        // SAFETY: the kernel has written the control messages, and the length of all; `next` is one of them.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// As [`opened_with`] for the first `count` messages.
///
/// # Safety
///
/// So many have been received.
#[cfg(any(feature = "socket", feature = "lock"))]
pub(crate) unsafe fn opened_with_each(messages: *const libc::mmsghdr, count: usize) {
    for index in 0..count {
        // SAFETY: so many messages have been received, by this function's contract.
        unsafe { opened_with(&raw const (*messages.add(index)).msg_hdr) };
    }
}

/// Whether this command of fcntl(2) gives out a descriptor.
pub(crate) fn gives_out(command: c_int) -> bool {
    command == libc::F_DUPFD || command == libc::F_DUPFD_CLOEXEC
}

/// Tells of the descriptors that a system call has given out.
///
/// # Safety
///
/// The call has succeeded, with these arguments and this value.
#[cfg(feature = "lock")]
pub(crate) unsafe fn opened_by(number: c_long, arguments: [usize; 6], value: usize) {
    let [one, two, _, four, ..] = arguments;
    // SAFETY: the call has succeeded, by this function's contract, so the kernel has written what these point to.
    unsafe {
        match number {
            libc::SYS_pipe | libc::SYS_pipe2 => {
                opened_pair(0, one as *const c_int);
            }
            libc::SYS_socketpair => {
                opened_pair(0, four as *const c_int);
            }
            libc::SYS_recvmsg => opened_with(two as *const libc::msghdr),
            libc::SYS_recvmmsg => opened_with_each(two as *const libc::mmsghdr, value),
            _ if returns_new(number, arguments) => {
                opened(value as c_int);
            }
            _ => {}
        }
    }
}

/// Whether the value of this system call is a new descriptor.
#[cfg(feature = "lock")]
fn returns_new(number: c_long, arguments: [usize; 6]) -> bool {
    let [one, two, three, ..] = arguments;
    match number {
        libc::SYS_fcntl => gives_out(two as c_int),
        // With a descriptor they change that one.
        libc::SYS_signalfd | libc::SYS_signalfd4 => one as c_int == -1,
        libc::SYS_ioctl => two as c_uint == libc::TIOCGPTPEER as c_uint,
        libc::SYS_seccomp => {
            one as c_uint == libc::SECCOMP_SET_MODE_FILTER
                && two & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as usize != 0
        }
        // With flags it tells of the kernel.
        libc::SYS_landlock_create_ruleset => three as c_uint == 0,
        libc::SYS_bpf => BPF_COMMANDS.contains(&(one as c_uint)),
        libc::SYS_open
        | libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_open_by_handle_at
        | libc::SYS_creat
        | libc::SYS_mq_open
        | libc::SYS_memfd_create
        | libc::SYS_memfd_secret
        | libc::SYS_dup
        | libc::SYS_socket
        | libc::SYS_accept
        | libc::SYS_accept4
        | libc::SYS_eventfd
        | libc::SYS_eventfd2
        | libc::SYS_timerfd_create
        | libc::SYS_epoll_create
        | libc::SYS_epoll_create1
        | libc::SYS_inotify_init
        | libc::SYS_inotify_init1
        | libc::SYS_fanotify_init
        | libc::SYS_pidfd_open
        | libc::SYS_pidfd_getfd
        | libc::SYS_userfaultfd
        | libc::SYS_perf_event_open
        | libc::SYS_fsopen
        | libc::SYS_fsmount
        | libc::SYS_fspick
        | libc::SYS_open_tree => true,
        _ => false,
    }
}

/// The commands of bpf(2) that return a new descriptor, by `enum bpf_cmd` of linux/bpf.h: to make a map, load a program, get a
/// pinned object, one by its id (program, map, type information, link), open a raw tracepoint, load type information, make a
/// link, count statistics, make an iterator, and make a token.
#[cfg(feature = "lock")]
const BPF_COMMANDS: [c_uint; 13] = [0, 5, 7, 13, 14, 19, 30, 17, 18, 28, 32, 33, 36];

/// Defines functions that are the original, and tell of the descriptor that it returns.
macro_rules! new_descriptors {
    ($(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> c_int $(, or $absent:expr)?;
    )+) => {
        originals! {$(
            fn $name($($argument: $type),*) -> c_int $(, or $absent)?;
        )+}
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $name($($argument: $type),*) -> c_int {
                opened(pass_on!(original::$name($($argument),*)))
            }
        )+
    };
}

new_descriptors! {
    fn eventfd(count: c_uint, flags: c_int) -> c_int;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn epoll_create(size: c_int) -> c_int;
    fn epoll_create1(flags: c_int) -> c_int;
    fn inotify_init() -> c_int;
    fn inotify_init1(flags: c_int) -> c_int;
    fn fanotify_init(flags: c_uint, of_events: c_uint) -> c_int;
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn pidfd_open(process: pid_t, flags: c_uint) -> c_int,
        or before_2_36(libc::SYS_pidfd_open, [process as usize, flags as usize, 0]);
    fn pidfd_getfd(process: c_int, fd: c_int, flags: c_uint) -> c_int,
        or before_2_36(libc::SYS_pidfd_getfd, [process as usize, fd as usize, flags as usize]);
    fn getpt() -> c_int;
    fn posix_openpt(flags: c_int) -> c_int;
}

/// What a function that is new in glibc 2.36 does, a system call on integers.
fn before_2_36(number: c_long, arguments: [usize; 3]) -> c_int {
    // SAFETY: integers only.
    returned(unsafe { kernel::call(number, arguments) }.map(|fd| fd as c_int))
}
