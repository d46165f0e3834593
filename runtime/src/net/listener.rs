//! A listener of ours: how a connection is waited for.
//!
//! accept has no flag for a single call that must not block, and another process that shares the listener may take
//! a connection between a look and the accept. So a listener is in non-blocking mode while it is ours, and the mode
//! that its user asked for stands here. It is shared by the handles that [`try_clone`](Listener::try_clone) made, as
//! the descriptor's own mode is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};

use super::socket::Socket;
use crate::hook::{self, Interest};

/// std's listener `S` in non-blocking mode.
pub(super) struct Listener<S: AsFd> {
    socket: Socket<S>,
    mode: Arc<AtomicU8>,
}

/// Accepting waits.
const WAITS: u8 = 0;
/// Accepting gives `WouldBlock`.
const NONBLOCKING: u8 = 1;
/// A handle was turned into std's, which has the descriptor's own mode as its user's again; the other handles
/// go by that too.
const GIVEN_BACK: u8 = 2;

impl<S: AsFd> Listener<S> {
    pub(super) fn new(std: S) -> Listener<S> {
        let socket = Socket::new(std);
        let mode = if hook::is_nonblocking(socket.number()) {
            NONBLOCKING
        } else {
            // Fails for what is no socket only, as accept will.
            let _ = socket.set_nonblocking(true);
            WAITS
        };
        Listener {
            socket,
            mode: Arc::new(AtomicU8::new(mode)),
        }
    }

    pub(super) fn std(&self) -> &S {
        self.socket.std()
    }

    pub(super) fn into_std(self) -> S {
        let mode = self.mode.swap(GIVEN_BACK, Ordering::SeqCst);
        if mode == WAITS {
            // As in `new`.
            let _ = self.socket.set_nonblocking(false);
        }
        self.socket.into_std()
    }

    pub(super) fn try_clone(&self) -> io::Result<Listener<S>>
    where
        S: From<OwnedFd>,
    {
        Ok(Listener {
            socket: self.socket.try_clone()?,
            mode: self.mode.clone(),
        })
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let wanted = if nonblocking { NONBLOCKING } else { WAITS };
        let changed = self
            .mode
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |mode| {
                (mode != GIVEN_BACK).then_some(wanted)
            });
        match changed {
            Ok(_) => Ok(()),
            Err(_) => self.socket.set_nonblocking(nonblocking),
        }
    }

    /// Waits for a connection: its descriptor, and the peer's address.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        let attempt = || rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC);
        let mode = self.mode.load(Ordering::SeqCst);
        if mode == GIVEN_BACK
            && !hook::is_nonblocking(self.socket.number())
            && let Some(section) = hook::enter_own()
        {
            let deadline = self.socket.deadline(Some(&section), Interest::Read);
            return Ok(section.retry_accept(self.socket.number(), deadline, attempt)?);
        }
        self.socket.retry_patiently(
            Interest::Read,
            |section| match mode {
                WAITS => Ok(self.socket.deadline(section, Interest::Read)),
                _ => Err(Errno::AGAIN),
            },
            attempt,
        )
    }
}
