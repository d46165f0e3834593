//! `greenpatch serve`.

use std::error::Error;
use std::process;

use greenpatch::Patch;
use greenpatch_server::{Server, WorkerClass, log};

use crate::applications;
use crate::arguments::ServeArguments;
use crate::signals;

/// Serves until a signal comes.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Box<dyn Error>> {
    log::info(concat!("Starting greenpatch ", env!("CARGO_PKG_VERSION")));
    let server = Server::bind(&arguments.bind, arguments.settings())?;
    signals::stop_server(server.stop_handle(), arguments.graceful_timeout)?;
    let pid = process::id();
    // As in gunicorn, where more threads than one make a gthread worker of a sync one.
    let class = match arguments.worker_class {
        WorkerClass::Sync if arguments.threads.get() > 1 => WorkerClass::Gthread,
        class => class,
    };
    log::info(format_args!(
        "Listening at: http://{} ({pid})",
        server.local_addr()
    ));
    log::info(format_args!("Using worker: {class}"));
    log::info(format_args!("Booting worker with pid: {pid}"));
    if arguments.patch.is_some() && matches!(class, WorkerClass::Gthread | WorkerClass::Async) {
        log::warning(format_args!(
            "--patch changes nothing in worker class {class}, which runs no green threads; \
             use -k green or -k sync with it"
        ));
    }

    let (app, sleep, way) = (arguments.app, arguments.sleep, arguments.async_sleep);
    let handler = applications::handler(app, sleep);
    match class {
        WorkerClass::Sync => server.run_sync(handler, arguments.patch.unwrap_or(Patch::none())),
        WorkerClass::Gthread => server.run_gthread(handler, arguments.threads),
        WorkerClass::Green => {
            let patch = arguments.patch.unwrap_or(Patch::all());
            server.run_green(handler, arguments.green_workers, patch)
        }
        WorkerClass::Async => {
            server.run_async(move |request| applications::handle_async(app, sleep, way, request))
        }
    }?;
    log::info("Shutting down");
    Ok(())
}
