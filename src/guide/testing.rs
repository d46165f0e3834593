//! Tests on green threads: single ones by an attribute, all of a package without a change to it.
//!
//! # One test
//!
//! [`#[greenpatch::test]`](macro@crate::test) in the place of `#[test]` runs the body on a green thread of a runtime of its own.
//! What the test starts by `std::thread::spawn` is green too.
//!
//! # A whole package, as it is
//!
//! Cargo starts test programs by a *runner*, if it is told one. With `greenpatch run` as the runner, the threads of
//! every test program are green: those that the tests start, and those that run the tests.
//!
//! ```console
//! $ CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="greenpatch run" cargo test
//! ```
//!
//! or, for good, in the package's `.cargo/config.toml`:
//!
//! ```toml
//! [target.x86_64-unknown-linux-gnu]
//! runner = "greenpatch run"
//! ```
//!
//! The command is the one of this repository's server, with the preload library beside it (`cargo build --release` puts both into
//! `target/release`). The package neither depends on `greenpatch` nor is it built otherwise. Options of `greenpatch run`
//! go along: `greenpatch run --workers 1` finds what waits for another thread in a way that keeps a worker to itself,
//! `--report` tells at the end of each program how many threads were green. `cargo run` and `cargo bench` take the same
//! runner.
//!
//! What never ends is easier to find with `GREENPATCH_DEADLOCK=abort`: the program then says where each green thread waits,
//! and aborts. Tests of what belongs to a kernel's thread (signals to a thread, its signal mask, its processors) can fail, as
//! LIMITATIONS.md says.
