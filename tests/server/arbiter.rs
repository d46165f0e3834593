//! Master and workers: real processes, and clients that look at every response.

#[path = "arbiter/fleet.rs"]
mod fleet;
#[path = "arbiter/load.rs"]
mod load;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fleet::{Fleet, is_alive, program, send, serve};
use harness::{Directory, eventually};
use load::Load;
use rustix::process::{Signal, geteuid, getuid};

/// How often a test under load is repeated.
const ROUNDS: usize = if cfg!(debug_assertions) { 2 } else { 10 };

/// Clients at once.
const CLIENTS: usize = 32;

/// Answers at once, in class green.
const PLAIN: [&str; 6] = ["-k", "green", "--app", "plain", "--graceful-timeout", "20"];

/// Two workers that answer at once.
fn pair() -> Fleet {
    Fleet::start(&[&PLAIN[..], &["-w", "2"]].concat())
}

#[test]
fn a_worker_that_is_killed_loses_only_what_it_held() {
    let fleet = pair();
    fleet.wait_for_booted(2);
    let load = Load::start(fleet.address(), CLIENTS);
    for round in 0..ROUNDS {
        while fleet.booted().len() < 2 + round {
            std::thread::sleep(Duration::from_millis(1));
        }
        let answered = &load.seen().answered;
        let until = answered.load(std::sync::atomic::Ordering::Relaxed) + 500;
        while answered.load(std::sync::atomic::Ordering::Relaxed) < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let victim = *fleet.workers().first().expect("two live");
        send(victim, Signal::KILL);
        fleet.wait_for(&format!(
            "Worker (pid:{victim}) was sent SIGKILL! Perhaps out of memory?"
        ));
    }
    fleet.wait_for_booted(2 + ROUNDS);
    let seen = load.end();
    assert!(seen.lost().len() <= ROUNDS * CLIENTS, "{seen}");
    assert_eq!(
        seen.refused.load(std::sync::atomic::Ordering::Relaxed),
        0,
        "{seen}"
    );
    let load = Load::start(fleet.address(), CLIENTS);
    load.go_on(500);
    load.end().expect_all_answered();
    assert_eq!(fleet.stop().0.code(), Some(0));
}

macro_rules! in_each_class {
    ($($class:ident: $arguments:expr,)*) => {
        mod term_loses_no_request {
            $(#[test]
            fn $class() {
                super::term_loses_no_request(&$arguments);
            })*
        }
    };
}

in_each_class! {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "4"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
}

fn term_loses_no_request(class: &[&str]) {
    for _ in 0..ROUNDS {
        let fleet = Fleet::start(&[class, &["-w", "2", "--app", "plain"]].concat());
        fleet.wait_for_booted(2);
        let load = Load::start(fleet.address(), CLIENTS);
        load.go_on(500);
        let (status, lines) = fleet.stop();
        let seen = load.end();
        assert!(seen.lost().is_empty(), "{seen}\n{lines:#?}");
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        assert!(
            lines
                .last()
                .is_some_and(|line| line.ends_with("[INFO] Shutting down: Master")),
            "{lines:#?}"
        );
    }
}

#[test]
fn hup_replaces_the_workers_and_loses_nothing() {
    let fleet = pair();
    fleet.wait_for_booted(2);
    let load = Load::start(fleet.address(), CLIENTS);
    for round in 0..ROUNDS {
        let old = fleet.workers();
        load.go_on(300);
        fleet.signal(Signal::HUP);
        fleet.wait_for_booted(2 * (round + 2));
        for pid in old {
            fleet.wait_for_end(pid);
        }
        load.go_on(300);
    }
    load.end().expect_all_answered();
    assert_eq!(fleet.workers().len(), 2);
    assert_eq!(fleet.count("Hang up: Master"), ROUNDS);
    assert_eq!(fleet.stop().0.code(), Some(0));
}

