//! The barrier: a number of arrivals under a lock, and a generation to wait on.
//!
//! The last of a generation resets the number, raises the generation and wakes the others. They need no lock to go on:
//! all they look at is that the generation is not theirs any more. The next generation's arrivals cannot mix
//! with this one's, because both changes are made under the lock.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::lock::Lock;
use crate::wait::futex;

/// See the module's page.
pub(crate) struct RawBarrier {
    pub(crate) arrived: Lock<usize>,
    pub(crate) generation: AtomicU32,
}

impl RawBarrier {
    /// Waits until `parties` have come; true for the last of them.
    pub(crate) fn wait(&self, parties: usize) -> bool {
        let mut arrived = self.arrived.lock();
        *arrived += 1;
        if *arrived >= parties {
            *arrived = 0;
            self.generation.fetch_add(1, Ordering::Release);
            drop(arrived);
            if parties > 1 {
                futex::wake(&self.generation, u32::MAX);
            }
            return true;
        }
        let mine = self.generation.load(Ordering::Relaxed);
        drop(arrived);
        while self.generation.load(Ordering::Acquire) == mine {
            futex::wait(&self.generation, mine, None);
        }
        false
    }
}
