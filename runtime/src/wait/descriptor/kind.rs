//! What the kernel says of a descriptor without waiting: what it is, its mode, a socket's time-outs.
//!
//! What it is and the time-outs are remembered in the entry until the descriptor goes, the time-outs until any socket's are
//! changed.

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout, socket_timeout};
use rustix::net::{SocketType, ipproto};
use rustix::time::Timespec;

use super::{Descriptor, entry};
use crate::base::deadline::Deadline;
use crate::base::interest::Interest;

/// What a descriptor is, as far as it decides how to try without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileKind {
    /// A TCP socket: `MSG_DONTWAIT`, and a short read means that the buffer is empty.
    Tcp = 1,
    /// Another socket: `MSG_DONTWAIT`.
    Socket,
    /// A pipe: `RWF_NOWAIT`.
    Pipe,
    /// A regular file, directory or block device: always ready in epoll's sense.
    File,
    /// Anything else: poll before each call.
    Other,
}

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
    let Ok(descriptor) = entry(fd) else {
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

/// Raised by every change of a socket's time-outs.
static TIMEOUTS_EPOCH: AtomicU64 = AtomicU64::new(1);

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` of some socket was set. Any thread may call this.
pub fn timeouts_changed() {
    TIMEOUTS_EPOCH.fetch_add(1, Ordering::SeqCst);
}

impl Descriptor {
    /// Remembers what the kernel was asked in this generation. The lock keeps it from landing in a later one.
    fn remember(&self, generation: u32, store: impl FnOnce()) {
        let _guarded = self.line.guarded().lock();
        if self.generation.load(Ordering::SeqCst) == generation {
            store();
        }
    }

    /// What the descriptor is; asks the kernel once in a generation.
    pub(crate) fn kind(&self, fd: RawFd) -> FileKind {
        match self.kind.load(Ordering::SeqCst) {
            1 => FileKind::Tcp,
            2 => FileKind::Socket,
            3 => FileKind::Pipe,
            4 => FileKind::File,
            5 => FileKind::Other,
            _ => {
                let generation = self.generation.load(Ordering::SeqCst);
                self.openings.mark_used();
                let Some(kind) = ask_kind(fd) else {
                    return FileKind::Other;
                };
                self.remember(generation, || self.kind.store(kind as u8, Ordering::SeqCst));
                kind
            }
        }
    }

    /// The socket's `SO_RCVTIMEO` or `SO_SNDTIMEO`, counted from now.
    pub(crate) fn socket_deadline(&self, fd: RawFd, interest: Interest) -> Option<Deadline> {
        let epoch = TIMEOUTS_EPOCH.load(Ordering::SeqCst);
        let nanos = if self.timeouts_epoch.load(Ordering::SeqCst) == epoch {
            self.timeouts[interest as usize].load(Ordering::SeqCst)
        } else {
            let generation = self.generation.load(Ordering::SeqCst);
            self.openings.mark_used();
            let asked = [Interest::Read, Interest::Write].map(|which| ask_timeout(fd, which));
            self.remember(generation, || {
                for (timeout, asked) in self.timeouts.iter().zip(asked) {
                    timeout.store(asked, Ordering::SeqCst);
                }
                self.timeouts_epoch.store(epoch, Ordering::SeqCst);
            });
            asked[interest as usize]
        };
        (nanos != 0).then(|| Deadline::after(Duration::from_nanos(nanos)))
    }
}

fn ask_kind(fd: RawFd) -> Option<FileKind> {
    let stat = fstat(borrow(fd)).ok()?;
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {
            // Other stream protocols, SCTP say, keep message boundaries.
            let tcp = sockopt::socket_protocol(borrow(fd))
                .is_ok_and(|protocol| protocol == Some(ipproto::TCP));
            let stream =
                sockopt::socket_type(borrow(fd)).is_ok_and(|kind| kind == SocketType::STREAM);
            if tcp && stream {
                FileKind::Tcp
            } else {
                FileKind::Socket
            }
        }
        FileType::Fifo => FileKind::Pipe,
        FileType::RegularFile | FileType::Directory | FileType::BlockDevice => FileKind::File,
        _ => FileKind::Other,
    })
}

/// A socket's time-out in nanoseconds; 0 is none, as for the kernel.
fn ask_timeout(fd: RawFd, interest: Interest) -> u64 {
    let which = match interest {
        Interest::Read => Timeout::Recv,
        Interest::Write => Timeout::Send,
    };
    socket_timeout(borrow(fd), which)
        .ok()
        .flatten()
        .map_or(0, |timeout| {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        })
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
