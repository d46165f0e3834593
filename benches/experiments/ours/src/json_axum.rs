//! The third seed's hello as an axum application.

use std::process::ExitCode;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

fn main() -> ExitCode {
    let hello = || async { Json(json!({ "hello": "world" })) };
    greenpatch_server::main(Router::new().route("/", get(hello)))
}
