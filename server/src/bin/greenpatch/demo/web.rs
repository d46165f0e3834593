//! `greenpatch demo --web`: the experiment as a page, with every call of the handler seen as it runs.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `POST /runs` | starts a run: what the page's form says, as JSON; answers its id |
//! | `GET /runs/{id}/events` | what happens in it, as server-sent events, from the first or from the one after `Last-Event-ID` |
//! | `DELETE /runs/{id}` | stops it |
//!
//! Nothing is made up: each side of a run is a `greenpatch serve` in a process of its own, which is sent real requests
//! ([`run`]). The page's own server is ours, in class green, and everything here is blocking code on its green threads.
//!
//! Who can ask for runs starts processes. So the page is served on loopback only, and asked by itself only ([`guard`]).
//!
//! The first thread starts all processes, and waits for the signals that end it: the servers ask the kernel to stop them when the
//! thread ends that has started them, so that they do not outlive the demonstration, however it ends.

mod choice;
mod guard;
mod run;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use greenpatch_server::application::{
    EventStream, HttpError, IntoResponse, Json, Request, RequestExt, Response, ResponseExt, Router,
    response,
};
use greenpatch_server::http::{StatusCode, header};
use greenpatch_server::{Server, Settings, WorkerClass};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::DemoArguments;
use choice::Choice;
use guard::Guard;
use run::Run;

const PAGE: &str = include_str!("web/page.html");

/// The page has its script and its style in itself, and talks to nobody else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Runs under way at once.
const MOST_RUNS: usize = 4;

/// Runs that are over, whose events can still be had.
const KEPT_RUNS: usize = 8;

/// Bytes of what the page says of a run.
const LONGEST_CHOICE: usize = 4096;

/// How long runs may take to end their servers.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Serves the page until a signal comes.
pub(super) fn run(program: PathBuf, arguments: &DemoArguments) -> Result<ExitCode, Box<dyn Error>> {
    let address = loopback(&arguments.bind)?;
    let settings = Settings {
        worker_class: WorkerClass::Green,
        ..Settings::default()
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let server = Server::bind(&address.to_string(), settings)
        .map_err(|error| format!("{error}; --bind 127.0.0.1:0 takes a free port"))?;
    let address = server.local_addr();
    let (launcher, orders) = Launcher::new();
    let ended = launcher.0.clone();
    let shared = Arc::new(Shared {
        program,
        launcher,
        runs: Mutex::default(),
    });
    let stop = server.stop_handle();
    let router = router(&shared, address);
    let serving = thread::spawn(move || server.serve(router));
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The first thread is there until this comes.
            let _ = ended.send(Order::End);
        }
    });
    let query = match arguments.sleep == DemoArguments::default().sleep {
        true => String::new(),
        false => format!("?seconds={}", arguments.sleep.as_secs_f64()),
    };
    println!("Open http://{address}/{query} in a browser. Ctrl-C ends it.");
    launch(&orders);
    shared.end();
    stop.quit();
    match serving.join() {
        Ok(served) => served?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    Ok(ExitCode::SUCCESS)
}

/// The address, which must be this machine's own.
fn loopback(text: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let wrong = |error: io::Error| {
        format!("--bind {text}: {error}; give HOST:PORT, such as 127.0.0.1:8001")
    };
    let addresses: Vec<_> = text.to_socket_addrs().map_err(wrong)?.collect();
    match addresses.first() {
        Some(first) if addresses.iter().all(|it| it.ip().is_loopback()) => Ok(*first),
        _ => Err(format!(
            "--bind {text}: the page starts programs for whoever can ask for it, so it is served on loopback only, such as 127.0.0.1:8001"
        )
        .into()),
    }
}

/// What the first thread is to do.
enum Order {
    Start(Box<Command>, Sender<io::Result<Child>>),
    End,
}

/// Has processes started by the first thread.
struct Launcher(Sender<Order>);

impl Launcher {
    fn new() -> (Launcher, Receiver<Order>) {
        let (sender, orders) = channel();
        (Launcher(sender), orders)
    }

    fn start(&self, command: Command) -> io::Result<Child> {
        let over = || io::Error::other("the demonstration ends");
        let (sender, started) = channel();
        let order = Order::Start(Box::new(command), sender);
        self.0.send(order).map_err(|_| over())?;
        started.recv().map_err(|_| over())?
    }
}

/// Starts processes until it is told to end.
fn launch(orders: &Receiver<Order>) {
    while let Ok(Order::Start(mut command, sender)) = orders.recv() {
        // Whoever has asked waits.
        let _ = sender.send(command.spawn());
    }
}

/// What handlers share.
struct Shared {
    program: PathBuf,
    launcher: Launcher,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    by_id: HashMap<String, Arc<Run>>,
    /// The ids, the oldest first.
    ids: Vec<String>,
    is_over: bool,
}

