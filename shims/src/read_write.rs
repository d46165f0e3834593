//! The protocol of the pthread read-write lock.
//!
//! All is in one word: the number of readers, whether a writer has the lock, whether readers wait, whether
//! writers wait. Both wait on this word while it has the value in which they could not have the lock and which
//! says that one of their sort waits; a bit of the futex bitset tells the sorts apart. Readers are kept out
//! by a writer that has the lock; if the lock's kind prefers writers, also by one that waits while others read.
//!
//! Who makes the lock free clears both marks in the same exchange and wakes all readers, if they were
//! marked, and one writer, likewise. If the kind prefers writers and one waits, the mark of the readers stays and the
//! writer alone is woken.
//!
//! **Exclusion.** A writer comes in from "no reader, no writer" only, a reader from "no writer" only, by one
//! exchange.
//! **No wake-up is lost.** A mark is set before its waiter waits, and compared with queueing: whoever clears it
//! wakes. All readers are woken, so none is left without mark. Of the writers one is woken; from then on
//! it answers for the others: it sets the mark again when it acquires as well as before it waits again, and
//! if its time is over it passes the wake-up on. If nobody is there to take the wake-up that was meant for a
//! writer, the readers left waiting for it are woken.
//!
//! After the exchange that makes the lock free, the lock may be gone. Waking needs its address only.

use std::ffi::c_int;

use crate::atomic::{AtomicI32, AtomicU32, Ordering};
use crate::word::{self, Cancellation, Until, Wait};

/// A writer has the lock.
const WRITER: u32 = 1 << 31;
/// Readers may wait.
const READERS_WAIT: u32 = 1 << 30;
/// Writers may wait.
const WRITERS_WAIT: u32 = 1 << 29;
/// The number of readers; glibc counts as far.
const READERS: u32 = WRITERS_WAIT - 1;

/// The bitsets of the two sorts of waiters.
const READER_BIT: u32 = 1;
const WRITER_BIT: u32 = 2;

/// A lock by its words.
#[derive(Clone, Copy)]
pub(crate) struct ReadWrite<'a> {
    pub(crate) state: &'a AtomicU32,
    /// The thread id of the writer that has the lock; 0 for none. Written by that writer alone.
    pub(crate) writer: &'a AtomicI32,
    /// Whether a writer that waits keeps readers out.
    pub(crate) prefers_writers: bool,
}

impl ReadWrite<'_> {
    fn is_mine(&self) -> bool {
        self.writer.load(Ordering::Relaxed) == word::thread_id()
    }

    /// Whether a reader must wait.
    fn bars_readers(&self, state: u32) -> bool {
        let is_read = state & READERS != 0;
        state & WRITER != 0 || is_read && state & WRITERS_WAIT != 0 && self.prefers_writers
    }

    /// Changes the word, or gives what it is by now.
    fn change(&self, state: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        self.state
            .compare_exchange_weak(state, new, order, Ordering::Relaxed)
    }

    pub(crate) fn try_read(&self) -> c_int {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if self.bars_readers(state) {
                return libc::EBUSY;
            }
            if state & READERS == READERS {
                return libc::EAGAIN;
            }
            match self.change(state, state + 1, Ordering::Acquire) {
                Ok(_) => return 0,
                Err(current) => state = current,
            }
        }
    }

    pub(crate) fn read(&self, until: Option<Until>) -> c_int {
        if self.is_mine() {
            return libc::EDEADLK;
        }
        loop {
            match self.try_read() {
                libc::EBUSY => {}
                outcome => return outcome,
            }
            let bars = |state| self.bars_readers(state);
            if self.wait(READERS_WAIT, READER_BIT, bars, until) == Wait::TimedOut {
                return libc::ETIMEDOUT;
            }
        }
    }

    /// `marks` are set on success, too.
    pub(crate) fn try_write(&self, marks: u32) -> c_int {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & (WRITER | READERS) != 0 {
                return libc::EBUSY;
            }
            match self.change(state, state | WRITER | marks, Ordering::Acquire) {
                Ok(_) => break,
                Err(current) => state = current,
            }
        }
        self.writer.store(word::thread_id(), Ordering::Relaxed);
        0
    }

    pub(crate) fn write(&self, until: Option<Until>) -> c_int {
        if self.is_mine() {
            return libc::EDEADLK;
        }
        let mut marks = 0;
        while self.try_write(marks) != 0 {
            let bars = |state| state & (WRITER | READERS) != 0;
            if self.wait(WRITERS_WAIT, WRITER_BIT, bars, until) == Wait::TimedOut {
                self.give_up_writing();
                return libc::ETIMEDOUT;
            }
            // Others may wait, and this thread may have been woken in their place.
            marks = WRITERS_WAIT;
        }
        0
    }

    /// Sets the mark and waits, if the lock is still such that the caller has to.
    fn wait(&self, mark: u32, bit: u32, bars: impl Fn(u32) -> bool, until: Option<Until>) -> Wait {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if !bars(state) {
                return Wait::Changed;
            }
            match self.change(state, state | mark, Ordering::Relaxed) {
                Ok(_) => break,
                Err(current) => state = current,
            }
        }
        word::wait(self.state, state | mark, bit, until, Cancellation::Ignored)
    }

    /// A writer's time is over. If no other waits, nobody is kept out for writers any more.
    fn give_up_writing(&self) {
        let address = word::address(self.state);
        if word::wake(address, 1, WRITER_BIT) != 0 {
            return;
        }
        let before = self
            .state
            .fetch_and(!(READERS_WAIT | WRITERS_WAIT), Ordering::Relaxed);
        if before & WRITERS_WAIT != 0 {
            // It may have come after the look above.
            word::wake(address, 1, WRITER_BIT);
        }
        if before & READERS_WAIT != 0 {
            word::wake(address, u32::MAX, READER_BIT);
        }
    }

    pub(crate) fn unlock(&self) -> c_int {
        let address = word::address(self.state);
        let mut state = self.state.load(Ordering::Relaxed);
        if state & WRITER != 0 {
            if !self.is_mine() {
                return libc::EPERM;
            }
            self.writer.store(0, Ordering::Relaxed);
        } else if state & READERS == 0 {
            return libc::EPERM;
        }
        let wakes_writer_alone = loop {
            let held = if state & WRITER != 0 { WRITER } else { 1 };
            let mut left = state - held;
            let is_free = left & READERS == 0;
            let alone = self.prefers_writers && state & WRITERS_WAIT != 0;
            if is_free {
                left = if alone { state & READERS_WAIT } else { 0 };
            }
            match self.change(state, left, Ordering::Release) {
                Ok(_) if !is_free => return 0,
                Ok(_) => break alone,
                Err(current) => state = current,
            }
        };
        // From here on the lock may be gone.
        if wakes_writer_alone && word::wake(address, 1, WRITER_BIT) != 0 {
            return 0;
        }
        if state & READERS_WAIT != 0 {
            word::wake(address, u32::MAX, READER_BIT);
        }
        if state & WRITERS_WAIT != 0 && !wakes_writer_alone {
            word::wake(address, 1, WRITER_BIT);
        }
        0
    }
}
