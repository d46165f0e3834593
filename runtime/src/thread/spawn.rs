//! Spawning, joining and cancelling green threads.

use std::cell::UnsafeCell;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fmt, io, thread};

use crate::base::deadline::Deadline;
use crate::base::reason::Packed;
use crate::base::span;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::{GreenRef, Life};
use crate::sched::scheduler::Shared;
use crate::sched::task::{Task, TaskHeader, state};
use crate::sync::raw::wait_limit::WaitLimit;
use crate::thread::current::Thread;
use crate::wait::futex;
use crate::wait::interrupt::group::{Group, Inheritance};
use crate::wait::interrupt::{Interrupted, Limits};
use crate::wait::section;

/// Settings for a new green thread, as [`std::thread::Builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    delay: Option<Duration>,
    pinned: bool,
}

impl Builder {
    /// A builder with the runtime's settings.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The green thread's name, for messages.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Bytes of stack at least; see [`RuntimeBuilder::stack_size`](crate::RuntimeBuilder::stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The green thread sleeps so long before it begins. [Cancelled](JoinHandle::cancel) meanwhile, it never does.
    pub fn delay(mut self, delay: Duration) -> Builder {
        self.delay = Some(delay);
        self
    }

    /// The green thread stays on the worker that first runs it, and so on one OS thread: for code that depends on the
    /// kernel's thread, a C library that keeps something by `gettid(2)` or changes its signal mask, say. While that
    /// worker is blocked, or runs another green thread for long, it waits. It may spawn others that are not pinned.
    pub fn pinned(mut self) -> Builder {
        self.pinned = true;
        self
    }

    /// Starts `f` on a new green thread of the caller's runtime.
    ///
    /// # Errors
    ///
    /// `NotConnected` off a green thread, where there is no runtime to spawn on, and in a forked child on a runtime of
    /// its parent; `InvalidInput` if the stack is larger than 512 MiB; `WouldBlock` if as many green threads live as
    /// [`max_green_threads`](crate::RuntimeBuilder::max_green_threads) allows; the kernel's error if there is no memory for the
    /// stack.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_on(&here()?, f)
    }

    #[track_caller]
    pub(crate) fn spawn_on<F, T>(self, shared: &Arc<Shared>, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inheritance = Inheritance::detached();
        self.spawn_inheriting(shared, inheritance, Begins::UnlessCancelled, f)
    }

    /// As [`spawn`](Self::spawn), as a member of the group.
    #[track_caller]
    pub(super) fn spawn_member<F, T>(
        self,
        group: &Arc<Group>,
        begins: Begins,
        f: F,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inheritance = Some(Inheritance::Group(group.clone()));
        self.spawn_inheriting(&here()?, inheritance, begins, f)
    }

    #[track_caller]
    fn spawn_inheriting<F, T>(
        self,
        shared: &Arc<Shared>,
        inheritance: Option<Inheritance>,
        begins: Begins,
        f: F,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if shared.is_inherited() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the runtime is that of the process that forked this one; build another runtime here",
            ));
        }
        let native = NativeSection::enter();
        let name = self.name.map(Arc::from);
        let packet = Arc::new(Packet::new(name, Location::caller()));
        let stack_size = self.stack_size.unwrap_or(shared.settings.stack_size);
        let life = Life::new(shared.clone(), packet.clone());
        let (theirs, delay, is_pinned) = (packet.clone(), self.delay, self.pinned);
        let green = GreenRef::prepare(stack_size, life, false, move |green| {
            if is_pinned {
                green.stay_here();
            }
            let header = &theirs.header;
            let own = || {
                let _inherited = inheritance.map(Inheritance::enter);
                begin(delay, begins).map(|()| span::enter(header.id, header.name.as_deref(), f))
            };
            theirs.store(match panic::catch_unwind(AssertUnwindSafe(own)) {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(cancelled)) => Err(Box::new(cancelled)),
                Err(payload) => Err(payload),
            });
            EndNotice(theirs)
        })?;
        green.start();
        drop(native);
        Ok(JoinHandle { packet })
    }
}

/// The caller's runtime.
fn here() -> io::Result<Arc<Shared>> {
    match context::green() {
        Some(green) => Ok(green.life().shared.clone()),
        None => Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "spawn was called off a green thread; call it under greenpatch::run, or use Runtime::spawn",
        )),
    }
}

/// Whether the green thread's own code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// Unless it was cancelled by then.
    UnlessCancelled,
    Always,
}

