//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use greenpatch::Patch;
use greenpatch_server::{CommandLine, Page, WorkerClass};

use crate::look::Sort;
use crate::waiting::Wait;

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
    /// Show what the green threads of a running process are doing, as it changes
    Top(TopArguments),
    /// Print what each green thread of a running process is doing, with its call stack
    Dump(DumpArguments),
    /// Say what this machine offers, what is patched, and which calls of a program yield
    Doctor(DoctorArguments),
}

/// What `greenpatch serve` takes: a server's settings, and an application.
#[derive(Args, Debug)]
#[command(
    subcommand_value_name = "APPLICATION",
    subcommand_help_heading = "Applications"
)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) server: CommandLine,
    /// Print the man page, the page of settings, or a shell's completions, and do no more
    #[arg(long, value_name = "PAGE", help_heading = "Settings")]
    pub(crate) generate: Option<Page>,
    /// What to serve; hello, if nothing is said
    #[command(subcommand)]
    application: Option<Application>,
    /// The application, as an option
    #[arg(long, value_enum, hide = true)]
    app: Option<App>,
    /// The time that the application hello sleeps
    #[arg(long, hide = true, value_parser = seconds)]
    sleep: Option<Duration>,
    /// How the application hello sleeps in class async
    #[arg(long, value_enum, hide = true)]
    async_sleep: Option<AsyncSleep>,
    /// Stop at once when the thread ends that has started this process, which is one of that process
    #[arg(long, value_name = "PROCESS", hide = true)]
    pub(crate) end_with_parent: Option<u32>,
}

impl ServeArguments {
    /// What is to be served.
    pub(crate) fn application(&self) -> Result<Application, clap::Error> {
        let options = [
            ("--app", self.app.is_some()),
            ("--sleep", self.sleep.is_some()),
            ("--async-sleep", self.async_sleep.is_some()),
        ];
        if let (Some(_), Some((option, _))) =
            (&self.application, options.iter().find(|(_, given)| *given))
        {
            let text = format!("{option} and an application's own name cannot be used together");
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        if let Some(application) = &self.application {
            return Ok(application.clone());
        }
        let handler = self.async_sleep.map(|sleep| match sleep {
            AsyncSleep::Blocking => Form::Function,
            AsyncSleep::Async => Form::Async,
        });
        Ok(match self.app.unwrap_or(App::Hello) {
            App::Hello => Application::Hello(HelloArguments {
                sleep: self.sleep.unwrap_or(SECOND),
                wait: Wait::Time,
                handler,
                marks: false,
            }),
            App::Plain => Application::Plain(FormArguments::default()),
            App::Echo => Application::Echo(FormArguments::default()),
            App::Inspect => Application::Inspect(FormArguments::default()),
            App::Panic => Application::Panic,
        })
    }
}

/// The applications that come with the server.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Application {
    /// Prints `hello N`, sleeps, prints `world`, answers JSON
    Hello(HelloArguments),
    /// Answers a constant text at once
    Plain(FormArguments),
    /// Answers with the content of the request
    Echo(FormArguments),
    /// Answers with the request as it was understood
    Inspect(FormArguments),
    /// Panics
    Panic,
    /// Answers with the files below a directory
    Files(FilesArguments),
}

/// What the application hello takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct HelloArguments {
    /// Seconds that it sleeps
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) sleep: Duration,
    /// What it waits for, by a call of which family: its sleep is for so long
    #[arg(long, value_enum, default_value_t, value_name = "FAMILY")]
    pub(crate) wait: Wait,
    /// What it is written as; by default async in worker class async, and a function in the others
    #[arg(long, value_enum)]
    handler: Option<Form>,
    /// Print a line of JSON as each call begins and ends, as the demonstration needs it
    #[arg(long, hide = true)]
    pub(crate) marks: bool,
}

/// What applications take that come in both forms.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FormArguments {
    /// What it is written as; by default async in worker class async, and a function in the others
    #[arg(long, value_enum)]
    handler: Option<Form>,
}

/// What the application files takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilesArguments {
    /// The directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
    /// The file that stands for its directory
    #[arg(long, value_name = "NAME", default_value = "index.html")]
    pub(crate) index: String,
    /// Serve names that begin with a dot, too
    #[arg(long)]
    pub(crate) hidden: bool,
}

/// What a handler is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A plain function, which blocks
    Function,
    /// An async function
    Async,
}

impl Application {
    /// The same as an async function, if it is to be one in this worker class and comes as one.
    pub(crate) fn as_async(&self, class: WorkerClass) -> Option<AsyncApplication> {
        let (form, application) = match self {
            Application::Hello(arguments) => {
                let HelloArguments { sleep, marks, .. } = *arguments;
                (arguments.handler, AsyncApplication::Hello { sleep, marks })
            }
            Application::Plain(arguments) => (arguments.handler, AsyncApplication::Plain),
            Application::Echo(arguments) => (arguments.handler, AsyncApplication::Echo),
            Application::Inspect(arguments) => (arguments.handler, AsyncApplication::Inspect),
            Application::Panic | Application::Files(_) => return None,
        };
        let form = form.unwrap_or(match class {
            WorkerClass::Async => Form::Async,
            _ => Form::Function,
        });
        (form == Form::Async).then_some(application)
    }
}

