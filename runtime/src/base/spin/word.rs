//! The word of a lock for short critical sections.
//!
//! | state | meaning | goes to, and by whom |
//! |---|---|---|
//! | FREE | nobody holds it | HELD by a newcomer, CONTENDED by a thread that has waited |
//! | HELD | held, and nobody sleeps | FREE by unlock, CONTENDED by a thread that is going to sleep |
//! | CONTENDED | held, and somebody may sleep | FREE by unlock, which wakes one |
//!
//! A waiter looks at the word for about as long as a critical section takes. A holder that is still there then has probably
//! lost its processor, and on a machine where the waiter has the higher priority (`SCHED_FIFO`, say) it does not get it back
//! while the waiter runs. So the waiter sleeps in the kernel. Giving way by `sched_yield` would not do: it lets threads
//! of the same or a higher priority run only.
//!
//! **No wake-up is lost.** A waiter makes the word CONTENDED before it sleeps, and the kernel lets it sleep only while the word
//! still is. It takes the lock as CONTENDED too, because others may be asleep; so whoever makes a word FREE on which
//! somebody sleeps has seen CONTENDED, and wakes one.
//!
//! The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::base::kernel_futex;

pub(crate) const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// Looks at the word before the waiter sleeps: some microseconds, where a critical section takes well under one.
const LOOKS: u32 = if cfg!(test) { 1 } else { 100 };

/// The word; see the module's page.
pub(crate) struct Word(pub(crate) AtomicU32);

impl Word {
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    /// By the holder. Afterwards the lock may be gone.
    #[inline]
    pub(crate) fn unlock(&self) {
        let address: *const AtomicU32 = &self.0;
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            kernel_futex::wake(address, 1);
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..LOOKS {
            std::hint::spin_loop();
            if self.0.load(Ordering::Relaxed) == FREE && self.try_lock() {
                return;
            }
        }
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            kernel_futex::wait(&self.0, CONTENDED);
        }
    }
}
