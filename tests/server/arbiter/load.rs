//! Clients that keep a server busy and look at every response.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whole and right responses.
    pub(crate) answered: AtomicU64,
    /// Connections that were refused.
    pub(crate) refused: AtomicU64,
    /// Kept connections that the server had closed when the next request was sent: HTTP lets it, and clients try again.
    pub(crate) stale: AtomicU64,
    /// Requests without a whole and right response.
    lost: Mutex<Vec<String>>,
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many clients. Each sends one request after another, the first half of them on a new connection each time.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Load {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Seen>::default());
        let clients = (0..clients).map(|number| {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            let keeps = number >= clients / 2;
            thread::spawn(move || {
                let mut client = Client {
                    address,
                    keeps,
                    kept: None,
                };
                while !stop.load(Ordering::Relaxed) {
                    client.request(&seen);
                }
            })
        });
        Load {
            clients: clients.collect(),
            stop,
            seen,
        }
    }

    /// Waits until so many more requests have been answered.
    pub(crate) fn go_on(&self, requests: u64) {
        let until = self.seen.answered.load(Ordering::Relaxed) + requests;
        while self.seen.answered.load(Ordering::Relaxed) < until {
            assert!(self.seen.lost().is_empty(), "{}", self.seen);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What has been seen so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Ends the clients after the requests that they are at.
    pub(crate) fn end(self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("clients do not panic");
        }
        self.seen
    }
}

impl Seen {
    /// Requests without a whole and right response.
    pub(crate) fn lost(&self) -> Vec<String> {
        self.lost.lock().expect("nobody panics with it").clone()
    }

    fn note(&self, text: String) {
        self.lost.lock().expect("nobody panics with it").push(text);
    }

    /// Asserts that every request was answered, and no connection refused.
    #[track_caller]
    pub(crate) fn expect_all_answered(&self) {
        assert!(
            self.lost().is_empty() && self.refused.load(Ordering::Relaxed) == 0,
            "{self}"
        );
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.lost();
        write!(
            f,
            "{} answered, {} refused, {} stale, {} lost: {:#?}",
            self.answered.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
            self.stale.load(Ordering::Relaxed),
            lost.len(),
            lost.iter().take(10).collect::<Vec<_>>()
        )
    }
}

struct Client {
    address: SocketAddr,
    keeps: bool,
    kept: Option<TcpStream>,
}

impl Client {
    /// Sends a request and notes what comes of it.
    fn request(&mut self, seen: &Seen) {
        let kept = self.kept.take();
        let is_kept = kept.is_some();
        let stream = match kept.map_or_else(|| connect(self.address), Ok) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
                return;
            }
            Err(error) => return seen.note(format!("connect: {error}")),
        };
        match exchange(&stream, self.keeps) {
            Ok(stays) => {
                seen.answered.fetch_add(1, Ordering::Relaxed);
                self.kept = Some(stream).filter(|_| stays && self.keeps);
            }
            Err(Failure::Unanswered(_)) if is_kept => {
                seen.stale.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => seen.note(format!("{failure:?} (kept: {is_kept})")),
        }
    }
}

/// How a request can fail.
#[derive(Debug)]
#[expect(dead_code, reason = "it is shown")]
enum Failure {
    /// The connection ended before anything came.
    Unanswered(Option<io::Error>),
    /// Something came, and it was not right.
    Wrong(String),
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request and its response; true if the connection stays open.
fn exchange(mut stream: &TcpStream, keeps: bool) -> Result<bool, Failure> {
    let connection = if keeps { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
    if let Err(error) = stream.write_all(request.as_bytes()) {
        return Err(Failure::Unanswered(Some(error)));
    }
    let mut response = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        if let Some(stays) = whole(&response)? {
            return Ok(stays);
        }
        let wrong = |what: String| {
            let text = String::from_utf8_lossy(&response);
            Failure::Wrong(format!("{what} after {text:?}"))
        };
        match stream.read(&mut bytes) {
            Ok(0) if response.is_empty() => return Err(Failure::Unanswered(None)),
            Ok(0) => return Err(wrong("it ended".to_owned())),
            Ok(count) => response.extend_from_slice(&bytes[..count]),
            Err(error) if response.is_empty() && error.kind() == ErrorKind::ConnectionReset => {
                return Err(Failure::Unanswered(Some(error)));
            }
            Err(error) => return Err(wrong(error.to_string())),
        }
    }
}

/// Whether a response is whole, and if so, whether the connection stays open.
fn whole(response: &[u8]) -> Result<Option<bool>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let wrong = |what: &dyn fmt::Display| {
        let text = String::from_utf8_lossy(response);
        Failure::Wrong(format!("{what}: {text:?}"))
    };
    let httparse::Status::Complete(length) = head.parse(response).map_err(|error| wrong(&error))?
    else {
        return Ok(None);
    };
    if head.code != Some(200) {
        return Err(wrong(&"not 200"));
    }
    let field = |name: &str| {
        let field = head
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    let content: usize = field("content-length")
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| wrong(&"no length"))?;
    if response.len() < length + content {
        return Ok(None);
    }
    if response.len() > length + content || content == 0 {
        return Err(wrong(&"wrong content"));
    }
    Ok(Some(
        field("connection").is_none_or(|it| !it.eq_ignore_ascii_case("close")),
    ))
}
