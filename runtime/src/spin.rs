//! A lock for critical sections of a few instructions.
//!
//! It guards the runtime's own tables. It never waits through a symbol that a shim could replace
//! and uses no thread-local storage, so it may be taken on a worker between two green threads.
//! Whoever holds it neither parks nor allocates nor calls user code.

use std::sync::atomic::{AtomicBool, Ordering};

use lock_api::{GuardSend, RawMutex};

/// Attempts before the holder is taken to have lost its processor.
const SPINS: u32 = 100;

/// The lock word.
pub(crate) struct RawSpin(AtomicBool);

// SAFETY: `locked` goes from false to true by one successful exchange only, with acquire order,
// and back with release order.
unsafe impl RawMutex for RawSpin {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawSpin = RawSpin(AtomicBool::new(false));

    type Guard = GuardSend;

    #[inline]
    fn lock(&self) -> GuardSend {
        if self.0.swap(true, Ordering::Acquire) {
            self.lock_contended();
        }
        GuardSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardSend> {
        (!self.0.swap(true, Ordering::Acquire)).then_some(GuardSend::new())
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardSend) {
        self.0.store(false, Ordering::Release);
    }

    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RawSpin {
    #[cold]
    fn lock_contended(&self) {
        let mut spins = 0;
        loop {
            while self.0.load(Ordering::Relaxed) {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    rustix::thread::sched_yield();
                }
            }
            if !self.0.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }
}

/// Data behind a [`RawSpin`].
pub(crate) type SpinLock<T> = lock_api::Mutex<RawSpin, T>;

/// Changes what a lock guards whether or not it is held, and leaves it free.
///
/// # Safety
///
/// No other thread uses the lock; whoever may hold it does not exist any more.
pub(crate) unsafe fn seize<T>(lock: &SpinLock<T>, change: impl FnOnce(&mut T)) {
    // SAFETY: the caller's promise makes the access exclusive.
    unsafe { change(&mut *lock.data_ptr()) };
    // SAFETY: only touches the word.
    unsafe { lock.raw() }.0.store(false, Ordering::Release);
}
