//! Runtimes, and spawning green threads on them.

use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Once};
use std::time::Duration;
use std::{fmt, io, thread};

use crate::base::error::BuildError;
use crate::base::own_descriptor;
use crate::base::patch::Patch;
use crate::base::policy::{OnDeadlock, OnDrop};
use crate::base::process;
use crate::base::thread_counts;
use crate::body::executable;
use crate::body::native_stack;
use crate::body::setxid;
use crate::body::slot;
use crate::body::tls;
use crate::look::dump;
use crate::look::dump_signal;
use crate::look::dump_signal::Signal;
use crate::look::hog::{Blocked, Listener};
use crate::look::observer::Observers;
use crate::look::sample;
use crate::runtime::adoption;
use crate::runtime::settings::{Given, Resolved, Switch};
use crate::sched::context::{self, NativeSection, OwnWork};
use crate::sched::monitor;
use crate::sched::overflow;
use crate::sched::parking_lot;
use crate::sched::scheduler::Shared;
use crate::thread::spawn::{self, Builder, JoinHandle};
use crate::wait::descriptor;
use crate::wait::signal_wake;

/// A scheduler with its workers, on which green threads run.
///
/// Dropping the runtime detaches its green threads, as dropping a [`std::thread::JoinHandle`] does: they go on
/// until they end or the process exits, and the workers leave with the last of them. To wait for them, use
/// [`shutdown`](Runtime::shutdown), or [`on_drop`](RuntimeBuilder::on_drop).
///
/// ```
/// use greenpatch_runtime::Runtime;
///
/// let runtime = Runtime::builder().workers(2).build()?;
/// let answer = runtime.run(|| greenpatch_runtime::spawn(|| 42).join().unwrap());
/// assert_eq!(answer, 42);
/// # Ok::<(), greenpatch_runtime::BuildError>(())
/// ```
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

// No user code runs while anything of it is half changed.
impl UnwindSafe for Runtime {}
impl RefUnwindSafe for Runtime {}

impl Runtime {
    /// The settings of a new runtime; what is not set comes from the environment (see
    /// [`SETTINGS`](crate::SETTINGS)).
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            given: Given::default(),
        }
    }

    /// Makes the calling thread a green thread of this runtime while it runs `f`.
    ///
    /// It stays the thread that it is, with its stack and its thread-local storage. So neither `f` nor what it returns need
    /// be `Send`, a panic goes through, and a `main` that returns a `Result` can return what `run` does. Its kernel's
    /// thread waits meanwhile. On a green thread of this runtime, `f` is just called.
    ///
    /// ```
    /// use std::error::Error;
    /// use std::rc::Rc;
    ///
    /// fn main() -> Result<(), Box<dyn Error>> {
    ///     let runtime = greenpatch_runtime::Runtime::builder().workers(2).build()?;
    ///     let word = Rc::new("green");
    ///     runtime.run(|| {
    ///         let number: i32 = "42".parse()?;
    ///         println!("{word} {number}");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics. Panics if there is no memory, and after a [`cancel_all`](Self::cancel_all), as nothing begins any
    /// more.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T,
    {
        adoption::run(&self.shared, Location::caller(), f)
    }

    /// Starts a green thread on this runtime.
    ///
    /// # Panics
    ///
    /// If no stack can be had; [`spawn_with`](Self::spawn_with) returns the error.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn::started(self.spawn_with(Builder::new(), f))
    }

    /// Starts a green thread on this runtime with the builder's name and stack size.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    #[track_caller]
    pub fn spawn_with<F, T>(&self, builder: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        builder.spawn_on(&self.shared, f)
    }

    /// Green threads that were started and have not ended.
    pub fn live(&self) -> usize {
        self.shared.live()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("settings", &self.shared.settings)
            .field("live", &self.live())
            .finish()
    }
}

/// Settings for a [`Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeBuilder {
    given: Given,
}

impl RuntimeBuilder {
    /// OS threads that run green threads; 1 gives the single hub of eventlet and gevent.
    pub fn workers(mut self, workers: usize) -> Self {
        self.given.workers = Some(workers);
        self
    }

