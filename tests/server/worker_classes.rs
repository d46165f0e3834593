//! What runs at the same time in each worker class, seen by two real `curl` processes.

mod server;

use std::process::{Child, Command, Stdio};
use std::thread;

use server::Server;

const SERIAL: [&str; 4] = ["hello 0", "world", "hello 1", "world"];
const CONCURRENT: [&str; 4] = ["hello 0", "hello 1", "world", "world"];

#[test]
fn sync_serves_one_after_the_other() {
    check(&["-k", "sync", "--patch", "none"], SERIAL);
}

#[test]
fn sync_serves_one_after_the_other_though_patched() {
    check(&["-k", "sync", "--patch", "all"], SERIAL);
}

#[test]
fn gthread_serves_at_the_same_time() {
    check(&["-k", "gthread", "--threads", "4"], CONCURRENT);
}

#[test]
fn sync_with_threads_is_gthread() {
    check(&["-k", "sync", "--threads", "4"], CONCURRENT);
}

#[test]
fn green_serves_at_the_same_time() {
    check(&["-k", "green"], CONCURRENT);
}

#[test]
fn green_with_two_workers_serves_at_the_same_time() {
    check(&["-k", "green", "--green-workers", "2"], CONCURRENT);
}

#[test]
fn green_without_patch_serves_one_after_the_other() {
    check(&["-k", "green", "--patch", "none"], SERIAL);
}

#[test]
fn green_without_the_time_family_serves_one_after_the_other() {
    check(
        &["-k", "green", "--patch", "socket,select,lock,thread"],
        SERIAL,
    );
}

#[test]
fn green_with_the_time_family_alone_serves_at_the_same_time() {
    check(&["-k", "green", "--patch", "time"], CONCURRENT);
}

/// What the handler does not call does not matter to it.
#[test]
fn green_without_another_family_serves_at_the_same_time() {
    const OTHERS: [&str; 7] = ["socket", "select", "lock", "thread", "os", "dns", "process"];
    thread::scope(|scope| {
        for left_out in OTHERS {
            let rest = OTHERS.into_iter().filter(|&family| family != left_out);
            let patch: Vec<&str> = rest.chain(["time"]).collect();
            scope.spawn(move || check(&["-k", "green", "--patch", &patch.join(",")], CONCURRENT));
        }
    });
}

#[test]
fn async_with_a_blocking_sleep_serves_one_after_the_other() {
    check(&["-k", "async", "--async-sleep", "blocking"], SERIAL);
}

#[test]
fn async_with_an_async_sleep_serves_at_the_same_time() {
    check(&["-k", "async", "--async-sleep", "async"], CONCURRENT);
}

/// Sends two requests, the second while the first is being served, and compares what the handler
/// printed.
fn check(arguments: &[&str], expected: [&str; 4]) {
    let mut server = Server::start(&[arguments, &["--app", "hello", "--sleep", "0.7"]].concat());
    let first = curl(&server);
    server.wait_for_line("hello 0");
    let second = curl(&server);
    for curl in [first, second] {
        let output = curl.wait_with_output().expect("curl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "{}\n");
    }
    let (status, mut lines) = server.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    lines.retain(|line| line.starts_with("hello") || line.starts_with("world"));
    assert_eq!(lines, expected);
}

fn curl(server: &Server) -> Child {
    Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "30",
            &server.url(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is installed")
}
