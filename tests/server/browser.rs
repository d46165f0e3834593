//! The command's pages, in a browser: see `tests/browser`.

use std::ffi::OsStr;

/// Runs tests that start the program themselves.
fn run(file: &str) {
    let program = OsStr::new(env!("CARGO_BIN_EXE_greenpatch"));
    harness::browser::run(file, &[("GREENPATCH", program)]);
}

#[test]
fn the_demonstrations_page_shows_who_waits_for_whom() {
    run("demo.test.mjs");
}

#[test]
fn the_status_page_shows_what_a_server_is_at() {
    run("status.test.mjs");
}