#[derive(Serialize)]
struct Started {
    run: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        // No change can be cut short by a panic.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, request: Request) -> Result<Response, HttpError> {
        let wrong = |error: String| HttpError::new(StatusCode::BAD_REQUEST, error);
        let text = request.into_body().into_string(LONGEST_CHOICE)?;
        let choice = Choice::read(&text).map_err(wrong)?;
        let run = Arc::new(Run::default());
        let id = format!("{:016x}", fastrand::u64(..));
        let mut runs = self.lock();
        if runs.is_over || runs.under_way() >= MOST_RUNS {
            let text = format!("{MOST_RUNS} runs are under way; stop one, or wait for its end");
            return Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        runs.add(id.clone(), Arc::clone(&run));
        drop(runs);
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("run".to_owned())
            .spawn(move || run.perform(&choice, &shared.program, &shared.launcher))?;
        let created = Json(Started { run: id }).into_response();
        Ok(created.with_status(StatusCode::CREATED))
    }

    fn find(&self, request: &Request) -> Result<Arc<Run>, HttpError> {
        let id: String = request.parameter("id")?;
        let gone = || HttpError::new(StatusCode::NOT_FOUND, "there is no such run any more");
        self.lock().by_id.get(&id).cloned().ok_or_else(gone)
    }

    fn events(&self, request: &Request) -> Result<EventStream, HttpError> {
        let run = self.find(request)?;
        let last = request.headers().get("last-event-id");
        let last = last.and_then(|id| id.to_str().ok()?.parse::<usize>().ok());
        let next = last.map_or(0, |last| last + 1);
        Ok(EventStream::new(move |sender| run.tell(next, sender)))
    }

    fn stop(&self, request: &Request) -> Result<(), HttpError> {
        self.find(request)?.stop();
        Ok(())
    }

    /// Stops all runs, and waits until their servers have ended.
    fn end(&self) {
        let mut runs = self.lock();
        runs.is_over = true;
        let all: Vec<_> = runs.by_id.values().cloned().collect();
        drop(runs);
        for run in &all {
            run.stop();
        }
        for run in &all {
            run.wait_at_most(END_PATIENCE);
        }
    }
}

impl Runs {
    fn under_way(&self) -> usize {
        self.by_id.values().filter(|run| !run.is_over()).count()
    }

    fn add(&mut self, id: String, run: Arc<Run>) {
        self.by_id.insert(id.clone(), run);
        self.ids.push(id);
        let by_id = &mut self.by_id;
        let over = |id: &String| by_id.get(id).is_none_or(|run| run.is_over());
        let excess = self
            .ids
            .iter()
            .filter(|id| over(id))
            .count()
            .saturating_sub(KEPT_RUNS);
        let leaving: Vec<_> = self
            .ids
            .iter()
            .filter(|id| over(id))
            .take(excess)
            .cloned()
            .collect();
        self.ids.retain(|id| !leaving.contains(id));
        by_id.retain(|id, _| !leaving.contains(id));
    }
}

fn page() -> Response {
    response::html(PAGE)
        .with_header(header::CONTENT_SECURITY_POLICY, POLICY)
        .with_header(header::CACHE_CONTROL, "no-store")
}

fn router(shared: &Arc<Shared>, address: SocketAddr) -> Router {
    let guard = Guard::new(address);
    let [start, events, stop] = std::array::from_fn(|_| Arc::clone(shared));
    Router::new()
        .get("/", page)
        .post("/runs", move |request: Request| start.start(request))
        .get("/runs/{id}/events", move |request: Request| {
            events.events(&request)
        })
        .delete("/runs/{id}", move |request: Request| stop.stop(&request))
        .middleware(move |request, next| match guard.check(&request) {
            Ok(()) => next.run(request),
            Err(refusal) => refusal.into_response(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_served_on_loopback_only() {
        for text in ["127.0.0.1:0", "[::1]:80", "localhost:8001"] {
            assert!(loopback(text).unwrap().ip().is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:8001", "[::]:1", "192.0.2.1:80"] {
            let error = loopback(text).unwrap_err().to_string();
            assert!(error.contains("on loopback only"), "{error}");
        }
        let error = loopback("8001").unwrap_err().to_string();
        assert!(error.contains("give HOST:PORT"), "{error}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for elsewhere in ["http://", "https://", "src=", "href=\"/", "@import"] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn runs_that_are_over_are_forgotten_when_there_are_many() {
        let mut runs = Runs::default();
        for number in 0..100 {
            let run = Arc::new(Run::default());
            if number > 0 {
                run.finish();
            }
            runs.add(number.to_string(), run);
        }
        assert_eq!(runs.by_id.len(), runs.ids.len());
        assert!(runs.ids.len() <= KEPT_RUNS + 2, "{:?}", runs.ids);
        assert!(runs.by_id.contains_key("0") && runs.by_id.contains_key("99"));
        assert!(!runs.by_id.contains_key("1"));
    }
}
