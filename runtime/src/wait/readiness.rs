//! A descriptor that futures wait on: try, leave a waker until the descriptor is ready, try again.
//!
//! It is [`Call::retry`](super::call::Call::retry) for code that must not park. A [`Registration`] belongs to one runtime, with
//! whose reactor the descriptor is registered, and to one *opening* of its number ([`opening`](super::descriptor)): once the
//! descriptor was closed behind its owner's back, every poll gives `EBADF`, whatever has the number by then. Any thread may poll.
//!
//! **What is known.** Beside what the descriptor's entry knows, a registration remembers for each direction after how many
//! edges it last found nothing, or less than it asked for: until there is another edge, the kernel is not asked again. So a
//! short read from a TCP socket saves the one that would only give `EAGAIN`. Nobody else's conditions (a low-water mark, a
//! peek) have a part in it. As in [`line`](mod@super::descriptor), what is unusual forbids the conclusion from a short read.
//!
//! **Fairness.** An operation of a future counts against its green thread's budget, as any other. But a poll must not park: when
//! the budget is spent, one poll wakes its own task and is pending, and its green thread owes others a turn, which `block_on` and
//! [`give_way`](super::section::give_way) give them. On an OS thread one poll in [`OS_THREAD_BUDGET`] does the same for the
//! other tasks of its executor.

use std::cell::Cell;
use std::io;
use std::marker::PhantomPinned;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::call::is_shut;
use super::descriptor::{
    self, Descriptor, FileKind, NO_TIME, Opening, Place, ReadinessSnapshot, borrow,
};
use crate::base::interest::{Edges, Interest};
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::sched::scheduler::Shared;

/// Operations after which a future on an OS thread lets other tasks of its executor be polled.
const OS_THREAD_BUDGET: u32 = 128;

/// In `Registration::idle`: nothing is known.
const UNKNOWN: u32 = u32::MAX;

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hangup {
    /// The peer sends no more: it has shut down its end for writing, or closed it. TCP does not tell the two apart before
    /// something is sent that the peer refuses.
    Half,
    /// Nothing goes through any more, in either direction: the connection was reset, has failed, or was shut on both sides.
    Full,
}

/// See the module's page.
pub(crate) struct Registration {
    shared: Arc<Shared>,
    descriptor: &'static Descriptor,
    fd: RawFd,
    opening: Opening,
    /// By direction: the count of edges after which there was nothing to be had.
    idle: [AtomicU32; 2],
    /// The generation in which the descriptor is registered for sure, so that a hang-up makes an event. Another one begins behind
    /// the back of who waits for nothing, when somebody gives up the same descriptor, or one that had its number.
    generation: AtomicU32,
    /// Of those who poll by the owner of the registration.
    place: Place,
    _pinned: PhantomPinned,
}

/// The place of one future among any number, until it is dropped.
pub(crate) struct OwnPlace<'a> {
    registration: &'a Registration,
    place: Place,
    _pinned: PhantomPinned,
}

impl Registration {
    /// Registers `fd`, which the caller keeps open.
    ///
    /// # Errors
    ///
    /// If epoll does not take the descriptor, or the runtime is not this process's, or has ended.
    pub(crate) fn new(shared: Arc<Shared>, fd: RawFd) -> io::Result<Pin<Box<Registration>>> {
        let _native = NativeSection::enter();
        if shared.is_inherited() {
            return Err(of_parent());
        }
        // It may be in use already, or its number may have been, and the close unseen.
        descriptor::outdated(fd);
        let descriptor = descriptor::entry(fd)?;
        let mut opening = descriptor.opening();
        if opening.is_being_closed() {
            // That close is over, as the caller's descriptor is open.
            descriptor::opened(fd);
            opening = descriptor.opening();
        }
        let registration = Registration {
            shared,
            descriptor,
            fd,
            opening,
            idle: [const { AtomicU32::new(UNKNOWN) }; 2],
            generation: AtomicU32::new(descriptor.snapshot().generation()),
            place: Place::new(),
            _pinned: PhantomPinned,
        };
        let prepared = descriptor.prepare(fd, &registration.shared.reactor);
        prepared.map_err(|error| registration.explain(error))?;
        Ok(Box::pin(registration))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A place for a future that is one of any number.
    pub(crate) fn own_place(&self) -> OwnPlace<'_> {
        OwnPlace {
            registration: self,
            place: Place::new(),
            _pinned: PhantomPinned,
        }
    }

    /// Makes `attempt`, which must not block, unless what it could have is known not to be there; leaves a waker if it gives
    /// `WouldBlock`.
    pub(crate) fn poll_io<T>(
        self: Pin<&Self>,
        interest: Interest,
        context: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        // SAFETY: the registration is pinned, and withdraws its place when it is dropped.
        unsafe {
            self.get_ref()
                .poll_io_at(&self.place, interest, context, attempt)
        }
    }

