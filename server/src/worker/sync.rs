//! One request at a time.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets one request after another through, in order of arrival.
///
/// Where nothing is patched a handler that blocks stops every other anyway. This holds also where the handler parks, by a
/// patch or by a type of the runtime's own.
pub(super) struct OneAtATime(Semaphore);

impl OneAtATime {
    pub(super) fn new() -> OneAtATime {
        OneAtATime(Semaphore::new(1))
    }

    /// Waits for the request's turn, which lasts as long as what this gives.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.acquire().await.ok()
    }
}
