//! Slots: the address space of green threads.
//!
//! One slot holds all that a green thread is made of, from high to low addresses:
//!
//! ```text
//! top ─► struct pthread │ static TLS │ head │ control block │ stack … │ guard │ ◄─ bottom
//! ```
//!
//! The head says where these parts stand. What a control block is, only the scheduler knows; here it is a number of bytes.
//!
//! Slots come in size classes and are carved from large regions (see `region.rs`). Regions are never unmapped and control
//! blocks never cease to be control blocks: a pointer to one may be stale, but is always safe to unpark (see `park.rs`).
//! Freed slots are used again (see `slot_pool.rs`).
//!
//! **A slot is dear only once.** Its first green thread pays for the kernel's work: two pages of memory, and, since slots
//! of 2 MiB and more have no neighbour in the same 2 MiB, a page table each. Of the 12 to 15 µs of a first
//! `std::thread::spawn` 2 are ours, whether a thousand or 500,000 live; in used slots it takes 2 to 5 µs in all and no page
//! fault. A loop that maps and touches the same pages and does nothing else slows down at the same number of slots: when
//! the kernel has no pages left that it had in use before, and, in a virtual machine, must get each one from the host.
//! Stacks of 64 KiB (`RUST_MIN_STACK=65536`) share page tables, and take a fifth less time.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::body::region::{self, GUARD, PAGE};
use crate::body::tls::{self, Block, Layout};

/// Bytes of stack a slot of each class offers at least. With the smallest, `TEMPLATE_STACK` in `tls/fresh.rs` changes.
pub(super) const CLASSES: [usize; 6] = [64 << 10, 256 << 10, 2 << 20, 8 << 20, 64 << 20, 512 << 20];

/// The largest stack that can be asked for.
pub(crate) const MAX_STACK: usize = CLASSES[CLASSES.len() - 1];

/// The size of the scheduler's control block, and to what it is aligned. `sched/slots.rs` sees to it that they are right.
pub(crate) const CONTROL_BLOCK: usize = 512;
pub(crate) const CONTROL_BLOCK_ALIGN: usize = 64;

/// Written when a slot was made; what one that was never made does not hold.
const MADE: u32 = 0x6772_6e21;

/// Where a slot stands and what belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(super) class: usize,
    /// The lowest usable address of the stack; the guard ends here.
    pub(crate) stack_limit: usize,
    /// The highest address of the stack, where it begins. The control block stands here.
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

    /// Bytes of stack that slots of this class promise; there are somewhat more.
    pub(crate) fn promised_stack_size(&self) -> usize {
        CLASSES[self.class]
    }
}

/// What stands above the control block. The lock of the slot's pool guards the links.
#[repr(C, align(64))]
struct SlotHead {
    made: AtomicU32,
    slot: Slot,
    colder: Cell<Option<SlotRef>>,
    hotter: Cell<Option<SlotRef>>,
}

const _: () = assert!(CONTROL_BLOCK.is_multiple_of(CONTROL_BLOCK_ALIGN));
const _: () = assert!(CONTROL_BLOCK_ALIGN <= align_of::<SlotHead>());

/// A slot, by a pointer to its head that is valid for the rest of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRef(NonNull<SlotHead>);

// SAFETY: heads are never freed; they are atomic, written before anybody knows of them, or guarded by a lock.
unsafe impl Send for SlotRef {}

// SAFETY: a head's fields are atomic, written before anybody knows of them, or guarded by a lock.
unsafe impl Sync for SlotRef {}

impl Deref for SlotRef {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        &self.head().slot
    }
}

impl SlotRef {
    #[inline]
    fn head(&self) -> &SlotHead {
        // SAFETY: regions are never unmapped, and heads in them stay heads.
        unsafe { self.0.as_ref() }
    }

    /// Where the control block stands: [`CONTROL_BLOCK`] bytes.
    #[inline]
    pub(crate) fn control_block(self) -> NonNull<c_void> {
        // SAFETY: in the same slot as the head, right below it.
        unsafe { self.0.byte_sub(CONTROL_BLOCK).cast() }
    }

