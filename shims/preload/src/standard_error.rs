//! The standard error that the process was started with, kept for what is said when the program is through.
//!
//! By then many programs have closed descriptor 2: GNU's tools and xz do, to hear of writing errors. So a duplicate is kept,
//! which programs that it executes do not inherit, at a number that no program expects to be given. A forked child lets go of
//! it: a daemon that turns its back on standard error must not hold a pipe open that others read to its end.
//!
//! The program may close the duplicate as well, or all descriptors, and open files of its own in their places. So nothing is
//! written to a descriptor, and none is closed, that is not the same file as at the start.

use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::{self, Errno};
use rustix::process::{Resource, getrlimit};
use rustix::stdio;

/// The least number of the duplicate, if the limit on descriptors allows it: beyond those that programs count on, and not so
/// high that the kernel's table of them becomes large.
const LEAST: u64 = 1000;

/// Instead of a descriptor.
const NONE: RawFd = -1;

/// Set before `main`, if there is a standard error.
static KEPT: OnceLock<Kept> = OnceLock::new();

struct Kept {
    file: File,
    /// A descriptor, or `NONE`: where there was none to be had, and in a forked child.
    duplicate: AtomicI32,
}

/// Which file a descriptor stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    number: u64,
}

impl File {
    fn of(descriptor: BorrowedFd<'_>) -> Option<File> {
        let found = fstat(descriptor).ok()?;
        Some(File {
            device: found.st_dev,
            number: found.st_ino,
        })
    }
}

impl Kept {
    /// The descriptor, if it still is one of the file.
    fn as_of_old(&self, descriptor: RawFd) -> Option<BorrowedFd<'static>> {
        if descriptor == NONE {
            return None;
        }
        // SAFETY: not -1. Nobody else can vouch for the number, so it is looked at first; the kernel says of one that is closed
        // that it is, and a file of the program's own is left alone.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        (File::of(descriptor) == Some(self.file)).then_some(descriptor)
    }
}

/// Keeps standard error. To be called once, while the process has one thread.
pub(crate) fn keep() {
    let Some(file) = File::of(stdio::stderr()) else {
        return;
    };
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let least = LEAST.min(limit.saturating_sub(1)) as RawFd;
    let duplicate = io::fcntl_dupfd_cloexec(stdio::stderr(), least);
    let kept = Kept {
        file,
        duplicate: AtomicI32::new(duplicate.map_or(NONE, IntoRawFd::into_raw_fd)),
    };
    if KEPT.set(kept).is_ok() {
        // SAFETY: the handler uses atomics and system calls only.
        unsafe { libc::pthread_atfork(None, None, Some(let_go)) };
    }
}

/// In a forked child.
extern "C" fn let_go() {
    let Some(kept) = KEPT.get() else { return };
    let duplicate = kept.duplicate.swap(NONE, Ordering::Relaxed);
    if kept.as_of_old(duplicate).is_some() {
        // SAFETY: the child's copy of a descriptor that only this module knows.
        unsafe { io::close(duplicate) };
    }
}

/// Writes to the standard error that was kept; nothing, if the program has left no way to it.
pub(crate) fn write(mut text: &[u8]) {
    let Some(kept) = KEPT.get() else { return };
    let Some(descriptor) = kept
        .as_of_old(kept.duplicate.load(Ordering::Relaxed))
        .or_else(|| kept.as_of_old(libc::STDERR_FILENO))
    else {
        return;
    };
    while !text.is_empty() && !has_lost_its_reader(descriptor) {
        match io::write(descriptor, text) {
            Ok(written) => text = &text[written..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Whether a write to this pipe or socket would end the process by SIGPIPE.
fn has_lost_its_reader(descriptor: BorrowedFd<'_>) -> bool {
    let mut entries = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
    let seen = poll(&mut entries, Some(&Timespec::default()));
    seen.is_ok()
        && entries[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
}
