//! Spawning and joining green threads.

use std::cell::UnsafeCell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io, thread};

use crate::context::{self, NativeSection};
use crate::futex;
use crate::green::{GreenRef, Life};
use crate::scheduler::{self, Shared};

/// Settings for a new green thread, as [`std::thread::Builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
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

    /// Starts `f` on a new green thread of the caller's runtime.
    ///
    /// # Errors
    ///
    /// `NotConnected` off a green thread, where there is no runtime to spawn on; `InvalidInput` if the
    /// stack is larger than 512 MiB; the kernel's error if there is no memory for it.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(green) = context::green() else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "spawn was called off a green thread; call it under greenpatch::run, or use Runtime::spawn",
            ));
        };
        self.spawn_on(&green.life().shared, f)
    }

    #[track_caller]
    pub(crate) fn spawn_on<F, T>(self, shared: &Arc<Shared>, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let native = NativeSection::enter();
        let packet = Arc::new(Packet::new());
        let stack_size = self.stack_size.unwrap_or(shared.settings.stack_size);
        let life = Life::new(shared.clone(), Location::caller());
        let id = life.id;
        let name = self.name.map(String::into_boxed_str);
        let theirs = packet.clone();
        let green = GreenRef::prepare(stack_size, life, name, false, move || {
            let result = panic::catch_unwind(AssertUnwindSafe(f));
            theirs.store(result);
            End(theirs)
        })?;
        scheduler::start(green);
        drop(native);
        Ok(JoinHandle { packet, id })
    }
}

/// Where the result goes.
struct Packet<T> {
    /// The flags below.
    state: AtomicU32,
    result: UnsafeCell<Option<thread::Result<T>>>,
}

/// The result was stored; set by the green thread.
const STORED: u32 = 1;
/// The handle was dropped; set by its owner. Whoever comes second of these two drops the result, as part of
/// its own code.
const ABANDONED: u32 = 2;
/// Somebody waits for the end.
const AWAITED: u32 = 4;
/// The green thread has ended.
const ENDED: u32 = 8;

// SAFETY: the green thread writes the result before it releases STORED. From then on it is the handle's owner's,
// who acquires STORED or ENDED, or, if the owner gave up before, the green thread's.
unsafe impl<T: Send> Sync for Packet<T> {}

impl<T> Packet<T> {
    fn new() -> Packet<T> {
        Packet {
            state: AtomicU32::new(0),
            result: UnsafeCell::new(None),
        }
    }

    /// On the green thread, as the last part of its own code.
    fn store(&self, result: thread::Result<T>) {
        // SAFETY: nobody else looks at the result before STORED is set.
        unsafe { *self.result.get() = Some(result) };
        if self.state.fetch_or(STORED, Ordering::AcqRel) & ABANDONED != 0 {
            // SAFETY: the handle's owner has given up the result.
            drop(unsafe { (*self.result.get()).take() });
        }
    }
}

/// Announces the end when it is dropped, which is after the thread-local destructors have run.
struct End<T>(Arc<Packet<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.0.state.fetch_or(ENDED, Ordering::AcqRel) & AWAITED != 0 {
            futex::wake(&self.0.state, u32::MAX);
        }
    }
}

/// A green thread to be joined, as [`std::thread::JoinHandle`]. Dropping it detaches the green thread.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    id: u64,
}

impl<T> JoinHandle<T> {
    /// Waits for the green thread's end: parks a green thread, blocks an OS thread.
    ///
    /// # Errors
    ///
    /// The panic's payload, if the green thread panicked.
    pub fn join(self) -> thread::Result<T> {
        let state = &self.packet.state;
        let mut seen = state.fetch_or(AWAITED, Ordering::AcqRel) | AWAITED;
        while seen & ENDED == 0 {
            futex::wait(state, seen, None);
            seen = state.load(Ordering::Acquire);
        }
        // SAFETY: ENDED was acquired, and `self` is the only handle.
        let result = unsafe { (*self.packet.result.get()).take() };
        result.expect("a green thread stores its result before it ends")
    }

    /// Whether the green thread has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.packet.state.load(Ordering::Acquire) & ENDED != 0
    }

    /// The green thread's id, which no other one of this process has or will have.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.packet.state.fetch_or(ABANDONED, Ordering::AcqRel) & STORED != 0 {
            // SAFETY: the green thread has stored the result and leaves it to us.
            drop(unsafe { (*self.packet.result.get()).take() });
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Starts `f` on a new green thread of the caller's runtime.
///
/// # Panics
///
/// Off a green thread, and if there is no memory for a stack; [`Builder::spawn`] returns the error.
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new()
        .spawn(f)
        .unwrap_or_else(|error| panic!("cannot spawn a green thread: {error}"))
}

/// Lets the other green threads of this worker run; on an OS thread, yields the processor.
#[inline]
pub fn yield_now() {
    match context::green() {
        Some(green) => green.yield_now(),
        None => rustix::thread::sched_yield(),
    }
}

/// What is known of the calling green thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    id: u64,
    spawned_at: &'static Location<'static>,
}

impl Current {
    /// The green thread's id, which no other one of this process has or will have.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where in the source it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }
}

/// The calling green thread; `None` on an OS thread.
pub fn current() -> Option<Current> {
    context::green().map(|green| {
        let life = green.life();
        Current {
            id: life.id,
            spawned_at: life.spawned_at,
        }
    })
}
