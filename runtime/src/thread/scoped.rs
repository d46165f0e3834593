//! Green threads that borrow from their spawner, as [`std::thread::scope`] has them.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{fmt, io, mem, thread};

use crate::thread::Thread;
use crate::thread::spawn::{self, Builder, JoinHandle};
use crate::wait::futex;

/// Green threads that end before [`scope`] returns; mirrors [`std::thread::Scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    count: Arc<Count>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

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
/// # Panics
///
/// If `f` panics, or if a green thread that was not joined has panicked.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        count: Arc::new(Count {
            running: AtomicU32::new(0),
            panicked: AtomicBool::new(false),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let running = &scope.count.running;
    loop {
        match running.load(Ordering::Acquire) {
            0 => break,
            seen => futex::wait(running, seen, None),
        };
    }
    match outcome {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.count.panicked.load(Ordering::Relaxed) => {
            panic!("a scoped green thread panicked")
        }
        Ok(value) => value,
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
        // SAFETY: `scope` returns no earlier than `running` is dropped, so what `f` borrows outlives it.
        let body: Box<dyn FnOnce() + Send + 'static> = unsafe { mem::transmute(body) };
        let handle = self.spawn(body)?;
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
