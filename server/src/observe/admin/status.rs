//! The page for a person: what `/metrics` and `/threads` say, as it changes.
//!
//! The page is one file without anything from elsewhere. It asks for a server-sent event, which is all figures as JSON, and
//! the connection ends with it: the browser asks for the next one by itself, after the time that the event names. So a page that is
//! left open holds no thread of the few that serve this application.

use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use serde::Serialize;

use super::{Source, content};
use crate::application::Response;
use crate::observe::exposition::Figures;
use crate::observe::histogram::BOUNDS;

const PAGE: &str = include_str!("status.html");

/// The page has its script and its style in itself, and talks to nobody else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Milliseconds until a browser asks for the next event. Workers tell their figures once a second.
const PAUSE: u32 = 1000;

/// What the page shows.
#[derive(Debug, Serialize)]
struct Event {
    version: &'static str,
    readiness: &'static str,
    /// Upper bounds of the histograms' buckets, in seconds; one bucket more has none.
    bounds: [f64; BOUNDS.len()],
    figures: Figures,
}

/// The page.
pub(super) fn page() -> Response {
    let mut response = content(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    let policy = HeaderValue::from_static(POLICY);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// One event for the page.
pub(super) fn event(source: &dyn Source) -> Response {
    let text = format!("retry: {PAUSE}\ndata: {}\n\n", figures(source));
    content(StatusCode::OK, "text/event-stream", text)
}

/// All figures as a JSON object, in one line.
pub(crate) fn figures(source: &dyn Source) -> String {
    let event = Event {
        version: env!("CARGO_PKG_VERSION"),
        readiness: source.readiness().name(),
        bounds: BOUNDS,
        figures: source.figures(),
    };
    serde_json::to_string(&event).expect("numbers and names can be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fleet::{Departure, Fleet, WorkerState};
    use crate::observe::metrics::Metrics;
    use crate::observe::snapshot::Snapshot;

    #[test]
    fn an_event_has_the_figures_of_each_worker() {
        let fleet = Fleet::new(String::new);
        for process in [7, 8] {
            fleet.started(process);
        }
        fleet.state(7, WorkerState::Ready);
        let metrics = Metrics::new();
        metrics.accepted.add(3);
        fleet.report(7, Snapshot::of(&metrics, &[]));
        fleet.started(9);
        fleet.gone(9, Departure::Killed);
        let text = event(&*fleet).into_body().into_string(1 << 20).unwrap();
        let json = text.strip_prefix("retry: 1000\ndata: ").expect("an event");
        let event: serde_json::Value = serde_json::from_str(json.trim_end()).unwrap();
        assert_eq!(event["readiness"], "ready");
        let figures = &event["figures"];
        assert_eq!(figures["states"]["7"], "ready");
        assert_eq!(figures["states"]["8"], "starting");
        assert_eq!(figures["departures"]["killed"], 1);
        assert_eq!(figures["counters"]["accepted"], 3);
        assert_eq!(figures["gauges"]["7"]["in_flight"], 0);
        let buckets = figures["counters"]["queue"]["buckets"].as_array();
        assert_eq!(buckets.map(Vec::len), Some(BOUNDS.len() + 1));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for elsewhere in ["http://", "https://", "src=", "href=\"/", "@import"] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }
}
