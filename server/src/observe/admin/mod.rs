//! The admin application: health, metrics and green threads, for an address of its own.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 as long as anybody answers |
//! | `/readyz` | 200 if requests are served; 503 before that, and while it drains |
//! | `/metrics` | Prometheus's text, or OpenMetrics's for who asks for it |
//! | `/threads` | what every green thread is doing |
//! | `/status` | the same for a person in a browser, as it changes |
//!
//! It is a plain function of a request's head. What it shows comes from a [`Source`]: a worker of its own, or a master that
//! adds up its workers. [`server`] serves it. It is not for the public: it tells who is served how fast, and where in the code
//! threads wait.

use std::fmt::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use greenpatch::DumpOptions;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};

use crate::application::{Body, Response};
use crate::observe::exposition::{Exposition, Figures};

pub(crate) use server::AdminServer;
pub(crate) use status::figures;

mod server;
mod status;

/// Green threads of a runtime that are listed.
const LISTED: usize = 10_000;

const INDEX: &str = "\
/livez    whether somebody answers
/readyz   whether requests are served
/metrics  figures, for Prometheus
/threads  what every green thread is doing
/status   the same in a browser, as it changes
";

/// Whether requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No new ones: what is under way is finished.
    Draining,
}

impl Readiness {
    fn name(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Ready => "ready",
            Readiness::Draining => "draining",
        }
    }
}

/// A [`Readiness`] that goes forward only: a server that drains does not become ready again.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

impl Stage {
    pub(crate) fn get(&self) -> Readiness {
        match self.0.load(Ordering::Relaxed) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    pub(crate) fn advance(&self, to: Readiness) {
        self.0.fetch_max(to as u8, Ordering::Relaxed);
    }
}

/// Who knows what is shown.
pub(crate) trait Source: Send + Sync {
    fn readiness(&self) -> Readiness;
    fn figures(&self) -> Figures;
    /// What every green thread is doing. May take a second.
    fn threads(&self) -> String;
}

/// Answers a request for the admin application.
pub(crate) fn respond<B>(source: &dyn Source, request: &Request<B>) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/" => plain(StatusCode::OK, INDEX),
        "/livez" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => {
            let readiness = source.readiness();
            let status = match readiness {
                Readiness::Ready => StatusCode::OK,
                Readiness::Starting | Readiness::Draining => StatusCode::SERVICE_UNAVAILABLE,
            };
            plain(status, format!("{}\n", readiness.name()))
        }
        "/metrics" => {
            let accept = request.headers().get(ACCEPT);
            let format = Exposition::accepted_by(accept.and_then(|it| it.to_str().ok()));
            let text = format.write(source.figures());
            content(StatusCode::OK, format.content_type(), text)
        }
        "/status" => status::page(),
        "/status/events" => status::event(source),
        "/threads" => plain(StatusCode::OK, source.threads()),
        _ => plain(
            StatusCode::NOT_FOUND,
            format!("there is no such page; these are:\n{INDEX}"),
        ),
    }
}

/// What the green threads of this process are doing. On an OS thread it can be asked for while every worker thread is busy.
pub(crate) fn threads() -> String {
    let dumps = greenpatch::dump_all(DumpOptions::new().backtraces(true).limit(LISTED));
    let mut text = format!("process {}\n", std::process::id());
    for dump in &dumps {
        // Memory can be written to.
        let _ = writeln!(text, "{dump}{}", dump.metrics);
    }
    if dumps.is_empty() {
        text.push_str("no runtime has green threads\n");
    }
    text
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    content(status, "text/plain; charset=utf-8", text)
}

fn content(status: StatusCode, content_type: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Readiness);

    impl Source for Fixed {
        fn readiness(&self) -> Readiness {
            self.0
        }

        fn figures(&self) -> Figures {
            Figures::default()
        }

        fn threads(&self) -> String {
            threads()
        }
    }

    fn get(source: &dyn Source, method: &str, path: &str, accept: &str) -> (u16, String, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, accept)
            .body(())
            .unwrap();
        let response = respond(source, &request);
        let content_type = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let status = response.status().as_u16();
        let text = response.into_body().into_string(1 << 20).unwrap();
        (status, content_type, text)
    }

    #[test]
    fn only_a_ready_server_is_ready() {
        for (readiness, status) in [
            (Readiness::Starting, 503),
            (Readiness::Ready, 200),
            (Readiness::Draining, 503),
        ] {
            let source = Fixed(readiness);
            assert_eq!(get(&source, "GET", "/readyz", "*/*").0, status);
            assert_eq!(get(&source, "GET", "/livez", "*/*").0, 200);
        }
    }

    #[test]
    fn the_stage_goes_forward_only() {
        let stage = Stage::default();
        assert_eq!(stage.get(), Readiness::Starting);
        stage.advance(Readiness::Ready);
        assert_eq!(stage.get(), Readiness::Ready);
        stage.advance(Readiness::Draining);
        stage.advance(Readiness::Ready);
        assert_eq!(stage.get(), Readiness::Draining);
    }

    #[test]
    fn each_gets_the_format_it_understands() {
        let source = Fixed(Readiness::Ready);
        let (_, content_type, text) = get(&source, "GET", "/metrics", "text/plain");
        assert!(text.contains("greenpatch_build_info"), "{text}");
        assert!(content_type.starts_with("text/plain; version=0.0.4"));
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        let (_, content_type, text) = get(&source, "GET", "/metrics", accept);
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    }

    #[test]
    fn green_threads_are_shown_with_where_they_wait() {
        let runtime = greenpatch::Runtime::builder().workers(1).build().unwrap();
        let named = greenpatch::Builder::new().name("waits-for-admin".to_owned());
        let waiting = runtime.spawn_with(named, greenpatch::thread::park).unwrap();
        let text = loop {
            let text = get(&Fixed(Readiness::Ready), "GET", "/threads", "*/*").2;
            if text.contains("waits-for-admin") {
                break text;
            }
        };
        assert!(text.contains(&format!("process {}", std::process::id())));
        waiting.thread().unpark();
        waiting.join().unwrap();
    }

    #[test]
    fn there_is_nothing_else() {
        let source = Fixed(Readiness::Ready);
        let (status, _, text) = get(&source, "GET", "/metrics/", "*/*");
        assert!(status == 404 && text.contains("/readyz"));
        assert_eq!(get(&source, "POST", "/metrics", "*/*").0, 405);
        assert_eq!(get(&source, "GET", "/", "*/*").2, INDEX);
    }
}
