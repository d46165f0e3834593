//! What can wake no green thread: OS threads that surely are at rest, and signals whose handlers are known.
//!
//! The deadlock report compares the counts with what the kernel tells of the process; see `look/deadlock.rs`.

use std::sync::atomic::{AtomicU64, Ordering};

/// In a word of counts: one thread that is counted now, and one that ever was.
const PRESENT: u64 = 1;
const EVER: u64 = 1 << 32;

/// OS threads of the runtime's own that wake nobody by themselves: the lower half counts those that exist, the upper half
/// all that ever did.
static OWN_THREADS: AtomicU64 = AtomicU64::new(0);

/// OS threads that wait without deadline on a futex that only this process wakes; counted in the same way.
static ENDLESS_WAITERS: AtomicU64 = AtomicU64::new(0);

/// Signals with a handler of the runtime's own, or of std's; a bit each, the lowest for signal 1.
static OWN_SIGNALS: AtomicU64 = AtomicU64::new(1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1));

/// Counts the calling OS thread while it exists.
pub(crate) struct CountedThread(&'static AtomicU64);

impl CountedThread {
    /// As one of the runtime's own.
    pub(crate) fn own_thread() -> CountedThread {
        CountedThread::new(&OWN_THREADS)
    }

    /// As one that waits without deadline.
    pub(crate) fn endless_waiter() -> CountedThread {
        CountedThread::new(&ENDLESS_WAITERS)
    }

    fn new(count: &'static AtomicU64) -> CountedThread {
        count.fetch_add(PRESENT + EVER, Ordering::SeqCst);
        CountedThread(count)
    }
}

impl Drop for CountedThread {
    fn drop(&mut self) {
        self.0.fetch_sub(PRESENT, Ordering::SeqCst);
    }
}

/// All of these threads at some moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts([u64; 2]);

impl Counts {
    pub(crate) fn now() -> Counts {
        Counts([&OWN_THREADS, &ENDLESS_WAITERS].map(|count| count.load(Ordering::SeqCst)))
    }

    /// How many there were. Two moments with as many, but not the same ones, differ as [`Counts`].
    pub(crate) fn present(self) -> u64 {
        self.0.iter().map(|count| count % EVER).sum()
    }
}

/// This signal's handler wakes nobody.
pub(crate) fn own_signal(signal: i32) {
    OWN_SIGNALS.fetch_or(1 << (signal - 1), Ordering::SeqCst);
}

/// The signals of which [`own_signal`] has told, and those of std's handlers; the lowest bit for signal 1.
pub(crate) fn own_signals() -> u64 {
    OWN_SIGNALS.load(Ordering::SeqCst)
}

/// After a fork the parent's threads do not exist.
pub(crate) fn reset_after_fork() {
    OWN_THREADS.store(0, Ordering::SeqCst);
    ENDLESS_WAITERS.store(0, Ordering::SeqCst);
}
