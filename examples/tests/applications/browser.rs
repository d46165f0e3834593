//! The applications' pages, in a browser: see `tests/browser/applications.test.mjs`.

use std::ffi::OsStr;

use greenpatch_third_party::servers::Server;

use crate::running::program;

#[test]
fn pages_do_what_a_person_expects() {
    let s3 = Server::s3("images");
    let url = format!("http://127.0.0.1:{}", s3.port());
    let sleep = program("sleep");
    let folder = sleep.parent().expect("programs are in a folder");
    let variables = [
        ("PROGRAMS", folder.as_os_str()),
        ("S3_URL", OsStr::new(&url)),
    ];
    harness::browser::run("applications.test.mjs", &variables);
}
