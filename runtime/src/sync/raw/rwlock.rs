//! The readers-writer lock: a word, and a gate before it.
//!
//! The word counts readers and has three flags:
//!
//! | flag | meaning | set by | cleared by |
//! |---|---|---|---|
//! | WRITER | held by a writer | the writer | its unlock, its downgrade |
//! | WAITING | the holder of the gate waits for the word | that holder | that holder, a writer's unlock |
//! | CLOSED | newcomers go to the gate | that holder | that holder |
//!
//! Whoever finds the word open takes it by one exchange. All others go through the gate, a mutex, and only its holder
//! waits for the word: so each unlock wakes one at most, those before the gate stand in one line whatever they want,
//! and the gate's own remedy against starvation serves readers and writers alike.
//!
//! A writer that waits for readers closes the word at once: no further reader gets in, and the last one hands the lock
//! over. Whoever waits for a writer leaves the word open, so that a writer that comes again and again needs no switch
//! each time, and closes it after [`STARVATION`].
//!
//! A wait that is cut short, at the gate or for the word, leaves both as if it had not been: the flags belong to the holder of
//! the gate, who clears them.
//!
//! A wake-up is not lost: the flags are set in the word on which the holder of the gate then waits, and an unlock sees
//! WAITING in what it replaces, or changes the word before the wait compares it.

use std::time::Duration;

use crate::base::atomic::{AtomicU32, Ordering};
use crate::base::deadline::Deadline;
use crate::sync::raw::lock::{Lock, lock_within};
use crate::sync::raw::spin;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};
use crate::wait::futex;

const WRITER: u32 = 1 << 31;
const WAITING: u32 = 1 << 30;
const CLOSED: u32 = 1 << 29;
const READERS: u32 = CLOSED - 1;

/// After so long others may not overtake a waiter any more; as for the mutex.
const STARVATION: Duration = Duration::from_millis(1);

/// The word and its gate; see the module's page.
pub(crate) struct RawRwLock {
    pub(crate) word: AtomicU32,
    pub(crate) gate: Lock<()>,
}

impl RawRwLock {
    #[inline]
    pub(crate) fn read(&self) {
        let locked = self.read_within(WaitLimit::Endless);
        debug_assert!(locked.is_ok(), "an endless wait is not cut short");
    }

    /// As [`read`](Self::read), for as long as `limit` says.
    #[inline]
    pub(crate) fn read_within(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        if self.try_read() {
            return Ok(());
        }
        self.enter(limit, |word| (word & WRITER == 0).then(|| one_more(word)))
    }

    #[inline]
    pub(crate) fn try_read(&self) -> bool {
        self.update(|word| (word & (WRITER | CLOSED) == 0).then(|| one_more(word)))
    }

    #[inline]
    pub(crate) fn write(&self) {
        let locked = self.write_within(WaitLimit::Endless);
        debug_assert!(locked.is_ok(), "an endless wait is not cut short");
    }

    /// As [`write`](Self::write), for as long as `limit` says.
    #[inline]
    pub(crate) fn write_within(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        if self.try_write() {
            return Ok(());
        }
        self.enter(limit, |word| {
            (word & (WRITER | READERS) == 0).then_some(word | WRITER)
        })
    }

    #[inline]
    pub(crate) fn try_write(&self) -> bool {
        self.update(|word| (word & !WAITING == 0).then_some(word | WRITER))
    }

    /// By a reader.
    #[inline]
    pub(crate) fn unlock_shared(&self) {
        let before = self.word.fetch_sub(1, Ordering::Release);
        if before & READERS == 1 && before & WAITING != 0 {
            futex::wake(&self.word, 1);
        }
    }

    /// By the writer.
    #[inline]
    pub(crate) fn unlock_exclusive(&self) {
        let before = self.word.fetch_and(!(WRITER | WAITING), Ordering::Release);
        if before & WAITING != 0 {
            futex::wake(&self.word, 1);
        }
    }

    /// By the writer, which is a reader from then on.
    pub(crate) fn downgrade(&self) {
        // The flag goes, and one reader comes: from 1 << 31 to 1.
        let before = self.word.fetch_sub(WRITER - 1, Ordering::Release);
        if before & WAITING != 0 {
            futex::wake(&self.word, 1);
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.word.load(Ordering::Relaxed) & (WRITER | READERS) != 0
    }

    pub(crate) fn is_locked_exclusive(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WRITER != 0
    }

    #[inline]
    fn update(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Some(next) = change(word) {
            match self
                .word
                .compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }

    /// Through the gate: waits until `take` makes something of the word.
    #[cold]
    fn enter(
        &self,
        limit: WaitLimit,
        take: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), Interrupted> {
        // With others before it, a newcomer waits without ado.
        spin::while_held(|| self.word.load(Ordering::Relaxed) == WRITER);
        let gate = lock_within(&self.gate, limit)?;
        let mut waits_until = None;
        let mut closed = 0;
        while !self.update(|word| take(word).map(|next| next & !(WAITING | CLOSED))) {
            let mut flags = WAITING | closed;
            let word = self.word.load(Ordering::Relaxed);
            if word & READERS != 0 {
                flags |= CLOSED;
            }
            // Only if it still cannot be taken; the holder may have left in between.
            if take(word).is_some()
                || word & flags != flags
                    && self
                        .word
                        .compare_exchange(word, word | flags, Ordering::Relaxed, Ordering::Relaxed)
                        .is_err()
            {
                continue;
            }
            let until = *waits_until.get_or_insert_with(|| Deadline::after(STARVATION));
            if let Err(interrupted) = limit.wait(&self.word, word | flags) {
                // Whoever comes to the gate next sets what it needs.
                self.word.fetch_and(!(WAITING | CLOSED), Ordering::Relaxed);
                return Err(interrupted);
            }
            if until.has_passed() {
                closed = CLOSED;
            }
        }
        drop(gate);
        Ok(())
    }
}

fn one_more(word: u32) -> u32 {
    assert!(
        word & READERS < READERS,
        "too many readers hold a lock at once"
    );
    word + 1
}
