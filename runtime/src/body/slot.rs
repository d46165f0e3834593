//! Slots: the address space of green threads.
//!
//! One slot holds all that a green thread is made of, from high to low addresses:
//!
//! ```text
//! top ─► struct pthread │ static TLS │ control block │ stack … │ guard │ ◄─ bottom
//! ```
//!
//! The guard is wider than a page. Compilers of C do not touch each page of a large frame, so a function with a
//! buffer of some ten KiB would step over a single page into the thread-local storage of the slot below.
//!
//! Slots come in size classes and are carved from large regions, each one mapping: the guards
//! are made with `MADV_GUARD_INSTALL`, which does not split it, so the kernel's limit on mappings
//! (65,530) does not bound the number of green threads. Where the kernel lacks that call (before
//! 6.13), `mprotect` does the same at the cost of a mapping a slot.
//!
//! Regions are never unmapped and control blocks never cease to be control blocks: a pointer to one
//! may be stale, but is always safe to unpark (see `park.rs`). Freed slots are used again
//! last-in first-out, with their thread control block. Stack memory of slots that stayed free for
//! a whole period of the monitor goes back to the kernel; those are the ones that were freed first.
//!
//! **A slot is dear only once.** Its first green thread pays for the kernel's work: two pages of memory, and, since slots of
//! 2 MiB and more have no neighbour in the same 2 MiB, a page table each. Of the 12 to 15 µs of a first `std::thread::spawn`
//! 2 are ours, whether a thousand or 500,000 live; in used slots it takes 2 to 5 µs in all and no page fault. A loop
//! that maps and touches the same pages and does nothing else slows down at the same number of slots: when the kernel has no pages left
//! that it had in use before, and, in a virtual machine, must get each one from the host. Stacks of 64 KiB
//! (`RUST_MIN_STACK=65536`) share page tables, and take a fifth less time.
//!
//! Regions are marked `MADV_NOHUGEPAGE`: a transparent huge page would turn two touched pages into 2 MiB.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};
#[cfg(feature = "json")]
use serde::Serialize;

use crate::base::spin::{self, SpinLock};
use crate::body::executable;
use crate::body::tls::{self, Block, Layout};
use crate::sched::green::{self, Green, GreenRef};

pub(crate) const PAGE: usize = 4096;

/// Bytes below each stack that fault on every access. They take address space, and page tables for it, but no memory.
pub(crate) const GUARD: usize = 64 << 10;

/// Bytes of stack a slot of each class offers at least.
const CLASSES: [usize; 6] = [64 << 10, 256 << 10, 2 << 20, 8 << 20, 64 << 20, 512 << 20];

/// The largest stack that can be asked for.
pub(crate) const MAX_STACK: usize = CLASSES[CLASSES.len() - 1];

/// The first region of a class has room for this many slots; each next one for twice as many,
/// up to `LARGEST_REGION` bytes.
const FIRST_REGION_SLOTS: usize = 8;
const LARGEST_REGION: usize = 4 << 30;

/// More regions than 128 TiB of address space could hold.
const MAX_REGIONS: usize = 1 << 15;

/// Linux's `MADV_GUARD_INSTALL`, since 6.13.
pub(crate) const MADV_GUARD_INSTALL: i32 = 102;

/// Where a slot stands and what belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) class: usize,
    /// The lowest usable address of the stack; the guard ends here.
    pub(crate) stack_limit: usize,
    /// The highest address of the stack, where it begins.
    pub(crate) stack_base: usize,
    pub(crate) block: Block,
}

impl Slot {
    /// Whether `address` lies in the stack.
    pub(crate) fn holds_stack(&self, address: usize) -> bool {
        (self.stack_limit..self.stack_base).contains(&address)
    }

    /// Where the slot ends: above the stack stand the control block and thread-local storage.
    pub(crate) fn top(&self) -> usize {
        self.block.end(tls::layout()).next_multiple_of(PAGE)
    }

    /// Changes what the stack may be used for.
    pub(crate) fn protect(&self, protection: ProtFlags) -> rustix::io::Result<()> {
        let end = self.stack_base.next_multiple_of(PAGE);
        change_protection(self.stack_limit..end, protection)
    }

    /// Bytes of stack that slots of this class promise; there are somewhat more.
    pub(crate) fn promised_stack_size(&self) -> usize {
        CLASSES[self.class]
    }
}

