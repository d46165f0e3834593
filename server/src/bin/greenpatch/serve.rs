//! `greenpatch serve`.

use std::convert::Infallible;
use std::process::ExitCode;

use greenpatch_server::{Program, Request, WorkerClass};

use crate::applications;
use crate::arguments::{App, AsyncSleep, ServeArguments};

/// Serves until a signal comes.
pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    let (app, sleep) = (arguments.app, arguments.sleep);
    let program = Program::new().command_line(arguments.server.clone());
    // What is wrong with the settings, the program itself tells.
    let loaded = arguments.server.load();
    let class = loaded.map(|loaded| loaded.settings.effective_class());
    match (class, app, arguments.async_sleep) {
        (Ok(WorkerClass::Async), App::Hello, AsyncSleep::Async) => program.run(move |_| {
            let hello =
                move |request: Request| applications::hello_without_blocking(request, sleep);
            Ok::<_, Infallible>(hello)
        }),
        _ => program.run(move |_| Ok::<_, Infallible>(applications::blocking(app, sleep))),
    }
}
