//! Regions: large mappings from which slots are carved.
//!
//! Each is one mapping: the guards below the stacks are made with `MADV_GUARD_INSTALL`, which does not split it, so the
//! kernel's limit on mappings (65,530) does not bound the number of green threads. Where the kernel lacks that call (before
//! 6.13), `mprotect` does the same at the cost of a mapping a slot.
//!
//! A guard is wider than a page. Compilers of C do not touch each page of a large frame, so a function with a
//! buffer of some ten KiB would step over a single page into the thread-local storage of the slot below.
//!
//! Regions are never unmapped. They are marked `MADV_NOHUGEPAGE`: a transparent huge page would turn two touched pages into
//! 2 MiB.

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};

use crate::body::executable;

pub(crate) const PAGE: usize = 4096;

/// Bytes below each stack that fault on every access. They take address space, and page tables for it, but no memory.
pub(crate) const GUARD: usize = 64 << 10;

/// More regions than 128 TiB of address space could hold.
const MAX_REGIONS: usize = 1 << 15;

/// Linux's `MADV_GUARD_INSTALL`, since 6.13.
pub(crate) const MADV_GUARD_INSTALL: i32 = 102;

/// The regions, for the look-up by address; entries are written once, but for `carved`.
struct Region {
    start: AtomicUsize,
    end: AtomicUsize,
    slot_size: AtomicUsize,
    /// Slots were made below this address, if at all. Stored under the pool's lock.
    carved: AtomicUsize,
}

static REGIONS: [Region; MAX_REGIONS] = [const {
    Region {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        slot_size: AtomicUsize::new(0),
        carved: AtomicUsize::new(0),
    }
}; MAX_REGIONS];
static REGION_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The first region whose slots are this process's own: a fork leaves the parent's behind.
static FIRST_REGION: AtomicUsize = AtomicUsize::new(0);

/// Set once the kernel was found to lack `MADV_GUARD_INSTALL`.
static GUARD_BY_MPROTECT: AtomicBool = AtomicBool::new(false);

/// A new region: which it is, its addresses, and for how many slots it has room.
pub(super) struct Mapped {
    pub(super) index: usize,
    pub(super) addresses: Range<usize>,
    pub(super) slots: usize,
}

/// Maps a region for so many slots, or for as many as can be had.
pub(super) fn map(slot_size: usize, mut slots: usize) -> io::Result<Mapped> {
    let protection = executable::protection();
    let (start, length) = loop {
        let length = slots * slot_size;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let mapped = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        match mapped {
            Ok(start) => break (start as usize, length),
            // Under strict overcommit or an address space limit a smaller region may still fit.
            Err(_) if slots > 1 => slots /= 2,
            Err(error) => return Err(error.into()),
        }
    };
    // SAFETY: the mapping just made. Without huge pages in the kernel the call fails, and is not
    // needed.
    let _ = unsafe { madvise(start as *mut c_void, length, Advice::LinuxNoHugepage) };
    let index = REGION_COUNT.fetch_add(1, Ordering::Relaxed);
    let Some(region) = REGIONS.get(index) else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    region.slot_size.store(slot_size, Ordering::Relaxed);
    region.end.store(start + length, Ordering::Relaxed);
    region.start.store(start, Ordering::SeqCst);
    // Either this sees the change, or who makes it sees the region.
    if executable::protection() != protection {
        protect(region, executable::protection());
    }
    Ok(Mapped {
        index,
        addresses: start..start + length,
        slots,
    })
}

/// Slots were made in the region with this index below `end`. Called under the lock of the pool whose region it is.
pub(super) fn set_carved(index: usize, end: usize) {
    REGIONS[index].carved.store(end, Ordering::Release);
}

/// Where each slot begins that was carved, and its size, without those from before a fork. New ones may be left out.
pub(super) fn carved() -> impl Iterator<Item = (usize, usize)> {
    let count = REGION_COUNT.load(Ordering::Acquire).min(MAX_REGIONS);
    let first = FIRST_REGION.load(Ordering::Relaxed).min(count);
    REGIONS[first..count].iter().flat_map(|region| {
        let start = region.start.load(Ordering::Acquire);
        let carved = region.carved.load(Ordering::Acquire);
        let size = region.slot_size.load(Ordering::Relaxed).max(1);
        // A region that is being made has zeros.
        let bottoms = if start == 0 { 0..0 } else { start..carved };
        bottoms.step_by(size).map(move |bottom| (bottom, size))
    })
}

