//! Worker class `green`: a green thread for each connection.
//!
//! Sockets and waits here are the runtime's own types, so the server is concurrent whether or not
//! the runtime is patched. The patch decides only what happens when the *handler* blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use greenpatch::net::TcpListener;
use greenpatch::sync::{Condvar, Mutex};
use greenpatch::{Builder, Patch, Runtime};

use super::{Listener, accept_until_stopped};
use crate::connection::GreenStream;
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
    let slots = Arc::new(Slots::new(server.settings.worker_connections));
    let settings = Arc::new(server.settings);
    let listener = GreenListener(TcpListener::from(server.listener));
    let mut number = 0u64;
    accept_until_stopped(&listener, &connections, settings.backlog, |stream| {
        number += 1;
        slots.take();
        let stream = Arc::new(stream);
        let presence = connections.enter(Arc::clone(&stream) as _);
        let (handler, settings) = (Arc::clone(&handler), Arc::clone(&settings));
        let slot = TakenSlot(Arc::clone(&slots));
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
    slots.wait_until_free();
    Ok(())
}

/// How many more connections may be served at the same time.
struct Slots {
    all: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn new(all: usize) -> Slots {
        let all = all.max(1);
        Slots {
            all,
            free: Mutex::new(all),
            freed: Condvar::new(),
        }
    }

    /// Waits for a slot and takes it.
    fn take(&self) {
        self.change(|free| *free > 0, |free| *free -= 1);
    }

    /// Waits until no slot is taken.
    fn wait_until_free(&self) {
        self.change(|free| *free == self.all, |_| {});
    }

    fn change(&self, is_right: impl Fn(&usize) -> bool, change: impl FnOnce(&mut usize)) {
        let mut free = self.free.lock().expect("nothing panics under this lock");
        while !is_right(&free) {
            free = self
                .freed
                .wait(free)
                .expect("nothing panics under this lock");
        }
        change(&mut free);
    }
}

/// A slot, given back when the connection has ended, however it ended.
struct TakenSlot(Arc<Slots>);

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.0.change(|_| true, |free| *free += 1);
        // Only the thread that accepts ever waits.
        self.0.freed.notify_one();
    }
}

/// A listening socket of the runtime.
struct GreenListener(TcpListener);

impl Listener for GreenListener {
    type Stream = GreenStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        self.0.accept().map(|(stream, _)| GreenStream(stream))
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }

    fn pause(&self, duration: Duration) {
        greenpatch::time::sleep(duration);
    }
}
