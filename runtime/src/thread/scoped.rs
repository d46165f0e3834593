//! Green threads that borrow from their spawner, as [`std::thread::scope`] has them.
//!
//! What a scope hands on, deadlines, cancellation and values, is the matter of `wait/interrupt/group.rs`. Here is who waits for
//! whom: [`within`] returns once every green thread of the scope has ended, whatever is cancelled meanwhile, because what
//! they borrow must outlive them.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{fmt, io, mem, thread};

use crate::thread::current::Thread;
use crate::thread::spawn::{self, Begins, Builder, JoinHandle};
use crate::wait::futex;
use crate::wait::interrupt::Interrupted;
use crate::wait::interrupt::group::{Group, OpenGroup};

/// Green threads that end before [`scope`] returns; mirrors [`std::thread::Scope`].
pub struct Scope<'scope, 'env: 'scope> {
    count: Arc<Count>,
    group: Arc<Group>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

// What a panic may leave is the matter of those who share it, as with std's.
impl UnwindSafe for Scope<'_, '_> {}
impl RefUnwindSafe for Scope<'_, '_> {}

/// Outlives the scope, because the last green thread still wakes its waiter.
#[derive(Debug)]
struct Count {
    running: AtomicU32,
    panicked: AtomicBool,
}

/// Where a scoped green thread's result goes. Its last owner drops it; each of them does so within the scope.
struct Packet<T> {
    count: Arc<Count>,
    result: UnsafeCell<Option<thread::Result<T>>>,
}

// SAFETY: the green thread writes the result before it ends, which a join acquires; the last owner has it alone.
unsafe impl<T: Send> Sync for Packet<T> {}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if matches!(self.result.get_mut(), Some(Err(_))) {
            // Nobody has joined it.
            self.count.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Counts a green thread as ended, however it ends, after what it borrowed is gone.
struct Running(Arc<Count>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            futex::wake(&self.0.running, u32::MAX);
        }
    }
}

/// What a scoped green thread does. It may be dropped without having run; the count comes last then too.
struct Work<F, T> {
    f: F,
    packet: Arc<Packet<T>>,
    _running: Running,
}

impl<F: FnOnce() -> T, T> Work<F, T> {
    fn run(self) {
        let Work {
            f,
            packet,
            _running,
        } = self;
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        // SAFETY: nobody else looks at the result before this green thread has ended.
        unsafe { *packet.result.get() = Some(result) };
        let count = packet.count.clone();
        if panic::catch_unwind(AssertUnwindSafe(|| drop(packet))).is_err() {
            // The drop of a result that nobody joins any more.
            count.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs `f`, which may spawn green threads that borrow from the caller, and waits for their end. Mirrors
/// [`std::thread::scope`]; the caller is a green thread.
///
/// What limits the caller limits them: deadline scopes around this call ([`time::timeout`](crate::time::timeout)), the caller's
/// cancellation, and [`Scope::cancel`]. Calls of theirs that would have to wait fail then, those that they wait in among
/// them, and those that have not begun do not begin. A [`timeout`](crate::time::timeout) around this counts as over if it cuts short
/// a wait of one of them. The values that are bound here ([`Inherited`](crate::Inherited)) are bound on them. Like std's, this
/// waits for their end all the same.
///
/// To cancel the others as soon as one fails, use [`try_scope`](crate::try_scope).
///
/// # Panics
///
/// If `f` panics, or if a green thread that was not joined has panicked.
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::{is_cancellation, net::TcpListener, run, scope, time};
///
/// run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
///     // Nobody connects, and the time that is set here holds on the green threads, too.
///     let late = time::timeout(Duration::from_millis(10), || {
///         scope(|scope| {
///             let acceptors: Vec<_> = (0..3).map(|_| scope.spawn(|| listener.accept())).collect();
///             acceptors.into_iter().filter_map(|acceptor| acceptor.join().unwrap().err()).count()
///         })
///     });
///     assert_eq!(late.unwrap_err().into_inner(), 3);
///
///     scope(|scope| {
///         let acceptor = scope.spawn(|| listener.accept());
///         time::sleep(Duration::from_millis(1));
///         scope.cancel();
///         if let Ok(accepted) = acceptor.join() {
///             assert!(is_cancellation(&accepted.unwrap_err()));
///         } // else it was cancelled before it began
///     });
/// });
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let open = OpenGroup::new();
    let scope = Scope::new(&open);
    let outcome = within(&scope, || f(&scope));
    match outcome {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.has_panicked() => {
            panic!("a scoped green thread panicked")
        }
        Ok(value) => value,
    }
}

/// Calls `f`, and waits for the end of the scope's green threads, also if it panics.
pub(super) fn within<T>(scope: &Scope<'_, '_>, f: impl FnOnce() -> T) -> thread::Result<T> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(f));
    let running = &scope.count.running;
    loop {
        match running.load(Ordering::Acquire) {
            0 => return outcome,
            seen => futex::wait(running, seen, None),
        };
    }
}