/// The slot that holds `address`: where it begins and its size.
pub(super) fn slot_around(address: usize) -> Option<(usize, usize)> {
    let count = REGION_COUNT.load(Ordering::Relaxed).min(MAX_REGIONS);
    REGIONS[..count].iter().find_map(|region| {
        let start = region.start.load(Ordering::Acquire);
        let end = region.end.load(Ordering::Relaxed);
        if start == 0 || !(start..end).contains(&address) {
            return None;
        }
        let size = region.slot_size.load(Ordering::Relaxed);
        Some((start + (address - start) / size * size, size))
    })
}

/// Whether `address` lies in the guard of a slot. Safe in signal handlers.
pub(crate) fn is_guard(address: usize) -> bool {
    slot_around(address).is_some_and(|(bottom, _)| address - bottom < GUARD)
}

/// Makes the guard at `address` fault on every access.
pub(super) fn guard(address: usize) -> io::Result<()> {
    let guard = address as *mut c_void;
    if !GUARD_BY_MPROTECT.load(Ordering::Relaxed) {
        // SAFETY: the lowest pages of a slot that is not in use yet.
        if unsafe { libc::madvise(guard, GUARD, MADV_GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
        GUARD_BY_MPROTECT.store(true, Ordering::Relaxed);
    }
    // SAFETY: the lowest pages of a slot that is not in use yet.
    Ok(unsafe { mprotect(guard, GUARD, MprotectFlags::empty()) }?)
}

/// Asks the modules whether code is to run on stacks, and makes all stacks executable if one wants them so for the first
/// time.
pub(crate) fn ask_modules() {
    if executable::has_become_wanted() {
        protect_all(executable::protection());
    }
}

/// After code of the program has faulted at `address`: whether it may go on, as it stands in a slot and code may run there.
/// In the signal handler.
pub(crate) fn allow_code(address: usize) -> bool {
    ask_modules();
    let protection = executable::protection();
    // Another thread may be about to change all of them.
    protection.contains(ProtFlags::EXEC)
        && slot_around(address).is_some_and(|(bottom, size)| {
            change_protection(bottom + GUARD..bottom + size, protection).is_ok()
        })
}

/// Changes what all slots but their guards may be used for.
fn protect_all(protection: ProtFlags) {
    let count = REGION_COUNT.load(Ordering::SeqCst).min(MAX_REGIONS);
    for region in &REGIONS[..count] {
        if region.start.load(Ordering::SeqCst) != 0 {
            protect(region, protection);
        }
    }
}

fn protect(region: &Region, protection: ProtFlags) {
    let start = region.start.load(Ordering::SeqCst);
    let end = region.end.load(Ordering::Relaxed);
    let size = region.slot_size.load(Ordering::Relaxed);
    // The kernel refuses under a policy that forbids executable stacks; then code there faults, as it would without us.
    if GUARD_BY_MPROTECT.load(Ordering::Relaxed) {
        for bottom in (start..end).step_by(size) {
            let _ = change_protection(bottom + GUARD..bottom + size, protection);
        }
    } else {
        // Guards that madvise has made stay.
        let _ = change_protection(start..end, protection);
    }
}

/// Changes what memory of a region may be used for, which stays readable and writable.
fn change_protection(range: Range<usize>, protection: ProtFlags) -> rustix::io::Result<()> {
    let flags = MprotectFlags::from_bits_retain(protection.bits());
    // SAFETY: pages of a region, where code may run or not.
    unsafe { mprotect(range.start as *mut c_void, range.len(), flags) }
}

/// After a fork: the slots in the regions so far are the parent's.
pub(super) fn reset_after_fork() {
    FIRST_REGION.store(REGION_COUNT.load(Ordering::Relaxed), Ordering::Relaxed);
}
