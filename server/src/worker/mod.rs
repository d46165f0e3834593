//! A worker: it accepts connections, polls them, and lets handlers run where its class says.
//!
//! All classes have the same inside. One greenpatch runtime runs the [`executor`]'s drivers, green threads that poll what is
//! ready: the connections ([`protocol`](crate::protocol)), the tasks that accept them ([`listener`]), and the sweep. The [`class`] decides
//! where a request's handler runs, and so does what the runtime patches:
//!
//! | class | a handler runs | the runtime |
//! |---|---|---|
//! | `green` | on the driver that polls the connection, where it may block; or on a green thread of its own | is patched |
//! | `async` | on the driver that polls the connection; if it blocks, everything stands still | is not |
//! | `sync` | the same, and one at a time | is not |
//! | `gthread` | on an OS thread of a pool | is not |
//!
//! | file | what |
//! |---|---|
//! | `executor` | tasks, and the green threads that poll them |
//! | `class` | the classes |
//! | `handling` | a handler's answer on its way |
//! | `green`, `gthread`, `sync` | handlers on threads of their own, on those of a pool, one at a time |
//! | `listener` | accepting |
//! | `control` | stopping from outside |
//! | `timer` | hyper's timer |

pub(crate) mod class;
pub(crate) mod control;
mod executor;
mod green;
mod gthread;
mod handling;
pub(crate) mod listener;
mod sync;
mod timer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use greenpatch::future::{Handle, sleep};
use greenpatch::{Patch, Runtime, block_on};
use tokio::sync::mpsc;

pub use class::{UnknownClass, WorkerClass};
pub use control::StopHandle;

use self::class::Handlers;
use self::executor::{Context, Executor};
use self::listener::{Accepted, Listener, accept_until_stopped, before};
use self::timer::Timer;
use crate::application::{Ambient, Application};
use crate::log;
use crate::observe::Observer;
use crate::observe::admin::Readiness;
use crate::protocol::connection::{self, Protocol};
use crate::protocol::entry::Entry;
use crate::protocol::forwarded::Forwarders;
use crate::protocol::registry::Registry;
use crate::protocol::service::Common;
use crate::protocol::stream::Stream;
use crate::protocol::sweep::{self, sweep};
use crate::server::ServeError;
use crate::settings::Settings;

/// How often a worker without connections shows that it is alive.
const PULSE: Duration = Duration::from_secs(1);

/// What a worker tells its owner.
pub(crate) struct Hooks {
    /// Every listening socket is accepted from.
    pub(crate) ready: Box<dyn FnOnce() + Send>,
    /// The drivers turn; called several times a second while there are connections, and once a second otherwise.
    pub(crate) alive: Box<dyn Fn() + Send + Sync>,
    /// Sees each connection and request.
    pub(crate) observer: Arc<Observer>,
}

impl Hooks {
    /// Nobody is told, but for this observer.
    pub(crate) fn only(observer: Arc<Observer>) -> Hooks {
        Hooks {
            ready: Box::new(|| ()),
            alive: Box::new(|| ()),
            observer,
        }
    }
}

/// Serves until it is told to stop, and everything that was begun then is done.
///
/// # Errors
/// If the runtime, a thread or a listening socket cannot be made ready.
pub(crate) fn serve<A: Application>(
    application: A,
    listeners: Vec<Listener>,
    settings: &Settings,
    stop: &StopHandle,
    hooks: Hooks,
) -> Result<(), ServeError> {
    let class = settings.effective_class();
    let patch = settings.effective_patch();
    // Before the runtime, so that a pool's threads and Tokio's beside it are OS threads. Tokio's are as well where one of the families
    // by which they wait is left out: they would keep the worker to themselves.
    let tokio_parks = patch.contains(Patch::LOCK | Patch::SELECT);
    let is_outside = class == WorkerClass::Gthread || !tokio_parks;
    let outside = is_outside.then(Ambient::build).transpose()?;
    let handlers = Handlers::new(settings, entering(outside.as_ref()))?;
    let workers = match class {
        WorkerClass::Green => settings.green_workers.get(),
        _ => 1,
    };
    let mut runtime = Runtime::builder()
        .workers(workers)
        .patch(patch)
        // A family that is left out is to block the worker, as it does eventlet's hub.
        .compensation(patch.is_all())
        .name(class.name());
    if let Some(time) = settings.timeouts.worker {
        // So that the log tells where a worker is stuck before it is killed for that.
        let observer = Arc::clone(&hooks.observer);
        let tell = move |blocked: &greenpatch::Blocked| {
            observer.blocked(blocked);
            log::warning(blocked);
        };
        runtime = runtime.max_blocking_time(time / 2).on_blocked(tell);
    }
    if let Some(bytes) = settings.stack_size {
        runtime = runtime.stack_size(bytes);
    }
    let runtime = runtime.build()?;
    runtime.run(|| {
        let ambient = outside.map_or_else(Ambient::build, Ok)?;
        let executor = Executor::new(settings.stack_size, entering(Some(&ambient)))?;
        serve_on_runtime(
            application,
            handlers,
            executor,
            listeners,
            settings,
            stop,
            hooks,
        )
    })
}