/// Slots of one size. Each holds the stack, the control block and the thread-local storage of one green thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct SlotMetrics {
    /// Bytes of stack.
    pub stack_size: usize,
    /// In use by green threads.
    pub in_use: usize,
    /// Free, kept for the next green thread.
    pub pooled: usize,
    /// Free for so long that the kernel has the memory of their stacks back.
    pub trimmed: usize,
}

/// Bytes from the base of a stack down to its lowest page that is in memory: how deep it has been since the kernel last
/// got its memory back, be it by its present thread or by an earlier one.
///
/// The search goes down from the base and ends where nothing is mapped. A main thread's stack is mapped as far down as it
/// has been used, which is little of what its limit allows, if there is one at all.
pub(crate) fn deepest_use(limit: usize, base: usize) -> usize {
    let mut resident = [0; 512];
    let bottom = limit & !(PAGE - 1);
    let mut above = base.next_multiple_of(PAGE);
    let mut most = resident.len();
    let mut lowest = base;
    while above > bottom {
        let count = ((above - bottom) / PAGE).min(most);
        let page = above - count * PAGE;
        // SAFETY: a vector with a byte for each page; the kernel refuses pages that are not mapped.
        let outcome =
            unsafe { libc::mincore(page as *mut c_void, count * PAGE, resident.as_mut_ptr()) };
        if outcome == 0 {
            if let Some(first) = resident[..count].iter().position(|page| page & 1 != 0) {
                lowest = page + first * PAGE;
            }
            above = page;
        } else if count > 1 {
            // The end of what is mapped lies in between.
            most = count / 2;
        } else {
            break;
        }
    }
    base - lowest.max(limit)
}

/// Free slots in the order in which they were freed, linked through their control blocks: the *hottest* was freed last.
struct FreeList {
    hottest: Option<GreenRef>,
    coldest: Option<GreenRef>,
    count: usize,
}

impl FreeList {
    const fn empty() -> FreeList {
        FreeList {
            hottest: None,
            coldest: None,
            count: 0,
        }
    }

    fn push(&mut self, green: GreenRef) {
        green.next_free.set(self.hottest);
        match self.hottest {
            Some(colder) => colder.previous_free.set(Some(green)),
            None => self.coldest = Some(green),
        }
        self.hottest = Some(green);
        self.count += 1;
    }

    /// What stands in the new hottest slot's `previous_free` means nothing from now on.
    fn take_hottest(&mut self) -> Option<GreenRef> {
        let green = self.hottest?;
        self.hottest = green.next_free.take();
        self.count -= 1;
        if self.count == 0 {
            self.coldest = None;
        }
        Some(green)
    }

    fn take_coldest(&mut self) -> Option<GreenRef> {
        if self.count < 2 {
            return self.take_hottest();
        }
        let green = self.coldest?;
        self.coldest = green.previous_free.take();
        if let Some(hotter) = self.coldest {
            hotter.next_free.set(None);
        }
        self.count -= 1;
        Some(green)
    }
}

struct Pool {
    free: FreeList,
    /// The smallest number of free slots since the monitor last looked: so many, the coldest, were not used.
    unused: usize,
    /// Free slots whose stack memory the kernel has back.
    trimmed: FreeList,
    /// What is left of the youngest region, and which it is.
    next: usize,
    end: usize,
    region: usize,
    /// Slots that were made.
    made: usize,
    region_slots: usize,
}

impl Pool {
    /// A free slot, one whose stack is in memory if there is one.
    fn take_free(&mut self) -> Option<GreenRef> {
        let green = self.free.take_hottest();
        self.unused = self.unused.min(self.free.count);
        green.or_else(|| self.trimmed.take_hottest())
    }

    /// The slot that has been free for longest.
    fn take_coldest(&mut self) -> Option<GreenRef> {
        let green = self.free.take_coldest();
        self.unused = self.unused.min(self.free.count);
        green
    }

    /// Gives how many slots were not used since the last call, and takes for granted that they are taken out.
    fn begin_period(&mut self) -> usize {
        let left = self.free.count - self.unused;
        std::mem::replace(&mut self.unused, left)
    }
}

static POOLS: [SpinLock<Pool>; CLASSES.len()] = [const {
    SpinLock::new(Pool {
        free: FreeList::empty(),
        unused: 0,
        trimmed: FreeList::empty(),
        next: 0,
        end: 0,
        region: 0,
        made: 0,
        region_slots: FIRST_REGION_SLOTS,
    })
}; CLASSES.len()];

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

