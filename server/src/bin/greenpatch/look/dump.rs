//! `greenpatch dump`: what the green threads of a process are doing, once.
//!
//! A server's master has none of its own; of one, the workers are asked.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use super::session::{SERVER, Session, SessionError};
use super::told::{Server, Text};
use crate::arguments::DumpArguments;

/// What is printed with `--json`.
#[derive(Serialize)]
struct Document {
    processes: Vec<Process>,
}

/// A process with the fields of its answer, of which there may be more than this command knows.
#[derive(Serialize)]
struct Process {
    process: u32,
    program: String,
    version: String,
    #[serde(flatten)]
    answer: Value,
}

/// Prints the dump.
pub(crate) fn run(arguments: &DumpArguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut session = Session::open(arguments.process())?;
    let mut failures = Vec::new();
    let workers = workers(&mut session, &mut failures)?;
    let is_alone = workers.is_empty();
    let options = options(arguments);
    let mut text = String::new();
    let mut processes = Vec::new();
    for mut session in std::iter::once(session).chain(workers) {
        let process = session.process();
        if arguments.json {
            match session.ask(&format!("dump {options}")) {
                Ok(answer) => processes.push(Process {
                    process,
                    program: session.greeting().program.clone(),
                    version: session.greeting().version.clone(),
                    answer,
                }),
                Err(error) if is_alone => return Err(error.into()),
                Err(error) => failures.push(error),
            }
            continue;
        }
        match session.ask::<Text>(&format!("text {options}")) {
            Ok(answer) if is_alone => text = answer.text,
            Ok(answer) => text += &format!("process {process}\n{}", answer.text),
            Err(error) if is_alone => return Err(error.into()),
            Err(error) => failures.push(error),
        }
    }
    if arguments.json {
        text = serde_json::to_string_pretty(&Document { processes })?;
        text.push('\n');
    }
    if !arguments.json {
        text = harmless(&text);
    }
    print(&text)?;
    for failure in &failures {
        eprintln!("greenpatch: {failure}");
    }
    Ok(match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The workers of a master; empty if the process is none.
fn workers(
    session: &mut Session,
    failures: &mut Vec<SessionError>,
) -> Result<Vec<Session>, SessionError> {
    if !session.knows(SERVER) {
        return Ok(Vec::new());
    }
    let server: Server = session.ask(SERVER)?;
    let opened =
        session
            .others(&server)
            .into_keys()
            .filter_map(|process| match Session::open(process) {
                Ok(session) => Some(session),
                Err(error) => {
                    failures.push(error);
                    None
                }
            });
    Ok(opened.collect())
}

/// The words behind a request.
fn options(arguments: &DumpArguments) -> String {
    let mut words = vec![
        format!("limit={}", arguments.limit),
        format!("patience={}", arguments.patience.as_millis()),
    ];
    if !arguments.no_backtraces {
        words.push("backtraces".to_owned());
    }
    if arguments.running {
        words.push("running".to_owned());
    }
    words.join(" ")
}

/// Writes to standard output; false if its reader has closed it, and does not want to know more.
pub(super) fn print(text: &str) -> io::Result<bool> {
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Without what could make a terminal do something: names are another process's.
pub(super) fn harmless(text: &str) -> String {
    let is_harmful = |character: char| character.is_control() && character != '\n';
    text.replace(is_harmful, "\u{fffd}")
}
