//! Present because the manifest's `links` key, which keeps two versions of the shims out of one
//! binary, asks for a build script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
