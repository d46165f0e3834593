//! `greenpatch serve`.

use std::convert::Infallible;
use std::process::ExitCode;

use greenpatch_server::application::Request;
use greenpatch_server::{Program, WorkerClass};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::applications;
use crate::arguments::ServeArguments;

/// Serves until a signal comes.
pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    let application = match arguments.application() {
        Ok(application) => application,
        Err(error) => error.exit(),
    };
    if arguments.end_with_parent
        && let Err(error) = set_parent_process_death_signal(Some(Signal::QUIT))
    {
        eprintln!("greenpatch: the kernel does not tell when the parent process ends: {error}");
        return ExitCode::FAILURE;
    }
    // What is wrong with the settings, the program itself tells.
    let loaded = arguments.server.load();
    let class = loaded.map_or(WorkerClass::Sync, |loaded| {
        loaded.settings.effective_class()
    });
    let program = Program::new().command_line(arguments.server.clone());
    match application.as_async(class) {
        Some(application) => program.run(move |_| {
            let answer = move |request: Request| applications::answer(application, request);
            Ok::<_, Infallible>(answer)
        }),
        None => program.run(move |_| applications::functions(&application)),
    }
}
