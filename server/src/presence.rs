//! The connections that are open, and the server's wish to stop.
//!
//! To stop means: requests under way finish, idle connections are sent away, new connections are
//! not accepted. A connection is idle while it waits for the first byte of a request; it says so
//! in [`Presence::idle`], *then* looks whether the server is stopping, and the server first says
//! that it is stopping and *then* looks which connections are idle. Both in sequentially
//! consistent order, so at least one of the two sees the other, and no connection stays asleep.
//!
//! An idle connection is sent away by closing its read side. A request that has already arrived is
//! still read and answered; only if there is none does the connection see the end.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::SockRef;

/// A socket that can be shut down while another thread reads it.
type Socket = Arc<dyn AsFd + Send + Sync>;

/// The open connections of one server.
#[derive(Default)]
pub(crate) struct Connections {
    /// The server accepts no more; set once.
    stopping: AtomicBool,
    /// Connections that wait for a thread, less the threads that wait for a connection (class
    /// `gthread`; 0 in the others).
    demand: AtomicIsize,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// One open connection.
struct Entry {
    socket: Socket,
    idle: AtomicBool,
}

impl Entry {
    fn send_away(&self) {
        // Fails only if the peer is gone already.
        let _ = SockRef::from(&self.socket.as_fd()).shutdown(Shutdown::Read);
    }
}

impl Connections {
    /// Enters a connection; it is counted as open until the presence is dropped.
    pub(crate) fn enter(self: &Arc<Self>, socket: Socket) -> Presence {
        let entry = Arc::new(Entry {
            socket,
            idle: AtomicBool::new(false),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Arc::clone(&entry));
        Presence {
            connections: Arc::clone(self),
            id,
            entry,
        }
    }

    /// Begins to stop: sends the idle connections away, and each other one when it gets idle.
    /// False if that had begun before.
    pub(crate) fn stop(&self) -> bool {
        if self.stopping.swap(true, Ordering::SeqCst) {
            return false;
        }
        for entry in self.lock().values() {
            if entry.idle.load(Ordering::SeqCst) {
                entry.send_away();
            }
        }
        true
    }

    /// Whether [`Self::stop`] has been called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Tells that one more accepted connection waits for a thread.
    pub(crate) fn connection_waits(&self) {
        self.demand.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells that one more thread waits for an accepted connection.
    pub(crate) fn thread_waits(&self) {
        self.demand.fetch_sub(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        // Nothing that can panic happens under the lock, so a poisoned map is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among the others.
pub(crate) struct Presence {
    connections: Arc<Connections>,
    id: u64,
    entry: Arc<Entry>,
}

impl Presence {
    /// Tells that the connection waits for a request; it may be sent away.
    pub(crate) fn idle(&self) {
        self.entry.idle.store(true, Ordering::SeqCst);
        if self.connections.is_stopping() {
            self.entry.send_away();
        }
    }

    /// Tells that a request has begun.
    pub(crate) fn busy(&self) {
        self.entry.idle.store(false, Ordering::SeqCst);
    }

    /// Whether others wait for the thread that this connection holds.
    pub(crate) fn others_wait(&self) -> bool {
        self.connections.demand.load(Ordering::Relaxed) > 0
    }

    /// Whether the connection should close after the response under way.
    pub(crate) fn should_close(&self) -> bool {
        self.others_wait() || self.connections.is_stopping()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}
