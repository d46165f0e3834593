//! Tests that drive a browser, as a person would.
//!
//! They are the files in `tests/browser`, for Node's own test runner: Playwright finds what is on a page by role and name, and presses
//! keys; the browser is the system's Chromium, without a window. A test of a package runs one such file, and tells it where the
//! programs are.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{npm, written_by_tests};

/// What drives the browser, and what looks for barriers to people with disabilities. They need Node 18.
const PACKAGES: [&str; 2] = ["playwright-core@1.60.0", "axe-core@4.14.1"];

/// Runs the tests of a file in `tests/browser`, with variables in their environment.
///
/// Pictures of the pages are among what tests write; with `GREENPATCH_WRITE_PICTURES` they replace those of the documentation.
pub fn run(file: &str, variables: &[(&str, &OsStr)]) {
    let tests = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../browser"));
    let pictures = match std::env::var_os("GREENPATCH_WRITE_PICTURES") {
        Some(_) => tests.join("../../server/pictures"),
        None => written_by_tests().join("pictures"),
    };
    let output = Command::new("node")
        .arg("--test")
        .arg(tests.join(file))
        .env("PACKAGES", npm::installed("browser", &PACKAGES))
        .env("PICTURES", pictures)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("node cannot be started ({error}); install it, as tests/run does")
        });
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    // A file without tests is a test that passes.
    assert!(!text.contains("# tests 0"), "{text}");
}
