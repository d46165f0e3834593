use std::fs;
use std::io::Read;
use std::path::PathBuf;

use http::HeaderMap;
use tracing::{Span, info_span};

use super::*;
use crate::observe::request_id::RequestIds;

/// Runs `f` with a log in a file, and gives the file's lines.
fn logged(level: Level, format: LogFormat, f: impl FnOnce()) -> Vec<String> {
    let mut file = tempfile();
    let open = Open {
        logging: Logging {
            level,
            format,
            ..Logging::default()
        },
        file: Arc::new(file.try_clone().unwrap()),
    };
    let log = Log {
        open: RwLock::new(Arc::new(open)),
        spans: Spans::default(),
    };
    // Never the program's own, which other tests hear.
    subscriber::with_default(Heard(Box::leak(Box::new(log))), f);
    let mut text = String::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A file without a name.
fn tempfile() -> File {
    let directory = std::env::temp_dir();
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::open(&directory, flags, mode).unwrap().into()
}

/// Each line without its time and process, which are looked at.
fn without_time(lines: &[String]) -> Vec<&str> {
    let mut rest = Vec::new();
    for line in lines {
        let (time, after) = line.split_once("] ").unwrap();
        jiff::Zoned::strptime("[%Y-%m-%d %H:%M:%S %z", time).unwrap();
        let process = format!("[{}] ", process::id());
        rest.push(after.strip_prefix(&process).unwrap());
    }
    rest
}

#[test]
fn lines_of_the_server_are_gunicorns() {
    let lines = logged(Level::Debug, LogFormat::Text, || {
        debug("found");
        info("Listening at: http://127.0.0.1:8000 (4711)");
        warning("odd");
        error("bad");
        critical("WORKER TIMEOUT (pid:1)");
    });
    assert_eq!(
        without_time(&lines),
        [
            "[DEBUG] found",
            "[INFO] Listening at: http://127.0.0.1:8000 (4711)",
            "[WARNING] odd",
            "[ERROR] bad",
            "[CRITICAL] WORKER TIMEOUT (pid:1)",
        ]
    );
}

#[test]
fn only_what_is_grave_enough_appears() {
    for (level, count) in [
        (Level::Debug, 5),
        (Level::Info, 4),
        (Level::Warning, 3),
        (Level::Error, 2),
        (Level::Critical, 1),
    ] {
        let lines = logged(level, LogFormat::Text, || {
            debug("1");
            info("2");
            warning("3");
            error("4");
            critical("5");
        });
        assert_eq!(lines.len(), count, "{level:?}: {lines:?}");
        assert!(lines.last().unwrap().ends_with("[CRITICAL] 5"));
    }
}

#[test]
fn what_strangers_say_to_rustls_appears_only_in_the_most_verbose_log() {
    for (level, count) in [(Level::Debug, 1), (Level::Info, 0), (Level::Warning, 0)] {
        let lines = logged(level, LogFormat::Text, || {
            tracing::warn!(target: "rustls::msgs::handshake", "Illegal SNI hostname received");
        });
        assert_eq!(lines.len(), count, "{level:?}: {lines:?}");
    }
}

#[test]
fn an_applications_events_carry_where_they_come_from() {
    let id = RequestIds::new().take_over_or_make(&HeaderMap::new());
    let lines = logged(Level::Info, LogFormat::Text, || {
        let _current = id.enter();
        let order = info_span!("order", number = 17, state = tracing::field::Empty);
        let _order = order.enter();
        order.record("state", "new");
        info_span!("payment").in_scope(|| {
            tracing::info!(target: "shop::pay", amount = 3.5, by = "a card", is_new = true, "paid");
        });
        order.record("state", "paid");
        tracing::warn!(target: "shop", error = %"none left");
    });
    let thread = std::thread::current();
    let from = format!("request_id={id} thread={}", thread.name().unwrap());
    assert_eq!(
        without_time(&lines),
        [
            format!(
                r#"[INFO] shop::pay: order{{number=17 state=new}}: payment: paid amount=3.5 by="a card" is_new=true {from}"#
            ),
            format!(r#"[WARNING] shop: order{{number=17 state=paid}}: error="none left" {from}"#),
        ]
    );
}

#[test]
fn json_lines_hold_the_same() {
    let id = RequestIds::new().take_over_or_make(&HeaderMap::new());
    let lines = logged(Level::Info, LogFormat::Json, || {
        info("started");
        let _current = id.enter();
        info_span!("order", number = 17).in_scope(|| {
            tracing::info!(target: "shop", text = "a\nb", cause = ?Some(1), "paid \"it\"");
        });
    });
    let mut lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        let time = line["time"].take();
        time.as_str().unwrap().parse::<Timestamp>().unwrap();
    }
    let thread = std::thread::current();
    assert_eq!(
        lines,
        [
            serde_json::json!({
                "time": null,
                "pid": process::id(),
                "level": "INFO",
                "target": "greenpatch_server",
                "message": "started",
                "thread": thread.name(),
            }),
            serde_json::json!({
                "time": null,
                "pid": process::id(),
                "level": "INFO",
                "target": "shop",
                "message": "paid \"it\"",
                "request_id": id.to_string(),
                "thread": thread.name(),
                "fields": {"text": "a\nb", "cause": "Some(1)"},
                "spans": [{"name": "order", "fields": {"number": 17}}],
            }),
        ]
    );
}

#[test]
fn green_threads_are_named_and_have_their_own_spans() {
    let runtime = greenpatch::Runtime::builder().workers(1).build().unwrap();
    let lines = logged(Level::Info, LogFormat::Text, || {
        let dispatch = dispatcher::get_default(Clone::clone);
        runtime.run(move || {
            let threads = ["one", "two"].map(|name| {
                let dispatch = dispatch.clone();
                let builder = greenpatch::Builder::new().name(name.to_owned());
                let work = move || {
                    dispatcher::with_default(&dispatch, || {
                        info_span!("work", name).in_scope(|| {
                            greenpatch::yield_now();
                            tracing::info!(target: "app", "done");
                        });
                    });
                };
                builder.spawn(work).unwrap()
            });
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
    });
    assert_eq!(
        without_time(&lines),
        [
            "[INFO] app: work{name=one}: done thread=one",
            "[INFO] app: work{name=two}: done thread=two",
        ]
    );
}

/// The registry of `tracing-subscriber` has room for 4,095 threads that are in spans.
#[test]
fn any_number_of_green_threads_may_be_in_spans() {
    const THREADS: usize = 5_000;
    let runtime = greenpatch::Runtime::builder().workers(1).build().unwrap();
    let lines = logged(Level::Info, LogFormat::Text, || {
        let dispatch = dispatcher::get_default(Clone::clone);
        runtime.run(move || {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    let dispatch = dispatch.clone();
                    greenpatch::spawn(move || {
                        dispatcher::with_default(&dispatch, || {
                            let _span = info_span!("each", number).entered();
                            greenpatch::thread::park();
                            tracing::info!(target: "app", "awake");
                        });
                    })
                })
                .collect();
            greenpatch::yield_now();
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
    });
    assert_eq!(lines.len(), THREADS);
}

#[test]
fn spans_live_as_long_as_somebody_holds_them() {
    let spans: &'static Log = Box::leak(Box::new(Log {
        open: RwLock::new(Arc::new(Open::new(Logging::default()).unwrap())),
        spans: Spans::default(),
    }));
    subscriber::with_default(Heard(spans), || {
        let outer = info_span!("outer");
        let inner = outer.in_scope(|| info_span!("inner"));
        assert_eq!(outer.in_scope(Span::current).id(), outer.id());
        let again = inner.clone();
        drop((outer, inner));
        assert_eq!(spans.spans.count(), 2);
        drop(again);
        assert_eq!(spans.spans.count(), 0);
    });
}

