//! A whole program around an application: [`main`], and [`Program`] for those that want more of it.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::application::{Application, IntoApplication, Request};
use crate::arbiter::{self, Order, Post, Serving, Socket, WorkerError};
use crate::command::line::CommandLine;
use crate::log;
use crate::observe::attached;
use crate::observe::snapshot::Snapshot;
use crate::observe::{Observe, Observer};
use crate::settings::Settings;
use crate::worker::listener::Listener;
use crate::worker::{self, Hooks, StopHandle};

/// How long a worker that ends may take to write its access log.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// How long a worker that ends may take to drop its application: the last handlers' threads may still be about to.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Serves an application with gunicorn's command line: a master that holds the listening sockets, and as many workers as are
/// asked for. It is all that a program's `main` needs to call:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     greenpatch_server::main(|_: greenpatch_server::Request| "Hello, World!\n")
/// }
/// ```
///
/// Workers are this program, executed once more, so `main` is called in each of them as well. What stands before this call is
/// done in every process, and what comes after it when that process ends. [`Program`] has hooks for workers alone.
///
/// The result is the process's exit code: 0 after a stop, 1 if the server cannot start, 2 after a mistake in the settings, 3 or
/// 4 if its workers cannot boot, or cannot build the application.
pub fn main<M>(application: impl IntoApplication<M>) -> ExitCode {
    Program::new().run(|_| Ok::<_, Infallible>(application))
}

/// A program that serves an application, in the making: what [`main`] does, with more to say.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use greenpatch_server::{Program, Request};
///
/// fn main() -> ExitCode {
///     Program::new()
///         .on_start(|| println!("a worker is about to serve"))
///         .on_stop(|| println!("and has served"))
///         // Built in the workers alone, so the master needs no data.
///         .run(|_settings| {
///             let greeting = std::fs::read_to_string("greeting.txt")?;
///             Ok::<_, std::io::Error>(move |_: Request| greeting.clone())
///         })
/// }
/// ```
#[derive(Default)]
pub struct Program {
    line: Option<CommandLine>,
    start: Vec<Box<dyn FnOnce()>>,
    stop: Vec<Box<dyn FnOnce()>>,
}

impl Program {
    /// One that reads the process's command line as its settings.
    pub fn new() -> Program {
        Program::default()
    }

    /// Takes its settings from this command line, which is a part of the program's own.
    #[must_use]
    pub fn command_line(mut self, line: CommandLine) -> Program {
        self.line = Some(line);
        self
    }

    /// Calls `hook` in each worker, on its main thread, after the application was built and before it is served. Hooks are
    /// called in the order in which they were given.
    #[must_use]
    pub fn on_start(mut self, hook: impl FnOnce() + 'static) -> Program {
        self.start.push(Box::new(hook));
        self
    }

    /// Calls `hook` in each worker, on its main thread, when its last request has been answered and its application was
    /// dropped. Not after a quick stop, or if requests outlast `--graceful-timeout`. Hooks are called in the order in which they
    /// were given.
    #[must_use]
    pub fn on_stop(mut self, hook: impl FnOnce() + 'static) -> Program {
        self.stop.push(Box::new(hook));
        self
    }

    /// Serves the application that `build` makes in each worker; an error of it ends the server. Returns as [`main`] does.
    ///
    /// What the application owns, such as a pool of connections, lives as long as the worker serves: `build` opens it before
    /// the first request, and it is dropped after the last response.
    pub fn run<A, M, E>(mut self, build: impl FnOnce(&Settings) -> Result<A, E>) -> ExitCode
    where
        A: IntoApplication<M>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let line = self.line.take();
        let line = || line.map_or_else(CommandLine::of_process, Ok);
        arbiter::run(line, |post| self.work(post, build))
    }

    /// What a worker does.
    fn work<A, M, E>(
        self,
        post: Post,
        build: impl FnOnce(&Settings) -> Result<A, E>,
    ) -> Result<(), WorkerError>
    where
        A: IntoApplication<M>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Post {
            settings,
            sockets,
            link,
        } = post;
        let observer = Observer::new(Observe::from_settings(&settings)?);
        attached::tell_of_worker(&observer);
        let application =
            build(&settings).map_err(|error| WorkerError::Application(error.into()))?;
        for hook in self.start {
            hook();
        }
        let stop = StopHandle::new();
        let turns = Arc::<AtomicU64>::default();
        link.serve(Served {
            stop: stop.clone(),
            turns: Arc::clone(&turns),
            observer: Arc::clone(&observer),
        });
        let ready = link.clone();
        let hooks = Hooks {
            observer: Arc::clone(&observer),
            ready: Box::new(move || ready.ready()),
            alive: Box::new(move || {
                turns.fetch_add(1, Ordering::Relaxed);
            }),
        };
        let listeners = sockets.into_iter().map(Listener::from).collect();
        let (owner, all_dropped) = mpsc::channel();
        let application = Owned {
            application: application.into_application(),
            _owner: owner,
        };
        worker::serve(application, listeners, &settings, &stop, hooks)?;
        // The last connections may still be on their way out. Nothing is ever sent: the wait ends when no owner is left.
        let _ = all_dropped.recv_timeout(DROP_PATIENCE);
        for hook in self.stop {
            hook();
        }
        link.report();
        flush(&observer);
        Ok(())
    }
}

/// An application that tells when the last clone of it has been dropped.
#[derive(Clone)]
struct Owned<A> {
    application: A,
    /// Fields are dropped in order, so it goes after the application.
    _owner: mpsc::Sender<Infallible>,
}

impl<A: Application> Application for Owned<A> {
    const BLOCKS: bool = A::BLOCKS;

    type Future = A::Future;

    fn call(&self, request: Request) -> A::Future {
        self.application.call(request)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// What the arbiter's link sees of a worker.
struct Served {
    stop: StopHandle,
    turns: Arc<AtomicU64>,
    observer: Arc<Observer>,
}

impl Serving for Served {
    fn order(&mut self, order: Order) {
        match order {
            Order::Drain => self.stop.stop(),
            Order::Quit => self.stop.quit(),
            Order::Reopen => self.observer.reopen(),
            Order::Exit => flush(&self.observer),
        }
    }

    fn turns(&mut self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    fn requests(&mut self) -> u64 {
        self.observer.begun()
    }

    fn snapshot(&mut self) -> Snapshot {
        self.observer.snapshot()
    }
}

fn flush(observer: &Observer) {
    if !observer.flush(FLUSH_PATIENCE) {
        log::error("The access log could not be written to its end");
    }
}

impl From<Socket> for Listener {
    fn from(socket: Socket) -> Listener {
        match socket {
            Socket::Tcp(listener) => Listener::Tcp(listener),
            Socket::Unix(listener) => Listener::Unix(listener),
        }
    }
}
