//! What a descriptor is, and what the kernel says of it without waiting.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::FileKind;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A socket: `MSG_DONTWAIT` tries without blocking.
    Socket,
    /// A pipe or FIFO: `RWF_NOWAIT` does, but not for a FIFO opened by its path.
    Pipe,
    /// A regular file, directory or block device, which epoll does not take.
    File,
    /// Anything else: to be polled before each call.
    Other,
}

/// What `fd` is; asks the kernel once for each opening of the number.
pub fn kind(fd: RawFd) -> Kind {
    let Ok(descriptor) = super::entry(fd) else {
        return Kind::Other;
    };
    descriptor.kind(fd).into()
}

impl From<FileKind> for Kind {
    fn from(kind: FileKind) -> Kind {
        match kind {
            FileKind::Tcp | FileKind::Socket => Kind::Socket,
            FileKind::Pipe => Kind::Pipe,
            FileKind::File => Kind::File,
            FileKind::Other => Kind::Other,
        }
    }
}

/// Whether `O_NONBLOCK` is set; asks the kernel.
pub fn is_nonblocking(fd: RawFd) -> bool {
    fd >= 0
        && rustix::fs::fcntl_getfl(borrow(fd))
            .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}

pub(crate) fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only lent to one system call, which fails with EBADF if the number is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

pub(crate) const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(crate) fn is_ready(fd: RawFd, events: PollFlags) -> Result<bool, Errno> {
    let mut entry = [PollFd::from_borrowed_fd(borrow(fd), events)];
    poll(&mut entry, Some(&NO_TIME))?;
    if entry[0].revents().contains(PollFlags::NVAL) {
        return Err(Errno::BADF);
    }
    Ok(!entry[0].revents().is_empty())
}