impl Scope<'_, '_> {
    /// The caller sees to it that [`within`] is called before the borrows of the scope's green threads end.
    pub(super) fn new(open: &OpenGroup) -> Self {
        Scope {
            count: Arc::new(Count {
                running: AtomicU32::new(0),
                panicked: AtomicBool::new(false),
            }),
            group: open.group().clone(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Whether a green thread has panicked that nobody has joined.
    fn has_panicked(&self) -> bool {
        self.count.panicked.load(Ordering::Relaxed)
    }

    /// Cuts short the waits of the scope's green threads, and those of who has opened the scope, until it is left; see
    /// [`Thread::cancel`]. From any of them. Does not wait for anybody's end.
    pub fn cancel(&self) {
        self.group.cancel();
    }

    /// Whether the scope was cancelled, or the green thread that has opened it.
    pub fn is_cancelled(&self) -> bool {
        self.group.is_cancelled()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &self.count.running.load(Ordering::Relaxed))
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts `f` on a new green thread.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        spawn::started(Builder::new().spawn_scoped(self, f))
    }
}

impl Builder {
    /// Starts `f` on a new green thread in a scope; mirrors [`std::thread::Builder::spawn_scoped`].
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_scoped_if(scope, Begins::UnlessCancelled, f)
    }

    #[track_caller]
    pub(super) fn spawn_scoped_if<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        begins: Begins,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let packet = Arc::new(Packet {
            count: scope.count.clone(),
            result: UnsafeCell::new(None),
        });
        scope.count.running.fetch_add(1, Ordering::Relaxed);
        let work = Work {
            f,
            packet: packet.clone(),
            _running: Running(scope.count.clone()),
        };
        let body: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || work.run());
        // SAFETY: the scope is not left before `running` is dropped (see `within`), so what `f` borrows outlives it.
        let body: Box<dyn FnOnce() + Send + 'static> = unsafe { mem::transmute(body) };
        let handle = self.spawn_member(&scope.group, begins, body)?;
        Ok(ScopedJoinHandle {
            handle,
            packet,
            scope: PhantomData,
        })
    }
}

/// A scoped green thread to be joined; mirrors [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    packet: Arc<Packet<T>>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the green thread's end.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`].
    pub fn join(self) -> thread::Result<T> {
        self.handle.join()?;
        // SAFETY: the green thread has ended, and this is the only handle.
        let result = unsafe { (*self.packet.result.get()).take() };
        result.expect("a green thread that ran to its end has stored its result")
    }

    /// As [`join`](Self::join), and cut short by deadline scopes and cancellation.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join_interruptible`].
    pub fn join_interruptible(self) -> Result<thread::Result<T>, Interrupted> {
        self.handle.wait_interruptible()?;
        Ok(self.join())
    }

    /// Whether the green thread has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// As [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// The green thread that this handle joins.
    pub fn thread(&self) -> Thread {
        self.handle.thread()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("id", &self.handle.id())
            .finish_non_exhaustive()
    }
}