    /// As [`poll_io`](Self::poll_io), for reading up to `length` bytes from a socket.
    pub(crate) fn poll_socket(
        self: Pin<&Self>,
        interest: Interest,
        context: &mut Context<'_>,
        length: usize,
        attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        // SAFETY: the registration is pinned, and withdraws its place when it is dropped.
        unsafe {
            self.get_ref()
                .poll_socket_at(&self.place, interest, context, length, attempt)
        }
    }

    /// Waits until the peer has gone.
    pub(crate) fn poll_hangup(
        self: Pin<&Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Hangup>> {
        // SAFETY: the registration is pinned, and withdraws its place when it is dropped.
        unsafe { self.get_ref().poll_hangup_at(&self.place, context) }
    }

    /// Whether the peer has gone, by the events seen so far. The kernel is asked only if there was an unusual one.
    pub(crate) fn hangup(&self) -> Option<Hangup> {
        let snapshot = self.look().ok()?;
        let generation = snapshot.generation();
        let is_registered = self.generation.load(Ordering::Relaxed) == generation;
        if !is_registered {
            let _native = NativeSection::enter();
            (self.descriptor.prepare(self.fd, &self.shared.reactor)).ok()?;
            self.generation.store(generation, Ordering::Relaxed);
        }
        (snapshot.is_unusual() || !is_registered)
            .then(|| ask_hangup(self.fd))
            .flatten()
    }

    /// # Safety
    ///
    /// `place` stays where it is until it was withdrawn, and belongs to this registration.
    unsafe fn poll_io_at<T>(
        &self,
        place: &Place,
        interest: Interest,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let attempt = |_| match attempt() {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        };
        // SAFETY: as this function's own contract.
        unsafe { self.poll_at(place, interest.edge(), context, attempt) }
    }

    /// # Safety
    ///
    /// As for [`poll_io_at`](Self::poll_io_at).
    unsafe fn poll_socket_at(
        &self,
        place: &Place,
        interest: Interest,
        context: &mut Context<'_>,
        length: usize,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        let idle = &self.idle[interest as usize];
        let attempt = |snapshot: ReadinessSnapshot| {
            if idle.load(Ordering::Relaxed) == snapshot.edges() {
                return Ok(None);
            }
            match attempt() {
                Err(Errno::AGAIN) => {
                    // A datagram socket that is shut tells of its end only those whom it may let wait.
                    if interest == Interest::Read && snapshot.is_unusual() && is_shut(self.fd) {
                        // What came before the end may have come since the attempt.
                        return match attempt() {
                            Err(Errno::AGAIN) => Ok(Some(0)),
                            outcome => Ok(Some(outcome?)),
                        };
                    }
                    idle.store(snapshot.edges(), Ordering::Relaxed);
                    Ok(None)
                }
                Ok(count) => {
                    if 0 < count
                        && count < length
                        && !snapshot.is_unusual()
                        && self.descriptor.kind(self.fd) == FileKind::Tcp
                    {
                        idle.store(snapshot.edges(), Ordering::Relaxed);
                    }
                    Ok(Some(count))
                }
                Err(error) => Err(error.into()),
            }
        };
        // SAFETY: as this function's own contract.
        unsafe { self.poll_at(place, interest.edge(), context, attempt) }
    }

    /// # Safety
    ///
    /// As for [`poll_io_at`](Self::poll_io_at).
    unsafe fn poll_hangup_at(
        &self,
        place: &Place,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Hangup>> {
        let ask = |snapshot: ReadinessSnapshot| {
            Ok(snapshot.is_unusual().then(|| ask_hangup(self.fd)).flatten())
        };
        // SAFETY: as this function's own contract.
        unsafe { self.poll_at(place, Edges::UNUSUAL, context, ask) }
    }

    /// Asks `attempt`, and leaves a waker for an edge of this kind as long as that gives nothing.
    ///
    /// # Safety
    ///
    /// As for [`poll_io_at`](Self::poll_io_at).
    #[inline]
    unsafe fn poll_at<T>(
        &self,
        place: &Place,
        kind: Edges,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(ReadinessSnapshot) -> io::Result<Option<T>>,
    ) -> Poll<io::Result<T>> {
        let green = context::green();
        if puts_off(green) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let snapshot = self.look()?;
            if let Some(value) = attempt(snapshot)? {
                spend(green);
                return Poll::Ready(Ok(value));
            }
            let (fd, waker, reactor) = (self.fd, context.waker(), &self.shared.reactor);
            // SAFETY: the place stays where it is, by this function's contract.
            let left = unsafe {
                self.descriptor
                    .leave_waker(fd, snapshot, place, kind, waker, reactor)
            };
            if left.map_err(|error| self.explain(error))? {
                return Poll::Pending;
            }
        }
    }

    /// What is known before an attempt.
    #[inline]
    fn look(&self) -> io::Result<ReadinessSnapshot> {
        if self.shared.is_inherited() {
            return Err(of_parent());
        }
        Ok(self.descriptor.look(self.opening)?)
    }

    fn withdraw(&self, place: &Place) {
        // In a forked child the list is the parent's, and so are its places.
        if place.is_linked() && !self.shared.is_inherited() {
            self.descriptor.withdraw_place(place);
        }
    }

    /// Takes out the wakers of who polls the registration itself.
    pub(crate) fn withdraw_own(&self) {
        self.withdraw(&self.place);
    }

    /// After the descriptor was given up by its owner, who may have closed it.
    pub(crate) fn given_up(self: Pin<Box<Self>>) {
        // A close that nobody has told of: what is known must not be taken for the next descriptor of this number.
        if !self.shared.is_inherited() && self.descriptor.look(self.opening).is_ok() {
            descriptor::outdated(self.fd);
        }
    }

    #[cold]
    fn explain(&self, error: Errno) -> io::Error {
        let (fd, runtime) = (self.fd, &self.shared.settings.name);
        let text = match error {
            Errno::SHUTDOWN => format!(
                "the runtime '{runtime}', on which descriptor {fd} was registered for futures, has ended; keep its Runtime as \
                 long as they are polled"
            ),
            Errno::PERM => format!(
                "descriptor {fd} is of a kind that is always ready for epoll, a regular file or a directory; use it in \
                 greenpatch::blocking"
            ),
            Errno::BADF => return error.into(),
            error => format!("epoll does not take descriptor {fd}: {error}"),
        };
        io::Error::new(io::Error::from(error).kind(), text)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.withdraw_own();
    }
}

impl OwnPlace<'_> {
    /// As [`Registration::poll_io`].
    pub(crate) fn poll_io<T>(
        self: Pin<&Self>,
        interest: Interest,
        context: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        // SAFETY: this is pinned, and withdraws its place when it is dropped.
        unsafe {
            self.registration
                .poll_io_at(&self.get_ref().place, interest, context, attempt)
        }
    }

