//! The word between one who waits for something that others do, and those who do it.
//!
//! The waiter *listens*, looks once more whether there is anything for it to do, and only then waits, in whatever way it
//! likes. Whoever does something for it makes that visible and *rings*: one of those who ring while the waiter listens
//! is told to wake it. While it does not listen, ringing is a load.
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | SILENT | listen | LISTENING | the waiter looks once more, then waits |
//! | LISTENING | ring | SILENT | the one who rings wakes the waiter |
//! | SILENT | ring | unchanged | nobody |
//! | any | stop | SILENT | the waiter goes on |
//!
//! Listening comes before the last look, and making visible before ringing, with a fence between the two: one side sees
//! the other. A wake-up may still be on its way when the waiter has stopped; so a wait may end for no reason.
//!
//! Two wait so: the monitor, on the word itself as a futex, and a worker with pinned green threads, on an eventfd
//! (`notifier.rs`). The loom model is `tests/loom.rs`.

use crate::base::atomic::{AtomicU32, Ordering, fence};

const SILENT: u32 = 0;
const LISTENING: u32 = 1;

/// The word; see the module's page.
pub(crate) struct Bell(AtomicU32);

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell(AtomicU32::new(SILENT))
    }

    /// Announces a wait; the caller looks once more before it waits.
    pub(crate) fn listen(&self) {
        self.0.swap(LISTENING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The caller does not wait, or no longer.
    pub(crate) fn stop(&self) {
        self.0.swap(SILENT, Ordering::SeqCst);
    }

    /// After something was made visible: true if the caller must wake the waiter.
    #[inline]
    pub(crate) fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) == LISTENING
            && self.0.swap(SILENT, Ordering::SeqCst) == LISTENING
    }

    /// The word, and what it is while the bell is listened to and while it is not.
    pub(crate) fn word(&self) -> (&AtomicU32, u32, u32) {
        (&self.0, LISTENING, SILENT)
    }
}
