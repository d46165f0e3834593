//! The demonstration, which is what runs without arguments.

use std::process::Command;

#[test]
fn every_row_comes_out_as_it_should() {
    let output = Command::new(env!("CARGO_BIN_EXE_greenpatch"))
        .args(["demo", "--sleep", "0.5"])
        .output()
        .expect("it runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}");
    let serial = table.matches("hello 0, world, hello 1, world").count();
    let concurrent = table.matches("hello 0, hello 1, world, world").count();
    assert_eq!((serial, concurrent), (4, 3), "{table}");
    assert!(table.contains("curl http://127.0.0.1:8000/"), "{table}");
}
