//! Packages outside the workspace, which depend on `greenpatch` as any program does: what the workspace's own packages and
//! tests ask of their dependencies does not show in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::written_by_tests;

/// A package in the folder for what tests write.
pub struct Package {
    root: PathBuf,
}

impl Package {
    /// A package of this name, with `files`, that depends on `greenpatch` with its default features.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Package {
        let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let workspace = fs::canonicalize(workspace).unwrap();
        let root = written_by_tests().join(name);
        // Cargo.lock is the workspace's, so that what is there suffices and nothing is downloaded.
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\ngreenpatch = {{ path = {workspace:?} }}\n[workspace]\n"
        );
        let _ = fs::remove_dir_all(root.join("src"));
        let _ = fs::remove_dir_all(root.join("tests"));
        fs::create_dir_all(&root).unwrap();
        fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Package { root }
    }

    /// Cargo in the package, with these arguments. All packages share what was built.
    pub fn cargo(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO"))
            .args(arguments)
            .arg("--offline")
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.with_file_name("packages"))
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap()
    }
}

/// What a successful command wrote.
pub fn text(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}
