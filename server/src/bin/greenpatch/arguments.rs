//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use greenpatch::Patch;
use greenpatch_server::{Limits, Settings, Timeouts, WorkerClass};

/// Blocking code on green threads, unchanged: an HTTP server, a demonstration, and any other program.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
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

/// What `greenpatch serve` takes; the names are gunicorn's where gunicorn has the setting.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Where to listen; port 0 takes a free one
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8000"
    )]
    pub(crate) bind: String,
    /// sync, gthread, green or async
    #[arg(short = 'k', long, value_name = "CLASS", default_value_t = WorkerClass::Sync)]
    pub(crate) worker_class: WorkerClass,
    /// OS threads of class gthread; more than one turns sync into gthread
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Workers of class green: OS threads that run its green threads
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) green_workers: NonZeroUsize,
    /// Connections open at once in the classes green and async
    #[arg(long, value_name = "N", default_value_t = Settings::default().worker_connections)]
    pub(crate) worker_connections: usize,
    /// Connections that wait in the kernel to be accepted
    #[arg(long, value_name = "N", default_value_t = Settings::default().backlog)]
    pub(crate) backlog: u32,
    /// Which blocking calls of the handler yield in the classes green and sync: all, none, or a
    /// list of time, socket, select, lock, thread, os, dns, process; by default all for green, none for sync
    #[arg(long, value_name = "FAMILIES")]
    pub(crate) patch: Option<Patch>,

    /// Seconds that a connection may stay idle between two requests; 0 closes it after each
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) keep_alive: Duration,
    /// Seconds that a request's head may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) header_timeout: Duration,
    /// Seconds that a request's content may take, plus one for every 500 bytes of it
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub(crate) body_timeout: Duration,
    /// Seconds that requests under way may take to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) graceful_timeout: Duration,

    /// Bytes in a request line
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().request_line)]
    pub(crate) limit_request_line: usize,
    /// Header fields in a request
    #[arg(
        long,
        value_name = "N",
        default_value_t = Limits::default().request_fields,
    )]
    pub(crate) limit_request_fields: usize,
    /// Bytes in a header field
    #[arg(
        long = "limit-request-field_size",
        visible_alias = "limit-request-field-size",
        value_name = "BYTES",
        default_value_t = Limits::default().request_field_size
    )]
    pub(crate) limit_request_field_size: usize,
    /// Bytes of content in a request
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().request_body)]
    pub(crate) limit_request_body: u64,

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

impl ServeArguments {
    /// The settings of the server itself.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            limits: Limits {
                request_line: self.limit_request_line,
                request_fields: self.limit_request_fields,
                request_field_size: self.limit_request_field_size,
                request_body: self.limit_request_body,
                ..Limits::default()
            },
            timeouts: Timeouts {
                header: self.header_timeout,
                body: self.body_timeout,
                keep_alive: self.keep_alive,
                ..Timeouts::default()
            },
            worker_connections: self.worker_connections,
            backlog: self.backlog,
            ..Settings::default()
        }
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
