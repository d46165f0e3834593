//! A lock for critical sections of a few instructions, or of one short system call.
//!
//! It guards the runtime's own tables. It never waits through a symbol that a shim could replace
//! and uses no thread-local storage, so it may be taken on a worker between two green threads.
//! Whoever holds it neither parks nor allocates nor calls user code. A thread that waits for it spins for a moment and
//! then sleeps: see [`word`].

mod word;

use lock_api::{GuardSend, RawMutex};

use crate::base::atomic::AtomicU32;
use word::Word;

/// The lock word.
pub(crate) struct RawSpin(Word);

// SAFETY: one successful exchange from FREE gives the lock to one thread, with acquire order, and its unlock makes the word
// FREE with release order.
unsafe impl RawMutex for RawSpin {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawSpin = RawSpin(Word(AtomicU32::new(word::FREE)));

    type Guard = GuardSend;

    #[inline]
    fn lock(&self) -> GuardSend {
        self.0.lock();
        GuardSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardSend> {
        self.0.try_lock().then_some(GuardSend::new())
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardSend) {
        self.0.unlock();
    }

    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// Data behind a [`RawSpin`].
pub(crate) type SpinLock<T> = lock_api::Mutex<RawSpin, T>;

/// Such data while the lock is held.
pub(crate) type SpinGuard<'a, T> = lock_api::MutexGuard<'a, RawSpin, T>;

/// Changes what a lock guards whether or not it is held, and leaves it free.
///
/// # Safety
///
/// No other thread uses the lock; whoever may hold it does not exist any more.
pub(crate) unsafe fn seize<T>(lock: &SpinLock<T>, change: impl FnOnce(&mut T)) {
    // SAFETY: no other thread uses the lock, by this function's contract, so the access is exclusive.
    unsafe { change(&mut *lock.data_ptr()) };
    // SAFETY: the reference to the raw lock is used to make the word free only, and no guard of it is alive.
    unsafe { lock.raw() }.0.unlock();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::SpinLock;
    use crate::base::os_thread;

    /// A waiter that went on running could keep the holder off its processor for ever, if it has the higher priority.
    #[test]
    fn a_waiter_sleeps_while_the_holder_stays() {
        let lock = Arc::new(SpinLock::new(0));
        let (numbers, number) = mpsc::channel();
        let held = lock.lock();
        let waiter = {
            let lock = lock.clone();
            thread::spawn(move || {
                numbers.send(rustix::thread::gettid().as_raw_pid()).unwrap();
                *lock.lock() += 1;
            })
        };
        let number = number.recv().unwrap();
        let start = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 100 {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the waiter keeps running"
            );
            let sleeps = os_thread::state(number) == Some('S');
            in_a_row = if sleeps { in_a_row + 1 } else { 0 };
        }
        drop(held);
        waiter.join().unwrap();
        assert_eq!(*lock.lock(), 1);
    }
}
