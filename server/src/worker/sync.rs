//! Worker class `sync`: one request at a time.

use std::sync::Arc;

use greenpatch::{Patch, Runtime};

use super::accept_until_stopped;
use crate::exchange::{self, Manners};
use crate::handler::Handler;
use crate::server::{ServeError, Server};

impl Server {
    /// Serves one request at a time, and one request a connection, as gunicorn's sync worker does.
    ///
    /// With a patch set that is not empty, the loop runs on a green thread of a patched runtime.
    /// It stays one loop: where nothing else runs, there is nothing to switch to.
    ///
    /// # Errors
    /// If the runtime cannot be built or the listening socket fails.
    pub fn run_sync(self, handler: impl Handler, patch: Patch) -> Result<(), ServeError> {
        if patch.is_empty() {
            return accept_and_serve(&self, &handler);
        }
        let runtime = Runtime::builder()
            .workers(1)
            .patch(patch)
            .name("sync")
            .build()?;
        runtime.run(move || accept_and_serve(&self, &handler))
    }
}

fn accept_and_serve(server: &Server, handler: &dyn Handler) -> Result<(), ServeError> {
    const MANNERS: Manners = Manners {
        keep_alive: false,
        look_round: None,
    };
    let Server {
        listener, settings, ..
    } = server;
    let connections = server.connections();
    accept_until_stopped(listener, connections, settings.backlog, |stream| {
        let stream = Arc::new(stream);
        let presence = connections.enter(Arc::clone(&stream) as _);
        exchange::serve(&*stream, handler, settings, MANNERS, &presence);
    })?;
    Ok(())
}
