//! Stopping a worker, and having it read its certificates again, from any thread.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Notify;

use crate::protocol::EntryError;
use crate::protocol::entry::Entry;

/// Stops a server or a worker, from any thread; clones stop the same one.
#[derive(Clone, Default)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// A value of [`Wish`]; it only grows.
    wish: AtomicU8,
    changed: Notify,
    /// How connections begin, once it serves.
    entry: OnceLock<Weak<Entry>>,
}

/// What is wished of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Wish {
    Drain = 1,
    Quit = 2,
}

impl StopHandle {
    /// For a worker that is to be made.
    pub(crate) fn new() -> StopHandle {
        StopHandle::default()
    }

    /// Begins to stop: connections that came before are served, later ones are not accepted, idle
    /// ones are closed after a moment, requests under way are finished. The server returns when all that is done.
    pub fn stop(&self) {
        self.wish(Wish::Drain);
    }

    /// Stops at once: the server returns without waiting for requests under way, whose connections are cut off.
    pub fn quit(&self) {
        self.wish(Wish::Quit);
    }

    /// Reads certificates, keys and authorities again: connections that begin from now on go by what stands in the files now,
    /// those that are open stay as they are. A server that does not serve yet reads them as it begins.
    ///
    /// # Errors
    /// If a file cannot be used. The server then goes on with what it has.
    pub fn reload_certificates(&self) -> Result<(), EntryError> {
        let entry = self.shared.entry.get().and_then(Weak::upgrade);
        entry.map_or(Ok(()), |entry| entry.reload())
    }

    /// Tells how the worker's connections begin.
    pub(crate) fn note_entry(&self, entry: &Arc<Entry>) {
        // A second worker of the same handle has the same files.
        let _ = self.shared.entry.set(Arc::downgrade(entry));
    }

    fn wish(&self, wish: Wish) {
        self.shared.wish.fetch_max(wish as u8, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Whether it is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_wished(Wish::Drain)
    }

    /// Waits until it is to stop.
    pub(crate) async fn until_stopping(&self) {
        self.until(Wish::Drain).await;
    }

    /// Waits until it is to stop at once.
    pub(crate) async fn until_quitting(&self) {
        self.until(Wish::Quit).await;
    }

    fn is_wished(&self, wish: Wish) -> bool {
        self.shared.wish.load(Ordering::SeqCst) >= wish as u8
    }

    async fn until(&self, wish: Wish) {
        loop {
            let changed = self.shared.changed.notified();
            if self.is_wished(wish) {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopHandle")
            .field("is_stopping", &self.is_stopping())
            .finish_non_exhaustive()
    }
}
