//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use greenpatch::Patch;
use greenpatch_server::{CommandLine, Page};

/// Blocking code on green threads, unchanged: an HTTP server, a demonstration, and any other program.
#[derive(Debug, Parser)]
#[command(name = "greenpatch", version)]
pub(crate) struct Arguments {
    /// Print the man page, the page of a server's settings, or a shell's completions, and do no more
    #[arg(long, value_name = "PAGE")]
    pub(crate) generate: Option<Page>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do; the demonstration, if nothing is said.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve an application over HTTP until SIGTERM or SIGINT comes
    Serve(ServeArguments),
    /// Show with two real requests to each worker class what runs at the same time; the default
    Demo(DemoArguments),
    /// Run an unmodified, dynamically linked program with its threads green
    Run(RunArguments),
    /// Say what this machine offers, what is patched, and which calls of a program yield
    Doctor(DoctorArguments),
}

/// What `greenpatch serve` takes: a server's settings, and an application.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) server: CommandLine,
    /// Print the man page, the page of settings, or a shell's completions, and do no more
    #[arg(long, value_name = "PAGE", help_heading = "Settings")]
    pub(crate) generate: Option<Page>,
    /// What to serve
    #[arg(long, value_enum, default_value_t = App::Hello)]
    pub(crate) app: App,
    /// Seconds that the application hello sleeps
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) sleep: Duration,
    /// How the application hello sleeps in class async
    #[arg(long, value_enum, default_value_t = AsyncSleep::Async)]
    pub(crate) async_sleep: AsyncSleep,
}

/// The command that a page about `greenpatch serve` is made of: for shells the whole, to people `serve` alone.
pub(crate) fn serve_command(page: Page) -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    match (page, command.find_subcommand("serve")) {
        (Page::Man, Some(serve)) => serve.clone(),
        _ => Arguments::command(),
    }
}

/// The applications that come with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum App {
    /// Prints `hello N`, sleeps, prints `world`, answers JSON
    Hello,
    /// Answers a constant text at once
    Plain,
    /// Answers with the content of the request
    Echo,
    /// Answers with the request as it was understood
    Inspect,
    /// Panics
    Panic,
}

/// How an async handler sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AsyncSleep {
    /// With `std::thread::sleep`, which blocks the event loop
    Blocking,
    /// With the event loop's own sleep
    Async,
}

/// What `greenpatch run` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "The main thread stays an OS thread. Exit status: the program's; 125 if greenpatch cannot run it, 126 if \
                  it cannot be executed, 127 if it is not there. All settings of a runtime can also be given in the \
                  environment, GREENPATCH_MAX_BLOCKING_TIME and GREENPATCH_DUMP_SIGNAL among them."
)]
pub(crate) struct RunArguments {
    /// OS threads that run the green threads; by default the number of processors
    #[arg(short, long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Which blocking calls yield: all, none, or a list of time, socket, select, lock, thread, os, dns, process; by default all
    #[arg(long, value_name = "FAMILIES")]
    pub(crate) patch: Option<Patch>,
    /// Stack of threads that ask for no size; by default what ulimit -s shows
    #[arg(long, value_name = "BYTES")]
    pub(crate) stack_size: Option<usize>,
    /// Write to standard error at exit how many threads there were, and what they did
    #[arg(long)]
    pub(crate) report: bool,
    /// Leave the programs alone that this one executes
    #[arg(long)]
    pub(crate) no_children: bool,
    /// The preload library, if it is not where it was built
    #[arg(long, value_name = "PATH", env = "GREENPATCH_LIBRARY")]
    pub(crate) library: Option<PathBuf>,
    /// The program and its arguments
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

/// What `greenpatch doctor` takes.
#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    /// A program, or a library that one loads, whose calls are looked at
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: Option<OsString>,
}

/// What `greenpatch demo` takes.
#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// Seconds that the handler sleeps
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) sleep: Duration,
}

impl Default for DemoArguments {
    fn default() -> DemoArguments {
        DemoArguments {
            sleep: Duration::from_secs(1),
        }
    }
}

/// Reads a number of seconds, which may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "give a number of seconds, such as 1.5")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
