//! The `greenpatch` command: an HTTP server with gunicorn's command line, a demonstration of what the patch does, the way
//! to run any program with its threads green, and to look into those that run.

#![forbid(unsafe_code)]
// Standard output is where the applications and the demonstration write.
#![allow(clippy::print_stdout)]

mod applications;
mod arguments;
mod demo;
mod doctor;
mod imports;
mod look;
mod program;
mod run;
mod serve;
mod waiting;

use std::error::Error;
use std::process::ExitCode;

use clap::CommandFactory;
use greenpatch_server::CommandLine;

use arguments::{Arguments, Command, DemoArguments};

fn main() -> ExitCode {
    let arguments: Arguments = match CommandLine::parse_as_part() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    if let Some(page) = arguments.generate {
        return CommandLine::print_page(&Arguments::command(), page);
    }
    if let Some((command, page)) = arguments.command.as_ref().and_then(arguments::page_of) {
        return CommandLine::print_page(&command, page);
    }
    let command = arguments
        .command
        .unwrap_or(Command::Demo(DemoArguments::default()));
    let result = match command {
        Command::Serve(arguments) => Ok(serve::run(&arguments)),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Dump(arguments) => look::dump::run(&arguments),
        Command::Top(arguments) => look::top::run(&arguments),
        Command::Run(arguments) => Ok(run::run(&arguments)),
    };
    result.unwrap_or_else(|error: Box<dyn Error>| {
        eprintln!("greenpatch: {error}");
        ExitCode::FAILURE
    })
}