/// What comes before the green thread's own code.
fn begin(delay: Option<Duration>, begins: Begins) -> Result<(), Interrupted> {
    let mut outcome = Ok(());
    if let (Some(delay), Some(section)) = (delay, section::enter_own()) {
        outcome = section.sleep_until(Deadline::after(delay));
    }
    match begins {
        Begins::Always => Ok(()),
        Begins::UnlessCancelled => outcome.and_then(|()| Limits::new(None).check_cancelled()),
    }
}

/// The header, and where the result goes.
struct Packet<T> {
    header: TaskHeader,
    result: UnsafeCell<Option<thread::Result<T>>>,
}

// SAFETY: the green thread writes the result before it releases STORED. From then on it is the handle's owner's,
// who acquires STORED or ENDED, or, if the owner gave up before, the green thread's.
unsafe impl<T: Send> Sync for Packet<T> {}

impl<T: Send> Task for Packet<T> {
    fn header(&self) -> &TaskHeader {
        &self.header
    }
}

impl<T> Packet<T> {
    fn new(name: Option<Arc<str>>, spawned_at: &'static Location<'static>) -> Packet<T> {
        Packet {
            header: TaskHeader::new(name, Some(spawned_at)),
            result: UnsafeCell::new(None),
        }
    }

    /// On the green thread, as the last part of its own code.
    fn store(&self, result: thread::Result<T>) {
        // SAFETY: nobody else looks at the result before STORED is set.
        unsafe { *self.result.get() = Some(result) };
        let before = self.header.state.fetch_or(state::STORED, Ordering::AcqRel);
        if before & state::ABANDONED != 0 {
            // SAFETY: the handle's owner has given up the result.
            drop(unsafe { (*self.result.get()).take() });
        }
    }
}

/// Announces the end when it is dropped, which is after the thread-local destructors have run.
struct EndNotice<T>(Arc<Packet<T>>);

impl<T> Drop for EndNotice<T> {
    fn drop(&mut self) {
        let word = &self.0.header.state;
        if word.fetch_or(state::ENDED, Ordering::AcqRel) & state::AWAITED != 0 {
            futex::wake(word, u32::MAX);
        }
    }
}

/// A green thread to be joined, as [`std::thread::JoinHandle`]. Dropping it detaches the green thread.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
}

