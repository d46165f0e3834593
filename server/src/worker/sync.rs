//! One request at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets one request after another through, in order of arrival.
///
/// Where nothing is patched a handler that blocks stops every other anyway. This holds also where the handler parks, by a
/// patch or by a type of the runtime's own.
pub(super) struct OneAtATime(Arc<Semaphore>);

impl OneAtATime {
    pub(super) fn new() -> OneAtATime {
        OneAtATime(Arc::new(Semaphore::new(1)))
    }

    /// Waits for the request's turn, which lasts as long as what this gives.
    pub(super) fn turn(
        &self,
    ) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + 'static {
        let one = Arc::clone(&self.0);
        // It is never closed.
        async { one.acquire_owned().await.ok() }
    }
}
