//! A thread control block of ours: made once, and put back to its beginning for each new owner.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Layout;
use crate::base::arch;

/// Thread ids of green threads: above the kernel's largest (2^22), below glibc's flag bits (2^30).
const FIRST_ID: u32 = 0x2000_0000;
const LAST_ID: u32 = 0x3fff_ffff;

static NEXT_ID: AtomicU32 = AtomicU32::new(FIRST_ID);

/// An element of a dtv, the table that leads from a module to its storage.
#[repr(C)]
struct DtvEntry {
    value: *mut c_void,
    to_free: *mut c_void,
}

/// The dtv's word for "not allocated yet": `__tls_get_addr` allocates at the next use.
const DTV_UNALLOCATED: usize = usize::MAX;

impl Layout {
    /// Where a block whose memory ends at `top` has its thread pointer.
    pub(crate) fn block_below(&self, top: usize) -> Block {
        Block((top - self.above) & !(self.align - 1))
    }
}

/// A thread control block, most often in a stack slot, by its address, which is also its `pthread_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(usize);

impl Block {
    /// Makes a block whose memory ends at `top`. `None` if glibc has no memory for the dtv.
    ///
    /// # Safety
    ///
    /// The [`Layout::block_size`] bytes below `top` are memory that nobody else uses and that is never unmapped, zeroed but
    /// for what a call for the same `top` wrote before it failed.
    pub(crate) unsafe fn create(layout: &Layout, top: usize) -> Option<Block> {
        let Block(address) = layout.block_below(top);
        let distance = address.wrapping_sub(layout.template_address);
        let template = layout.template_address..layout.template_address + layout.above;
        let words = address as *mut usize;
        for (index, &word) in layout.template.iter().enumerate() {
            let word = if template.contains(&word) {
                word.wrapping_add(distance)
            } else {
                word
            };
            // SAFETY: within the `above` bytes from `address`, which end at or below `top`.
            unsafe { *words.add(index) = word };
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        assert!(
            id <= LAST_ID,
            "a process has at most {} green thread slots",
            LAST_ID - FIRST_ID
        );
        // SAFETY: the offsets are those of glibc's fields in the block just written.
        unsafe {
            *((address + layout.tid) as *mut u32) = id;
            let list = address + layout.list;
            *(list as *mut [usize; 2]) = [list, list];
            // `cpu_id` of struct rseq: RSEQ_CPU_ID_UNINITIALIZED.
            if let Some(rseq) = layout.rseq {
                *(address.wrapping_add_signed(rseq + 4) as *mut i32) = -1;
            }
            // The dtv pointer, `header.dtv`.
            *words.add(1) = 0;
            if (layout.allocate_tls)(address as *mut c_void).is_null() {
                return None;
            }
            let resolver = layout.resolver;
            *(address.wrapping_add_signed(resolver.pointer) as *mut usize) =
                address + resolver.state;
        }
        Some(Block(address))
    }

    /// The calling thread's, be it a slot's or not.
    pub(crate) fn of_caller() -> Block {
        Block(arch::thread_pointer())
    }

    /// The thread pointer that selects this block.
    #[inline]
    pub(crate) fn address(self) -> usize {
        self.0
    }

    /// The id by which glibc's locks name the thread on this block.
    pub(crate) fn thread_id(self, layout: &Layout) -> i32 {
        // SAFETY: an `int` of the block, written as it was made and not again in this process.
        unsafe { ptr::read_volatile((self.0 + layout.tid) as *const i32) }
    }

    /// The first byte above the block.
    pub(crate) fn end(self, layout: &Layout) -> usize {
        self.0 + layout.above
    }

    /// The lowest byte the block uses.
    pub(crate) fn bottom(self, layout: &Layout) -> usize {
        self.0 - layout.below
    }

    /// Puts thread-local storage back to its initial image for the next owner.
    ///
    /// # Safety
    ///
    /// No thread runs on the block, and its last owner's destructors have run.
    pub(crate) unsafe fn reset(self, layout: &Layout) {
        for module in &layout.modules {
            let storage = (self.0 - module.below) as *mut u8;
            // SAFETY: the module's storage in this block, as `_dl_allocate_tls` placed it, and
            // the image it is initialised from.
            unsafe {
                ptr::copy_nonoverlapping(module.image, storage, module.image_size);
                ptr::write_bytes(
                    storage.add(module.image_size),
                    0,
                    module.size - module.image_size,
                );
            }
        }
        // SAFETY: the cancellation state is an `int` at this offset, in the template too.
        unsafe {
            let fresh = layout
                .template
                .as_ptr()
                .cast::<u8>()
                .add(layout.cancelhandling);
            *((self.0 + layout.cancelhandling) as *mut i32) = *fresh.cast();
        }
        // SAFETY: the word at offset 8 leads to the dtv; the element before the first counts them.
        unsafe {
            let dtv = *((self.0 + 8) as *const *mut DtvEntry);
            let count = (*dtv.sub(1)).value as usize;
            for module in 1..=count {
                let entry = &mut *dtv.add(module);
                if !entry.to_free.is_null() {
                    libc::free(entry.to_free);
                    entry.value = DTV_UNALLOCATED as *mut c_void;
                    entry.to_free = ptr::null_mut();
                }
            }
        }
    }
}
