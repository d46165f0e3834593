//! `greenpatch demo`: two requests at once to one unchanged handler, in every worker class.
//!
//! Each row of the table is a real server in a process of its own and two real connections. The
//! second request is sent when the log shows that the first has begun, so it arrives while the
//! first one sleeps, whatever the machine is doing. Whether the two ran at the same time is read
//! from the order of the server's log lines, and confirmed by the wall time.
//!
//! With `--web` the same is a page, see [`web`].

mod exchange;
pub(crate) mod mark;
mod row;
mod server_process;
mod web;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::arguments::DemoArguments;
use row::{Course, ROWS};

/// Runs all rows and prints the table; succeeds if every row came out as it should.
pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode, Box<dyn Error>> {
    let program = env::current_exe()?;
    if arguments.web {
        return web::run(program, arguments);
    }
    let sleep = arguments.sleep;
    println!(
        "Two requests at once to one unchanged handler: it prints \"hello N\", calls\n\
         std::thread::sleep for {} s, prints \"world\" and answers JSON.\n",
        sleep.as_secs_f64()
    );
    let commands: Vec<String> = ROWS.iter().map(|row| row.arguments.join(" ")).collect();
    let width = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.len())
            .max()
            .unwrap_or_default()
    };
    let command_width = width(&commands.iter().map(String::as_str).collect::<Vec<_>>());
    let peer_width = width(&ROWS.map(|row| row.peer));
    let log_width = Course::Serial.log_lines().join(", ").len();
    println!(
        "{:command_width$}  {:peer_width$}  {:log_width$}  {:>7}  requests ran",
        "greenpatch serve", "as in Python", "log lines", "wall",
    );
    let mut surprises = 0;
    for (row, command) in ROWS.iter().zip(&commands) {
        print!("{command:command_width$}  {:peer_width$}  ", row.peer);
        io::stdout().flush()?;
        match row.run(&program, sleep) {
            Ok(outcome) => {
                let verdict = outcome.verdict(row.expected, sleep);
                surprises += usize::from(verdict.is_err());
                println!(
                    "{:log_width$}  {:>5.2} s  {}",
                    outcome.log_lines.join(", "),
                    outcome.wall.as_secs_f64(),
                    match verdict {
                        Ok(()) => row.expected.to_string(),
                        Err(surprise) => surprise,
                    }
                );
            }
            Err(error) => {
                surprises += 1;
                println!("failed: {error}");
            }
        }
    }
    println!();
    if surprises > 0 {
        println!(
            "{surprises} of {} rows did not come out as they should.",
            ROWS.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("Every row came out as with gunicorn, eventlet, gevent and Sanic.");
    print_invitation(&short(&program));
    Ok(ExitCode::SUCCESS)
}

/// Tells how to see the same by hand.
fn print_invitation(program: &Path) {
    let program = program.display();
    println!(
        "\nTry it yourself. Start a server:\n\n\
         \x20   {program} serve -k green --sleep 10\n\n\
         and send it two requests from another terminal:\n\n\
         \x20   curl http://127.0.0.1:8000/ & curl http://127.0.0.1:8000/ & wait\n\n\
         Then again with --patch none, and see {program} serve --help.\n\n\
         Or watch any two classes side by side, on a page:\n\n\
         \x20   {program} demo --web"
    );
}

/// The path as seen from the current directory, if it lies below.
fn short(program: &Path) -> PathBuf {
    let below = env::current_dir()
        .ok()
        .and_then(|directory| program.strip_prefix(directory).map(Path::to_path_buf).ok());
    below.unwrap_or_else(|| program.to_path_buf())
}
