//! What the command line asks for, as criterion understands it.

/// Whether each benchmark is to run once only, to see that it works: without `cargo bench`'s `--bench`, or
/// with `--test`.
pub(crate) fn is_test() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    !has("--bench") || has("--test")
}
