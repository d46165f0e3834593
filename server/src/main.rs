//! The `greenpatch` command.
fn main() {}