    /// The free slot that was freed next before this one. For the holder of the pool's lock.
    pub(super) fn colder(&self) -> &Cell<Option<SlotRef>> {
        &self.head().colder
    }

    /// The free slot that was freed next after this one, unless this is the hottest. For the holder of the pool's lock.
    pub(super) fn hotter(&self) -> &Cell<Option<SlotRef>> {
        &self.head().hotter
    }
}

/// The bytes from one slot of a class to the next.
pub(super) fn size(layout: &Layout, class: usize) -> usize {
    let alignment = align_of::<SlotHead>();
    let overhead = layout.block_size() + size_of::<SlotHead>() + CONTROL_BLOCK + alignment;
    GUARD + (CLASSES[class] + overhead).next_multiple_of(PAGE)
}

/// Makes the slot at `bottom` from zeroed memory; `fill` makes its control block.
///
/// # Safety
///
/// The `size` bytes at `bottom` are page-aligned memory of a region, the caller's alone, and zeroed but for what a call for the
/// same slot wrote of its thread's block before it failed, which is written anew. `fill` writes a control block that is one
/// for the rest of the process.
pub(super) unsafe fn make(
    layout: &Layout,
    class: usize,
    bottom: usize,
    size: usize,
    fill: unsafe fn(SlotRef),
) -> io::Result<SlotRef> {
    region::guard(bottom)?;
    // SAFETY: the memory below the slot's top is the caller's.
    let block =
        unsafe { Block::create(layout, bottom + size) }.ok_or(io::ErrorKind::OutOfMemory)?;
    let head = head_below(block, layout);
    let slot = Slot {
        class,
        stack_limit: bottom + GUARD,
        stack_base: head.addr() - CONTROL_BLOCK,
        block,
    };
    // SAFETY: aligned memory between the stack and the static thread-local storage. `made` is zero, and stays so for now; it may be
    // looked at meanwhile.
    let made = unsafe {
        (&raw mut (*head).slot).write(slot);
        (&raw mut (*head).colder).write(Cell::new(None));
        (&raw mut (*head).hotter).write(Cell::new(None));
        SlotRef(NonNull::new_unchecked(head))
    };
    // SAFETY: below the thread's block the memory is zeroed, with room for a control block, and nobody knows of the slot yet.
    unsafe { fill(made) };
    made.head().made.store(MADE, Ordering::Release);
    Ok(made)
}

/// Where the head stands that belongs to `block`.
fn head_below(block: Block, layout: &Layout) -> *mut SlotHead {
    let address = (block.bottom(layout) - size_of::<SlotHead>()) & !(align_of::<SlotHead>() - 1);
    address as *mut SlotHead
}

/// The slot in which `address` lies. Safe in signal handlers.
///
/// A slot that was carved but is still being made is not found by the address of its thread
/// control block, which nobody knows yet.
pub(crate) fn find(address: usize) -> Option<SlotRef> {
    let (bottom, size) = region::slot_around(address)?;
    made_at(bottom, size)
}

/// Every slot there is, in use or not. New ones may be left out, those from before a fork are.
pub(crate) fn all() -> impl Iterator<Item = SlotRef> {
    region::carved().filter_map(|(bottom, size)| made_at(bottom, size))
}

/// The slot at `bottom`, which lies in a region, if it was made.
fn made_at(bottom: usize, size: usize) -> Option<SlotRef> {
    let layout = tls::layout();
    let head = head_below(layout.block_below(bottom + size), layout);
    // SAFETY: the place of a head in a region: one, or zeros. No reference to the whole head is made before it is one.
    let made = unsafe { &(*head).made };
    let is_made = made.load(Ordering::Acquire) == MADE;
    is_made.then_some(SlotRef(NonNull::new(head)?))
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

#[cfg(test)]
mod tests {
    use std::ptr;

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

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
