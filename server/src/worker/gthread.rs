//! Worker class `gthread`: a pool of OS threads.
//!
//! A connection keeps its thread while it is open. So that idle ones do not keep new ones out, a
//! connection closes after its response when others wait for a thread, and an idle one looks round
//! every [`LOOK_ROUND`].

use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::accept_until_stopped;
use crate::exchange::{self, Manners};
use crate::handler::Handler;
use crate::server::{ServeError, Server};

/// How often an idle connection looks whether others wait for its thread: seldom enough to cost
/// nothing, often enough that nobody notices the wait.
const LOOK_ROUND: Duration = Duration::from_millis(50);

impl Server {
    /// Serves with a pool of OS threads, one connection on each.
    ///
    /// # Errors
    /// If a thread cannot be started or the listening socket fails.
    pub fn run_gthread(
        self,
        handler: impl Handler,
        threads: NonZeroUsize,
    ) -> Result<(), ServeError> {
        let (sender, receiver) = sync_channel(self.settings.worker_connections);
        let receiver = Mutex::new(receiver);
        let connections = self.connections();
        thread::scope(|scope| {
            for number in 0..threads.get() {
                let name = format!("gthread-{number}");
                let (server, handler, receiver) = (&self, &handler, &receiver);
                thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || serve_received(server, handler, receiver))?;
                connections.thread_waits();
            }
            let backlog = self.settings.backlog;
            accept_until_stopped(&self.listener, connections, backlog, |stream| {
                connections.connection_waits();
                // The receiver outlives this scope.
                let _ = sender.send(stream);
            })?;
            drop(sender);
            Ok(())
        })
    }
}

/// Serves connections as they come in, until no more will come.
fn serve_received(server: &Server, handler: &dyn Handler, receiver: &Mutex<Receiver<TcpStream>>) {
    const MANNERS: Manners = Manners {
        keep_alive: true,
        look_round: Some(LOOK_ROUND),
    };
    let connections = server.connections();
    loop {
        let received = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(stream) = received else { return };
        let stream = Arc::new(stream);
        let presence = connections.enter(Arc::clone(&stream) as _);
        exchange::serve(&*stream, handler, &server.settings, MANNERS, &presence);
        connections.thread_waits();
    }
}
