//! Robust mutexes that a green thread holds as it ends.
//!
//! glibc keeps the robust mutexes that a thread holds in a list in its control block. When a kernel thread ends, the kernel
//! goes through its list, marks each mutex as one whose owner is dead, and wakes one waiter. It does not know the
//! lists of green threads; so at their end we do the same.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex::{self, Flags};

use crate::base::arch;

/// Where the head of the list stands in a control block.
#[derive(Clone, Copy)]
pub(crate) struct RobustMutexes {
    offset: usize,
}

/// `struct robust_list_head` of the kernel.
#[repr(C)]
struct List {
    /// The first link, or the head itself. Bit 0 marks a mutex that inherits priorities.
    first: usize,
    /// From a link to its lock word.
    lock_offset: isize,
    pending: usize,
}

/// The word of a robust mutex: its owner's id and two flags, as the kernel has it.
const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;

/// The kernel's limit of what it looks at.
const MOST: usize = 2048;

impl RobustMutexes {
    /// As glibc has told the kernel for the calling OS thread, whose control block has `size` bytes; `None` if it has not.
    pub(crate) fn detect(size: usize) -> Option<RobustMutexes> {
        let (mut head, mut head_size) = (0_usize, 0_usize);
        let (head_place, size_place) = (&raw mut head as usize, &raw mut head_size as usize);
        // SAFETY: the results are ours; 0 is the calling thread.
        let error = unsafe {
            arch::system_call(
                libc::SYS_get_robust_list,
                [0, head_place, size_place, 0, 0, 0],
            )
        };
        let offset = head.wrapping_sub(arch::thread_pointer());
        let fits = offset < size && size_of::<List>() <= size - offset;
        (error == 0 && fits && head_size == size_of::<List>()).then_some(RobustMutexes { offset })
    }

    /// Marks the mutexes that the calling thread with this `id` still holds, and wakes one waiter of each. All wait in the
    /// kernel.
    ///
    /// # Safety
    ///
    /// Runs on a green thread's own block, after all other code of that thread.
    pub(crate) unsafe fn abandon(self, id: u32) {
        let head = arch::thread_pointer() + self.offset;
        let list = head as *mut List;
        // SAFETY: the calling thread's own list, of mutexes that glibc has taken in and not yet taken out.
        let (mut link, lock_offset) = unsafe { ((*list).first & !1, (*list).lock_offset) };
        if link == head {
            return;
        }
        for _ in 0..MOST {
            if link == head {
                break;
            }
            let lock = link.wrapping_add_signed(lock_offset) as *mut u32;
            // SAFETY: a link of the calling thread's own list is in a mutex that it holds. The next link is read while
            // the mutex is still this thread's.
            unsafe {
                link = *(link as *const usize) & !1;
                abandon_one(AtomicU32::from_ptr(lock), id);
            }
        }
        // SAFETY: the list is empty now; the word before its head points to the last link.
        unsafe {
            (*list).first = head;
            (*list).pending = 0;
            *(head as *mut usize).sub(1) = head;
        }
    }
}

fn abandon_one(lock: &AtomicU32, id: u32) {
    let before = lock.fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
        (word & !(WAITERS | OWNER_DIED) == id).then_some(word & WAITERS | OWNER_DIED)
    });
    if before.is_ok_and(|word| word & WAITERS != 0) {
        // glibc waits for robust mutexes as if they were shared with other processes.
        let _ = futex::wake(lock, Flags::empty(), 1);
    }
}
