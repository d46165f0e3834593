//! What a running server tells of itself: access log, its own log, figures, and the admin application.

#[macro_use]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::{Directory, eventually};
use rustix::process::{Pid, Signal, kill_process};
use server::{Client, Response, Server};

in_each_class! { {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "4"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    each_request_that_is_answered_has_one_line
    a_request_keeps_its_id_in_response_and_log
} }

/// The path of a file in there.
fn path_in(directory: &Directory, name: &str) -> String {
    let path = directory.path().join(name);
    path.to_str().expect("its name is a text").to_owned()
}

/// A client that connects anew when the server has closed.
struct Persistent {
    address: SocketAddr,
    client: Option<Client>,
}

impl Persistent {
    fn new(address: SocketAddr) -> Persistent {
        Persistent {
            address,
            client: None,
        }
    }

    fn ask(&mut self, method: &str, path: &str, id: &str, content: &str) -> Response {
        let client = (self.client).get_or_insert_with(|| Client::connect_to(self.address));
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nX-Request-Id: {id}\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        ));
        let response = match method {
            "HEAD" => client.receive_head(),
            _ => client.receive(),
        };
        if response.field("connection") == Some("close") {
            self.client = None;
        }
        response
    }
}

fn each_request_that_is_answered_has_one_line(class: &[&str]) {
    const CLIENTS: usize = 4;
    const EACH: usize = 60;
    let directory = Directory::new();
    let log = path_in(&directory, "access");
    let format = "%({x-request-id}i)s %(m)s %({raw_uri}e)s %(s)s %(b)s";
    let arguments = [
        class,
        &["--app", "echo", "--access-logfile", &log],
        &["--access-logformat", format],
    ];
    let server = Server::start(&arguments.concat());
    let mut expected: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let address = server.address();
                scope.spawn(move || {
                    let mut client = Persistent::new(address);
                    let lines = (0..EACH).map(|i| {
                        let id = format!("{number}-{i}");
                        let content = "x".repeat(i * 50);
                        let (method, path, content) = match i % 3 {
                            0 => ("GET", "/?get", ""),
                            1 => ("POST", "/?post", &*content),
                            _ => ("HEAD", "/?head", ""),
                        };
                        let response = client.ask(method, path, &id, content);
                        // It echoes content only, and refuses requests of other methods.
                        let status = if method == "POST" { 200 } else { 405 };
                        assert_eq!(response.status, status);
                        let length = response.content.len();
                        format!("{id} {method} {path} {status} {length}")
                    });
                    lines.collect::<Vec<_>>()
                })
            })
            .collect();
        let lines = clients.into_iter().map(|client| client.join().unwrap());
        lines.flatten().collect()
    });
    // One that a check of ours refuses, and one that is no request at all.
    let mut client = Client::connect(&server);
    client.send("GET /no-host HTTP/1.1\r\nX-Request-Id: no-host\r\n\r\n");
    assert_eq!(client.receive().status, 400);
    let mut client = Client::connect(&server);
    client.send("GET\r\n\r\n");
    assert_eq!(client.receive().status, 400);
    server.stop();

    let text = fs::read_to_string(&log).unwrap();
    let (mut refused, mut lines): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.contains(" 400 "));
    expected.sort();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    refused.sort_unstable();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].starts_with("- - - 400 "), "{refused:?}");
    assert!(
        refused[1].starts_with("no-host GET /no-host 400 "),
        "{refused:?}"
    );
}

fn a_request_keeps_its_id_in_response_and_log(class: &[&str]) {
    let mut server = Server::start(&[class, &["--app", "panic"]].concat());
    let mut client = Persistent::new(server.address());
    let response = client.ask("GET", "/", "this-very-one", "");
    assert_eq!(response.status, 500);
    assert_eq!(response.field("x-request-id"), Some("this-very-one"));
    let other = client.ask("GET", "/", "not sound", "");
    assert_eq!(other.field("x-request-id").map(str::len), Some(32));
    drop(client);
    let line = server.wait_for_line("handler panicked");
    assert!(
        line.contains("[ERROR] ") && line.contains("request_id=this-very-one"),
        "{line}"
    );
}

#[test]
fn a_rotated_access_log_loses_no_line() {
    let directory = Directory::new();
    let log = path_in(&directory, "access");
    let server = Server::start(&[
        "-k",
        "green",
        "-w",
        "2",
        "--app",
        "plain",
        "--access-logfile",
        &log,
        "--access-logformat",
        "%({x-request-id}i)s",
    ]);
    let is_over = AtomicBool::new(false);
    let mut answered: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (address, is_over) = (server.address(), &is_over);
                scope.spawn(move || {
                    let mut client = Persistent::new(address);
                    let mut ids = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let id = format!("{number}-{}", ids.len());
                        assert_eq!(client.ask("GET", "/", &id, "").status, 200);
                        ids.push(id);
                    }
                    ids
                })
            })
            .collect();
        for rotation in 0..5 {
            eventually(|| fs::metadata(&log).is_ok_and(|file| file.len() > 0));
            fs::rename(&log, path_in(&directory, &format!("access.{rotation}"))).unwrap();
            server.signal(Signal::USR1);
        }
        eventually(|| Path::new(&log).exists());
        is_over.store(true, Ordering::Relaxed);
        let ids = clients.into_iter().map(|client| client.join().unwrap());
        ids.flatten().collect()
    });
    server.stop();
    let mut logged: Vec<String> = Vec::new();
    for file in fs::read_dir(directory.path()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        logged.extend(text.lines().map(str::to_owned));
    }
    answered.sort();
    logged.sort();
    assert_eq!(logged.len(), answered.len());
    assert!(logged == answered);
}

