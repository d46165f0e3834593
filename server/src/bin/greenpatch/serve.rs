//! `greenpatch serve`.

use std::error::Error;
use std::process::{self, ExitCode};

use greenpatch_server::{Request, Server, WorkerClass, log};

use crate::applications;
use crate::arguments::{App, AsyncSleep, ServeArguments};
use crate::signals;

/// Serves until a signal comes.
pub(crate) fn run(arguments: &ServeArguments) -> Result<ExitCode, Box<dyn Error>> {
    let settings = match arguments.server.begin() {
        Ok(loaded) => loaded.settings,
        Err(code) => return Ok(code),
    };
    log::info(concat!("Starting greenpatch ", env!("CARGO_PKG_VERSION")));
    let address = settings.bind[0].to_string();
    let class = settings.effective_class();
    let (is_patch_set, graceful) = (settings.patch.is_some(), settings.timeouts.graceful);
    let server = Server::bind(&address, settings)?;
    signals::stop_server(server.stop_handle(), graceful)?;
    let pid = process::id();
    log::info(format_args!(
        "Listening at: http://{} ({pid})",
        server.local_addr()
    ));
    log::info(format_args!("Using worker: {class}"));
    log::info(format_args!("Booting worker with pid: {pid}"));
    if is_patch_set && matches!(class, WorkerClass::Gthread | WorkerClass::Async) {
        log::warning(format_args!(
            "--patch changes nothing in worker class {class}, which runs no green threads; \
             use -k green or -k sync with it"
        ));
    }

    let (app, sleep) = (arguments.app, arguments.sleep);
    match (class, app, arguments.async_sleep) {
        (WorkerClass::Async, App::Hello, AsyncSleep::Async) => server
            .serve(move |request: Request| applications::hello_without_blocking(request, sleep)),
        _ => server.serve(applications::blocking(app, sleep)),
    }?;
    log::info("Shutting down");
    Ok(ExitCode::SUCCESS)
}