#[test]
fn one_worker_alone_is_replaced_without_a_loss() {
    let fleet = Fleet::start(&PLAIN);
    let load = Load::start(fleet.address(), CLIENTS);
    for round in 0..ROUNDS {
        let old = fleet.workers();
        load.go_on(300);
        fleet.signal(Signal::HUP);
        fleet.wait_for_booted(round + 2);
        fleet.wait_for_end(old[0]);
    }
    load.end().expect_all_answered();
}

#[test]
fn workers_come_and_go_by_ttin_and_ttou_without_a_loss() {
    let fleet = Fleet::start(&PLAIN);
    let load = Load::start(fleet.address(), CLIENTS);
    for round in 0..ROUNDS {
        fleet.signal(Signal::TTIN);
        fleet.wait_for_booted(round + 2);
        eventually(|| fleet.workers().len() == 2);
        load.go_on(300);
        fleet.signal(Signal::TTOU);
        eventually(|| fleet.workers().len() == 1);
        load.go_on(300);
    }
    fleet.signal(Signal::TTOU);
    fleet.wait_for_count("Handling signal: ttou", ROUNDS + 1);
    load.go_on(300);
    load.end().expect_all_answered();
    assert_eq!(fleet.workers().len(), 1, "the last one stays");
}

#[test]
fn a_worker_that_has_done_enough_is_replaced_without_a_loss() {
    let limits = ["--max-requests", "300", "--max-requests-jitter", "100"];
    let fleet = Fleet::start(&[&PLAIN[..], &["-w", "2"], &limits].concat());
    fleet.wait_for_booted(2);
    let load = Load::start(fleet.address(), CLIENTS);
    fleet.wait_for_booted(2 + ROUNDS);
    load.end().expect_all_answered();
    assert!(fleet.count("Autorestarting worker after ") >= ROUNDS);
    assert_eq!(fleet.stop().0.code(), Some(0));
}

#[test]
fn a_worker_that_has_lived_long_enough_is_replaced() {
    let fleet = Fleet::start(&[&PLAIN[..], &["--max-lifetime", "1"]].concat());
    let first = fleet.workers();
    fleet.wait_for("Autorestarting worker after 1 s of life");
    fleet.wait_for_booted(2);
    fleet.wait_for_end(first[0]);
    assert_eq!(get(&fleet), 200);
}