/// What the admin application answers: the status and the content.
fn ask_admin(socket: &str, path: &str) -> (u16, String) {
    let mut client = UnixStream::connect(socket).expect("the admin application listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), content.to_owned())
}

/// All figures, by name and labels.
fn figures(socket: &str) -> BTreeMap<String, f64> {
    let (status, text) = ask_admin(socket, "/metrics");
    assert_eq!(status, 200, "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Of all those whose name begins so.
fn sum(figures: &BTreeMap<String, f64>, name: &str) -> f64 {
    let named = figures.iter().filter(|(key, _)| key.starts_with(name));
    named.map(|(_, value)| value).sum()
}

#[test]
fn figures_add_up_over_workers_and_their_successors() {
    let directory = Directory::new();
    let socket = path_in(&directory, "admin");
    let server = Server::start(&[
        "-k",
        "green",
        "-w",
        "2",
        "--app",
        "echo",
        "--admin-bind",
        &format!("unix:{socket}"),
    ]);
    eventually(|| ask_admin(&socket, "/readyz").0 == 200);
    let mut last = 0.0;
    let mut requests = || {
        let now = sum(&figures(&socket), "greenpatch_requests_total");
        assert!(now >= last, "from {last} to {now}");
        last = now;
        now
    };
    let ask = |count: usize| {
        for i in 0..count {
            // Each by a connection of its own, so that both workers get some.
            let response =
                Persistent::new(server.address()).ask("POST", "/", &format!("{i}"), "12345");
            assert_eq!(response.status, 200);
        }
    };
    ask(200);
    eventually(|| requests() == 200.0);
    server.signal(Signal::HUP);
    eventually(|| {
        requests();
        sum(
            &figures(&socket),
            r#"greenpatch_worker_departures_total{how="exited"}"#,
        ) == 2.0
    });
    assert_eq!(requests(), 200.0);
    ask(100);
    eventually(|| requests() == 300.0);

    let now = figures(&socket);
    assert_eq!(
        now[r#"greenpatch_requests_total{method="POST",status="2xx",route="/"}"#],
        300.0
    );
    assert_eq!(now["greenpatch_response_content_bytes_total"], 1500.0);
    assert_eq!(
        sum(&now, "greenpatch_request_duration_seconds_count"),
        300.0
    );
    assert_eq!(now["greenpatch_connections_accepted_total"], 300.0);
    assert_eq!(now[r#"greenpatch_workers{state="ready"}"#], 2.0);
    let backlog = format!(
        "greenpatch_listener_backlog{{address=\"{}\"}}",
        server.address()
    );
    assert!(now.contains_key(&backlog), "{now:#?}");

    // One that is killed takes with it what it has not told, and nothing else.
    let process = now.keys().find_map(|name| {
        let rest = name.strip_prefix(r#"greenpatch_connections_open{pid=""#)?;
        rest.strip_suffix(r#""}"#)?.parse().ok()
    });
    let process = Pid::from_raw(process.expect("a worker")).expect("no zero");
    kill_process(process, Signal::KILL).unwrap();
    eventually(|| {
        requests();
        let now = figures(&socket);
        sum(&now, r#"greenpatch_worker_departures_total{how="killed"}"#) == 1.0
            && now[r#"greenpatch_workers{state="ready"}"#] == 2.0
    });
    assert_eq!(requests(), 300.0);
    server.stop();
}

#[test]
fn the_admin_application_answers_while_the_worker_is_stuck() {
    let directory = Directory::new();
    let socket = path_in(&directory, "admin");
    let mut server = Server::start(&[
        "-k",
        "async",
        "--app",
        "hello",
        "--async-sleep",
        "blocking",
        "--sleep",
        "600",
        "--timeout",
        "600",
        "--admin-bind",
        &format!("unix:{socket}"),
    ]);
    eventually(|| ask_admin(&socket, "/readyz").0 == 200);
    let mut client = Client::connect(&server);
    client.send_get();
    server.wait_for_line("hello 0");
    // Nothing moves on the worker's only thread from here on.
    assert_eq!(ask_admin(&socket, "/livez"), (200, "alive\n".to_owned()));
    eventually(|| sum(&figures(&socket), "greenpatch_requests_in_flight") == 1.0);
    let (status, text) = ask_admin(&socket, "/threads");
    assert_eq!(status, 200);
    assert!(text.contains("green threads"), "{text}");
}

#[test]
fn a_response_tells_no_id_where_that_is_off() {
    let server = Server::start(&["--app", "plain", "--request-id=off"]);
    let response = Persistent::new(server.address()).ask("GET", "/", "mine", "");
    assert_eq!(
        (response.status, response.field("x-request-id")),
        (200, None)
    );
}

#[test]
fn the_log_can_be_json() {
    let server = Server::start(&["--app", "plain", "--log-format", "json"]);
    let (_, lines) = server.stop();
    let messages: Vec<String> = lines
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("an object a line");
            assert_eq!(line["level"], "INFO", "{line}");
            line["message"].as_str().expect("a text").to_owned()
        })
        .collect();
    assert!(
        messages
            .iter()
            .any(|it| it.starts_with("Listening at: http://")),
        "{messages:?}"
    );
}
