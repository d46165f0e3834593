//! Control blocks in their slots: how one is made, found by an address, and how all of them are listed.
//!
//! `body` makes the slots and knows no more of a control block than its size. A control block is made with its slot, and used by
//! one green thread after the other.

use std::io;

use crate::body::slot::{self, CONTROL_BLOCK, CONTROL_BLOCK_ALIGN, SlotRef};
use crate::body::slot_pool;
use crate::sched::green::{Green, GreenRef};

// Where these differ, the compiler tells what the constants should be.
const _: [u8; CONTROL_BLOCK] = [0; size_of::<Green>()];
const _: [u8; CONTROL_BLOCK_ALIGN] = [0; align_of::<Green>()];

/// Makes the control block of a slot.
///
/// # Safety
///
/// The slot is new, and the caller's.
unsafe fn fill(slot: SlotRef) {
    let green = slot.control_block().cast::<Green>();
    // SAFETY: as large and as aligned as a control block, and nobody else's.
    unsafe { green.write(Green::new(slot)) };
}

/// The control block of a slot.
///
/// # Safety
///
/// The slot was made with [`fill`], as all are that the pool gives or finds.
#[inline]
unsafe fn control_block(slot: SlotRef) -> GreenRef {
    // SAFETY: `fill` has put a control block there.
    unsafe { GreenRef::new(slot.control_block().cast()) }
}

impl GreenRef {
    /// A control block in a slot with a stack of at least `stack_size` bytes, ready for a new green thread.
    pub(super) fn acquire(stack_size: usize) -> io::Result<GreenRef> {
        // SAFETY: a control block is never made into anything else.
        let slot = unsafe { slot_pool::acquire(stack_size, fill) }?;
        // SAFETY: nobody else makes slots.
        Ok(unsafe { control_block(slot) })
    }

    /// The control block in whose slot `address` lies. Safe in signal handlers. See [`slot::find`].
    pub(crate) fn find(address: usize) -> Option<GreenRef> {
        // SAFETY: nobody else makes slots.
        slot::find(address).map(|slot| unsafe { control_block(slot) })
    }

    /// Every control block there is, in use or not. See [`slot::all`].
    pub(crate) fn all() -> impl Iterator<Item = GreenRef> {
        // SAFETY: nobody else makes slots.
        slot::all().map(|slot| unsafe { control_block(slot) })
    }
}
