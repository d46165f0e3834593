//! HTTP/1, case by case, over real sockets: `corpus/README.md` tells how a case is written.

#[macro_use]
mod server;
#[path = "corpus/notation.rs"]
mod notation;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use notation::{Answer, Case, Step, Topic};
use server::{PATIENCE, Server};

in_each_class! { {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "8"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    understands_and_refuses_requests_as_written
} }

/// Cases that are played to a server at the same time.
const AT_ONCE: usize = 16;

fn understands_and_refuses_requests_as_written(class: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/server/corpus");
    let mut topics: BTreeMap<String, Vec<Topic>> = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|it| it == "txt") {
            let topic = Topic::read(&path);
            topics
                .entry(topic.settings.clone())
                .or_default()
                .push(topic);
        }
    }
    let keeps_connections = class != ["-k", "sync"];
    let mut count = 0;
    let mut failures = Vec::new();
    for (settings, topics) in topics {
        let settings: Vec<&str> = settings.split_whitespace().collect();
        let server = Server::start(&[class, &["--app", "inspect"], &settings].concat());
        let cases = topics.iter().flat_map(|topic| &topic.cases);
        let cases: Vec<Case> = cases
            .map(|case| match keeps_connections {
                true => case.clone(),
                false => case.of_one_answer(),
            })
            .collect();
        count += cases.len();
        failures.extend(play_all(server.address(), &cases));
    }
    assert!(count >= 150, "only {count} cases");
    assert!(
        failures.is_empty(),
        "{} of {count} cases:\n{}",
        failures.len(),
        failures.concat()
    );
}

/// Plays every case in every manner; tells of each that went otherwise, once.
fn play_all(address: SocketAddr, cases: &[Case]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for pieces in Pieces::of(case) {
                        let mut client = Client::connect(address, pieces);
                        let outcome = client.play(case);
                        let Err(surprise) = outcome else { continue };
                        let failure = format!(
                            "\n{} sent {pieces:?}: {surprise}\n{}",
                            case.name,
                            client.transcript()
                        );
                        failures.lock().expect("nobody panics").push(failure);
                        break;
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("nobody panics");
    failures.sort();
    failures
}

/// How a case's bytes are handed to the kernel.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    /// Each step in one piece.
    Whole,
    /// Pieces of so many bytes.
    Of(usize),
    /// Pieces of random lengths.
    Random { seed: u64 },
}

impl Pieces {
    /// The manners in which a case is played.
    fn of(case: &Case) -> Vec<Pieces> {
        let length = case.length();
        let random = |number| Pieces::Random {
            seed: number + length as u64,
        };
        if case.waits {
            // On a busy machine more pieces could take longer than the time-out.
            return vec![Pieces::Whole, random(1)];
        }
        // Byte by byte a long one would take long.
        let short = Pieces::Of(if length < 1000 { 1 } else { 997 });
        vec![Pieces::Whole, short, random(1), random(2)]
    }

    /// Cuts `bytes`.
    fn cut(self, mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut random = fastrand::Rng::with_seed(match self {
            Pieces::Random { seed } => seed,
            _ => 0,
        });
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let length = match self {
                Pieces::Whole => bytes.len(),
                Pieces::Of(length) => length,
                Pieces::Random { .. } => random.usize(1..=1 + bytes.len() / 2),
            };
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// A client that plays one case.
struct Client {
    stream: TcpStream,
    pieces: Pieces,
    /// All bytes that came.
    received: Vec<u8>,
    /// How many of them belong to answers that were looked at.
    taken: usize,
}

/// What was otherwise than a case says.
type Surprise = String;

impl Client {
    fn connect(address: SocketAddr, pieces: Pieces) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP socket");
        Client {
            stream,
            pieces,
            received: Vec::new(),
            taken: 0,
        }
    }

    /// Plays the steps, and then sees whether the connection goes on as it should.
    fn play(&mut self, case: &Case) -> Result<(), Surprise> {
        let mut goes_on = true;
        for step in &case.steps {
            match step {
                Step::Send(bytes) => self.send(bytes),
                Step::End => drop(self.stream.shutdown(Shutdown::Write)),
                Step::Receive(answer) => {
                    self.receive(answer)?;
                    goes_on = !answer.closes;
                }
                Step::SeeEnd => goes_on = false,
            }
        }
        if goes_on {
            self.send(b"GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
            let expected = "GET /probe HTTP/1.1\nhost: probe\nconnection: close\nno content\n";
            self.receive(&Answer::closing(200, expected))?;
        }
        self.see_end()
    }

    /// Sends bytes. The server may have closed the connection before it has seen them all, which the answers tell.
    fn send(&mut self, bytes: &[u8]) {
        for piece in self.pieces.cut(bytes) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
            // The server reads this piece alone, if the machine is not too busy.
            thread::yield_now();
        }
    }

    fn receive(&mut self, expected: &Answer) -> Result<(), Surprise> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(&self.received[self.taken..]);
            let parsed = parsed.map_err(|error| format!("no answer: {error}"))?;
            let httparse::Status::Complete(length) = parsed else {
                self.fill()?;
                continue;
            };
            let status = head.code.expect("complete");
            if status == 100 && expected.status != 100 {
                self.taken += length;
                continue;
            }
            let fields = head.headers.iter().map(|field| {
                let value = String::from_utf8_lossy(field.value).into_owned();
                (field.name.to_ascii_lowercase(), value)
            });
            let fields: Vec<(String, String)> = fields.collect();
            self.taken += length;
            expected.check_head(status, &fields)?;
            let length = if expected.has_content(status) {
                content_length(&fields)?
            } else {
                0
            };
            while self.received.len() - self.taken < length {
                self.fill()?;
            }
            let content = &self.received[self.taken..][..length];
            self.taken += length;
            return expected.check_content(content);
        }
    }

    /// Waits for the server to close the connection; nothing may come before.
    fn see_end(&mut self) -> Result<(), Surprise> {
        while self.fill().is_ok() {}
        match &self.received[self.taken..] {
            [] => Ok(()),
            _ => Err("more came than the answers".into()),
        }
    }

    /// Receives some bytes.
    fn fill(&mut self) -> Result<(), Surprise> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err("the connection ended before an answer, or inside it".into()),
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(format!(
                "while an answer or the end was waited for: {error}"
            )),
        }
    }

    /// What came, for people.
    fn transcript(&self) -> String {
        let mut text = String::new();
        for line in String::from_utf8_lossy(&self.received).lines() {
            let _ = writeln!(text, "    {}", line.escape_debug());
        }
        text
    }
}

fn content_length(fields: &[(String, String)]) -> Result<usize, Surprise> {
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok());
    length.ok_or_else(|| "no valid Content-Length".into())
}