/// The bytes from one slot of a class to the next.
fn slot_size(layout: &Layout, class: usize) -> usize {
    let overhead = layout.block_size() + size_of::<Green>() + 64;
    GUARD + (CLASSES[class] + overhead).next_multiple_of(PAGE)
}

/// A control block with a stack of at least `stack_size` bytes, ready for a new green thread.
pub(crate) fn acquire(stack_size: usize) -> io::Result<GreenRef> {
    let Some(class) = CLASSES.iter().position(|&size| size >= stack_size) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a green thread cannot have a stack of {stack_size} bytes; ask for at most {MAX_STACK}"
            ),
        ));
    };
    let layout = tls::layout();
    let mut pool = POOLS[class].lock();
    if let Some(green) = pool.take_free() {
        drop(pool);
        // SAFETY: the slot is free, so nobody runs on its block.
        unsafe { green.slot.block.reset(layout) };
        return Ok(green);
    }
    let size = slot_size(layout, class);
    if pool.next == pool.end {
        grow(&mut pool, size)?;
    }
    let bottom = pool.next;
    pool.next += size;
    pool.made += 1;
    REGIONS[pool.region]
        .carved
        .store(pool.next, Ordering::Release);
    drop(pool);
    // SAFETY: the pool has handed out this slot's memory just now, to us alone.
    let made = unsafe { make(layout, class, bottom, size) };
    if made.is_err() {
        let mut pool = POOLS[class].lock();
        pool.made -= 1;
        // Given back, unless another slot was carved meanwhile.
        if pool.next == bottom + size {
            pool.next = bottom;
        }
    }
    made
}

/// Maps the next region of a class.
fn grow(pool: &mut Pool, slot_size: usize) -> io::Result<()> {
    let mut slots = pool.region_slots;
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
    pool.next = start;
    pool.end = start + length;
    pool.region = index;
    if (slots * 2).saturating_mul(slot_size) <= LARGEST_REGION {
        pool.region_slots = slots * 2;
    }
    Ok(())
}

