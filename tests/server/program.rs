//! Programs around an application: each test is one, in a process of its own, whose workers are that test once more.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{self, ExitCode};

use clap::Parser;
use greenpatch_server::{CommandLine, Program, Request};
use harness::child;
use signal_hook::consts::SIGTERM;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    server: CommandLine,
}

/// A program with these arguments.
fn program(arguments: &[&str]) -> Program {
    let arguments = [&["program", "--bind", "127.0.0.1:0"], arguments].concat();
    Program::new().command_line(Arguments::parse_from(arguments).server)
}

/// Ends the process with this code, as returning it from `main` would.
fn end(code: ExitCode) -> ! {
    let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
    process::exit(code.map_or(-1, i32::from))
}

#[test]
fn an_application_that_cannot_be_built_ends_the_server() {
    let test = "an_application_that_cannot_be_built_ends_the_server";
    let started = child::start(test, || {
        let build = |_: &_| -> Result<fn(Request) -> &'static str, _> {
            Err(io::Error::other("there is no database"))
        };
        end(program(&["-w", "2"]).run(build))
    });
    let Some(running) = started else { return };
    let (status, text) = running.end();
    assert_eq!(status.code(), Some(4), "{text}");
    assert!(
        text.contains("The application cannot be built: there is no database"),
        "{text}"
    );
    assert!(
        text.contains("[ERROR] Reason: Worker failed to boot."),
        "{text}"
    );
}

#[test]
fn an_application_that_panics_while_it_is_built_ends_the_server() {
    let test = "an_application_that_panics_while_it_is_built_ends_the_server";
    let started = child::start(test, || {
        let build = |_: &_| -> Result<fn(Request) -> &'static str, Infallible> {
            panic!("there is no database")
        };
        end(program(&[]).run(build))
    });
    let Some(running) = started else { return };
    let (status, text) = running.end();
    assert_eq!(status.code(), Some(4), "{text}");
    assert!(text.contains("there is no database"), "{text}");
}

/// What an application owns.
struct Owned;

impl Drop for Owned {
    fn drop(&mut self) {
        eprintln!("dropped on the way to the last hook");
    }
}

#[test]
fn hooks_are_called_around_the_service_of_each_worker() {
    let test = "hooks_are_called_around_the_service_of_each_worker";
    let started = child::start(test, || {
        let program = program(&["-k", "green"])
            .on_start(|| eprintln!("first hook"))
            .on_start(|| eprintln!("second hook"))
            .on_stop(|| eprintln!("last hook"));
        end(program.run(|settings| {
            eprintln!("built for class {}", settings.worker_class);
            let owned = Owned;
            Ok::<_, Infallible>(move |_: Request| {
                let _in_use = &owned;
                "served\n"
            })
        }))
    });
    let Some(mut running) = started else { return };
    let text = running.stderr_until("second hook");
    let address = text
        .split("Listening at: http://")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let mut stream = TcpStream::connect(address.expect("an address")).expect("it listens");
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it is open");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("text");
    assert!(response.ends_with("\r\n\r\nserved\n"), "{response}");
    running.signal(SIGTERM);
    let (status, rest) = running.end();
    assert_eq!(status.code(), Some(0), "{rest}");
    let text = text + &rest;
    let hooks = text
        .lines()
        .filter(|line| line.contains("built") || line.ends_with("hook"));
    assert_eq!(
        hooks.collect::<Vec<_>>(),
        [
            "built for class green",
            "first hook",
            "second hook",
            "dropped on the way to the last hook",
            "last hook"
        ]
    );
}
