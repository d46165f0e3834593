//! The demonstration, which is what runs without arguments, and the server of its page. What a person sees on that is tested in
//! `tests/browser`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use harness::eventually;
use rustix::process::{Pid, Signal, kill_process};

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

/// `greenpatch demo --web` on a free port; killed when dropped.
struct Page {
    process: Child,
    address: String,
}

impl Page {
    fn start() -> Page {
        let mut process = demo(&["--bind", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let output = process.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("Open http://")
            .and_then(|rest| rest.split('/').next());
        Page {
            address: address.unwrap_or_else(|| panic!("{line}")).to_owned(),
            process,
        }
    }

    /// What a request is answered, without the content's end if that goes on.
    fn ask(&self, head: &str, content: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = content.len();
        let request =
            format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{content}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Starts a run whose requests wait for five seconds each: its id.
    fn start_run(&self) -> String {
        let side = r#"{"class": "sync", "patch": "none"}"#;
        let choice = format!(
            r#"{{"requests": 4, "seconds": 5, "wait": "time", "sides": [{side}, {side}]}}"#
        );
        let host = &self.address;
        let answer = self.ask(&format!("POST /runs HTTP/1.1\r\nHost: {host}"), &choice);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        answer.split('"').nth(3).expect("an id").to_owned()
    }

    /// Starts a run, and waits until the requests wait: the processes of both servers.
    fn run(&self) -> Vec<u32> {
        let (host, id) = (&self.address, self.start_run());
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "GET /runs/{id}/events HTTP/1.1\r\nHost: {host}\r\n\r\n"
        )
        .unwrap();
        let (mut processes, mut begun) = (Vec::new(), 0);
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            let process = line.split("\"process\":").nth(1);
            processes.extend(process.map(|rest| {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<u32>().expect("a number")
            }));
            begun += usize::from(line.contains("\"what\":\"begins\""));
            if begun == 2 {
                break;
            }
        }
        assert_eq!(processes.len(), 2);
        // Each is a master with a worker.
        let workers = processes.iter().flat_map(|master| children_of(*master));
        let all: Vec<u32> = workers.chain(processes.iter().copied()).collect();
        assert_eq!(all.len(), 4);
        all
    }

    fn end_by(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenpatch"));
    command.args(["demo", "--web"]).args(arguments);
    command
}

fn children_of(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect()
}

fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // One that has ended may still wait for its parent to notice.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_signal_ends_the_page_and_its_servers_whatever_they_are_at() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let page = Page::start();
        let servers = page.run();
        assert!(page.end_by(signal).success());
        assert!(!servers.iter().any(|it| is_running(*it)), "{signal:?}");
    }
}

#[test]
fn servers_do_not_outlive_a_page_that_is_killed() {
    let page = Page::start();
    let servers = page.run();
    assert!(!page.end_by(Signal::KILL).success());
    eventually(|| !servers.iter().any(|it| is_running(*it)));
}

#[test]
fn servers_that_are_only_about_to_start_do_not_outlive_it_either() {
    for _ in 0..5 {
        let page = Page::start();
        let is_its_server = format!("--end-with-parent\0{}\0", page.process.id());
        for _ in 0..4 {
            page.start_run();
        }
        assert!(!page.end_by(Signal::KILL).success());
        let processes = || fs::read_dir("/proc").expect("the kernel lists the processes");
        let lines = || {
            processes().filter_map(|it| fs::read_to_string(it.ok()?.path().join("cmdline")).ok())
        };
        eventually(|| !lines().any(|line| line.contains(&is_its_server)));
    }
}

#[test]
fn other_pages_can_neither_start_anything_nor_look() {
    let page = Page::start();
    let host = &page.address;
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {host}"), 200),
        ("GET / HTTP/1.1\r\nHost: page.example".to_owned(), 403),
        (
            format!("POST /runs HTTP/1.1\r\nHost: {host}\r\nOrigin: http://page.example"),
            403,
        ),
        (
            format!("POST /runs HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}"),
            400,
        ),
        (
            format!("GET /runs/1/events HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site"),
            403,
        ),
        (format!("GET /runs/1/events HTTP/1.1\r\nHost: {host}"), 404),
    ] {
        let answer = page.ask(&head, "");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {answer}"
        );
    }
}

#[test]
fn runs_at_once_are_few() {
    let page = Page::start();
    let host = &page.address;
    let side = r#"{"class": "green", "patch": "none"}"#;
    let choice =
        format!(r#"{{"requests": 1, "seconds": 5, "wait": "time", "sides": [{side}, {side}]}}"#);
    let start = || page.ask(&format!("POST /runs HTTP/1.1\r\nHost: {host}"), &choice);
    for _ in 0..4 {
        assert!(start().starts_with("HTTP/1.1 201 "));
    }
    let refusal = start();
    assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
    assert!(
        refusal.contains("stop one, or wait for its end"),
        "{refusal}"
    );
}

#[test]
fn where_the_page_cannot_be_served_is_told_with_what_to_do() {
    let taken = Page::start();
    for (address, expected) in [
        ("0.0.0.0:0", "on loopback only, such as 127.0.0.1:8001"),
        ("8001", "give HOST:PORT"),
        (&taken.address, "--bind 127.0.0.1:0 takes a free port"),
    ] {
        let output = demo(&["--bind", address]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_greenpatch"))
        .args(["demo", "--bind", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "without a page there is nothing to bind"
    );
}