// The result is out of reach until it is taken.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// The handle of work that is done.
    #[track_caller]
    pub(crate) fn ended(result: thread::Result<T>) -> JoinHandle<T> {
        let packet = Packet::new(None, Location::caller());
        packet.store(result);
        packet
            .header
            .state
            .fetch_or(state::ENDED, Ordering::Release);
        JoinHandle {
            packet: Arc::new(packet),
        }
    }

    /// Waits for the green thread's end: parks a green thread, blocks an OS thread. Not cut short by deadline scopes or
    /// cancellation; [`join_interruptible`](Self::join_interruptible) and [`join_timeout`](Self::join_timeout) are.
    ///
    /// # Errors
    ///
    /// The panic's payload, if the green thread panicked; [`Interrupted::Cancelled`] as payload, if it was cancelled
    /// before its own code began.
    ///
    /// # Panics
    ///
    /// If a green thread joins itself, as std's does.
    pub fn join(self) -> thread::Result<T> {
        self.assert_other();
        let word = &self.packet.header.state;
        while let Some(seen) = self.await_end() {
            futex::wait_because(Packed::join(self.id()), word, seen, None);
        }
        self.take_result()
    }

    /// As [`join`](Self::join), for at most `timeout`, and cut short by deadline scopes and cancellation.
    ///
    /// # Errors
    ///
    /// The handle, if the green thread has not ended by then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use greenpatch_runtime::{spawn, time};
    ///
    /// greenpatch_runtime::run(|| {
    ///     let sleeper = spawn(|| time::sleep(Duration::from_millis(50)));
    ///     let sleeper = sleeper.join_timeout(Duration::from_millis(1)).unwrap_err();
    ///     sleeper.join().unwrap();
    /// });
    /// ```
    pub fn join_timeout(self, timeout: Duration) -> Result<thread::Result<T>, JoinHandle<T>> {
        let deadline = Some(Deadline::after(timeout));
        while let Some(seen) = self.await_end() {
            let word = &self.packet.header.state;
            if WaitLimit::Until(deadline).wait(word, seen).is_err() {
                return Err(self);
            }
        }
        Ok(self.take_result())
    }

    /// As [`join`](Self::join), and cut short by deadline scopes and cancellation. The green thread is detached then; to keep
    /// the handle, [`wait_interruptible`](Self::wait_interruptible) first.
    ///
    /// # Errors
    ///
    /// Why the wait was cut short, if the green thread has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    pub fn join_interruptible(self) -> Result<thread::Result<T>, Interrupted> {
        self.wait_interruptible()?;
        Ok(self.take_result())
    }

    /// Waits for the green thread's end, after which [`join`](Self::join) need not wait; cut short by deadline scopes and
    /// cancellation.
    ///
    /// # Errors
    ///
    /// Why the wait was cut short, if the green thread has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    pub fn wait_interruptible(&self) -> Result<(), Interrupted> {
        self.assert_other();
        while let Some(seen) = self.await_end() {
            WaitLimit::Until(None).wait(&self.packet.header.state, seen)?;
        }
        Ok(())
    }

    fn assert_other(&self) {
        assert!(
            context::green().is_none_or(|green| green.life().task.header().id != self.id()),
            "a green thread joins itself and would wait for ever"
        );
    }

    /// The state word while the green thread has not ended, with the mark that somebody waits for that.
    fn await_end(&self) -> Option<u32> {
        let word = &self.packet.header.state;
        let seen = word.load(Ordering::Acquire);
        if seen & state::ENDED != 0 {
            return None;
        }
        if seen & state::AWAITED != 0 {
            return Some(seen);
        }
        let seen = word.fetch_or(state::AWAITED, Ordering::AcqRel);
        (seen & state::ENDED == 0).then_some(seen | state::AWAITED)
    }

    fn take_result(self) -> thread::Result<T> {
        // SAFETY: ENDED was acquired, and `self` is the only handle.
        let result = unsafe { (*self.packet.result.get()).take() };
        result.expect("a green thread stores its result before it ends")
    }

    /// Whether the green thread has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.packet.header.state.load(Ordering::Acquire) & state::ENDED != 0
    }

    /// Cancels the green thread: from now on its calls that would have to wait fail, the one it waits in among them; see
    /// [`Thread::cancel`].
    ///
    /// ```
    /// use greenpatch_runtime::{is_cancellation, net::TcpListener, spawn, time};
    /// use std::time::Duration;
    ///
    /// greenpatch_runtime::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ///     let server = spawn(move || listener.accept().map(|_| ()));
    ///     time::sleep(Duration::from_millis(5));
    ///     server.cancel();
    ///     if let Ok(accepted) = server.join() {
    ///         assert!(is_cancellation(&accepted.unwrap_err()));
    ///     } // else it was cancelled before it began
    /// });
    /// ```
    pub fn cancel(&self) {
        self.packet.header.cancel();
    }

    /// The green thread's id, which no other one of this process has or will have.
    pub fn id(&self) -> u64 {
        self.packet.header.id
    }
}

impl<T: Send + 'static> JoinHandle<T> {
    /// The green thread that this handle joins: its name, id, and its `unpark`.
    pub fn thread(&self) -> Thread {
        Thread::new(self.packet.clone())
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let before = self
            .packet
            .header
            .state
            .fetch_or(state::ABANDONED, Ordering::AcqRel);
        if before & state::STORED != 0 {
            // SAFETY: the green thread has stored the result and leaves it to us.
            drop(unsafe { (*self.packet.result.get()).take() });
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Starts `f` on a new green thread of the caller's runtime.
///
/// # Panics
///
/// Off a green thread, if there is no memory for a stack, and if as many green threads live as there may be;
/// [`Builder::spawn`] returns the error.
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    started(Builder::new().spawn(f))
}

/// Starts `f` on a new green thread that sleeps for `delay` first. [`JoinHandle::cancel`] before that is over means that
/// `f` never runs.
///
/// # Panics
///
/// As [`spawn`].
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::spawn_after;
///
/// greenpatch_runtime::run(|| {
///     let soon = spawn_after(Duration::from_millis(5), || "soon");
///     let never = spawn_after(Duration::from_secs(3600), || unreachable!("cancelled before it begins"));
///     never.cancel();
///     assert!(never.join().is_err());
///     assert_eq!(soon.join().unwrap(), "soon");
/// });
/// ```
#[track_caller]
pub fn spawn_after<F, T>(delay: Duration, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    started(Builder::new().delay(delay).spawn(f))
}

#[track_caller]
pub(crate) fn started<H>(handle: io::Result<H>) -> H {
    handle.unwrap_or_else(|error| panic!("cannot spawn a green thread: {error}"))
}
