//! What a server's process is, and what it does then: a master, a second master, or a worker.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{self, ExitCode};

use super::executable::Executable;
use super::generation::Configuration;
use super::identity::{self, Identity};
use super::inherited::{Inheritance, Inherited};
use super::link::Link;
use super::master::{Master, Origin, Source};
use super::sockets::Socket;
use super::worker::{APPLICATION_FAILED, BOOT_FAILED};
use crate::command::line::CommandLine;
use crate::command::load::Loaded;
use crate::log;
use crate::settings::Settings;

/// What a worker works with.
#[derive(Debug)]
pub(crate) struct Post {
    /// What is set.
    pub(crate) settings: Settings,
    /// What it accepts on.
    pub(crate) sockets: Vec<Socket>,
    /// To whom it says that it is ready, and from whom it gets its orders.
    pub(crate) link: Link,
}

/// Why a worker does not work.
#[derive(Debug)]
pub(crate) enum WorkerError {
    /// The application could not be built.
    Application(Box<dyn Error>),
    /// Something else that serving needs could not be had.
    Boot(Box<dyn Error>),
}

/// Is the process that it was started as: a master, if by hand or by a service manager, or else what the master that has started
/// it says. `work` is what a worker does.
pub(crate) fn run(
    line: impl FnOnce() -> Result<CommandLine, ExitCode>,
    work: impl FnOnce(Post) -> Result<(), WorkerError>,
) -> ExitCode {
    match Inherited::take() {
        Ok(Some(Inherited::Worker(inheritance))) => run_worker(inheritance, work),
        Ok(Some(Inherited::Master {
            sockets,
            admin,
            activated,
            first,
        })) => run_master(
            line,
            Origin::Successor {
                sockets,
                admin,
                activated,
                first,
            },
        ),
        Ok(None) => run_master(line, Origin::Fresh),
        Err(error) => {
            log::error(error);
            BOOT_FAILED.into()
        }
    }
}

fn run_master(line: impl FnOnce() -> Result<CommandLine, ExitCode>, origin: Origin) -> ExitCode {
    let begun = line().and_then(|line| {
        let loaded = line.begin()?;
        Ok((line, loaded))
    });
    let (line, loaded) = match begun {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    if let Err(error) = log::start(&loaded.settings.logging) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    log::info(concat!("Starting greenpatch ", env!("CARGO_PKG_VERSION")));
    for warning in loaded.warnings() {
        log::warning(warning);
    }
    match Master::new(line, loaded.into(), origin) {
        Ok(master) => master.run(),
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

fn run_worker(
    inheritance: Inheritance,
    work: impl FnOnce(Post) -> Result<(), WorkerError>,
) -> ExitCode {
    let pid = process::id();
    let result = begin_work(inheritance).and_then(|post| {
        log::info(format_args!("Booting worker with pid: {pid}"));
        // Its message has been printed by the panic hook.
        let panicked = |_| WorkerError::Application("it panicked".into());
        catch_unwind(AssertUnwindSafe(|| work(post))).unwrap_or_else(|panic| Err(panicked(panic)))
    });
    let Err(error) = result else {
        log::info(format_args!("Worker exiting (pid: {pid})"));
        return ExitCode::SUCCESS;
    };
    log::error(&error);
    match error {
        WorkerError::Application(_) => APPLICATION_FAILED.into(),
        WorkerError::Boot(_) => BOOT_FAILED.into(),
    }
}

/// Makes the process what the settings say.
fn begin_work(inheritance: Inheritance) -> Result<Post, WorkerError> {
    let settings = Settings::from_toml(&inheritance.settings, "the master's settings")?;
    log::start(&settings.logging)?;
    identity::set_name(&settings.process, &Executable::own()?.name());
    identity::set_umask(&settings.process);
    Identity::of(&settings.process).assume()?;
    let link = Link::start(inheritance.channel, &settings)?;
    Ok(Post {
        settings,
        sockets: inheritance.sockets,
        link,
    })
}

impl Source for CommandLine {
    fn load(&mut self) -> Result<Configuration, Box<dyn Error>> {
        let loaded = CommandLine::load(self)?;
        for warning in loaded.warnings() {
            log::warning(warning);
        }
        Ok(loaded.into())
    }

    fn directory(&self) -> &Path {
        CommandLine::directory(self)
    }
}

impl From<Loaded> for Configuration {
    fn from(loaded: Loaded) -> Configuration {
        Configuration {
            text: loaded.to_toml(),
            settings: loaded.settings,
        }
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Application(error) => {
                write!(f, "The application cannot be built: {error}")
            }
            WorkerError::Boot(error) => write!(f, "The worker cannot boot: {error}"),
        }
    }
}

impl<E: Error + 'static> From<E> for WorkerError {
    fn from(error: E) -> WorkerError {
        WorkerError::Boot(error.into())
    }
}
