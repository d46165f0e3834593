//! The third seed's hello as a plain function.

use std::process::ExitCode;

use greenpatch_server::application::{Json, Request};
use serde_json::json;

fn main() -> ExitCode {
    greenpatch_server::main(|_: Request| Json(json!({ "hello": "world" })))
}
