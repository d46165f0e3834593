//! What a program gets along with `greenpatch` when it depends on it, with the default features: its own code means what it
//! meant before, and few other crates come along.

use harness::package::{Package, text};

/// Code whose types follow from the only implementation of a trait that std's crates have. Any crate in the program with
/// another one, as serde_json for its values, makes them ambiguous.
const INFERENCE: &str = r#"
use greenpatch as _;

fn main() {
    let nothing: Vec<u8> = Vec::new();
    assert_eq!(nothing, Vec::new());
    let sum: u64 = 6;
    assert_eq!(sum, [1_u64, 2, 3].iter().sum());
    assert!(sum == "6".parse().unwrap());
    assert_eq!(Some(1.5), "1.5".parse().ok());
    assert_eq!(true, "true".parse().unwrap());
}
"#;

#[test]
fn types_that_are_inferred_without_it_are_inferred_with_it() {
    let package = Package::new("inference", &[("src/main.rs", INFERENCE)]);
    text(package.cargo(&["run", "--quiet"]));
}

#[test]
fn few_crates_come_along_and_none_for_formats_logging_or_parsing() {
    let package = Package::new("tree", &[("src/main.rs", "fn main() {}")]);
    let tree = text(package.cargo(&["tree", "--edges", "normal,build", "--prefix", "none"]));
    let mut crates: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    crates.sort_unstable();
    crates.dedup();
    for unwanted in [
        "serde",
        "serde_json",
        "syn",
        "tracing",
        "log",
        "signal-hook",
    ] {
        assert!(
            !crates.contains(&unwanted),
            "{unwanted} is among {crates:?}"
        );
    }
    // Itself and its own three, and the package of this test.
    assert!(crates.len() <= 5 + 22, "{crates:?}");
}
