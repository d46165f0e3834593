//! The mutex's word.
//!
//! | state | meaning | goes to, and by whom |
//! |---|---|---|
//! | FREE | nobody holds it | LOCKED by a newcomer, CONTENDED by a waiter |
//! | LOCKED | held, nobody waits | FREE by unlock, CONTENDED or STARVING by a waiter |
//! | CONTENDED | held, somebody may wait | FREE by unlock, which wakes one; STARVING by a waiter |
//! | STARVING | held, somebody waits for too long | HANDED by unlock, which wakes one |
//! | HANDED | free for waiters, not for newcomers | CONTENDED by the waiter that takes it |
//!
//! A newcomer may take a FREE mutex though others wait: the holder can lock again at once, and a lock that is held for
//! an instant costs no switch. Green threads of one worker would overtake each other so for ever: one that locks,
//! parks with the lock held, unlocks and locks again never lets the one in that its unlock has woken. So whoever has
//! waited for [`STARVATION`] without success marks the word, and the next unlock leaves the mutex to the waiters.
//!
//! A waiter marks the word before it waits, and takes the mutex as CONTENDED because others may be left. HANDED is
//! never overlooked: the one who marked STARVING is still there. It is queued, then the unlock wakes it or one ahead of
//! it; or it is not yet, then it finds the word changed. A waiter whose wait is cut short takes back what it has asked for: it
//! makes STARVING to CONTENDED, and HANDED to FREE, and wakes the next one then, who may wait for no more than HANDED. Others
//! that starve mark the word again. (Whoever is cut short has used up no wake-up, so no other is owed.)
//!
//! | state | goes to, by a waiter that gives up |
//! |---|---|
//! | STARVING | CONTENDED |
//! | HANDED | FREE, and one is woken |

use std::time::Duration;

use crate::base::atomic::{AtomicU32, Ordering};
use crate::base::deadline::Deadline;
use crate::sync::raw::spin;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

pub(crate) const FREE: u32 = 0;
const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;
const STARVING: u32 = 3;
const HANDED: u32 = 4;

/// After so long others may not overtake a waiter any more; the value is that of Go's `sync.Mutex`.
const STARVATION: Duration = Duration::from_millis(1);

/// The word; see the module's page.
pub(crate) struct RawMutex(pub(crate) AtomicU32);

impl RawMutex {
    #[inline]
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            let locked = self.lock_contended(WaitLimit::Endless);
            debug_assert!(locked.is_ok(), "an endless wait is not cut short");
        }
    }

    /// As [`lock`](Self::lock), for as long as `limit` says. With an error, the caller does not hold it.
    #[inline]
    pub(crate) fn lock_within(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        if self.try_lock() {
            Ok(())
        } else {
            self.lock_contended(limit)
        }
    }

    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// By the holder.
    #[inline]
    pub(crate) fn unlock(&self) {
        let unlocked = self
            .0
            .compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed);
        if let Err(state) = unlocked {
            self.unlock_contended(state);
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    #[cold]
    fn lock_contended(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        // With others before it, a newcomer waits without ado.
        spin::while_held(|| self.0.load(Ordering::Relaxed) == LOCKED);
        if self.try_lock() {
            return Ok(());
        }
        let mut mark = CONTENDED;
        let mut waits_until = None;
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let next = match state {
                FREE => CONTENDED,
                HANDED if waits_until.is_some() => CONTENDED,
                LOCKED | CONTENDED if state < mark => mark,
                _ => {
                    let until = *waits_until.get_or_insert_with(|| Deadline::after(STARVATION));
                    if let Err(interrupted) = limit.wait(&self.0, state) {
                        self.give_up();
                        return Err(interrupted);
                    }
                    if until.has_passed() {
                        mark = STARVING;
                    }
                    state = self.0.load(Ordering::Relaxed);
                    continue;
                }
            };
            match self
                .0
                .compare_exchange(state, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(FREE | HANDED) => return Ok(()),
                Ok(_) => state = next,
                Err(changed) => state = changed,
            }
        }
    }

    #[cold]
    fn unlock_contended(&self, mut state: u32) {
        loop {
            let next = if state == STARVING { HANDED } else { FREE };
            match self
                .0
                .compare_exchange(state, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(changed) => state = changed,
            }
        }
        futex::wake(&self.0, 1);
    }

    /// By a waiter whose wait was cut short, and which may have marked the word.
    #[cold]
    fn give_up(&self) {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let next = match state {
                STARVING => CONTENDED,
                HANDED => FREE,
                _ => return,
            };
            match self
                .0
                .compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(HANDED) => {
                    futex::wake(&self.0, 1);
                    return;
                }
                Ok(_) => return,
                Err(changed) => state = changed,
            }
        }
    }
}
