//! Spawning and joining green threads.

use std::cell::UnsafeCell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io, thread};

use crate::context::{self, NativeSection};
use crate::futex;
use crate::green::{self, GreenRef, Life};
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
        let id = green::next_id();
        let stack_size = self.stack_size.unwrap_or(shared.settings.stack_size);
        let life = Life {
            id,
            shared: shared.clone(),
            spawned_at: Location::caller(),
        };
        let name = self.name.map(String::into_boxed_str);
        let theirs = packet.clone();
        let green = GreenRef::prepare(stack_size, life, name, false, move || {
            let result = panic::catch_unwind(AssertUnwindSafe(f));
            // SAFETY: only the green thread writes, before its end is announced.
            unsafe { *theirs.result.get() = Some(result) };
            if Arc::strong_count(&theirs) == 1 {
                // Nobody will join: the value's destructor is still this thread's own code.
                // SAFETY: as above.
                unsafe { *theirs.result.get() = None };
            }
            End(theirs)
        })?;
        scheduler::start(green);
        drop(native);
        Ok(JoinHandle { packet, id })
    }
}

/// Where the result goes.
struct Packet<T> {
    state: AtomicU32,
    result: UnsafeCell<Option<thread::Result<T>>>,
}

/// States of a packet: the joiner goes from RUNNING to AWAITED, the green thread from either to ENDED.
const RUNNING: u32 = 0;
const AWAITED: u32 = 1;
const ENDED: u32 = 2;

// SAFETY: the green thread writes the result before it releases ENDED; the one owner of the handle
// reads it after it acquired that.
unsafe impl<T: Send> Sync for Packet<T> {}

impl<T> Packet<T> {
    fn new() -> Packet<T> {
        Packet {
            state: AtomicU32::new(RUNNING),
            result: UnsafeCell::new(None),
        }
    }
}

/// Announces the end when it is dropped, which is after the thread-local destructors have run.
struct End<T>(Arc<Packet<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.0.state.swap(ENDED, Ordering::AcqRel) == AWAITED {
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
        loop {
            match state.compare_exchange(RUNNING, AWAITED, Ordering::Acquire, Ordering::Acquire) {
                Err(ENDED) => break,
                _ => futex::wait(state, AWAITED, None),
            };
        }
        // SAFETY: ENDED was acquired, and `self` is the only handle.
        let result = unsafe { (*self.packet.result.get()).take() };
        result.expect("a green thread stores its result before it ends")
    }

    /// Whether the green thread has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.packet.state.load(Ordering::Acquire) == ENDED
    }

    /// The green thread's id, which no other one of this process has or will have.
    pub fn id(&self) -> u64 {
        self.id
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
