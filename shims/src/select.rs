//! select and pselect, carried out as a poll.
//!
//! Of the sets given, bits up to the count matter; a set can be longer than `fd_set`, so they are
//! read as plain words. As on Linux, select gives back the time that is left, pselect does not.
//!
//! A pselect with a signal mask is a blocking section: the mask belongs to the kernel thread.

use std::ffi::{c_int, c_ulong};
use std::time::Duration;

use greenpatch_runtime::Patch;
use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::{self, Section};
use libc::{fd_set, pollfd, sigset_t, timespec, timeval};
use rustix::io::Errno;

use crate::kernel::{self, finish};
use crate::section::yielding;

originals! {
    fn select(
        count: c_int,
        read: *mut fd_set,
        write: *mut fd_set,
        except: *mut fd_set,
        timeout: *mut timeval,
    ) -> c_int;
    fn pselect(
        count: c_int,
        read: *mut fd_set,
        write: *mut fd_set,
        except: *mut fd_set,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int;
}

/// One of the three sets, or none.
struct Set {
    words: *mut c_ulong,
    /// What poll is asked for a descriptor of this set.
    events: i16,
    /// The answers of poll that make it ready in this set's sense, as the kernel has it.
    answers: i16,
}

impl Set {
    fn all(read: *mut fd_set, write: *mut fd_set, except: *mut fd_set) -> [Set; 3] {
        use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI};
        use libc::{POLLRDBAND, POLLRDNORM, POLLWRBAND, POLLWRNORM};
        let set = |words: *mut fd_set, events, errors| Set {
            words: words.cast(),
            events,
            answers: events | errors,
        };
        [
            set(read, POLLIN | POLLRDNORM | POLLRDBAND, POLLHUP | POLLERR),
            set(write, POLLOUT | POLLWRNORM | POLLWRBAND, POLLERR),
            set(except, POLLPRI, 0),
        ]
    }

    /// Word and mask of a descriptor's bit.
    fn place(&self, fd: c_int) -> (*mut c_ulong, c_ulong) {
        let bits = c_ulong::BITS as usize;
        (
            self.words.wrapping_add(fd as usize / bits),
            1 << (fd as usize % bits),
        )
    }

    /// # Safety
    ///
    /// The set is none, or has this bit.
    unsafe fn contains(&self, fd: c_int) -> bool {
        let (word, mask) = self.place(fd);
        // SAFETY: a set that is not none has this bit, by this function's contract.
        !self.words.is_null() && unsafe { *word } & mask != 0
    }

    /// # Safety
    ///
    /// The set has this bit.
    unsafe fn keep(&self, fd: c_int, keeps: bool) {
        let (word, mask) = self.place(fd);
        // SAFETY: the set has this bit, by this function's contract.
        unsafe { *word = if keeps { *word | mask } else { *word & !mask } }
    }
}

/// select(2) on a green thread: how many bits are left in the sets.
///
/// # Safety
///
/// Each set is none, or has `count` bits.
unsafe fn select_until(
    section: &Section,
    count: c_int,
    sets: &[Set; 3],
    timeout: Option<Duration>,
) -> Result<c_int, Errno> {
    let mut entries = Vec::new();
    for fd in 0..count {
        let wanted = sets
            .iter()
            // SAFETY: each set is none, or has `count` bits, by this function's contract.
            .filter(|set| unsafe { set.contains(fd) })
            .map(|set| set.events)
            .reduce(|all, events| all | events);
        entries.extend(wanted.map(|events| pollfd {
            fd,
            events,
            revents: 0,
        }));
    }
    let deadline = timeout.map(Deadline::after);
    loop {
        let ready = section.poll(&mut entries, deadline)?;
        if entries
            .iter()
            .any(|entry| entry.revents & libc::POLLNVAL != 0)
        {
            return Err(Errno::BADF);
        }
        let mut kept = 0;
        for entry in &entries {
            // SAFETY: each set is none, or has `count` bits, by this function's contract, and no entry's descriptor is
            // beyond them.
            kept += unsafe { sets.iter().filter(|set| is_kept(set, entry)).count() };
        }
        if kept > 0 || ready == 0 {
            if ready == 0 && timeout == Some(Duration::ZERO) {
                section.yield_outside_handlers();
            }
            // SAFETY: each set is none, or has `count` bits, by this function's contract, and no entry's descriptor is
            // beyond them.
            unsafe { write_back(sets, &entries) };
            return Ok(kept as c_int);
        }
        // A hang-up that no set asks for would end every poll at once.
        for entry in entries.iter_mut().filter(|entry| entry.revents != 0) {
            entry.fd = !entry.fd;
        }
    }
}

/// # Safety
///
/// The set is none, or has this descriptor's bit.
unsafe fn is_kept(set: &Set, entry: &pollfd) -> bool {
    // SAFETY: the set is none, or has this descriptor's bit, by this function's contract. An entry that was put aside
    // has a negative number.
    entry.fd >= 0 && entry.revents & set.answers != 0 && unsafe { set.contains(entry.fd) }
}

/// # Safety
///
/// Each set is none, or has the bits of all entries.
unsafe fn write_back(sets: &[Set; 3], entries: &[pollfd]) {
    for entry in entries {
        let fd = entry.fd.max(!entry.fd);
        for set in sets {
            // SAFETY: each set is none, or has the bits of all entries, by this function's contract; one that contains
            // a bit is not none.
            unsafe {
                if set.contains(fd) {
                    set.keep(fd, is_kept(set, entry));
                }
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::select(count, read, write, except, timeout));
    };
    // SAFETY: the caller gives null or a time to read.
    let limit = unsafe { timeout.as_ref() };
    if count < 0 || limit.is_some_and(|limit| limit.tv_sec < 0 || limit.tv_usec < 0) {
        // The kernel refuses the call.
        return pass_on!(original::select(count, read, write, except, timeout));
    }
    let limit = limit.map(|limit| {
        Duration::from_secs(limit.tv_sec as u64)
            .saturating_add(Duration::from_micros(limit.tv_usec as u64))
    });
    let end = limit.map(Deadline::after);
    let sets = Set::all(read, write, except);
    // SAFETY: the caller gives null or sets with room for so many descriptors.
    let outcome = unsafe { select_until(&section, count, &sets, limit) };
    // SAFETY: the caller gives null or a time, which select may change.
    if let (Some(end), Some(left)) = (end, unsafe { timeout.as_mut() }) {
        let remaining = end.remaining();
        left.tv_sec = remaining.as_secs() as libc::time_t;
        left.tv_usec = remaining.subsec_micros().into();
    }
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let Some(section) = hook::enter(Patch::SELECT) else {
        return pass_on!(original::pselect(count, read, write, except, timeout, mask));
    };
    // SAFETY: the caller gives null or a time to read.
    let limit = unsafe { kernel::timeout(timeout) };
    let (Ok(limit), true) = (limit, count >= 0 && mask.is_null()) else {
        return yielding(section, || {
            pass_on!(original::pselect(count, read, write, except, timeout, mask))
        });
    };
    let sets = Set::all(read, write, except);
    // SAFETY: the caller gives null or sets with room for so many descriptors.
    let outcome = unsafe { select_until(&section, count, &sets, limit) };
    finish(section, outcome)
}

aliases! {
    fn __select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *mut timeval) -> c_int = select;
}
