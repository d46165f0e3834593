//! What dumpers wait for: the answers to their [probes](crate::sched::probe), and their turn to ask.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::deadline::Deadline;
use crate::sched::probe::Answered;
use crate::wait::futex;

/// Where the dumper waits for a number of answers, or of probes sent back.
pub(super) struct Gate(AtomicU32);

impl Answered for Gate {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
        futex::wake(&self.0, 1);
    }
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate(AtomicU32::new(0))
    }

    /// Waits until so many have come, or until the deadline; gives how many there are.
    pub(super) fn wait(&self, answers: u32, deadline: Deadline) -> u32 {
        loop {
            let seen = self.0.load(Ordering::Acquire);
            if seen >= answers || deadline.has_passed() {
                return seen;
            }
            futex::wait(&self.0, seen, Some(deadline));
        }
    }
}

/// One dumper's turn to probe: a control block holds one probe at a time. A lock of three states, as in
/// [`sync`](crate::sync).
pub(super) struct DumpLock(());

static LOCK: AtomicU32 = AtomicU32::new(FREE);

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

impl DumpLock {
    /// Waits for it; `None` if the deadline comes first.
    pub(super) fn take(deadline: Deadline) -> Option<DumpLock> {
        let free = LOCK.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if free.is_err() {
            while LOCK.swap(CONTENDED, Ordering::Acquire) != FREE {
                if deadline.has_passed() {
                    return None;
                }
                futex::wait(&LOCK, CONTENDED, Some(deadline));
            }
        }
        Some(DumpLock(()))
    }
}

impl Drop for DumpLock {
    fn drop(&mut self) {
        if LOCK.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake(&LOCK, 1);
        }
    }
}

/// After a fork: whoever held the turn does not exist here.
pub(crate) fn reset_after_fork() {
    LOCK.store(FREE, Ordering::Relaxed);
}
