//! Answers `hello world!` as an axum application, after SLEEP seconds in std's sleep.

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;

fn main() -> ExitCode {
    let sleep = env::var("SLEEP").ok().and_then(|sleep| sleep.parse().ok());
    let sleep = Duration::from_secs_f64(sleep.unwrap_or(0.0));
    let handler = move || async move {
        if !sleep.is_zero() {
            thread::sleep(sleep);
        }
        "hello world!"
    };
    greenpatch_server::main(Router::new().route("/", get(handler)))
}
