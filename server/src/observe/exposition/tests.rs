use std::time::Duration;

use super::*;
use crate::observe::metrics::{Metrics, Refusal};
use crate::observe::process::Backlog;
use crate::observe::route::Route;
use crate::observe::snapshot::Snapshot;

/// Figures of two workers with something in every family.
fn figures() -> Figures {
    let mut figures = Figures::default();
    for process in [10, 11] {
        let metrics = Metrics::new();
        metrics.accepted.add(3);
        metrics.open.enter();
        metrics.in_flight.enter();
        metrics.content.add(1 << 40);
        metrics.refused(Refusal::Tls).add(2);
        metrics.queue.add(Duration::from_millis(2));
        for name in ["", r#"/exposition/"quoted"\{id}"#] {
            let route = metrics.of_route(Route::new(name));
            route.requests[0][2].add(5);
            route.requests[2][0].add(1);
            route.duration.add(Duration::from_micros(400));
            route.duration.add(Duration::from_secs(400));
        }
        let mut snapshot = Snapshot::of(&metrics, &[]);
        snapshot.gauges.backlogs = vec![Backlog {
            address: "[::1]:8000".to_owned(),
            waiting: 4,
        }];
        figures.counters.add(&snapshot.counters);
        figures.gauges.insert(process, snapshot.gauges);
    }
    for process in [1, 2] {
        figures.states.insert(process, WorkerState::Ready);
    }
    figures
}

#[test]
fn counters_are_sums_and_gauges_are_a_workers() {
    let text = Exposition::Prometheus.write(figures());
    for line in [
        r#"greenpatch_requests_total{method="GET",status="2xx",route=""} 10.0"#,
        r#"greenpatch_requests_total{method="POST",status="none",route=""} 2.0"#,
        r#"greenpatch_requests_in_flight{pid="10"} 1.0"#,
        r#"greenpatch_requests_in_flight{pid="11"} 1.0"#,
        r#"greenpatch_request_duration_seconds_bucket{route="",le="0.0005"} 2"#,
        r#"greenpatch_request_duration_seconds_bucket{route="",le="60"} 2"#,
        r#"greenpatch_request_duration_seconds_bucket{route="",le="+Inf"} 4"#,
        r#"greenpatch_request_duration_seconds_count{route=""} 4"#,
        "greenpatch_connections_accepted_total 6.0",
        r#"greenpatch_connections_refused_total{reason="tls"} 4.0"#,
        r#"greenpatch_listener_backlog{address="[::1]:8000"} 4.0"#,
        r#"greenpatch_workers{state="ready"} 2.0"#,
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "{line} is not in\n{text}"
        );
    }
}

/// The rules of both formats that a writer of labels and families can break.
#[test]
fn both_formats_keep_their_grammar() {
    for format in [Exposition::Prometheus, Exposition::OpenMetrics] {
        let text = format.write(figures());
        let mut families: BTreeMap<&str, &str> = BTreeMap::new();
        let mut series = std::collections::BTreeSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(name, kind).is_none(), "{name} twice");
                family = name;
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(series.insert(name.to_owned()), "{name} twice");
            assert!(name.starts_with(family), "{name} after {family}");
            let suffix = name[family.len()..].split('{').next().unwrap();
            let allowed: &[&str] = match (families[family], format) {
                ("counter", Exposition::OpenMetrics) => &["_total"],
                ("counter" | "gauge", _) => &[""],
                _ => &["_bucket", "_sum", "_count"],
            };
            assert!(allowed.contains(&suffix), "{name} of {family}");
        }
        assert!(series.len() > 60);
        assert_eq!(text.ends_with("# EOF\n"), format == Exposition::OpenMetrics);
        assert!(
            text.contains(r#"route="/exposition/\"quoted\"\\{id}""#),
            "{text}"
        );
    }
}

/// `server/METRICS.md` is written by this test where `GREENPATCH_WRITE_PAGES` is set.
#[test]
fn the_page_of_figures_is_current() {
    let mut page = String::from(
        "# Figures of a server\n\n\
         What `/metrics` on `--admin-bind` shows, in Prometheus's text format, or in OpenMetrics's for who asks for it. Counters and\n\
         histograms are sums over all workers there ever were, so they grow without a break while workers come and go; gauges are a\n\
         worker's own and carry its `pid`. The label `route` is the pattern that a router has matched (`greenpatch_server::Route`).\n\n\
         | name | labels | kind | what |\n|---|---|---|---|\n",
    );
    let text = Exposition::OpenMetrics.write(figures());
    let mut help = BTreeMap::new();
    let mut names = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, text] => drop(help.insert(name, text.trim_end_matches('.'))),
            ["#", "TYPE", name, kind] => names.push((name, kind)),
            _ => {}
        }
    }
    for (name, kind) in names {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let member = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (suffix, labels) = rest.split_once('{')?;
            let is_member = ["", "_total", "_sum"].contains(&suffix);
            is_member.then(|| labels.split_once('}').map_or("", |(labels, _)| labels))
        });
        let labels: Vec<String> = (member.unwrap_or_default().split(','))
            .filter_map(|label| label.split_once('='))
            .map(|(label, _)| format!("`{label}`"))
            .collect();
        page += &format!(
            "| `{name}{suffix}` | {} | {kind} | {} |\n",
            labels.join(", "),
            help[name]
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/METRICS.md");
    if std::env::var_os("GREENPATCH_WRITE_PAGES").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "METRICS.md is not what the code shows; run this test with GREENPATCH_WRITE_PAGES=1"
    );
}
