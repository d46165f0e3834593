//! A real server in a process of its own, and clients that speak to it byte by byte.

// Each test program uses its own part of this.
#![allow(dead_code, unused_macros)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Makes a module of tests for each worker class: `{ class: arguments, … } { test … }`. Each test
/// is a function that takes the arguments.
macro_rules! in_each_class {
    ({ $($class:ident: $arguments:expr,)* } $tests:tt) => {
        $(mod $class {
            in_each_class! { @ $arguments, $tests }
        })*
    };
    (@ $arguments:expr, { $($test:ident)* }) => {
        $(#[test]
        fn $test() {
            super::$test(&$arguments);
        })*
    };
}

/// Longer than anything here takes, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `greenpatch serve`; killed when dropped.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    /// Starts `greenpatch serve` with these arguments on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        Server::start_by(Command::new(env!("CARGO_BIN_EXE_greenpatch")), arguments)
    }

    /// As [`start`](Self::start), with so many descriptors at most.
    pub(crate) fn start_with_descriptors(descriptors: usize, arguments: &[&str]) -> Server {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_greenpatch")]);
        Server::start_by(shell, arguments)
    }

    /// Starts what `command` executes, which is the program.
    pub(crate) fn start_by(mut command: Command, arguments: &[&str]) -> Server {
        let (reader, writer) = io::pipe().expect("a pipe");
        let process = command
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(arguments)
            .stdout(writer.try_clone().expect("a second writer"))
            .stderr(writer)
            .spawn()
            .expect("the server starts");
        // It keeps the writing end of the pipe.
        drop(command);
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server {
            process,
            address,
            lines,
            seen: Vec::new(),
        };
        let line = server.wait_for_line("Listening at: http");
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split([' ', ',']).next());
        server.address = address
            .expect("an address")
            .parse()
            .expect("a socket address");
        server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its root.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits until it prints a line that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("'{text}' did not come, only: {:#?}", self.seen),
            }
        }
    }

    /// What it and its workers have used of the processors so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let master = self.process.id();
        let processes = fs::read_dir("/proc").expect("the kernel lists the processes");
        let stats =
            processes.filter_map(|it| fs::read_to_string(it.ok()?.path().join("stat")).ok());
        let ticks = stats.filter_map(|stat| {
            // "PID (NAME) STATE PPID …"; the name may hold spaces.
            let (start, rest) = stat.rsplit_once(')')?;
            let pid: u32 = start.split(' ').next()?.parse().ok()?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let is_ours = pid == master || fields[1].parse() == Ok(master);
            let ticks = |field: &str| field.parse::<u64>().ok();
            is_ours.then(|| Some(ticks(fields[11])? + ticks(fields[12])?))?
        });
        Duration::from_secs(ticks.sum()) / rustix::param::clock_ticks_per_second() as u32
    }

    /// The master's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the server runs");
    }

    /// Waits until it has ended; returns how, and every line it printed.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("did not end: {:#?}", self.seen),
            }
        }
        let status = self.process.wait().expect("it was not waited for before");
        (status, std::mem::take(&mut self.seen))
    }

    /// Sends SIGTERM and waits until it has ended.
    pub(crate) fn stop(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response, as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in small letters, values as sent.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: String,
}

impl Response {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(server: &Server) -> Client {
        Client::connect_to(server.address())
    }

    /// Connects to the server that listens there.
    pub(crate) fn connect_to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Client {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server takes it");
    }

    /// Says that no more will be sent.
    pub(crate) fn end(&mut self) {
        let ended = self.stream.shutdown(std::net::Shutdown::Write);
        ended.expect("the connection is open");
    }

    /// Sends a GET request for `/`.
    pub(crate) fn send_get(&mut self) {
        self.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    /// Sends a GET request for `/` and receives the response.
    pub(crate) fn get(&mut self) -> Response {
        self.send_get();
        self.receive()
    }

    /// Receives a response with content.
    pub(crate) fn receive(&mut self) -> Response {
        let mut response = self.receive_head();
        let length = response
            .field("content-length")
            .map_or(0, |it| it.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.fill() > 0, "the connection ended inside the content");
        }
        response.content = self.unread.drain(..length).map(char::from).collect();
        response
    }

    /// Receives a response without content, whatever its length says.
    pub(crate) fn receive_head(&mut self) -> Response {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(length) =
                head.parse(&self.unread).expect("a response")
            {
                let status = head.code.expect("complete");
                let fields = head.headers.iter().map(|field| {
                    let value = String::from_utf8_lossy(field.value).into_owned();
                    (field.name.to_ascii_lowercase(), value)
                });
                let fields = fields.collect();
                self.unread.drain(..length);
                return Response {
                    status,
                    fields,
                    content: String::new(),
                };
            }
            let count = self.fill();
            let unread = String::from_utf8_lossy(&self.unread);
            assert!(count > 0, "the connection ended inside a head: {unread:?}");
        }
    }

    /// Waits for the server to close the connection; panics if anything comes before.
    pub(crate) fn expect_end(&mut self) {
        let count = self.fill();
        let unread = String::from_utf8_lossy(&self.unread);
        assert!(
            count == 0 && self.unread.is_empty(),
            "unexpected: {unread:?}"
        );
    }

    fn fill(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let count = self
            .stream
            .read(&mut bytes)
            .expect("the server answers or closes in time");
        self.unread.extend_from_slice(&bytes[..count]);
        count
    }
}
