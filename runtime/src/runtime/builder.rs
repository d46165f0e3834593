//! How a runtime is built: its settings, its OS threads, and what its process needs for that.

use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use crate::base;
use crate::base::error::BuildError;
use crate::base::patch::Patch;
use crate::base::policy::{OnDeadlock, OnDrop};
use crate::base::process;
use crate::body;
use crate::body::region;
use crate::body::setxid;
use crate::body::tls;
use crate::look;
use crate::look::attach;
use crate::look::blocked::{Blocked, BlockedCallback};
use crate::look::dump_signal::{self, Signal};
use crate::look::observer::Observers;
use crate::runtime::handle::Runtime;
use crate::runtime::settings::{Given, Resolved, Switch};
use crate::sched;
use crate::sched::context::{self, NativeSection, OwnWork};
use crate::sched::monitor;
use crate::sched::overflow;
use crate::sched::scheduler::Shared;
use crate::wait;
use crate::wait::descriptor;

impl Runtime {
    /// The settings of a new runtime; what is not set comes from the environment (see
    /// [`SETTINGS`](crate::SETTINGS)).
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            given: Given::default(),
        }
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

    /// Green threads that may live at once. One more is not spawned: [`Builder::spawn`](crate::Builder::spawn) fails with
    /// `WouldBlock`, and under the shims `pthread_create` with `EAGAIN`, as at the limit of the kernel's threads; so
    /// [`std::thread::Builder::spawn`] fails, and [`std::thread::spawn`] and [`spawn`](crate::spawn()) panic. The thread that
    /// calls [`run`](crate::Runtime::run) counts, and is never refused. By default, and with 0, any number may.
    ///
    /// To let those who come wait instead of failing, use a [`GreenPool`](crate::GreenPool) or a
    /// [`Semaphore`](crate::sync::Semaphore); this is the fuse behind them.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use greenpatch_runtime::{Builder, Runtime, thread};
    ///
    /// let runtime = Runtime::builder().max_green_threads(2).build()?;
    /// runtime.run(|| {
    ///     let parked = Builder::new().spawn(thread::park).unwrap();
    ///     let refused = Builder::new().spawn(|| ()).unwrap_err();
    ///     assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    ///     parked.thread().unpark();
    ///     parked.join().unwrap();
    /// });
    /// # Ok::<(), greenpatch_runtime::BuildError>(())
    /// ```
    pub fn max_green_threads(mut self, threads: usize) -> Self {
        self.given.max_green_threads = Some(threads);
        self
    }

    /// How long a green thread may run without giving way before it is reported: as a warning by the `tracing` crate, with
    /// the feature of that name, or on standard error where nobody listens to that, or to [`on_blocked`](Self::on_blocked).
    /// It is reported again each time it has run twice as long. [Blocking sections](crate::blocking) are not reported. By
    /// default, and with `Duration::ZERO`, nothing is.
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
        self.given.on_blocked = Some(BlockedCallback(Arc::new(listener)));
        self
    }

    /// How long a green thread waits before the memory of its stack that it does not need meanwhile goes back to the kernel: what
    /// it has used at its deepest, and does not use now. It is looked for once a second, while the process does something. When
    /// memory is short, as the kernel's pressure stall information tells, who has waited for a second gives it back. By default,
    /// and with `Duration::ZERO`, nobody does.
    ///
    /// For servers with many connections that are idle for long. The first calls after the wait take the memory anew, a fault
    /// for each page. [`Runtime::trim`] does the same upon request.
    ///
    /// # Safety
    ///
    /// As [`Runtime::trim`], for as long as the runtime exists.
    pub unsafe fn trim_after(mut self, time: Duration) -> Self {
        self.given.trim_after = Some(time);
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

    /// Whether `greenpatch top` and `greenpatch dump` may look into the process; they may by default. An OS thread waits for
    /// them, without a descriptor or a signal handler: see [`attach`](crate::attach). One that waits already goes on.
    pub fn attach(mut self, on: bool) -> Self {
        self.given.attach = Some(Switch(on));
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
            attach,
        } = self.given.resolve()?;
        tls::initialize()?;
        prepare_process();
        if let Some(Signal(signal)) = dump_signal {
            dump_signal::dump_on_signal(signal)
                .map_err(|error| BuildError::io("dump on a signal", error))?;
        }
        if attach {
            attach::start()
                .map_err(|error| BuildError::io("start a thread to attach to", error))?;
        }
        let shared = Arc::new(Shared::new(settings, descriptor::DUTY)?);
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
        look::reset_after_fork();
        wait::reset_after_fork();
        sched::reset_after_fork();
        body::reset_after_fork();
        base::reset_after_fork();
    });
    process::set_process();
    region::ask_modules();
}
