use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::*;
use crate::command::settings::LogFile;
use crate::observe::exposition::Exposition;

fn counted(observer: &Observer, line: &str) -> bool {
    let text = Exposition::Prometheus.write(observer.figures());
    text.lines().any(|it| it.starts_with(line))
}

fn request(method: &str, target: &str) -> Request<()> {
    let builder = Request::builder().method(method).uri(target);
    builder.body(()).unwrap()
}

fn logging(name: &str, format: &str) -> (PathBuf, Arc<Observer>) {
    let name = format!("greenpatch-observer-{name}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = fs::remove_file(&path);
    let access = AccessLog::open(LogFile::Path(path.clone()), format.parse().unwrap()).unwrap();
    let observer = Observer::new(Observe {
        access: Some(access),
        request_id_field: true,
        ..Observe::default()
    });
    (path, observer)
}

#[test]
fn a_request_is_in_flight_until_its_account_is_dropped() {
    let observer = Observer::quiet();
    let mut seen = observer.request(&request("GET", "/"), None);
    assert_eq!(observer.snapshot().gauges.in_flight, 1);
    let mut response = Response::new(());
    response
        .extensions_mut()
        .insert(Route::new("/observer/{id}"));
    seen.answered(&mut response);
    seen.sent(3);
    seen.sent(4);
    seen.complete();
    drop(seen);
    assert_eq!(observer.snapshot().gauges.in_flight, 0);
    let labels = r#"{method="GET",status="2xx",route="/observer/{id}"}"#;
    assert!(counted(
        &observer,
        &format!("greenpatch_requests_total{labels} 1")
    ));
    assert!(counted(
        &observer,
        "greenpatch_response_content_bytes_total 7"
    ));
    // Nobody wanted to know how long it took, so no clock was read.
    let route = &observer.snapshot().counters.routes["/observer/{id}"];
    assert_eq!(route.duration.count(), 0);
}

#[test]
fn a_request_without_an_answer_is_counted_as_such() {
    let observer = Observer::quiet();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _seen = observer.request(&request("POST", "/"), None);
        std::panic::resume_unwind(Box::new(()));
    }));
    let labels = r#"{method="POST",status="none",route=""}"#;
    assert!(counted(
        &observer,
        &format!("greenpatch_requests_total{labels} 1")
    ));
    assert_eq!(observer.snapshot().gauges.in_flight, 0);
}

#[test]
fn the_access_log_tells_what_has_happened() {
    let format = r#"%(h)s "%(r)s" %(s)s %(b)s %({x-out}o)s %({x-request-id}o)s %({route}e)s"#;
    let (path, observer) = logging("tells", format);
    let mut asked = request("GET", "/a?b");
    asked
        .headers_mut()
        .insert("x-request-id", HeaderValue::from_static("mine"));
    let peer = "192.0.2.7:1".parse().ok();
    let mut seen = observer.request(&asked, peer);
    assert_eq!(seen.id().to_string(), "mine");
    let mut response = Response::builder()
        .status(201)
        .header("x-out", "o")
        .body(())
        .unwrap();
    seen.answered(&mut response);
    seen.sent(12);
    drop(seen);
    assert_eq!(response.headers()[X_REQUEST_ID], "mine");

    drop(observer.request(&request("GET", "/left"), None));
    observer.answered_raw(peer, StatusCode::REQUEST_TIMEOUT, 9);
    assert!(observer.flush(Duration::from_secs(60)));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            r#"192.0.2.7 "GET /a?b HTTP/1.1" 201 12 o mine -"#,
            r#"- "GET /left HTTP/1.1" - 0 - - -"#,
            r#"192.0.2.7 "-" 408 9 - - -"#,
        ]
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn what_is_logged_is_timed() {
    let (path, observer) = logging("timed", "%(D)s %({queue_time}e)s");
    let before = Instant::now();
    let mut seen = observer.request(&request("GET", "/"), None);
    std::thread::sleep(Duration::from_millis(5));
    seen.queued(Duration::from_millis(3));
    drop(seen);
    let longest = before.elapsed();
    assert!(observer.flush(Duration::from_secs(60)));
    let text = fs::read_to_string(&path).unwrap();
    let (duration, queued) = text.trim().split_once(' ').unwrap();
    let duration = Duration::from_micros(duration.parse().unwrap());
    let queued = Duration::from_secs_f64(queued.parse().unwrap());
    assert!(queued == Duration::from_millis(3) && duration >= Duration::from_millis(5));
    assert!(duration <= longest);
    let counters = observer.snapshot().counters;
    assert_eq!(
        (counters.queue.count(), counters.routes[""].duration.count()),
        (1, 1)
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn an_applications_own_id_stays() {
    let (path, observer) = logging("own-id", "common");
    let mut seen = observer.request(&request("GET", "/"), None);
    let mut response = Response::builder()
        .header(X_REQUEST_ID, "theirs")
        .body(())
        .unwrap();
    seen.answered(&mut response);
    assert_eq!(response.headers()[X_REQUEST_ID], "theirs");
    fs::remove_file(path).unwrap();
}

#[test]
fn connections_are_open_until_their_guard_is_dropped() {
    let observer = Observer::quiet();
    let open = [(); 3].map(|()| observer.connection());
    assert_eq!(observer.snapshot().gauges.open, 3);
    drop(open);
    observer.refused(Refusal::Proxy);
    observer.accept_paused();
    let snapshot = observer.snapshot();
    assert_eq!(snapshot.gauges.open, 0);
    assert_eq!(
        (snapshot.counters.accepted, snapshot.counters.pauses),
        (3, 1)
    );
    assert_eq!(snapshot.counters.refused["proxy"], 1);
}

#[test]
fn backlogs_of_its_listeners_are_in_its_figures() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let observer = Observer::quiet();
    observer.listens_at(vec![address]);
    let _client = std::net::TcpStream::connect(address).unwrap();
    assert!(counted(
        &observer,
        &format!("greenpatch_listener_backlog{{address=\"{address}\"}} 1")
    ));
}

#[test]
fn a_settings_format_that_is_none_is_refused() {
    let mut settings = Settings::default();
    assert!(Observe::from_settings(&settings).unwrap().access.is_none());
    settings.logging.access_file = Some(LogFile::Standard);
    settings.logging.access_format = "%(x)s".to_owned();
    let error = Observe::from_settings(&settings).unwrap_err();
    assert!(error.to_string().contains("no atom \"x\""), "{error}");
}
