//! Programs and libraries for tests that come from npm.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::written_by_tests;

/// Installs `packages`, each as `NAME@VERSION`, into the folder `name` among what tests write, unless they are there already.
/// Returns the folder, whose `node_modules` has them.
pub fn installed(name: &str, packages: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .expect("who failed to install a package has said so");
    // Another version is another folder.
    let folder = packages.join("-").replace('/', "-");
    let folder = written_by_tests().join(name).join(folder);
    let complete = folder.join("complete");
    if complete.exists() {
        return folder;
    }
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
        .args(packages)
        .arg("--prefix")
        .arg(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("npm cannot be started ({error}); install it, as tests/run does")
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{packages:?} cannot be installed: {errors}"
    );
    std::fs::write(complete, "").expect("the folder is ours");
    folder
}
