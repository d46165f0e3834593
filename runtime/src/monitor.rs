//! The monitor: an OS thread that sees to what no worker can see to itself.
//!
//! - A worker whose green thread computes for long cannot run the one in its run-next slot, nor wake
//!   another worker for it. The monitor finds that the worker takes no turns, declares the slot free to
//!   be stolen, and wakes a sleeper.
//! - Stack memory of slots that nobody uses any more goes back to the kernel.
//!
//! It looks every few milliseconds while some worker is awake. Once all have slept for a while it waits
//! on the [`Bell`], which the next worker that wakes rings: an idle process uses no CPU.

use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

use crate::scheduler::Shared;
use crate::slot;

/// The time from one look to the next.
const PERIOD: Duration = Duration::from_millis(5);

/// Looks between two returns of unused stack memory.
const TRIM_LOOKS: u32 = 200;

/// Where the monitor waits while all workers sleep.
pub(crate) struct Bell(AtomicU32);

const LISTENING: u32 = 1;
const RUNG: u32 = 0;

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell(AtomicU32::new(RUNG))
    }

    /// Wakes the monitor if it waits.
    #[inline]
    pub(crate) fn ring(&self) {
        if self.0.load(Ordering::SeqCst) == LISTENING
            && self.0.swap(RUNG, Ordering::SeqCst) == LISTENING
        {
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }

    /// Announces a wait; the caller looks once more and then calls `wait`.
    fn listen(&self) {
        self.0.store(LISTENING, Ordering::SeqCst);
    }

    fn wait(&self) {
        while self.0.load(Ordering::SeqCst) == LISTENING {
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, LISTENING, None);
        }
    }

    /// Lets `period` pass, or less.
    fn pause(&self, period: Duration) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: period.subsec_nanos().into(),
        };
        let _ = futex::wait(&self.0, futex::Flags::PRIVATE, RUNG, Some(&timeout));
    }
}

/// The body of the monitor's OS thread.
pub(crate) fn main(shared: Weak<Shared>) {
    let mut turns = Vec::new();
    let mut looks = 0;
    let mut quiet = 0;
    while let Some(shared) = shared.upgrade().filter(|shared| !shared.is_over()) {
        look(&shared, &mut turns);
        looks += 1;
        if looks >= TRIM_LOOKS {
            looks = 0;
            slot::trim();
        }
        quiet = if shared.all_sleep() { quiet + 1 } else { 0 };
        if quiet <= 2 * TRIM_LOOKS {
            shared.bell.pause(PERIOD);
            continue;
        }
        shared.bell.listen();
        if shared.all_sleep() && !shared.is_over() {
            shared.bell.wait();
        }
        shared.bell.ring();
        quiet = 0;
    }
}

/// Finds workers that have taken no turn since the last look though their run-next slot is full.
fn look(shared: &Shared, turns: &mut Vec<u32>) {
    turns.resize(shared.shards.len(), 0);
    for (shard, before) in shared.shards.iter().zip(turns) {
        let now = shard.turns.load(Ordering::Relaxed);
        let stuck = now == *before && shard.has_next();
        *before = now;
        shard.stuck.store(stuck, Ordering::SeqCst);
        if stuck {
            shared.notify();
        }
    }
}
