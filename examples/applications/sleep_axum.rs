//! Says hello, sleeps, says world, in an `async fn` that blocks: Sanic's mistake, which is none in class `green`.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin sleep_axum -- -k green
//! curl http://localhost:8000 & curl http://localhost:8000 &
//! ```
//!
//! What each worker class makes of it is said in `sleep.rs`, where the same is a plain function.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Pause {
    seconds: Option<u64>,
}

fn application() -> Router {
    Router::new()
        .route("/", get(hello))
        .with_state(Arc::new(AtomicU64::new(0)))
}

async fn hello(State(step): State<Arc<AtomicU64>>, Query(pause): Query<Pause>) -> Json<Value> {
    println!("hello {}", step.fetch_add(1, Ordering::Relaxed));
    thread::sleep(Duration::from_secs(pause.seconds.unwrap_or(10)));
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
