//! `greenpatch top` and `greenpatch dump` on running programs: one in C under `greenpatch run`, Python's, and the server, which is
//! linked with greenpatch.

mod dumps;
#[path = "../preload/program.rs"]
#[allow(dead_code, reason = "programs are only started here")]
mod program;
#[path = "../server/server.rs"]
mod server;
mod target;
mod terminal;
mod tops;
