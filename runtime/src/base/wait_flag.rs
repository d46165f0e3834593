//! A flag by which one thread that waits for something learns from others that it has come.
//!
//! The waiter *prepares* its wait, looks once more whether there is anything for it to do, and only then waits, in whatever way
//! it likes. Whoever does something for it makes that visible and then *notifies*: one of those who notify while the waiter
//! waits is told to wake it. While it does not wait, notifying costs a load.
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | AWAKE | prepare | WAITING | the waiter looks once more, then waits |
//! | WAITING | notify | AWAKE | the one who notifies wakes the waiter |
//! | AWAKE | notify | unchanged | nobody |
//! | any | cancel | AWAKE | the waiter goes on |
//!
//! The waiter sets the flag before its last look, and the others make visible what they did before they notify, with a fence
//! between the two on either side: so one side sees the other. A wake-up may still be on its way when the waiter has cancelled
//! its wait, so a wait may end for no reason.
//!
//! Two wait so: the monitor, on the flag itself as a futex, and a worker with pinned green threads, on an eventfd
//! (`notifier.rs`). The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, Ordering, fence};

const AWAKE: u32 = 0;
const WAITING: u32 = 1;

/// The flag; see the module's page.
pub(crate) struct WaitFlag(AtomicU32);

impl WaitFlag {
    pub(crate) fn new() -> WaitFlag {
        WaitFlag(AtomicU32::new(AWAKE))
    }

    /// Announces a wait; the caller looks once more before it waits.
    pub(crate) fn prepare_wait(&self) {
        self.0.swap(WAITING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The caller does not wait, or no longer.
    pub(crate) fn cancel_wait(&self) {
        self.0.swap(AWAKE, Ordering::SeqCst);
    }

    /// After something was made visible: true if the caller must wake the waiter.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) == WAITING && self.0.swap(AWAKE, Ordering::SeqCst) == WAITING
    }

    /// The word, and what it is while the waiter waits and while it does not.
    pub(crate) fn word(&self) -> (&AtomicU32, u32, u32) {
        (&self.0, WAITING, AWAKE)
    }
}