#[test]
fn a_second_master_takes_over_without_a_loss() {
    let directory = Directory::new();
    let pid_file = directory.path().join("pid");
    let second_file = directory.path().join("pid.2");
    let path = pid_file.to_str().expect("ASCII");
    let fleet = Fleet::start(&[&PLAIN[..], &["-w", "2", "--pid", path]].concat());
    fleet.wait_for_booted(2);
    let address = fleet.address();
    let load = Load::start(address, CLIENTS);
    let mut master = fleet.master();
    assert_eq!(pid_in(&pid_file), Some(master));
    for round in 0..ROUNDS {
        load.go_on(300);
        send(master, Signal::USR2);
        eventually(|| pid_in(&second_file).is_some_and(is_alive));
        let second = pid_in(&second_file).expect("it is there");
        fleet.wait_for_booted(2 * (round + 2));
        assert_eq!(pid_in(&pid_file), Some(master), "both live");
        load.go_on(300);
        send(master, Signal::TERM);
        if round == 0 {
            eventually(|| fleet.count("Shutting down: Master") == 1);
        } else {
            fleet.wait_for_end(master);
        }
        eventually(|| pid_in(&pid_file) == Some(second));
        assert!(!second_file.exists());
        load.go_on(300);
        master = second;
    }
    load.end().expect_all_answered();
    send(master, Signal::TERM);
    fleet.wait_for_end(master);
    assert!(!pid_file.exists());
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[test]
fn a_second_master_that_is_dismissed_leaves_the_first_as_it_was() {
    let directory = Directory::new();
    let socket = directory.path().join("socket");
    let bind = format!("unix:{}", socket.display());
    let fleet = Fleet::run(serve(&[&PLAIN[..], &["--bind", &bind]].concat()));
    fleet.wait_for_booted(1);
    fleet.signal(Signal::USR2);
    let line = fleet.wait_for("Started a second master with pid: ");
    let second = line
        .rsplit(' ')
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a number");
    fleet.wait_for_booted(2);
    fleet.signal(Signal::USR2);
    fleet.wait_for("SIGUSR2 ignored: the second master");
    send(second, Signal::USR2);
    fleet.wait_for("SIGUSR2 ignored: the master that has started this one still lives");
    // The workers of the first one leave for a while, and come back.
    let first = fleet.workers()[0];
    fleet.signal(Signal::WINCH);
    fleet.wait_for_end(first);
    assert_eq!(
        get_over(UnixStream::connect(&socket).expect("the second one serves")),
        200
    );
    fleet.signal(Signal::HUP);
    fleet.wait_for_booted(3);
    send(second, Signal::QUIT);
    fleet.wait_for(&format!("The second master (pid:{second}) has ended"));
    assert!(socket.exists());
    assert_eq!(
        get_over(UnixStream::connect(&socket).expect("the first one serves")),
        200
    );
    assert_eq!(fleet.stop().0.code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_stuck_worker_is_killed_and_the_log_tells_what_it_was_at() {
    let fleet = Fleet::start(&[
        "-k",
        "sync",
        "--app",
        "hello",
        "--sleep",
        "1000",
        "--timeout",
        "16",
    ]);
    let stuck = fleet.workers()[0];
    let mut stream = TcpStream::connect(fleet.address()).expect("it listens");
    stream.write_all(REQUEST).expect("it is open");
    fleet.wait_for(&format!("WORKER TIMEOUT (pid:{stuck})"));
    let line = fleet.wait_for(&format!("Worker (pid:{stuck}) was sent SIGKILL after "));
    assert!(line.contains("s without a sign of life"), "{line}");
    let lines = fleet.lines();
    let timeout = lines
        .iter()
        .position(|line| line.contains("WORKER TIMEOUT"));
    let (before, after) = lines.split_at(timeout.expect("it is there"));
    assert!(
        before.iter().any(|line| line.contains("hello at ")),
        "{lines:#?}"
    );
    assert!(
        after
            .iter()
            .any(|line| line.contains("running on worker 0")),
        "{lines:#?}"
    );
    fleet.wait_for_booted(2);
}

#[test]
fn workers_end_when_their_master_is_killed() {
    let fleet = pair();
    fleet.wait_for_booted(2);
    assert_eq!(get(&fleet), 200);
    let workers = fleet.workers();
    fleet.signal(Signal::KILL);
    for pid in workers {
        fleet.wait_for_end(pid);
    }
    assert_eq!(fleet.count("The master has gone"), 2);
    assert!(TcpStream::connect(fleet.address()).is_err());
}

#[test]
fn requests_under_way_are_answered_when_the_master_is_killed() {
    let fleet = Fleet::start(&["-k", "green", "--app", "hello", "--sleep", "1"]);
    let mut stream = TcpStream::connect(fleet.address()).expect("it listens");
    stream.write_all(REQUEST).expect("it is open");
    fleet.wait_for("hello 0");
    fleet.signal(Signal::KILL);
    assert_eq!(status_from(stream), 200);
}

/// A death that is not seen would leave the master waiting for the graceful time-out, which nobody outlasts here.
#[test]
fn a_stop_right_after_the_start_sees_every_worker_end() {
    for round in 0..20 {
        let arguments = [&PLAIN[..4], &["-w", "8", "--graceful-timeout", "1000"]].concat();
        let fleet = Fleet::run(serve(
            &[&["--bind", "127.0.0.1:0"], &arguments[..]].concat(),
        ));
        // From none to all of them.
        fleet.wait_for_booted(round % 9);
        assert_eq!(fleet.stop().0.code(), Some(0));
    }
}

#[test]
fn a_stop_is_heard_while_workers_are_being_started() {
    const WORKERS: usize = 400;
    let number = WORKERS.to_string();
    let fleet = Fleet::run(serve(&["--bind", "127.0.0.1:0", "-w", &number]));
    let (status, lines) = fleet.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    let booted = lines.iter().filter(|line| line.contains("Booting worker"));
    assert!(booted.count() < WORKERS);
}

#[test]
fn a_second_signal_quickens_the_stop() {
    let fleet = Fleet::start(&["-k", "green", "--app", "hello", "--sleep", "1000"]);
    let mut stream = TcpStream::connect(fleet.address()).expect("it listens");
    stream.write_all(REQUEST).expect("it is open");
    fleet.wait_for("hello 0");
    fleet.signal(Signal::TERM);
    fleet.wait_for("Handling signal: term");
    fleet.signal(Signal::TERM);
    let (status, lines) = fleet.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

#[test]
fn int_gives_requests_up() {
    for signal in [Signal::INT, Signal::QUIT] {
        let fleet = Fleet::start(&["-k", "green", "--app", "hello", "--sleep", "1000"]);
        let mut stream = TcpStream::connect(fleet.address()).expect("it listens");
        stream.write_all(REQUEST).expect("it is open");
        fleet.wait_for("hello 0");
        fleet.signal(signal);
        let (status, lines) = fleet.wait();
        assert_eq!(status.code(), Some(0), "{lines:#?}");
    }
}

#[test]
fn a_socket_is_taken_over_by_its_number() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let fleet = handed_down(listener, &[&PLAIN[..], &["--bind", "fd://3"]].concat(), "");
    fleet.wait_for(&format!("Listening at: http://{address} "));
    assert_eq!(
        get_over(TcpStream::connect(address).expect("it listens")),
        200
    );
}

#[test]
fn a_socket_is_taken_over_from_a_service_manager() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let fleet = handed_down(listener, &PLAIN, "LISTEN_PID=$$ LISTEN_FDS=1");
    fleet.wait_for(&format!("Listening at: http://{address} "));
    for round in 1..3 {
        fleet.wait_for_booted(round);
        assert_eq!(
            get_over(TcpStream::connect(address).expect("it listens")),
            200
        );
        let old = fleet.workers();
        fleet.signal(Signal::HUP);
        fleet.wait_for_end(old[0]);
    }
    fleet.signal(Signal::USR2);
    fleet.wait_for_count(&format!("Listening at: http://{address} "), 2);
    fleet.wait_for_booted(4);
    fleet.signal(Signal::TERM);
    fleet.wait_for("this one takes its place");
    assert_eq!(
        get_over(TcpStream::connect(address).expect("it listens")),
        200
    );
}

#[test]
fn the_admin_application_tells_of_all_workers() {
    let fleet = Fleet::start(&[&PLAIN[..], &["-w", "2", "--admin-bind", "127.0.0.1:0"]].concat());
    let line = fleet.wait_for("Admin listening at: ");
    let admin = line.rsplit(' ').next().expect("a word");
    let admin: SocketAddr = admin.parse().expect("an address");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is open");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("text");
        response
    };
    eventually(|| ask("/readyz").starts_with("HTTP/1.1 200 "));
    fleet.wait_for_booted(2);
    eventually(|| ask("/metrics").contains("state=\"ready\"} 2"));
    let processes = fleet.workers();
    eventually(|| {
        let threads = ask("/threads");
        let tells_of = |pid: &u32| threads.contains(&format!("process {pid}\nruntime 'green'"));
        processes.iter().all(tells_of)
    });

    // A second master has it as well, though the address is taken.
    fleet.signal(Signal::USR2);
    fleet.wait_for_count("Admin listening at: ", 2);
    fleet.wait_for_booted(4);
    fleet.signal(Signal::TERM);
    fleet.wait_for("this one takes its place");
    eventually(|| ask("/metrics").contains("state=\"ready\"} 2"));
}

#[test]
fn log_files_are_opened_anew() {
    let directory = Directory::new();
    let log = directory.path().join("log");
    let moved = directory.path().join("log.1");
    let path = log.to_str().expect("ASCII");
    let arguments = ["--bind", "127.0.0.1:0", "--error-logfile", path];
    let fleet = Fleet::launch(serve(&[&PLAIN[..], &arguments].concat()));
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    eventually(|| text(&log).contains("Booting worker with pid: "));
    fs::rename(&log, &moved).expect("ours");
    fleet.signal(Signal::USR1);
    eventually(|| text(&moved).contains("Handling signal: usr1"));
    eventually(|| log.exists());
    fleet.signal(Signal::TERM);
    let (status, _) = fleet.wait();
    assert_eq!(status.code(), Some(0));
    let text = text(&log);
    assert!(text.contains("Worker exiting (pid: "), "{text}");
    assert!(text.contains("Shutting down: Master"), "{text}");
}

/// Starts a server that has a socket as its descriptor 3, and these variables in its environment.
fn handed_down(socket: impl Into<OwnedFd>, arguments: &[&str], variables: &str) -> Fleet {
    let script = format!("exec 3<&0 0</dev/null; export {variables}; exec \"$0\" serve \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_greenpatch")])
        .args(arguments)
        .stdin(socket.into());
    Fleet::run(command)
}