/// An application that is an async function.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AsyncApplication {
    /// See [`Application::Hello`].
    Hello {
        /// How long it sleeps.
        sleep: Duration,
        /// Whether it tells when each call begins and ends.
        marks: bool,
    },
    /// See [`Application::Plain`].
    Plain,
    /// See [`Application::Echo`].
    Echo,
    /// See [`Application::Inspect`].
    Inspect,
}

/// A page about one of the commands, if it is asked for, and the command that it is made of: for shells the whole, to people the
/// one alone.
pub(crate) fn page_of(command: &Command) -> Option<(clap::Command, Page)> {
    let (name, page) = match command {
        Command::Serve(arguments) => ("serve", arguments.generate?),
        Command::Top(arguments) => ("top", arguments.generate?),
        Command::Dump(arguments) => ("dump", arguments.generate?),
        Command::Demo(_) | Command::Run(_) | Command::Doctor(_) => return None,
    };
    let mut whole = Arguments::command();
    whole.build();
    let command = match (page, whole.find_subcommand(name)) {
        (Page::Man, Some(part)) => part.clone(),
        _ => Arguments::command(),
    };
    Some((command, page))
}

/// Applications that are named by an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum App {
    Hello,
    Plain,
    Echo,
    Inspect,
    Panic,
}

/// How the application hello sleeps in class async.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AsyncSleep {
    /// With `std::thread::sleep`, which blocks the event loop: a plain function
    Blocking,
    /// With the event loop's own sleep: an async function
    Async,
}

const SECOND: Duration = Duration::from_secs(1);

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

/// What `greenpatch top` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "The process is linked with greenpatch, or is one under greenpatch run; of a server's master the workers are \
                  shown. It must be this user's, or this user root. Where standard output is no terminal, one look is \
                  printed as text. The key ? lists the keys. NO_COLOR=1 in the environment turns colours off."
)]
pub(crate) struct TopArguments {
    /// The process
    #[arg(value_name = "PID", required_unless_present = "generate")]
    process: Option<u32>,
    /// Print the man page, or a shell's completions, and do no more
    #[arg(long, value_name = "PAGE")]
    pub(crate) generate: Option<Page>,
    /// Seconds from one look to the next
    #[arg(short = 'd', long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// What green threads are ordered by
    #[arg(short, long, value_enum, default_value = "time")]
    pub(crate) sort: Sort,
    /// Show only green threads whose name, state or place holds this text
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Green threads of a runtime that are looked at, at most
    #[arg(long, value_name = "N", default_value_t = LISTED)]
    pub(crate) limit: usize,
    /// Print one look as text, and do no more
    #[arg(long)]
    pub(crate) once: bool,
    /// Print each look as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl TopArguments {
    /// The process.
    pub(crate) fn process(&self) -> u32 {
        self.process.expect("clap asks for it where no page is")
    }
}

/// What `greenpatch dump` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "The process is linked with greenpatch, or is one under greenpatch run; of a server's master the workers are \
                  asked. It must be this user's, or this user root."
)]
pub(crate) struct DumpArguments {
    /// The process
    #[arg(value_name = "PID", required_unless_present = "generate")]
    process: Option<u32>,
    /// Print the man page, or a shell's completions, and do no more
    #[arg(long, value_name = "PAGE")]
    pub(crate) generate: Option<Page>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave out the call stacks, for which waiting green threads have to be woken
    #[arg(long)]
    pub(crate) no_backtraces: bool,
    /// Also take the call stacks of green threads that keep their worker; their OS threads are sent SIGURG for that
    #[arg(long, conflicts_with = "no_backtraces")]
    pub(crate) running: bool,
    /// Green threads of a runtime that are listed, at most
    #[arg(long, value_name = "N", default_value_t = LISTED)]
    pub(crate) limit: usize,
    /// Seconds that green threads are waited for, in all, that do not give their call stacks
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub(crate) patience: Duration,
}

impl DumpArguments {
    /// The process.
    pub(crate) fn process(&self) -> u32 {
        self.process.expect("clap asks for it where no page is")
    }
}

/// Green threads of a runtime that are listed, unless another number is given.
const LISTED: usize = 10_000;

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
    /// Serve a page on which any two classes run side by side, and each call of the handler is seen as it runs
    #[arg(long)]
    pub(crate) web: bool,
    /// Where to serve the page, on this machine's loopback; port 0 takes a free one
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = PAGE_ADDRESS,
        requires = "web"
    )]
    pub(crate) bind: String,
}

/// Where the demonstration's page is served: beside the server's own default, which is for what one tries by hand.
const PAGE_ADDRESS: &str = "127.0.0.1:8001";

impl Default for DemoArguments {
    fn default() -> DemoArguments {
        DemoArguments {
            sleep: SECOND,
            web: false,
            bind: PAGE_ADDRESS.to_owned(),
        }
    }
}

/// Reads the time between two looks.
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(24 * 3600);
    let time = seconds(text)?;
    match (LEAST..=MOST).contains(&time) {
        true => Ok(time),
        false => Err("give 0.1 to 86400 seconds".to_owned()),
    }
}

/// Reads a number of seconds, which may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "give a number of seconds, such as 1.5")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
