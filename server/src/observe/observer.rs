//! What a worker process sees of its connections and requests.
//!
//! The protocol makes one [`Observation`] for each request and lets it go when the response has ended; whoever drops it, on
//! whatever path, ends the request's account, so nothing that was begun is left uncounted. Without an access log it holds no
//! memory of its own, and where nobody measures it reads no clock.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use greenpatch::DumpOptions;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};

use crate::command::settings::Settings;
use crate::observe::access::{AccessLog, Head, Record};
use crate::observe::admin::{self, Readiness, Source, Stage};
use crate::observe::exposition::Figures;
use crate::observe::fleet::WorkerState;
use crate::observe::green_threads::{self, Hogs};
use crate::observe::log;
use crate::observe::metrics::{Counter, Metrics, Refusal, class_number, method_number};
use crate::observe::process;
use crate::observe::request_id::{Entered, RequestId, RequestIds, X_REQUEST_ID};
use crate::observe::route::Route;
use crate::observe::snapshot::Snapshot;

/// What is observed.
#[derive(Debug, Default)]
pub(crate) struct Observe {
    /// Where requests are logged, if they are.
    pub(crate) access: Option<AccessLog>,
    /// Whether somebody wants to know how long requests take. With an access log they are timed anyway.
    pub(crate) timed: bool,
    /// Whether somebody could look at the status page.
    pub(crate) watched: bool,
    /// Whether responses carry their request's id.
    pub(crate) request_id_field: bool,
}

impl Observe {
    /// As the settings say. To be called on an OS thread, since a log's thread is started.
    ///
    /// # Errors
    ///
    /// The access log's format is none, or its file cannot be opened for appending.
    pub(crate) fn from_settings(settings: &Settings) -> io::Result<Observe> {
        let logging = &settings.logging;
        let access = match &logging.access_file {
            None => None,
            Some(file) => {
                let format = (logging.access_format.parse())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                Some(AccessLog::open(file.clone(), format)?)
            }
        };
        Ok(Observe {
            access,
            timed: !settings.admin_bind.is_empty(),
            watched: !settings.admin_bind.is_empty(),
            request_id_field: logging.request_id,
        })
    }
}

/// One for each worker process.
#[derive(Debug)]
pub(crate) struct Observer {
    metrics: Metrics,
    access: Option<AccessLog>,
    timed: AtomicBool,
    watched: bool,
    hogs: Hogs,
    request_id_field: bool,
    ids: RequestIds,
    stage: Stage,
    listeners: OnceLock<Vec<SocketAddr>>,
}

impl Observer {
    pub(crate) fn new(what: Observe) -> Arc<Observer> {
        Arc::new(Observer {
            metrics: Metrics::new(),
            timed: AtomicBool::new(what.timed || what.access.is_some()),
            access: what.access,
            watched: what.watched,
            hogs: Hogs::default(),
            request_id_field: what.request_id_field,
            ids: RequestIds::new(),
            stage: Stage::default(),
            listeners: OnceLock::new(),
        })
    }

    /// One that counts, and does nothing else.
    #[cfg(test)]
    pub(crate) fn quiet() -> Arc<Observer> {
        Observer::new(Observe::default())
    }

    /// From now on somebody wants to know how long requests take.
    pub(crate) fn time_requests(&self) {
        self.timed.store(true, Ordering::Relaxed);
    }

    /// The worker accepts connections at these addresses; their backlogs are watched. Heard once.
    pub(crate) fn listens_at(&self, addresses: Vec<SocketAddr>) {
        let _ = self.listeners.set(addresses);
    }

    /// What `/readyz` says, where this observer is asked.
    pub(crate) fn advance(&self, to: Readiness) {
        self.stage.advance(to);
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub(crate) fn connection(self: &Arc<Observer>) -> OpenConnection {
        self.metrics.accepted.add(1);
        self.metrics.open.enter();
        OpenConnection(self.clone())
    }

    /// A connection, or what came on it, will not become a request.
    pub(crate) fn refused(&self, reason: Refusal) {
        self.metrics.refused(reason).add(1);
    }

    /// Accepting was stopped, since as many connections are open as may be.
    pub(crate) fn accept_paused(&self) {
        self.metrics.pauses.add(1);
    }

    /// A request's head is there.
    pub(crate) fn request<B>(
        self: &Arc<Observer>,
        request: &Request<B>,
        peer: Option<SocketAddr>,
    ) -> Observation {
        self.metrics.in_flight.enter();
        let details = self.access.as_ref().map(|access| {
            Box::new(Details {
                peer,
                head: Some(Head {
                    method: request.method().clone(),
                    uri: request.uri().clone(),
                    version: request.version(),
                }),
                request_fields: pick(request.headers(), access.format().request_fields()),
                response_fields: Vec::new(),
            })
        });
        Observation {
            id: self.ids.take_over_or_make(request.headers()),
            begun: self.timed.load(Ordering::Relaxed).then(Instant::now),
            queued: Duration::ZERO,
            method: method_number(request.method()),
            status: None,
            route: Route::NONE,
            bytes: 0,
            is_complete: false,
            details,
            observer: self.clone(),
        }
    }

    /// Something that never became a request was answered.
    pub(crate) fn answered_raw(&self, peer: Option<SocketAddr>, status: StatusCode, bytes: usize) {
        self.metrics.content.add(bytes as u64);
        let requests = &self.metrics.of_route(Route::NONE).requests;
        requests[requests.len() - 1][class_number(Some(status))].add(1);
        if let Some(access) = &self.access {
            access.write(&Record {
                peer,
                head: None,
                request_fields: Vec::new(),
                response_fields: Vec::new(),
                status: Some(status),
                bytes: bytes as u64,
                is_complete: true,
                duration: Duration::ZERO,
                queued: Duration::ZERO,
                id: self.ids.take_over_or_make(&HeaderMap::new()),
                route: Route::NONE,
            });
        }
    }

    /// A green thread has kept its worker to itself for long.
    pub(crate) fn blocked(&self, blocked: &greenpatch::Blocked) {
        self.hogs.add(blocked);
    }

    /// Requests that have begun.
    pub(crate) fn begun(&self) -> u64 {
        let routes = self.metrics.routes();
        let ended = routes.flat_map(|(_, route)| route.requests.iter().flatten());
        ended.map(Counter::get).sum::<u64>() + self.metrics.in_flight.get()
    }

    /// All figures at this moment. Repeated errors whose time it is are logged on the way, so it is to be called every second.
    pub(crate) fn snapshot(&self) -> Snapshot {
        log::tell_repeated();
        let mut snapshot = Snapshot::of(&self.metrics, &runtimes());
        if let Some(listeners) = self.listeners.get() {
            snapshot.gauges.backlogs = process::backlogs(listeners);
        }
        if let Some(access) = &self.access {
            snapshot.counters.lines_dropped = access.dropped();
        }
        snapshot.gauges.hogs = self.hogs.all();
        if self.watched {
            snapshot.gauges.waits = green_threads::groups();
        }
        snapshot
    }

    /// Opens the access log's file again, for a program that rotates logs. Returns at once.
    pub(crate) fn reopen(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }

    /// Waits until the access log is written; says whether it is.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        self.access
            .as_ref()
            .is_none_or(|access| access.flush(patience))
    }
}

