//! The seeds' experiments; see the package's README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    greenpatch_experiments::main()
}
