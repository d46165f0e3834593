//! The pool of slots: free ones by size class, and the making of new ones.
//!
//! Freed slots are used again last-in first-out, with their thread control block. Stack memory of slots that stayed free for
//! a whole period of the monitor goes back to the kernel; those are the ones that were freed first.

use std::ffi::c_void;
use std::io;

use rustix::mm::{Advice, madvise};
#[cfg(feature = "json")]
use serde::Serialize;

use crate::base::spin::{self, SpinLock};
use crate::body::region::{self, PAGE};
use crate::body::slot::{self, CLASSES, MAX_STACK, SlotRef};
use crate::body::tls;

/// The first region of a class has room for this many slots; each next one for twice as many,
/// up to `LARGEST_REGION` bytes.
const FIRST_REGION_SLOTS: usize = 8;
const LARGEST_REGION: usize = 4 << 30;

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

/// Free slots in the order in which they were freed, linked through their heads: the *hottest* was freed last.
struct FreeList {
    hottest: Option<SlotRef>,
    coldest: Option<SlotRef>,
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

    fn push(&mut self, slot: SlotRef) {
        slot.colder().set(self.hottest);
        match self.hottest {
            Some(colder) => colder.hotter().set(Some(slot)),
            None => self.coldest = Some(slot),
        }
        self.hottest = Some(slot);
        self.count += 1;
    }

    /// What stands in the new hottest slot's `hotter` means nothing from now on.
    fn take_hottest(&mut self) -> Option<SlotRef> {
        let slot = self.hottest?;
        self.hottest = slot.colder().take();
        self.count -= 1;
        if self.count == 0 {
            self.coldest = None;
        }
        Some(slot)
    }

    fn take_coldest(&mut self) -> Option<SlotRef> {
        if self.count < 2 {
            return self.take_hottest();
        }
        let slot = self.coldest?;
        self.coldest = slot.hotter().take();
        if let Some(hotter) = self.coldest {
            hotter.colder().set(None);
        }
        self.count -= 1;
        Some(slot)
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
    fn take_free(&mut self) -> Option<SlotRef> {
        let slot = self.free.take_hottest();
        self.unused = self.unused.min(self.free.count);
        slot.or_else(|| self.trimmed.take_hottest())
    }

    /// The slot that has been free for longest.
    fn take_coldest(&mut self) -> Option<SlotRef> {
        let slot = self.free.take_coldest();
        self.unused = self.unused.min(self.free.count);
        slot
    }

    /// Has the next region of the class mapped.
    fn grow(&mut self, slot_size: usize) -> io::Result<()> {
        let region = region::map(slot_size, self.region_slots)?;
        self.next = region.addresses.start;
        self.end = region.addresses.end;
        self.region = region.index;
        if (region.slots * 2).saturating_mul(slot_size) <= LARGEST_REGION {
            self.region_slots = region.slots * 2;
        }
        Ok(())
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

/// A slot with a stack of at least `stack_size` bytes, ready for a new green thread. `fill` makes the control block of one
/// that is new.
///
/// # Safety
///
/// `fill` writes a control block that is one for the rest of the process, where the slot that it is given has zeroed memory
/// for it.
pub(crate) unsafe fn acquire(stack_size: usize, fill: unsafe fn(SlotRef)) -> io::Result<SlotRef> {
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
    if let Some(slot) = pool.take_free() {
        drop(pool);
        // SAFETY: the slot is free, so nobody runs on its block.
        unsafe { slot.block.reset(layout) };
        return Ok(slot);
    }
    let size = slot::size(layout, class);
    if pool.next == pool.end {
        pool.grow(size)?;
    }
    let bottom = pool.next;
    pool.next += size;
    pool.made += 1;
    region::set_carved(pool.region, pool.next);
    drop(pool);
    // SAFETY: the pool has handed out this slot's memory just now, to us alone, and nobody has used it but perhaps a `make`
    // that failed; `fill` writes a lasting control block, by this function's contract.
    let made = unsafe { slot::make(layout, class, bottom, size, fill) };
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

/// Takes back the slot of a green thread that has ended and whose stack was left.
pub(crate) fn release(slot: SlotRef) {
    POOLS[slot.class].lock().free.push(slot);
}

/// Returns to the kernel the stacks of the slots that nobody has used since the last call.
/// Gives the number of slots trimmed.
pub(crate) fn trim() -> usize {
    let mut trimmed = 0;
    for pool in &POOLS {
        let count = pool.lock().begin_period();
        for _ in 0..count {
            let coldest = pool.lock().take_coldest();
            let Some(slot) = coldest else { break };
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
            pool.trimmed.push(slot);
            trimmed += 1;
        }
    }
    trimmed
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

/// Gives up all slots after a fork: the parent's green threads may have used any of them, and nobody holds
/// a lock. Their address space stays as it is.
///
/// # Safety
///
/// No green thread will start in this process before this returns, and no other thread looks at the pools.
pub(crate) unsafe fn reset_after_fork() {
    for pool in &POOLS {
        // SAFETY: no other thread uses the lock, by this function's contract; who held it at the fork is not in this process.
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
    region::reset_after_fork();
}
