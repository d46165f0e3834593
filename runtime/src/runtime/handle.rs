//! Runtimes, and spawning green threads on them.

use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use crate::runtime::adoption;
use crate::sched::scheduler::Shared;
use crate::thread::spawn::{self, Builder, JoinHandle};

/// A scheduler with its workers, on which green threads run.
///
/// Dropping the runtime detaches its green threads, as dropping a [`std::thread::JoinHandle`] does: they go on
/// until they end or the process exits, and the workers leave with the last of them. To wait for them, use
/// [`shutdown`](Runtime::shutdown), or [`on_drop`](crate::RuntimeBuilder::on_drop).
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
/// If the runtime cannot be built, with the [`BuildError`](crate::BuildError)'s text, and if `f` panics.
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