    /// Bytes of stack of a green thread, where its builder does not say otherwise. Rounded up to
    /// the next size class: 64 KiB, 256 KiB, 2 MiB, 8 MiB, 64 MiB, 512 MiB. Memory is taken page by
    /// page as the stack is used.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.given.stack_size = Some(bytes);
        self
    }

    /// Which shim families yield on this runtime's green threads.
    pub fn patch(mut self, patch: Patch) -> Self {
        self.given.patch = Some(patch);
        self
    }

    /// Whether a spare worker takes the place of one that is blocked, be it in a [blocking section](crate::blocking)
    /// or by a call that no shim reaches, or whose green thread computes for long. On by default; off, a blocked
    /// worker blocks whatever waits for it, as a blocked hub of eventlet or gevent does.
    pub fn compensation(mut self, on: bool) -> Self {
        self.given.compensation = Some(Switch(on));
        self
    }

    /// Spare workers that may serve at once beside the runtime's own, 64 by default. They are OS threads that
    /// start when they are needed and end some seconds later.
    pub fn max_spare_workers(mut self, workers: usize) -> Self {
        self.given.max_spare_workers = Some(workers);
        self
    }

    /// How long a green thread may run without giving way before it is reported: as a warning by the `tracing` crate, with
    /// the feature of that name, or on standard error where nobody listens to that, or to [`on_blocked`](Self::on_blocked). It is reported again each
    /// time it has run twice as long. [Blocking sections](crate::blocking) are not reported. By default, and with
    /// `Duration::ZERO`, nothing is.
    ///
    /// To learn where the green thread is, its OS thread is sent SIGURG, with a handler that this installs for the process and
    /// that passes other such signals on. A call that waits in the kernel goes on after that, except those that
    /// signal(7) lists as failing with `EINTR`.
    pub fn max_blocking_time(mut self, time: Duration) -> Self {
        self.given.max_blocking_time = Some(time);
        self
    }

    /// Whom to tell of green threads that have run for longer than [`max_blocking_time`](Self::max_blocking_time),
    /// instead of a warning. Called on an OS thread of its own; while it runs, no others are reported.
    ///
    /// ```
    /// use greenpatch_runtime::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder()
    ///     .max_blocking_time(Duration::from_millis(100))
    ///     .on_blocked(|blocked| eprintln!("{blocked}"))
    ///     .build()?;
    /// # Ok::<(), greenpatch_runtime::BuildError>(())
    /// ```
    pub fn on_blocked(mut self, listener: impl Fn(&Blocked) + Send + Sync + 'static) -> Self {
        self.given.on_blocked = Some(Listener(Arc::new(listener)));
        self
    }

    /// What becomes of the green threads when the runtime is dropped; [`OnDrop::Detach`] by default.
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.given.on_drop = Some(on_drop);
        self
    }

    /// What is done when all green threads wait for each other, and nothing else in the process can wake one;
    /// [`OnDeadlock::Warn`] by default.
    pub fn deadlock(mut self, deadlock: OnDeadlock) -> Self {
        self.given.deadlock = Some(deadlock);
        self
    }

    /// The number of a signal upon which all runtimes of the process are written to standard error; none by default. See
    /// [`dump_on_signal`](crate::dump_on_signal).
    pub fn dump_signal(mut self, signal: i32) -> Self {
        self.given.dump_signal = Some(Signal(signal));
        self
    }

    /// The beginning of the names of the runtime's OS threads.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.given.name = Some(name.into());
        self
    }

    /// Builds the runtime and starts its workers.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, or the kernel or the C library lacks something that green threads
    /// need; the error names it.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let _native = NativeSection::enter();
        let _own = OwnWork::enter();
        let Resolved {
            settings,
            on_blocked,
            dump_signal,
        } = self.given.resolve()?;
        tls::initialize()?;
        prepare_process();
        if let Some(Signal(signal)) = dump_signal {
            dump_signal::dump_on_signal(signal)
                .map_err(|error| BuildError::io("dump on a signal", error))?;
        }
        let shared = Arc::new(Shared::new(settings)?);
        let runtime = Runtime {
            shared: shared.clone(),
        };
        for _ in 0..shared.settings.workers {
            shared
                .add_worker()
                .map_err(|error| BuildError::io("start a worker thread", error))?;
        }
        let weak = Arc::downgrade(&shared);
        thread::Builder::new()
            .name(format!("{}-mon", shared.settings.name))
            .spawn(move || monitor::main(weak, Observers::new(on_blocked)))
            .map_err(|error| BuildError::io("start the monitor thread", error))?;
        setxid::install_handler();
        Ok(runtime)
    }
}

/// What a process needs once: the overflow handler, and that a forked child forgets the scheduler. In a
/// forked child, the tables are put in order first.
fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        overflow::install_handler();
        // SAFETY: the handler writes thread-local words and atomics and makes system calls, no more.
        unsafe { libc::pthread_atfork(None, None, Some(context::forget_after_fork)) };
    });
    // SAFETY: a passive process looks at none of the tables and has no green thread.
    process::end_passiveness(|| unsafe {
        parking_lot::reset_after_fork();
        dump::reset_after_fork();
        sample::reset_after_fork();
        thread_counts::reset_after_fork();
        dump_signal::reset_after_fork();
        setxid::reset_after_fork();
        signal_wake::reset_after_fork();
        descriptor::reset_after_fork();
        own_descriptor::reset_after_fork();
        slot::reset_after_fork();
        native_stack::reset_after_fork();
    });
    process::set_process();
    executable::look();
}

/// Builds a runtime with the settings of the environment, and makes the calling thread its green thread while it runs `f`:
/// see [`Runtime::run`].
///
/// ```
/// let sum: i32 = greenpatch_runtime::run(|| {
///     let threads: Vec<_> = (0..10).map(|n| greenpatch_runtime::spawn(move || n)).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).sum()
/// });
/// assert_eq!(sum, 45);
/// ```
///
/// # Panics
///
/// If the runtime cannot be built, with the [`BuildError`]'s text, and if `f` panics.
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    match Runtime::builder().build() {
        Ok(runtime) => runtime.run(f),
        Err(error) => panic!("cannot build the runtime: {error}"),
    }
}
