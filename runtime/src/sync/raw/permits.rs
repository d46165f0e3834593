//! Permits: a word that counts the free ones, and a line of those who wait for one.
//!
//! The lowest bit of the word, AWAITED, says that somebody stands in line; **then no permit is free**, as a release hands
//! its permits to the line and only adds what is left over. So nobody overtakes: a newcomer finds no permit while
//! others wait. Whoever finds a permit takes it by one exchange, and whoever gives one back where nobody waits adds it by
//! one exchange.
//!
//! AWAITED is set and cleared under the line's lock. While it is set, nobody changes the word without that lock: to
//! take there is nothing, and who wants to add has seen it.

use crate::base::atomic::{AtomicU64, Ordering};
use crate::sync::raw::line::{self, Line, Outcome};
use crate::sync::raw::lock::Lock;
use crate::sync::raw::wait_limit::{Interrupted, WaitLimit};

const AWAITED: u64 = 1;
/// One permit.
pub(crate) const ONE: u64 = 2;

/// The word and the line; see the module's page.
pub(crate) struct RawPermits {
    pub(crate) word: AtomicU64,
    pub(crate) line: Lock<Line<()>>,
}

impl RawPermits {
    /// Permits that are free now.
    pub(crate) fn free(&self) -> u64 {
        self.word.load(Ordering::Relaxed) / ONE
    }

    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word >= ONE {
            match self
                .word
                .compare_exchange(word, word - ONE, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }

    #[inline]
    pub(crate) fn acquire(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        if self.try_acquire() {
            Ok(())
        } else {
            self.stand_in_line(limit)
        }
    }

    #[cold]
    fn stand_in_line(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        let line = self.line.lock();
        loop {
            if self.try_acquire() {
                return Ok(());
            }
            let announced =
                self.word
                    .compare_exchange(0, AWAITED, Ordering::Relaxed, Ordering::Relaxed);
            if matches!(announced, Ok(_) | Err(AWAITED)) {
                break;
            }
        }
        // The lock under which the permit was handed over orders what came before the release.
        match line::wait(&self.line, line, |line| line, None, limit) {
            Outcome::Served(_) => Ok(()),
            Outcome::CutShort(interrupted, _, line) => {
                if line.is_empty() {
                    self.word.store(0, Ordering::Relaxed);
                }
                Err(interrupted)
            }
        }
    }

    /// Adds `count` permits, unless more than `limit` were free then; tells whether it did. Those who wait get them
    /// first.
    #[inline]
    pub(crate) fn release(&self, count: u64, limit: u64) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & AWAITED != 0 {
                return self.hand_out(count, limit);
            }
            if word / ONE + count > limit {
                return false;
            }
            match self.word.compare_exchange(
                word,
                word + count * ONE,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
    }

    #[cold]
    fn hand_out(&self, mut count: u64, limit: u64) -> bool {
        let mut line = self.line.lock();
        if self.word.load(Ordering::Relaxed) & AWAITED == 0 {
            drop(line);
            return self.release(count, limit);
        }
        // None is free, so what is left over will not be more than this.
        if count > limit {
            return false;
        }
        let mut wake = None;
        while count > 0
            && let Some(handoff) = line.pop()
        {
            count -= 1;
            if let Some(earlier) = wake.replace(handoff.end()) {
                earlier.send();
            }
        }
        if line.is_empty() {
            self.word.store(count * ONE, Ordering::Release);
        }
        drop(line);
        if let Some(wake) = wake {
            wake.send();
        }
        true
    }
}
