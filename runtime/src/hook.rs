//! The door for the shims: what a libc replacement may ask of the runtime.
//!
//! [`enter`] is the guard every shim starts with. `Some(section)` means: the caller is user code on
//! a green thread of a runtime whose patch set holds the family; while the section lives, CURRENT is
//! null, so whatever libc function is called passes straight through every shim (native section).
use crate::Patch;
use crate::deadline::Deadline;
use rustix::io::Errno;
use std::ffi::{CStr, c_void};
use std::os::fd::RawFd;

/// A native section on a green thread. Dropping it makes the thread's code user code again.
pub struct Section(());
/// See module docs. One TLS load and a null test when not on a green thread. Async-signal-safe, never allocates.
#[inline] pub fn enter(family: Patch) -> Option<Section> { None }
/// As `enter` whatever the patch set (None off green threads): for fd-life bookkeeping, identity.
#[inline] pub fn enter_any() -> Option<Section> { None }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest { Read, Write }

impl Section {
    /// Puts the green thread to sleep until `deadline` (no spurious return).
    pub fn sleep_until(&self, deadline: Deadline) { unimplemented!() }
    /// Lets other green threads run.
    pub fn yield_now(&self) { unimplemented!() }
    /// Runs `attempt` (which must not block) until it gives something other than EAGAIN, parking between for
    /// `interest` on `fd`. `deadline` passed: Err(AGAIN) (as SO_RCVTIMEO does). fd closed by another thread: Err(BADF).
    /// A descriptor epoll refuses (regular file): Err(PERM).
    /// Does NOT look at O_NONBLOCK: see `is_nonblocking`. Spends the I/O budget on success (may yield).
    pub fn retry<T>(&self, fd: RawFd, interest: Interest, deadline: Option<Deadline>, attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> { unimplemented!() }
    /// As `retry` for stream reads of up to `len` bytes: after a short read (0 < n < len) remembers that the
    /// kernel buffer is empty, so that the next retry parks without asking.
    pub fn retry_stream_read(&self, fd: RawFd, len: usize, deadline: Option<Deadline>, attempt: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> { unimplemented!() }
    /// Serialises accepts of this process on one listener that is in blocking mode: `poll` readiness, then `attempt`
    /// (a real blocking accept which will not block) under a per-descriptor lock.
    pub fn retry_accept<T>(&self, fd: RawFd, deadline: Option<Deadline>, attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> { unimplemented!() }
    /// Parks until one of the entries is ready (poll semantics: fills `revents`), returns how many; 0 on deadline.
    pub fn poll(&self, entries: &mut [libc::pollfd], deadline: Option<Deadline>) -> Result<usize, Errno> { unimplemented!() }
    /// SO_RCVTIMEO / SO_SNDTIMEO of the socket as a deadline from now; None = no limit. (cached)
    pub fn socket_deadline(&self, fd: RawFd, interest: Interest) -> Option<Deadline> { unimplemented!() }
}
/// O_NONBLOCK set by the user? Asks the kernel (F_GETFL).
pub fn is_nonblocking(fd: RawFd) -> bool { unimplemented!() }
/// What a descriptor is, cached per descriptor generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind { Socket, Pipe, File, Other }
pub fn kind(fd: RawFd) -> Kind { unimplemented!() }

/// Call before the real close (or dup2 onto fd): wakes waiters with EBADF, forgets the registration. Any thread.
pub fn closing(fd: RawFd) {}
/// Call after the real close. Any thread.
pub fn closed(fd: RawFd) {}
/// As closing/closed for first..=last.
pub fn closing_range(first: u32, last: u32) {}
pub fn closed_range(first: u32, last: u32) {}
/// Call when the kernel handed out a new descriptor (socket, accept, pipe, dup...). Any thread. Cheap.
pub fn opened(fd: RawFd) {}
/// Call after setsockopt(SO_RCVTIMEO / SO_SNDTIMEO): cached time-outs are asked again. Any thread.
pub fn timeouts_changed() {}

pub mod thread {
    use super::*;
    pub type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
    /// As pthread_create for a green thread on the caller's runtime. Returns its pthread_t.
    /// stack_size: usable bytes at least. Err(AGAIN) when no slot can be had, Err(INVAL) when too large.
    pub unsafe fn create(section: &Section, start: Start, arg: *mut c_void, stack_size: usize, detached: bool) -> Result<libc::pthread_t, Errno> { unimplemented!() }
    /// Whether the pthread_t is that of a green thread (any thread may ask; garbage gives false).
    pub fn is_green(thread: libc::pthread_t) -> bool { unimplemented!() }
    /// pthread_join of a green thread, from a green thread (parks) or an OS thread (blocks). Deadlock on self: Err(DEADLK);
    /// detached: Err(INVAL); deadline: Err(TIMEDOUT); try (deadline already passed): Err(BUSY) is the caller's to map.
    pub fn join(thread: libc::pthread_t, deadline: Option<Deadline>) -> Result<*mut c_void, Errno> { unimplemented!() }
    pub fn detach(thread: libc::pthread_t) -> Result<(), Errno> { unimplemented!() }
    /// pthread_exit on a green thread: unwinds its stack with destructors, then ends it.
    pub unsafe fn exit(section: Section, value: *mut c_void) -> ! { unimplemented!() }
    /// Lowest address, size in bytes (without guard) and guard size of the green thread's stack.
    pub fn stack(thread: libc::pthread_t) -> Option<(*mut c_void, usize, usize)> { unimplemented!() }
    /// At most 15 bytes as Linux thread names
    pub fn set_name(thread: libc::pthread_t, name: &CStr) -> Result<(), Errno> { unimplemented!() }
    pub fn name(thread: libc::pthread_t) -> Option<[u8; 16]> { unimplemented!() }
    /// The id in the thread's control block (glibc's `tid` field): unique per thread, green or OS. For mutex owners.
    pub fn id() -> i32 { unimplemented!() }
    /// The calling green thread's virtual gettid-like id... same as id()
    /// Destructors of pthread keys: shims record them here (key_create/key_delete shims), the runtime runs them at a green thread's exit.
    pub fn key_created(key: libc::pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) {}
    pub fn key_deleted(key: libc::pthread_key_t) {}
    /// sigaltstack as seen by a green thread: get/set of a per-green-thread record; a green thread starts with one "installed".
    pub fn alt_stack(section: &Section, new: Option<libc::stack_t>) -> libc::stack_t { unimplemented!() }
}