    /// As [`Registration::poll_socket`].
    pub(crate) fn poll_socket(
        self: Pin<&Self>,
        interest: Interest,
        context: &mut Context<'_>,
        length: usize,
        attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        // SAFETY: this is pinned, and withdraws its place when it is dropped.
        unsafe {
            (self.registration).poll_socket_at(
                &self.get_ref().place,
                interest,
                context,
                length,
                attempt,
            )
        }
    }

    /// As [`Registration::poll_hangup`].
    pub(crate) fn poll_hangup(
        self: Pin<&Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Hangup>> {
        // SAFETY: this is pinned, and withdraws its place when it is dropped.
        unsafe {
            self.registration
                .poll_hangup_at(&self.get_ref().place, context)
        }
    }
}

impl Drop for OwnPlace<'_> {
    fn drop(&mut self) {
        self.registration.withdraw(&self.place);
    }
}

/// Whether the peer has gone, as the kernel says.
fn ask_hangup(fd: RawFd) -> Option<Hangup> {
    let mut entry = [PollFd::from_borrowed_fd(borrow(fd), PollFlags::RDHUP)];
    poll(&mut entry, Some(&NO_TIME)).ok()?;
    let events = entry[0].revents();
    if events.intersects(PollFlags::HUP | PollFlags::ERR) {
        Some(Hangup::Full)
    } else {
        events.contains(PollFlags::RDHUP).then_some(Hangup::Half)
    }
}

#[cold]
fn of_parent() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this descriptor was registered for futures before a fork, with the parent's runtime; register it in the child, on a \
         green thread of the child's own",
    )
}

thread_local! {
    /// Operations of futures on this OS thread since one was put off.
    static OPERATIONS: Cell<u32> = const { Cell::new(0) };
}

/// Whether the task is to be polled later, for the sake of others; see the module's page. `green` is the calling green thread.
#[inline]
fn puts_off(green: Option<GreenRef>) -> bool {
    match green {
        Some(green) => green.puts_off(),
        None => {
            let is_spent = OPERATIONS.get() >= OS_THREAD_BUDGET;
            if is_spent {
                OPERATIONS.set(0);
            }
            is_spent
        }
    }
}

/// Counts an operation that did not have to wait.
#[inline]
fn spend(green: Option<GreenRef>) {
    match green {
        Some(green) => drop(green.spend_budget()),
        None => OPERATIONS.set(OPERATIONS.get() + 1),
    }
}
