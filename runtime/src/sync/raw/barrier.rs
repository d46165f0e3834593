//! The barrier: a number of arrivals under a lock, and a generation to wait on.
//!
//! The last of a generation resets the number, raises the generation and wakes the others. They need no lock to go on:
//! all they look at is that the generation is not theirs any more. The next generation's arrivals cannot mix
//! with this one's, because both changes are made under the lock. Whoever gives up takes its arrival back under the lock, unless
//! its generation is over by then.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::sync::raw::lock::Lock;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

/// See the module's page.
pub(crate) struct RawBarrier {
    pub(crate) arrived: Lock<usize>,
    pub(crate) generation: AtomicU32,
}

impl RawBarrier {
    /// Waits until `parties` have come, for as long as `limit` says; true for the last of them. With an error, the caller counts
    /// as not having come.
    pub(crate) fn wait(&self, parties: usize, limit: WaitLimit) -> Result<bool, Interrupted> {
        let mut arrived = self.arrived.lock();
        *arrived += 1;
        if *arrived >= parties {
            *arrived = 0;
            self.generation.fetch_add(1, Ordering::Release);
            drop(arrived);
            if parties > 1 {
                futex::wake(&self.generation, u32::MAX);
            }
            return Ok(true);
        }
        let mine = self.generation.load(Ordering::Relaxed);
        drop(arrived);
        while self.generation.load(Ordering::Acquire) == mine {
            if let Err(interrupted) = limit.wait(&self.generation, mine) {
                let mut arrived = self.arrived.lock();
                if self.generation.load(Ordering::Relaxed) == mine {
                    *arrived -= 1;
                    return Err(interrupted);
                }
            }
        }
        Ok(false)
    }
}
