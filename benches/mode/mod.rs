//! What the command line asks for, as criterion understands it.

use std::env;

/// Whether each benchmark is to run once only, to see that it works: without `cargo bench`'s `--bench`, or
/// with `--test`.
pub(crate) fn is_test() -> bool {
    let has = |wanted: &str| env::args().any(|argument| argument == wanted);
    !has("--bench") || has("--test")
}

/// Whether the benchmark of that name is to run: every argument that is no option is a part of its name.
#[allow(dead_code, reason = "criterion looks for itself where it measures")]
pub(crate) fn is_wanted(name: &str) -> bool {
    env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .all(|filter| name.contains(&filter))
}