/// What each driver, and each thread of a pool, holds for its life.
fn entering(ambient: Option<&Ambient>) -> impl Fn() -> Context + Clone + Send + Sync + 'static {
    let entry = ambient.map(Ambient::entry);
    move || match entry {
        Some(entry) => entry.enter(),
        None => Box::new(()),
    }
}

fn serve_on_runtime<A: Application>(
    application: A,
    handlers: Handlers,
    executor: Executor,
    listeners: Vec<Listener>,
    settings: &Settings,
    stop: &StopHandle,
    hooks: Hooks,
) -> Result<(), ServeError> {
    let handle = Handle::current()?;
    let entry = Arc::new(Entry::new(settings).map_err(io::Error::other)?);
    stop.note_entry(&entry);
    let observer = hooks.observer;
    let most = settings.worker_connections.max(1);
    let registry = Arc::new(Registry::new(most, Arc::clone(&observer)));
    let timer = Timer(handle.clone());
    let protocol = Protocol::new(settings, executor.clone(), timer);
    let protocol = Arc::new(protocol);
    let settings = Arc::new(settings.clone());
    let common = Arc::new(Common {
        application,
        place: handlers,
        registry: Arc::clone(&registry),
        settings: Arc::clone(&settings),
        forwarders: Forwarders::new(settings.proxy.forwarded_allow_ips.clone()),
        observer: Arc::clone(&observer),
        is_stopping: {
            let stop = stop.clone();
            Box::new(move || stop.is_stopping())
        },
    });

    // Closed when the last accepting task has ended.
    let (accepting, mut accepted) = mpsc::channel::<()>(1);
    observer.listens_at(listeners.iter().filter_map(Listener::address).collect());
    for listener in listeners {
        let admit = {
            let (common, registry) = (Arc::clone(&common), Arc::clone(&registry));
            let (handle, executor) = (handle.clone(), executor.clone());
            let (protocol, entry) = (Arc::clone(&protocol), Arc::clone(&entry));
            move |accepted: Accepted| {
                let (socket, peer) = accepted.into_parts();
                let stream = match Stream::with(&handle, socket, peer) {
                    Ok(stream) => stream,
                    Err(error) => {
                        log::error(format_args!("cannot serve a connection: {error}"));
                        return;
                    }
                };
                let entered = registry.enter(Arc::clone(stream.socket()));
                let (protocol, entry) = (Arc::clone(&protocol), Arc::clone(&entry));
                let common = Arc::clone(&common);
                executor.spawn(connection::serve(common, protocol, entry, stream, entered));
            }
        };
        let (registry, stop) = (Arc::clone(&registry), stop.clone());
        let (backlog, accepting) = (settings.backlog, accepting.clone());
        let observer = Arc::clone(&observer);
        executor.spawn_early(async move {
            accept_until_stopped(listener, registry, stop, backlog, &observer, admit).await;
            drop(accepting);
        });
    }
    drop(accepting);
    let watch = watch(
        Arc::clone(&registry),
        settings,
        hooks.alive,
        Arc::clone(&observer),
    );
    executor.spawn(watch);
    (hooks.ready)();
    observer.advance(Readiness::Ready);

    block_on(async {
        stop.until_stopping().await;
        observer.advance(Readiness::Draining);
        registry.drain();
        let drained = async {
            accepted.recv().await;
            registry.until_empty().await;
        };
        if before(stop.until_quitting(), drained).await.is_none() {
            registry.abort();
        }
    });
    executor.close();
    Ok(())
}

/// The sweep, as long as the worker lives.
async fn watch(
    registry: Arc<Registry>,
    settings: Arc<Settings>,
    alive: Box<dyn Fn() + Send + Sync>,
    observer: Arc<Observer>,
) {
    loop {
        alive();
        log::tell_repeated();
        if registry.open() > 0 {
            sleep(sweep::PERIOD).await;
            sweep(&registry, &settings, &observer);
        } else {
            before(registry.until_entered(), sleep(PULSE)).await;
        }
    }
}
