//! Echoes what WebSockets send, in plain blocking code:
//! `cargo run -p greenpatch-server --example websocket -- -b 127.0.0.1:9001 -k green`.
//!
//! The WebSocket cases of the Autobahn testsuite can be run against it.

use std::process::ExitCode;

use greenpatch_server::application::{Request, Response, websocket};

fn echo(request: Request) -> Response {
    websocket::upgrade(request, |socket| {
        while let Some(message) = socket.read()? {
            if message.is_text() || message.is_binary() {
                socket.send(message)?;
            }
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    greenpatch_server::main(echo)
}
