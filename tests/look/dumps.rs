//! `greenpatch dump`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use harness::{Directory, eventually};
use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::program::GREENPATCH;
use crate::server::Server;
use crate::target::{Target, child_of, printed, refusal};

/// However loaded the machine is.
const PATIENT: &str = "--patience=60";

fn json(target: u32, options: &[&str]) -> Value {
    let target = target.to_string();
    let text = printed(&[&["dump", "--json", PATIENT, &target], options].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// The green threads of the first process.
fn green_threads(document: &Value) -> Vec<Value> {
    let runtime = &document["processes"][0]["runtimes"][0];
    runtime["green_threads"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn called<'a>(green_threads: &'a [Value], name: &str) -> &'a Value {
    let found = green_threads.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no '{name}' in {green_threads:#?}"))
}

#[test]
fn a_program_under_run_shows_its_threads_with_names_waits_and_call_stacks() {
    let target = Target::threads(&["sleeps", "sleeps"]);
    let pid = target.pid().to_string();
    let mut text = String::new();
    eventually(|| {
        text = printed(&["dump", PATIENT, &pid]);
        text.matches("sleeps_long").count() == 2
    });
    for part in [
        "runtime 'green': 2 green threads (0 running, 0 runnable, 2 parked) on 2 workers",
        "green thread 1 'sleeps'",
        ": sleep, for at most ",
        "spawned so far",
    ] {
        assert!(text.contains(part), "no '{part}' in\n{text}");
    }
    let without = printed(&["dump", "--no-backtraces", &pid]);
    assert!(without.contains("'sleeps'") && !without.contains("sleeps_long"));
    let limited = printed(&["dump", "--no-backtraces", "--limit=1", &pid]);
    assert!(limited.contains("and 1 more"), "{limited}");
}

#[test]
fn a_deadlock_shows_who_holds_what_the_other_waits_for() {
    let target = Target::threads(&["locks-one", "locks-other"]);
    let mut threads = Vec::new();
    eventually(|| {
        threads = green_threads(&json(target.pid(), &[]));
        let mut states = threads.iter().map(|it| &it["state"]["reason"]["kind"]);
        states.all(|kind| kind == "mutex")
    });
    for (name, owner) in [("locks-one", "locks-other"), ("locks-other", "locks-one")] {
        let thread = called(&threads, name);
        assert_eq!(thread["state"]["owner"]["green_thread"]["name"], owner);
        assert!(
            thread["backtrace"].to_string().contains("\"locks\""),
            "{thread}"
        );
    }
}

#[test]
fn hogs_that_keep_all_workers_are_shown_with_where_they_are() {
    let target = Target::threads(&["counts", "counts", "counts", "sleeps"]);
    let pid = target.pid().to_string();
    let mut text = String::new();
    eventually(|| {
        text = printed(&["dump", "--running", PATIENT, &pid]);
        text.contains("has run without giving way for") && text.contains("counts_for_ever")
    });
    assert!(text.contains("running on worker"), "{text}");
}

#[test]
fn python_on_green_threads_is_looked_into() {
    let target = Target::python(
        r#"
import threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"#,
    );
    eventually(|| {
        let threads = green_threads(&json(target.pid(), &["--no-backtraces"]));
        let sleeps = |it: &&Value| it["state"]["reason"]["kind"] == "sleep";
        threads.iter().filter(sleeps).count() == 3
    });
}

#[test]
fn of_a_servers_master_the_workers_are_shown() {
    let server = Server::start(&["-k", "green", "-w", "2"]);
    let master = server.pid().to_string();
    let mut text = String::new();
    eventually(|| {
        text = printed(&["dump", PATIENT, &master]);
        text.lines().filter(|it| it.starts_with("process ")).count() == 3
    });
    assert!(text.contains(&format!("process {master}\nno runtime has green threads")));
    assert!(text.contains("spawned at"), "{text}");
    let document = json(server.pid(), &["--no-backtraces"]);
    let processes = document["processes"].as_array().expect("a list");
    assert_eq!(processes.len(), 3);
    let worker = processes[1]["process"].as_u64().expect("a number");
    let alone = json(u32::try_from(worker).unwrap(), &["--no-backtraces"]);
    assert!(!green_threads(&alone).is_empty(), "{alone}");
}

#[test]
fn a_process_without_green_threads_is_left_alone() {
    let mut target = Target::without_greenpatch(&["sleeps"]);
    let text = refusal(&["dump", &target.pid().to_string()]);
    assert!(text.contains("(threads) runs no green threads"), "{text}");
    assert!(target.is_alive());
    let text = refusal(&["dump", &(u32::MAX / 2).to_string()]);
    assert!(text.contains("there is no process"), "{text}");
}

#[test]
fn a_stopped_process_is_said_to_be_stopped_and_answers_when_it_goes_on() {
    let target = Target::threads(&["sleeps"]);
    let pid = target.pid().to_string();
    target.signal(Signal::STOP);
    let text = refusal(&["dump", &pid]);
    assert!(text.contains(&format!("'kill -CONT {pid}'")), "{text}");
    target.signal(Signal::CONT);
    assert!(printed(&["dump", &pid]).contains("'sleeps'"));
}

#[test]
fn a_container_is_looked_into_from_outside() {
    if !geteuid().is_root() {
        // Only root can make one, and enter its network.
        return;
    }
    let unshare = Target::contained(&["sleeps"]);
    let pid = child_of(unshare.pid()).to_string();
    assert!(printed(&["dump", &pid]).contains("'sleeps'"));
    // The master knows its workers by other numbers than we do.
    let mut command = Command::new("unshare");
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        GREENPATCH,
    ]);
    let server = Server::start_by(command, &["-k", "green", "-w", "2"]);
    let master = child_of(server.pid());
    let mut document = Value::Null;
    eventually(|| {
        document = json(master, &["--no-backtraces"]);
        document["processes"].as_array().map(Vec::len) == Some(3)
    });
    assert_eq!(document["processes"][0]["process"], master);
}

#[test]
fn another_user_is_refused_and_root_is_not() {
    if !geteuid().is_root() {
        // Who is not root has no other user's process to try with but root's.
        let text = refusal(&["dump", "1"]);
        assert!(text.contains("process 1 is user 0's"), "{text}");
        return;
    }
    // Where everybody may execute it.
    let directory = Directory::new();
    let copy = directory.path().join("greenpatch");
    fs::copy(GREENPATCH, &copy).expect("there is room");
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let as_nobody = |process: &str| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = setpriv.arg(&copy).args(["dump", process]).output();
        let output = output.expect("setpriv is there");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let target = Target::threads(&["sleeps"]);
    let pid = target.pid().to_string();
    let (status, text) = as_nobody(&pid);
    assert_eq!(status, Some(1));
    assert!(
        text.contains(&format!("process {pid} is user 0's")),
        "{text}"
    );
    // The workers of this server have given root up, and its master has not.
    let server = Server::start(&["-k", "green", "--user", "65534", "--group", "65534"]);
    let master = server.pid().to_string();
    let mut document = Value::Null;
    eventually(|| {
        document = json(server.pid(), &["--no-backtraces"]);
        document["processes"].as_array().map(Vec::len) == Some(2)
    });
    let worker = document["processes"][1]["process"].to_string();
    let (status, text) = as_nobody(&worker);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(as_nobody(&master).0, Some(1));
}

#[test]
fn what_a_process_says_of_itself_makes_the_terminal_of_who_looks_do_nothing() {
    let own = std::process::id().to_string();
    greenpatch::attach::provide("server", || {
        r#"{"error":"no \u001b]0;title\u0007 and \u009b31m"}"#.to_owned()
    });
    greenpatch::attach::open().unwrap();
    let directory = Directory::new();
    let program = directory.path().join("a\u{1b}[31mb");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut named = Command::new(&program).arg("1000").spawn().unwrap();
    // The name is that of the program once it is executed.
    let name = format!("/proc/{}/comm", named.id());
    eventually(|| fs::read_to_string(&name).unwrap().contains('['));
    for (process, part) in [(own, "]0;title"), (named.id().to_string(), "[31mb")] {
        let text = refusal(&["dump", &process]);
        assert!(text.contains(part), "{text}");
        let is_harmful = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(is_harmful), "{text:?}");
    }
    named.kill().unwrap();
    named.wait().unwrap();
}
