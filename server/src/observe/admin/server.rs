//! Serves the admin application, on OS threads of its own: it has to answer when the server does not.
//!
//! So it shares nothing with what serves the public but the listener's queue. A thread waits for connections and starts one
//! for each, [`MOST`] at once; each is given one request, one answer and little time, then it is closed. Requests are HTTP/1.1
//! without content. For the kernel's probes, `curl` and Prometheus that is enough, and what is so small does not get stuck.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request, StatusCode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, shutdown, socketpair,
};

use super::{Source, plain, respond};
use crate::application::Response;
use crate::observe::log::{self, Repeated};

/// Connections at once; further ones wait in the kernel.
const MOST: usize = 16;

/// A request and the taking of its answer must be over within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a request.
const LONGEST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 100;

/// Of an answer: a dump of many green threads is long.
const LONGEST_ANSWER: usize = 256 << 20;

static TROUBLE: Repeated = Repeated::new(Duration::from_secs(10));

/// The admin application being served; until this is dropped.
#[derive(Debug)]
pub(crate) struct AdminServer {
    /// Its closing ends the waiting for connections.
    alive: Option<OwnedFd>,
    accepting: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Serves on these listening sockets, of any kind. To be called on an OS thread, so that its threads are too.
    ///
    /// # Errors
    ///
    /// The kernel gives no thread or no descriptor.
    pub(crate) fn start(
        listeners: Vec<OwnedFd>,
        source: Arc<dyn Source>,
    ) -> io::Result<AdminServer> {
        let (alive, end) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        for listener in &listeners {
            // Another process may take the connection that woke us.
            rustix::io::ioctl_fionbio(listener, true)?;
        }
        let accepting = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || accept(&listeners, &end, &source))?;
        Ok(AdminServer {
            alive: Some(alive),
            accepting: Some(accepting),
        })
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(accepting) = self.accepting.take() {
            // A panic in there has been reported.
            let _ = accepting.join();
        }
    }
}

/// Starts a thread for each connection, until the other end of `end` is closed.
fn accept(listeners: &[OwnedFd], end: &OwnedFd, source: &Arc<dyn Source>) {
    let served = Arc::new(AtomicUsize::new(0));
    loop {
        let is_full = served.load(Ordering::Acquire) >= MOST;
        let listening = listeners.iter().filter(|_| !is_full);
        let mut waited_for: Vec<PollFd<'_>> = [end]
            .into_iter()
            .chain(listening)
            .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
            .collect();
        // While it is full nobody tells when it is not, so that is looked at.
        let patience = is_full.then_some(rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        });
        match poll(&mut waited_for, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                log::error(format_args!("the admin listener has ended: {error}"));
                return;
            }
        }
        let is_ready: Vec<bool> = (waited_for.iter())
            .map(|descriptor| !descriptor.revents().is_empty())
            .collect();
        if is_ready[0] {
            return;
        }
        for (listener, _) in listeners.iter().zip(&is_ready[1..]).filter(|(_, it)| **it) {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(connection) => start_thread(connection, &served, source),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    TROUBLE.error(format_args!("cannot accept an admin connection: {error}"));
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

fn start_thread(connection: OwnedFd, served: &Arc<AtomicUsize>, source: &Arc<dyn Source>) {
    let place = Place::take(served);
    let source = source.clone();
    let thread = thread::Builder::new()
        .name("admin-connection".to_owned())
        .spawn(move || {
            let _place = place;
            // A client that leaves or is slow concerns nobody.
            let _ = serve(File::from(connection), &*source);
        });
    if let Err(error) = thread {
        TROUBLE.error(format_args!("cannot serve an admin connection: {error}"));
    }
}

/// One of the connections that may be served at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(served: &Arc<AtomicUsize>) -> Place {
        served.fetch_add(1, Ordering::AcqRel);
        Place(served.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(mut connection: File, source: &dyn Source) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let (response, is_head) = match read(&mut connection, end)? {
        Some(request) => (respond(source, &request), *request.method() == Method::HEAD),
        None => (
            plain(StatusCode::BAD_REQUEST, "that is no request\n"),
            false,
        ),
    };
    write(&mut connection, response, is_head)?;
    // What the client still sends is not to make the kernel drop what it has not read yet.
    shutdown(&connection, Shutdown::Write)?;
    while wait_at_most(&connection, Timeout::Recv, end).is_ok()
        && connection.read(&mut [0; 4096])? > 0
    {}
    Ok(())
}

/// Reads a request's head; `None` if it is none.
fn read(connection: &mut File, end: Instant) -> io::Result<Option<Request<()>>> {
    let mut bytes = Vec::new();
    loop {
        wait_at_most(&*connection, Timeout::Recv, end)?;
        let before = bytes.len();
        bytes.resize(before + 4096, 0);
        let count = connection.read(&mut bytes[before..])?;
        bytes.truncate(before + count);
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        match head.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => return Ok(to_request(&head)),
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
        }
    }
}

fn to_request(head: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let mut request = Request::builder().method(head.method?).uri(head.path?);
    for field in &*head.headers {
        request = request.header(field.name, field.value);
    }
    request.body(()).ok()
}

fn write(connection: &mut File, response: Response, is_head: bool) -> io::Result<()> {
    set_socket_timeout(&*connection, Timeout::Send, Some(PATIENCE))?;
    let (head, content) = response.into_parts();
    let content = (content.into_bytes(LONGEST_ANSWER)).map_err(io::Error::other)?;
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let (length, date) = (content.len(), httpdate::fmt_http_date(SystemTime::now()));
    write!(
        text,
        "content-length: {length}\r\ndate: {date}\r\nconnection: close\r\n\r\n"
    )?;
    if !is_head {
        text.extend_from_slice(&content);
    }
    connection.write_all(&text)
}

/// Reads or writes of the socket end at this time.
fn wait_at_most(connection: impl AsFd, which: Timeout, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(set_socket_timeout(connection, which, Some(left))?)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::observe::admin::Readiness;
    use crate::observe::observer::Observer;

    fn start() -> (AdminServer, SocketAddr, Arc<Observer>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let observer = Observer::quiet();
        let server = AdminServer::start(vec![listener.into()], observer.clone()).unwrap();
        (server, address, observer)
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn requests_are_answered() {
        let (_server, address, observer) = start();
        let answer = ask(address, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\nstarting\n"), "{answer}");
        observer.advance(Readiness::Ready);
        let answer = ask(address, "GET /readyz HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-length: ") && content.is_empty(),
            "{answer}"
        );
        let answer = ask(
            address,
            "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n",
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (_server, address, _observer) = start();
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(LONGEST_HEAD));
        for text in [
            "\x16\x03\x01\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9\r\n\r\n",
            &long,
        ] {
            let answer = ask(address, text);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{text:?}: {answer}");
        }
    }

    #[test]
    fn clients_that_say_nothing_hold_nobody_up() {
        let (_server, address, _observer) = start();
        let silent: Vec<_> = (0..MOST - 1)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        assert!(ask(address, "GET /livez HTTP/1.1\r\n\r\n").ends_with("alive\n"));
        // One more than may be served: it is answered when one of them has gone.
        let mut last = TcpStream::connect(address).unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        drop(silent);
        last.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        last.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("alive\n"));
        drop(waiting);
    }

    #[test]
    fn it_listens_on_unix_sockets_too_and_ends_when_it_is_dropped() {
        let name = format!("greenpatch-admin-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = AdminServer::start(vec![listener.into()], Observer::quiet()).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.contains("/readyz"), "{text}");
        drop(server);
        let error = UnixStream::connect(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        std::fs::remove_file(path).unwrap();
    }
}
