//! A listener of ours: how a connection is waited for.
//!
//! accept has no flag for a single call that must not block. So a listener that is ours alone, as `bind` makes it, is
//! in non-blocking mode, and the mode that its user asked for stands here. One that came from elsewhere stays in the mode
//! in which it came, as other processes may share it:
//!
//! - in blocking mode, threads of this process accept one by one, each when it has seen that a connection is there. If another
//!   process takes that in between, the accept blocks its OS thread until the next one comes;
//! - in non-blocking mode accepting gives `WouldBlock` until its user asks, by `set_nonblocking(false)`, that it waits. Then it
//!   does, and the descriptor's mode stays: whatever other processes do, no OS thread is blocked.
//!
//! What stands here is shared by the handles that [`try_clone`](Listener::try_clone) made, as the descriptor's own mode
//! is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};

use super::socket::{Socket, fresh, retry_on_os_thread};
use crate::base::interest::Interest;
use crate::sched::context::NativeSection;
use crate::wait::accept::{accept_at_once, accept_under_lock, lock_to_wait, of_late_lock};
use crate::wait::descriptor;
use crate::wait::section::{self, Section};

/// std's listener `S`.
pub(super) struct Listener<S: AsFd> {
    socket: Socket<S>,
    mode: Arc<AtomicU8>,
}

/// The descriptor is in non-blocking mode, and accepting waits.
const WAITS: u8 = 0;
/// The descriptor is in non-blocking mode, and accepting gives `WouldBlock`.
const NONBLOCKING: u8 = 1;
/// The descriptor's mode is the user's: it came in blocking mode, or a handle was turned into std's.
const AS_IT_IS: u8 = 2;

impl<S: AsFd> Listener<S> {
    /// One that nobody else knows.
    pub(super) fn bound(std: S) -> Listener<S> {
        let socket = Socket::new(fresh(std));
        // Fails for what is no socket only, as accept will.
        let _ = socket.set_nonblocking(true);
        Listener::in_mode(socket, WAITS)
    }

    /// One that others may share.
    pub(super) fn new(std: S) -> Listener<S> {
        let socket = Socket::new(std);
        let is_nonblocking = descriptor::is_nonblocking(socket.number());
        Listener::in_mode(
            socket,
            if is_nonblocking {
                NONBLOCKING
            } else {
                AS_IT_IS
            },
        )
    }

    fn in_mode(socket: Socket<S>, mode: u8) -> Listener<S> {
        Listener {
            socket,
            mode: Arc::new(AtomicU8::new(mode)),
        }
    }

    pub(super) fn std(&self) -> &S {
        self.socket.std()
    }

    pub(super) fn into_std(self) -> S {
        let mode = self.mode.swap(AS_IT_IS, Ordering::SeqCst);
        if mode == WAITS {
            // As in `bound`.
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
                (mode != AS_IT_IS).then_some(wanted)
            });
        match changed {
            Ok(_) => Ok(()),
            Err(_) => self.socket.set_nonblocking(nonblocking),
        }
    }

    /// Waits for a connection: its descriptor, and the peer's address.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        let mode = self.mode.load(Ordering::SeqCst);
        if mode == AS_IT_IS && !descriptor::is_nonblocking(self.socket.number()) {
            return Ok(self.accept_under_lock()?);
        }
        let section = section::enter_own();
        let waiting = section.as_ref().filter(|_| mode == WAITS);
        let _early = waiting.map(Section::accepting);
        self.socket.retry_patiently(
            Interest::Read,
            |call| match mode {
                WAITS => Ok(self.socket.deadline(call, Interest::Read)),
                _ => Err(Errno::AGAIN),
            },
            || self.accept_now(),
        )
    }

    /// Accepts if there is a connection, and does not wait, whatever the mode.
    pub(super) fn accept_at_once(&self) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        let _native = NativeSection::enter();
        if self.mode.load(Ordering::SeqCst) == AS_IT_IS {
            accept_at_once(self.socket.as_fd(), || self.accept_now())
        } else {
            self.accept_now()
        }
    }

    /// On a descriptor in blocking mode.
    fn accept_under_lock(&self) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        let number = self.socket.number();
        if let Some(section) = section::enter_own() {
            let call = section.call(number)?;
            let deadline = call.socket_deadline(Interest::Read);
            return call.retry_accept(deadline, || self.accept_now());
        }
        let listener = descriptor::entry(number)?;
        let deadline = self.socket.deadline(None, Interest::Read);
        let _lock = lock_to_wait(listener, deadline)?;
        retry_on_os_thread(
            self.socket.as_fd(),
            Interest::Read,
            || Ok(deadline),
            |_| accept_under_lock(listener, number, deadline, || self.accept_now()),
        )
        .map_err(of_late_lock)
    }

    fn accept_now(&self) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        let (accepted, peer) = rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC)?;
        Ok((fresh(accepted), peer))
    }
}