impl Source for Observer {
    fn readiness(&self) -> Readiness {
        self.stage.get()
    }

    fn figures(&self) -> Figures {
        let Snapshot { counters, gauges } = self.snapshot();
        let state = match self.stage.get() {
            Readiness::Starting => WorkerState::Starting,
            Readiness::Ready => WorkerState::Ready,
            Readiness::Draining => WorkerState::Draining,
        };
        let process = std::process::id();
        Figures {
            counters,
            gauges: [(process, gauges)].into(),
            states: [(process, state)].into(),
            ..Figures::default()
        }
    }

    fn threads(&self) -> String {
        admin::threads()
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Observer>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.open.leave();
    }
}

/// The account of one request, from its head to the end of the response. Dropping it ends the request.
pub(crate) struct Observation {
    observer: Arc<Observer>,
    id: RequestId,
    /// When the head was there, if anybody wants to know.
    begun: Option<Instant>,
    queued: Duration,
    method: usize,
    status: Option<StatusCode>,
    route: Route,
    bytes: u64,
    is_complete: bool,
    details: Option<Box<Details>>,
}

/// What only a log wants to know.
struct Details {
    peer: Option<SocketAddr>,
    head: Option<Head>,
    request_fields: Vec<Option<HeaderValue>>,
    response_fields: Vec<Option<HeaderValue>>,
}

impl Observation {
    pub(crate) fn id(&self) -> &RequestId {
        &self.id
    }

    /// While the guard lives, what this thread logs carries the request's id. To be held while the handler runs, or is polled.
    pub(crate) fn enter(&self) -> Entered {
        self.id.enter()
    }

    /// The request has waited so long for a thread or its turn; zero if it did not have to.
    pub(crate) fn queued(&mut self, waited: Duration) {
        if !waited.is_zero() {
            self.queued = waited;
            self.observer.metrics.queue.add(waited);
        }
    }

    /// This is the response. Its request's id is put into it.
    pub(crate) fn answered<B>(&mut self, response: &mut Response<B>) {
        self.status = Some(response.status());
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = *route;
        }
        if self.observer.request_id_field {
            // An application that sets the field itself knows why.
            let fields = response.headers_mut();
            fields
                .entry(X_REQUEST_ID)
                .or_insert_with(|| self.id.to_header());
        }
        if let (Some(details), Some(access)) = (&mut self.details, &self.observer.access) {
            details.response_fields = pick(response.headers(), access.format().response_fields());
        }
    }

    /// So many bytes of the response's content were given to the connection.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The response's content has come to its end.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let metrics = &self.observer.metrics;
        metrics.in_flight.leave();
        metrics.content.add(self.bytes);
        let of_route = metrics.of_route(self.route);
        of_route.requests[self.method][class_number(self.status)].add(1);
        let duration = self.begun.map(|begun| begun.elapsed());
        if let Some(duration) = duration {
            of_route.duration.add(duration);
        }
        if let (Some(details), Some(access)) = (self.details.take(), &self.observer.access) {
            access.write(&Record {
                peer: details.peer,
                head: details.head,
                request_fields: details.request_fields,
                response_fields: details.response_fields,
                status: self.status,
                bytes: self.bytes,
                is_complete: self.is_complete,
                duration: duration.unwrap_or_default(),
                queued: self.queued,
                id: self.id.clone(),
                route: self.route,
            });
        }
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// The values of these fields.
fn pick(fields: &HeaderMap, names: &[HeaderName]) -> Vec<Option<HeaderValue>> {
    names.iter().map(|name| fields.get(name).cloned()).collect()
}

/// Figures of the runtime that the caller runs on, or off one, of all there are.
fn runtimes() -> Vec<greenpatch::Metrics> {
    match greenpatch::metrics() {
        Some(figures) => vec![figures],
        None => {
            let dumps = greenpatch::dump_all(DumpOptions::new().limit(0));
            dumps.into_iter().map(|dump| dump.metrics).collect()
        }
    }
}

#[cfg(test)]
mod tests;
