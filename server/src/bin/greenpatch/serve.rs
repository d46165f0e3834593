//! `greenpatch serve`.

use std::convert::Infallible;
use std::fs;
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
    if let Some(parent) = arguments.end_with_parent {
        if let Err(error) = set_parent_process_death_signal(Some(Signal::QUIT)) {
            eprintln!("greenpatch: the kernel does not tell when the parent process ends: {error}");
            return ExitCode::FAILURE;
        }
        // The kernel says nothing of a parent that had ended before.
        if !descends_from(parent) {
            return ExitCode::FAILURE;
        }
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

/// Whether this process was started by that one, which lives: as a master, or as the worker of one.
fn descends_from(ancestor: u32) -> bool {
    let master = parent_of("self");
    let before = || parent_of(&master?.to_string());
    master == Some(ancestor) || before() == Some(ancestor)
}

fn parent_of(process: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}