#[test]
fn a_terminals_orders_are_not_passed_on() {
    let lines = logged(Level::Info, LogFormat::Text, || {
        info("a\x1b[2Jb\u{9b}c\td\r")
    });
    assert_eq!(without_time(&lines), ["[INFO] a\\x1b[2Jb\\x9bc\td\\x0d"]);
}

#[test]
fn what_repeats_itself_is_told_once_a_period() {
    static REPEATED: Repeated = Repeated::new(std::time::Duration::from_millis(50));
    let lines = logged(Level::Info, LogFormat::Text, || {
        let begin = std::time::Instant::now();
        let mut times = 0;
        while begin.elapsed() < std::time::Duration::from_millis(20) || times < 3 {
            times += 1;
            REPEATED.error(format_args!("attempt {times}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(60));
        tell_repeated();
        tell_repeated();
    });
    // The machine may have stopped for longer than a period in between; then there is one line more for each.
    let lines = without_time(&lines);
    assert_eq!(lines[0], "[ERROR] attempt 1");
    let told: u64 = lines[1..]
        .iter()
        .map(|line| {
            let (_, count) = line.split_once(" (").expect("a count");
            let first = count.split(' ').next().unwrap();
            if first == "once" {
                1
            } else {
                first.parse().unwrap()
            }
        })
        .sum();
    let (_, last) = lines.last().unwrap().split_once("attempt ").unwrap();
    let last: u64 = last.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(told, last - 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = start(&Logging {
        error_file: LogFile::Path(PathBuf::from("/no/such/log")),
        ..Logging::default()
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("/no/such/log") && text.contains("No such file"),
        "{text}"
    );
}

#[test]
fn a_log_that_is_rotated_goes_on_in_a_new_file() {
    let directory = std::env::temp_dir().join(format!("greenpatch-log-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("log");
    let logging = Logging {
        error_file: LogFile::Path(path.clone()),
        ..Logging::default()
    };
    let log = Log {
        open: RwLock::new(Arc::new(Open::new(logging.clone()).unwrap())),
        spans: Spans::default(),
    };
    log.open().write("one\n");
    fs::rename(&path, directory.join("log.1")).unwrap();
    log.open().write("two\n");
    log.replace(Open::new(logging).unwrap());
    log.open().write("three\n");
    assert_eq!(
        fs::read_to_string(directory.join("log.1")).unwrap(),
        "one\ntwo\n"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    fs::remove_dir_all(directory).unwrap();
}
