//! Worker class `green`: a green thread for each connection.
//!
//! Sockets and waits here are the runtime's own types, so the server is concurrent whether or not
//! the runtime is patched. The patch decides only what happens when the *handler* blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use greenpatch::net::{TcpListener, TcpStream};
use greenpatch::sync::Semaphore;
use greenpatch::{Builder, Patch, Runtime};

use super::{Listener, accept_until_stopped};
use crate::exchange::{self, Manners};
use crate::handler::Handler;
use crate::log;
use crate::server::{ServeError, Server};

impl Server {
    /// Serves each connection on a green thread of a runtime with this many workers and this
    /// patch set.
    ///
    /// # Errors
    /// If the runtime cannot be built or the listening socket fails.
    pub fn run_green(
        self,
        handler: impl Handler,
        workers: NonZeroUsize,
        patch: Patch,
    ) -> Result<(), ServeError> {
        let runtime = Runtime::builder()
            .workers(workers.get())
            .patch(patch)
            // A family that is left out is to block the hub, as it does eventlet's.
            .compensation(patch.is_all())
            .name("green")
            .build()?;
        runtime.run(move || accept_and_spawn(self, Arc::new(handler)))
    }
}

fn accept_and_spawn(server: Server, handler: Arc<dyn Handler>) -> Result<(), ServeError> {
    const MANNERS: Manners = Manners {
        keep_alive: true,
        look_round: None,
    };
    let connections = Arc::clone(server.connections());
    let slots = u32::try_from(server.settings.worker_connections)
        .unwrap_or(u32::MAX)
        .max(1);
    let free_slots = Arc::new(Semaphore::new(slots));
    let settings = Arc::new(server.settings);
    // All workers accept on it: in non-blocking mode none is blocked when another one takes the connection. Here
    // accepting waits nevertheless.
    server.listener.set_nonblocking(true)?;
    let listener = TcpListener::from(server.listener);
    listener.set_nonblocking(false)?;
    let mut number = 0u64;
    accept_until_stopped(&listener, &connections, settings.backlog, |stream| {
        number += 1;
        let slot = TakenSlot::of(&free_slots);
        let stream = Arc::new(stream);
        let presence = connections.enter(Arc::clone(&stream) as _);
        let (handler, settings) = (Arc::clone(&handler), Arc::clone(&settings));
        let spawned = Builder::new()
            .name(format!("connection-{number}"))
            .spawn(move || {
                exchange::serve(&*stream, &*handler, &settings, MANNERS, &presence);
                drop((stream, presence, slot));
            });
        if let Err(error) = spawned {
            log::error(format_args!("cannot serve a connection: {error}"));
        }
    })?;
    drop(listener);
    // All slots taken: all connections have ended.
    for _ in 0..slots {
        free_slots.acquire().forget();
    }
    Ok(())
}

/// One connection's part of `worker_connections`, given back when the connection has ended,
/// however it ended.
struct TakenSlot(Arc<Semaphore>);

impl TakenSlot {
    /// Waits for a free slot and takes it.
    fn of(slots: &Arc<Semaphore>) -> TakenSlot {
        slots.acquire().forget();
        TakenSlot(Arc::clone(slots))
    }
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        TcpListener::accept(self).map(|(stream, _)| stream)
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        TcpListener::set_nonblocking(self, true)
    }

    fn pause(&self, duration: Duration) {
        greenpatch::time::sleep(duration);
    }
}
