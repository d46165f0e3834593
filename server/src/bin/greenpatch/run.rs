//! `greenpatch run`: an unmodified program with its threads green.
//!
//! The program is executed in place of this process, with the preload library in front of its own and the settings in its
//! environment. What cannot work is said before that: the exit status is then 125, 126 for a program that cannot be
//! executed, 127 for one that is not there, as with `env` and `nice`.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};

use greenpatch::Runtime;

use crate::arguments::RunArguments;
use crate::program::{self, Refusal};

/// The preload library's file name.
const LIBRARY: &str = "libgreenpatch_preload.so";

/// Where it is looked for, as seen from this program's directory: where Cargo puts it, beside, and where it is installed.
const PLACES: [&str; 4] = ["deps", ".", "../lib", "../lib/greenpatch"];

/// Executes the program; comes back only if that fails.
pub(crate) fn run(arguments: &RunArguments) -> ExitCode {
    match execute(arguments) {
        Ok(never) => match never {},
        Err(refusal) => {
            eprintln!("greenpatch: {refusal}");
            ExitCode::from(refusal.status())
        }
    }
}

fn execute(arguments: &RunArguments) -> Result<Infallible, Refusal> {
    let (name, rest) = arguments
        .command
        .split_first()
        .ok_or_else(|| Refusal::own("name a program to run".to_owned()))?;
    let program = program::find(name)?;
    program::check(&program)?;
    let library = match &arguments.library {
        Some(path) => path.canonicalize().map_err(|error| {
            Refusal::own(format!(
                "cannot use the preload library '{}': {error}",
                path.display()
            ))
        })?,
        None => find_library()?,
    };
    let mut command = Command::new(&program);
    command.arg0(name).args(rest);
    command.env("LD_PRELOAD", preload_list(&library)?);
    let mut builder = Runtime::builder();
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers);
        command.env("GREENPATCH_WORKERS", workers.to_string());
    }
    if let Some(bytes) = arguments.stack_size {
        builder = builder.stack_size(bytes);
        command.env("GREENPATCH_STACK_SIZE", bytes.to_string());
    }
    if let Some(patch) = arguments.patch {
        builder = builder.patch(patch);
        command.env("GREENPATCH_PATCH", patch.to_string());
    }
    if arguments.report {
        // The program becomes this process.
        command.env("GREENPATCH_REPORT", process::id().to_string());
    }
    if arguments.no_children {
        command.env("GREENPATCH_CHILDREN", "off");
    }
    // The program would only say so at its first thread.
    drop(
        builder
            .build()
            .map_err(|error| Refusal::own(error.to_string()))?,
    );
    Err(Refusal::not_executable(&program, &command.exec()))
}

/// The library that was built with this program.
fn find_library() -> Result<PathBuf, Refusal> {
    let own = env::current_exe()
        .map_err(|error| Refusal::own(format!("cannot find this program's own place: {error}")))?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    PLACES
        .iter()
        .map(|place| directory.join(place).join(LIBRARY))
        .find_map(|path| path.canonicalize().ok())
        .ok_or_else(|| {
            Refusal::own(format!(
                "the preload library {LIBRARY} is not in {} nor in deps, ../lib or ../lib/greenpatch as seen from there; \
                 build it with 'cargo build --release', or name it with --library or GREENPATCH_LIBRARY",
                directory.display()
            ))
        })
}

/// What `LD_PRELOAD` is to hold: the library, then what is there already.
fn preload_list(library: &Path) -> Result<OsString, Refusal> {
    const SEPARATORS: [u8; 4] = *b": \t\n";
    let is_separator = |byte: &u8| SEPARATORS.contains(byte);
    if library.as_os_str().as_bytes().iter().any(is_separator) {
        return Err(Refusal::own(format!(
            "the dynamic linker cannot preload '{}', whose path has a space or a colon; copy the library elsewhere, and \
             name it with --library",
            library.display()
        )));
    }
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(OsStr::new(":"));
        list.push(others);
    }
    Ok(list)
}
