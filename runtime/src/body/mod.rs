//! What a green thread is made of: address space, stack, thread-local storage, and what glibc and the kernel expect of a thread.
//!
//! **Belongs here** what a thread has before anybody runs it. It knows neither scheduler nor control block. **May use** `base`.
//! **Used by** `sched`, `runtime`, `look` and `hook`.
//!
//! | what | files |
//! |---|---|
//! | slots: what stands where in one, and their size classes | `slot` |
//! | the mappings that they are carved from, the guards below stacks | `region` |
//! | free slots, and which of them give memory back to the kernel (how soon, `sched/monitor` says) | `slot_pool` |
//! | whether code may run on stacks | `executable` |
//! | stacks that are not green threads' | `native_stack` |
//! | the thread control block: its layout (that of x86-64), how one is made, what runs first and last on it | `tls` |
//! | robust mutexes at a thread's end (called by `tls/exit`), restartable sequences, `setuid` | `robust`, `rseq`, `setxid` |

mod executable;
pub(crate) mod native_stack;
pub(crate) mod region;
pub(crate) mod robust;
pub(crate) mod rseq;
pub(crate) mod setxid;
pub(crate) mod slot;
pub(crate) mod slot_pool;
pub(crate) mod tls;

/// After a fork: the parent's slots are given up, and its workers do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    setxid::reset_after_fork();
    // SAFETY: no green thread exists and no other thread looks at the tables, by this function's contract.
    unsafe {
        slot_pool::reset_after_fork();
        native_stack::reset_after_fork();
    }
}