#[test]
fn several_addresses_are_listened_on() {
    let directory = Directory::new();
    let socket = directory.path().join("socket");
    let bind = format!("unix:{}", socket.display());
    let fleet = Fleet::start(&[&PLAIN[..], &["--bind", "[::1]:0", "--bind", &bind]].concat());
    let line = fleet.wait_for("Listening at: ");
    let rest = line.split("Listening at: ").nth(1).expect("it is there");
    let addresses: Vec<_> = rest.split(' ').next().expect("a word").split(',').collect();
    assert_eq!(addresses.len(), 3, "{line}");
    for url in &addresses[..2] {
        let address = url.strip_prefix("http://").expect("TCP");
        assert_eq!(
            get_over(TcpStream::connect(address).expect("it listens")),
            200
        );
    }
    assert_eq!(addresses[2], bind);
    assert_eq!(
        get_over(UnixStream::connect(&socket).expect("it listens")),
        200
    );
    assert_eq!(fleet.stop().0.code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn hup_reads_the_settings_again() {
    let directory = Directory::new();
    let file = directory.path().join("settings.toml");
    fs::write(&file, "workers = 1\n").expect("ours");
    let config = ["--config", file.to_str().expect("ASCII")];
    let fleet = Fleet::start(&[&PLAIN[..], &config].concat());
    let first = fleet.workers();
    fs::write(&file, "workers = 2\n").expect("ours");
    fleet.signal(Signal::HUP);
    fleet.wait_for_booted(3);
    fleet.wait_for_end(first[0]);
    fs::write(&file, "wrokers = 3\n").expect("ours");
    fleet.signal(Signal::HUP);
    let line = fleet.wait_for("Cannot reload: ");
    assert!(line.contains("wrokers"), "{line}");
    assert_eq!(get(&fleet), 200);
    assert_eq!(fleet.workers().len(), 2);
}

#[test]
fn a_new_build_that_does_not_boot_leaves_the_old_workers_at_work() {
    let directory = Directory::new();
    let binary = copy_of_greenpatch(directory.path());
    let fleet = Fleet::run(program(
        &binary,
        &[&PLAIN[..], &["--bind", "127.0.0.1:0"]].concat(),
    ));
    fleet.wait_for_booted(1);
    assert_eq!(get(&fleet), 200);
    let first = fleet.workers();
    install("/bin/false", &binary);
    fleet.signal(Signal::HUP);
    fleet.wait_for("The new workers do not boot: the server goes on with the old ones");
    assert_eq!(fleet.workers(), first);
    assert_eq!(get(&fleet), 200);
    // A worker that dies is replaced by one of the build that works.
    send(first[0], Signal::KILL);
    fleet.wait_for_booted(2);
    eventually(|| TcpStream::connect(fleet.address()).is_ok_and(|stream| get_over(stream) == 200));
}

#[test]
fn reload_takes_a_new_build_in() {
    let directory = Directory::new();
    let binary = copy_of_greenpatch(directory.path());
    let extra = directory.path().join("extra");
    fs::write(&extra, "1").expect("ours");
    let reload = [
        "--reload",
        "--reload-extra-file",
        extra.to_str().expect("ASCII"),
    ];
    let arguments = [&PLAIN[..], &["--bind", "127.0.0.1:0"], &reload].concat();
    let fleet = Fleet::run(program(&binary, &arguments));
    fleet.wait_for_booted(1);
    install(env!("CARGO_BIN_EXE_greenpatch"), &binary);
    fleet.wait_for("Worker reloading: ");
    fleet.wait_for_booted(2);
    fs::write(&extra, "2").expect("ours");
    fleet.wait_for_count("Worker reloading: ", 2);
    fleet.wait_for_booted(3);
    assert_eq!(get(&fleet), 200);
}

fn copy_of_greenpatch(directory: &Path) -> std::path::PathBuf {
    let binary = directory.join("server");
    install(env!("CARGO_BIN_EXE_greenpatch"), &binary);
    binary
}

/// Puts a copy of a program in the place of another one, as a build does.
fn install(from: &str, to: &Path) {
    let beside = to.with_extension("new");
    fs::copy(from, &beside).expect("ours");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::rename(&beside, to).expect("the same directory");
}

#[test]
fn a_service_manager_is_told() {
    let directory = Directory::new();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a path");
    manager
        .set_read_timeout(Some(fleet::PATIENCE))
        .expect("not zero");
    let mut command = serve(&[&PLAIN[..], &["--bind", "127.0.0.1:0"]].concat());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let fleet = Fleet::run(command);
    let wait_for = |text: &str| {
        let mut bytes = [0; 1024];
        loop {
            let count = manager.recv(&mut bytes).expect("it is told in time");
            let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if message.lines().any(|line| line == text) {
                return message;
            }
        }
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    fleet.signal(Signal::HUP);
    assert!(wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
    wait_for("READY=1");
    fleet.signal(Signal::USR2);
    fleet.wait_for_booted(3);
    let line = fleet.wait_for("Started a second master with pid: ");
    let second: u32 = line
        .rsplit(' ')
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a number");
    fleet.signal(Signal::TERM);
    wait_for(&format!("MAINPID={second}"));
    fleet.wait_for("this one takes its place");
    send(second, Signal::TERM);
    wait_for("STOPPING=1");
}

#[test]
fn a_worker_that_is_told_to_end_is_replaced() {
    let fleet = Fleet::start(&PLAIN);
    send(fleet.workers()[0], Signal::TERM);
    fleet.wait_for_booted(2);
    eventually(|| TcpStream::connect(fleet.address()).is_ok_and(|stream| get_over(stream) == 200));
    assert_eq!(fleet.stop().0.code(), Some(0));
}

#[test]
fn workers_run_as_another_user() {
    if !getuid().is_root() {
        return;
    }
    let directory = Directory::new();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let socket = directory.path().join("socket");
    let bind = format!("unix:{}", socket.display());
    let identity = ["--user", "nobody", "--umask", "077", "--bind", &bind];
    let fleet = Fleet::run(serve(&[&PLAIN[..], &identity].concat()));
    fleet.wait_for_booted(1);
    assert_eq!(
        get_over(UnixStream::connect(&socket).expect("it listens")),
        200
    );
    let ids = |pid: u32, word: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(word))
            .map(str::to_owned);
        line.expect("the kernel gives it")
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let worker = fleet.workers()[0];
    assert_eq!(ids(worker, "Uid:"), ["65534"; 4]);
    assert_eq!(ids(worker, "Gid:"), ["65534"; 4]);
    assert_eq!(ids(fleet.master(), "Uid:"), ["0"; 4]);
    let file = fs::metadata(&socket).expect("it is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o700);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), 65534);
}

#[test]
fn a_pid_file_is_refused_while_its_process_lives() {
    let directory = Directory::new();
    let file = directory.path().join("pid");
    fs::write(&file, format!("{}\n", std::process::id())).expect("ours");
    let path = file.to_str().expect("ASCII");
    expect_refusal(
        &["--pid", path],
        &format!("names process {}, which lives", std::process::id()),
    );
    assert_eq!(pid_in(&file), Some(std::process::id()));
}

#[test]
fn what_cannot_be_is_refused_with_its_remedy() {
    expect_refusal(
        &["--chdir", "/nowhere"],
        "'/nowhere', which is no directory",
    );
    expect_refusal(
        &["--pid", "/nowhere/pid"],
        "give a path by --pid that can be written to",
    );
    expect_refusal(
        &["--bind", "unix:/nowhere/socket"],
        "give a path in a directory that exists",
    );
    expect_refusal(
        &["--bind", "fd://99"],
        "this process was started with no such descriptor",
    );
    expect_refusal(
        &["--reload", "--reload-extra-file", "/nowhere/file"],
        "for --reload",
    );
}

#[track_caller]
fn expect_refusal(arguments: &[&str], text: &str) {
    let fleet = Fleet::launch(serve(&[&["--bind", "127.0.0.1:0"], arguments].concat()));
    let (status, lines) = fleet.wait();
    assert!(matches!(status.code(), Some(1 | 2)), "{status}: {lines:#?}");
    assert!(lines.iter().any(|line| line.contains(text)), "{lines:#?}");
}

#[test]
fn the_start_is_logged_as_gunicorn_logs_it() {
    let fleet = Fleet::start(&PLAIN);
    let (address, master, worker) = (fleet.address(), fleet.master(), fleet.workers()[0]);
    eventually(|| get(&fleet) == 200);
    let (_, lines) = fleet.stop();
    let messages = lines.iter().filter_map(|line| {
        let (head, text) = line.split_once("] [INFO] ")?;
        Some((head.rsplit('[').next()?.parse().ok()?, text.to_owned()))
    });
    assert_eq!(
        messages.collect::<Vec<(u32, String)>>(),
        [
            (
                master,
                concat!("Starting greenpatch ", env!("CARGO_PKG_VERSION")).to_owned()
            ),
            (master, format!("Listening at: http://{address} ({master})")),
            (master, "Using worker: green".to_owned()),
            (worker, format!("Booting worker with pid: {worker}")),
            (master, "Handling signal: term".to_owned()),
            (worker, format!("Worker exiting (pid: {worker})")),
            (master, "Shutting down: Master".to_owned()),
        ]
    );
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// The status of one response from the server.
fn get(fleet: &Fleet) -> u16 {
    get_over(TcpStream::connect(fleet.address()).expect("it listens"))
}

/// The status of one response over a new connection.
fn get_over(mut stream: impl Read + Write) -> u16 {
    stream.write_all(REQUEST).expect("it is open");
    status_from(stream)
}

/// The status of the response that comes; 0 if none does.
fn status_from(mut stream: impl Read) -> u16 {
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let text = String::from_utf8_lossy(&response).into_owned();
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// In a container it is process 1, and gets the processes that others have left, in whichever group they are.
#[test]
fn as_process_1_it_collects_processes_that_it_has_not_started() {
    let script = "setsid sleep 0.1 & exec \"$0\" serve --bind 127.0.0.1:0 plain";
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", script, env!("CARGO_BIN_EXE_greenpatch")]);
    let fleet = Fleet::run(command);
    let children = |parent: u32| {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).expect("it lives");
        let children = children.split_whitespace();
        children
            .map(|pid| pid.parse().expect("a number"))
            .collect::<Vec<u32>>()
    };
    let master = children(fleet.master())[0];
    let is_sleep = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "sleep\n" || name == "setsid\n")
    };
    fleet.wait_until(|_| (!children(master).iter().any(is_sleep)).then_some(()));
}
