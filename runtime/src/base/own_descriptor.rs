//! The runtime's own descriptors, out of the program's reach.
//!
//! Programs close descriptors that they have not opened: all from 3 on before they go into the background, or whatever
//! number a bug gives them. They also expect low numbers to be free, and put files there by `dup2`. So ours have high
//! numbers, but for mio's epoll set, which has the number that the kernel gave it; and the shims of functions that close or
//! replace descriptors ask here, and treat ours as not open.
//!
//! System calls that pass by libc reach them all the same. Whoever finds a descriptor of ours gone then ends the process
//! with [`lost`]: no worker could be woken any more, and its number may be a file of the program's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use rustix::io::{self, Errno};
use rustix::process::{Resource, getrlimit};

use crate::base::process;
use crate::base::report;

/// The least number, if the limit on descriptors allows it: beyond those that programs count on, and not so high that the
/// kernel's table of them becomes large.
const LEAST: u64 = 1000;

/// Numbers that are left above the least one where the limit is low.
const ROOM: u64 = 24;

/// In the table: no descriptor.
const NONE: RawFd = -1;

/// Own descriptors beyond this many are not protected.
const PLACES: usize = 1024;

static TABLE: [AtomicI32; PLACES] = [const { AtomicI32::new(NONE) }; PLACES];

/// Places that were ever taken, from the first one on.
static USED: AtomicUsize = AtomicUsize::new(0);

/// The lowest number that a descriptor of the runtime's own ever had.
static LOWEST: AtomicI32 = AtomicI32::new(RawFd::MAX);

/// The number of a descriptor of the runtime's own, known as such until this is dropped: before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct OwnNumber {
    number: RawFd,
    place: Option<&'static AtomicI32>,
}

impl OwnNumber {
    /// Protects a descriptor that others have made, and that keeps its number.
    pub(crate) fn note(number: RawFd) -> OwnNumber {
        LOWEST.fetch_min(number, Ordering::SeqCst);
        let place = TABLE.iter().position(|place| {
            place
                .compare_exchange(NONE, number, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        });
        if let Some(index) = place {
            USED.fetch_max(index + 1, Ordering::SeqCst);
        }
        OwnNumber {
            number,
            place: place.map(|index| &TABLE[index]),
        }
    }
}

impl Drop for OwnNumber {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // After a fork the place may be another's.
            let _ = place.compare_exchange(self.number, NONE, Ordering::SeqCst, Ordering::Relaxed);
        }
    }
}

/// A descriptor of the runtime's own; closed when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnDescriptor {
    _number: OwnNumber,
    descriptor: OwnedFd,
}

impl OwnDescriptor {
    /// Takes a descriptor that nobody knows yet; its number changes.
    pub(crate) fn keep(descriptor: OwnedFd) -> OwnDescriptor {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let least = LEAST.min(limit.saturating_sub(ROOM)) as RawFd;
        // Without a free number up there it stays where it is.
        let descriptor = io::fcntl_dupfd_cloexec(&descriptor, least).unwrap_or(descriptor);
        OwnDescriptor {
            _number: OwnNumber::note(descriptor.as_raw_fd()),
            descriptor,
        }
    }
}

impl AsFd for OwnDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn own() -> impl Iterator<Item = RawFd> {
    TABLE[..USED.load(Ordering::SeqCst)]
        .iter()
        .map(|place| place.load(Ordering::SeqCst))
}

/// Whether what the table says concerns the calling process: a child may close what it has inherited.
fn is_ours() -> bool {
    !process::is_passive() && process::owns_tables()
}

/// Whether `fd` is one of the runtime's own, which the program cannot have meant. Any thread may call this, in signal handlers,
/// too.
#[inline]
pub fn holds(fd: RawFd) -> bool {
    fd >= LOWEST.load(Ordering::Relaxed) && own().any(|number| number == fd) && is_ours()
}

/// The lowest of the runtime's own descriptors in `first..=last`.
pub fn first_in(first: u32, last: u32) -> Option<u32> {
    own()
        .filter_map(|number| u32::try_from(number).ok())
        .filter(|number| (first..=last).contains(number))
        .min()
        .filter(|_| is_ours())
}

/// In a forked child: what the parent's runtimes had is of no use here.
pub(crate) fn reset_after_fork() {
    for place in &TABLE {
        place.store(NONE, Ordering::SeqCst);
    }
}

/// Ends the process because a use of the runtime's own `what` has failed.
#[cold]
pub(crate) fn lost(what: &str, error: Errno) -> ! {
    report::write_to_stderr(&format!(
        "greenpatch: the runtime has lost its {what} ({error}); the program closes descriptors that are not its own by a \
         system call that does not go through libc; it must leave out those that it has not opened\n"
    ));
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> OwnDescriptor {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        OwnDescriptor::keep(rustix::event::eventfd(0, flags).unwrap())
    }

    #[test]
    fn an_own_descriptor_is_known_until_it_is_dropped_and_has_a_high_number() {
        process::set_process();
        let descriptor = made();
        let number = descriptor.as_fd().as_raw_fd();
        assert!(number >= 100, "{number}");
        assert!(holds(number) && !holds(number - 1_000));
        let among = |first: i32, last: i32| first_in(first as u32, last as u32);
        assert_eq!(among(number, number), Some(number as u32));
        assert!(among(0, number).is_some());
        drop(descriptor);
        assert_eq!(among(number, number), None);
    }
}
