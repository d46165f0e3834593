//! Says hello, sleeps for ten seconds, says world: who overlaps whom tells which worker class serves.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin sleep -- -k green
//! curl http://localhost:8000 & curl http://localhost:8000 &
//! ```
//!
//! With `-k green` and `-k gthread --threads 2` it prints `hello 0`, `hello 1`, `world`, `world`. With `-k sync`, with `-k async`, and
//! with `-k green --patch none`, as eventlet has it before it is patched, `hello 1` comes after the first `world`.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use greenpatch_server::application::{Json, Request, RequestExt, Router};
use serde_json::{Value, json};

fn application() -> Router {
    let step = AtomicU64::new(0);
    Router::new().get("/", move |request: Request| hello(&step, &request))
}

fn hello(step: &AtomicU64, request: &Request) -> Json<Value> {
    // `/?seconds=1` for those in a hurry.
    let seconds = request.query("seconds").and_then(|text| text.parse().ok());
    println!("hello {}", step.fetch_add(1, Ordering::Relaxed));
    thread::sleep(Duration::from_secs(seconds.unwrap_or(10)));
    println!("world");
    Json(json!({}))
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;

    #[test]
    fn hello_is_answered_with_an_empty_object() {
        let client = Client::new(super::application());
        let response = client.get("/?seconds=0").send().assert_status(200);
        assert_eq!(response.text(), "{}");
    }
}