/// Changes what all slots but their guards may be used for.
pub(crate) fn protect_all(protection: ProtFlags) {
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

/// Makes the slot at `bottom` from zeroed memory.
///
/// # Safety
///
/// The `size` bytes at `bottom` are zeroed, page-aligned memory of a region, the caller's alone.
unsafe fn make(layout: &Layout, class: usize, bottom: usize, size: usize) -> io::Result<GreenRef> {
    guard(bottom)?;
    // SAFETY: the memory below the slot's top is the caller's.
    let block =
        unsafe { Block::create(layout, bottom + size) }.ok_or(io::ErrorKind::OutOfMemory)?;
    let green = control_block_below(block, layout);
    let slot = Slot {
        class,
        stack_limit: bottom + GUARD,
        stack_base: green,
        block,
    };
    let green = green as *mut Green;
    // SAFETY: aligned memory between the stack and the static thread-local storage.
    unsafe { green.write(Green::new(slot)) };
    // SAFETY: a control block in a region, made just now.
    let green = unsafe { GreenRef::new(NonNull::new_unchecked(green)) };
    green.set_made();
    Ok(green)
}

/// Where the control block stands that belongs to `block`.
fn control_block_below(block: Block, layout: &Layout) -> usize {
    (block.bottom(layout) - size_of::<Green>()) & !(align_of::<Green>() - 1)
}

/// Makes the guard at `address` fault on every access.
fn guard(address: usize) -> io::Result<()> {
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

/// Takes back the slot of a green thread that has ended and whose stack was left.
pub(crate) fn release(green: GreenRef) {
    let mut pool = POOLS[green.slot.class].lock();
    pool.free.push(green);
}

/// Returns to the kernel the stacks of the slots that nobody has used since the last call.
/// Gives the number of slots trimmed.
pub(crate) fn trim() -> usize {
    let mut trimmed = 0;
    for pool in &POOLS {
        let count = pool.lock().begin_period();
        for _ in 0..count {
            let coldest = pool.lock().take_coldest();
            let Some(green) = coldest else { break };
            let slot = &green.slot;
            // The topmost page of the stack shares its page with the control block.
            let length = (slot.stack_base & !(PAGE - 1)) - slot.stack_limit;
            // SAFETY: the stack of a free slot holds nothing.
            let _ = unsafe {
                madvise(
                    slot.stack_limit as *mut c_void,
                    length,
                    Advice::LinuxDontNeed,
                )
            };
            let mut pool = pool.lock();
            pool.trimmed.push(green);
            trimmed += 1;
        }
    }
    trimmed
}

/// The green thread in whose slot `address` lies. Safe in signal handlers.
///
/// A slot that was carved but is still being made is not found by the address of its thread
/// control block, which nobody knows yet.
pub(crate) fn find(address: usize) -> Option<GreenRef> {
    let (bottom, size) = slot_around(address)?;
    made_at(bottom, size)
}

/// The control block of the slot at `bottom`, which lies in a region, if it was made.
fn made_at(bottom: usize, size: usize) -> Option<GreenRef> {
    let layout = tls::layout();
    let green = control_block_below(layout.block_below(bottom + size), layout);
    // A slot that was never made has no control block.
    // SAFETY: the place of a control block in a region.
    let made = unsafe { green::is_made(green as *const Green) };
    // SAFETY: a control block of a region.
    made.then(|| unsafe { GreenRef::new(NonNull::new_unchecked(green as *mut Green)) })
}

/// Whether `address` lies in the guard of a slot.
pub(crate) fn is_guard(address: usize) -> bool {
    slot_around(address).is_some_and(|(bottom, _)| address - bottom < GUARD)
}

/// Gives up all slots after a fork: the parent's green threads may have used any of them, and nobody holds
/// a lock. Their address space stays as it is.
///
/// # Safety
///
/// No green thread will start in this process before this returns, and no other thread looks at the pools.
pub(crate) unsafe fn reset_after_fork() {
    for pool in &POOLS {
        // SAFETY: the caller's promise.
        unsafe {
            spin::seize(pool, |pool| {
                pool.free = FreeList::empty();
                pool.unused = 0;
                pool.trimmed = FreeList::empty();
                pool.next = 0;
                pool.end = 0;
                pool.made = 0;
            });
        }
    }
    FIRST_REGION.store(REGION_COUNT.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// The slots of each class.
pub(crate) fn metrics() -> [SlotMetrics; CLASSES.len()] {
    std::array::from_fn(|class| {
        let pool = POOLS[class].lock();
        SlotMetrics {
            stack_size: CLASSES[class],
            in_use: pool.made - pool.free.count - pool.trimmed.count,
            pooled: pool.free.count,
            trimmed: pool.trimmed.count,
        }
    })
}

/// Every control block there is, in use or not. New ones may be left out, those from before a fork are.
pub(crate) fn all() -> impl Iterator<Item = GreenRef> {
    let count = REGION_COUNT.load(Ordering::Acquire).min(MAX_REGIONS);
    let first = FIRST_REGION.load(Ordering::Relaxed).min(count);
    REGIONS[first..count].iter().flat_map(|region| {
        let start = region.start.load(Ordering::Acquire);
        let carved = region.carved.load(Ordering::Acquire);
        let size = region.slot_size.load(Ordering::Relaxed).max(1);
        // A region that is being made has zeros.
        let bottoms = if start == 0 { 0..0 } else { start..carved };
        bottoms
            .step_by(size)
            .filter_map(move |bottom| made_at(bottom, size))
    })
}

/// The slot that holds `address`: where it begins and its size.
fn slot_around(address: usize) -> Option<(usize, usize)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As the stack of a main thread without a limit is: little of it is mapped.
    #[test]
    fn the_deepest_use_of_a_stack_is_found_though_it_is_mapped_only_near_its_base() {
        const PAGES: usize = 2000;
        // SAFETY: a new mapping, most of which is given up before any of it is used.
        let base = unsafe {
            let start = mmap_anonymous(
                ptr::null_mut(),
                PAGES * PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
            .unwrap();
            madvise(start, PAGES * PAGE, Advice::LinuxNoHugepage).unwrap();
            rustix::mm::munmap(start, PAGES / 2 * PAGE).unwrap();
            start.addr() + PAGES * PAGE
        };
        let unlimited = base.saturating_sub(1 << 46);
        assert_eq!(deepest_use(unlimited, base), 0);
        for depth in [1, 2, 600, 999] {
            let page = base - depth * PAGE;
            // SAFETY: a page of the mapping.
            unsafe { (page as *mut u8).write_volatile(1) };
            assert_eq!(deepest_use(unlimited, base), depth * PAGE);
            // A limit counts as well.
            assert_eq!(deepest_use(page, base), depth * PAGE);
        }
    }
}
