//! Answers `hello world!` as a plain function, after SLEEP seconds.

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use greenpatch_server::application::Request;

fn main() -> ExitCode {
    let sleep = env::var("SLEEP").ok().and_then(|sleep| sleep.parse().ok());
    let sleep = Duration::from_secs_f64(sleep.unwrap_or(0.0));
    greenpatch_server::main(move |_: Request| {
        if !sleep.is_zero() {
            thread::sleep(sleep);
        }
        "hello world!"
    })
}
