//! Uploads that take 100 to 200 ms, five of them at a time, and a handler that computes, in axum: Tokio's semaphore is awaited,
//! the upload itself blocks.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin image_uploader_axum -- -k green
//! ab -n 50 -c 50 -m POST http://127.0.0.1:8000/upload
//! ```
//!
//! `image_uploader.rs` is the same without async.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

async fn upload(State(connections): State<Arc<Semaphore>>) -> Json<Value> {
    let _connection = connections.acquire().await.expect("it is never closed");
    thread::sleep(Duration::from_millis(fastrand::u64(100..=200)));
    println!("Image has been uploaded.");
    Json(json!({ "success": true }))
}

async fn calculate() -> Json<Value> {
    let result: u64 = (0..1_000_000).map(|number: u64| number.pow(2)).sum();
    Json(json!({ "result": result }))
}

fn application() -> Router {
    Router::new()
        .route("/upload", post(upload))
        .route("/calc", get(calculate))
        .with_state(Arc::new(Semaphore::new(5)))
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;
    use serde_json::{Value, json};

    #[test]
    fn both_handlers_answer() {
        let client = Client::new(super::application());
        let answer: Value = client.post("/upload").send().assert_status(200).json();
        assert_eq!(answer, json!({ "success": true }));
        let sum: Value = client.get("/calc").send().json();
        assert_eq!(sum, json!({ "result": 333_332_833_333_500_000u64 }));
        client.get("/upload").send().assert_status(405);
    }
}
