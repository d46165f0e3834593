//! What the applications do in each worker class, over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::{fs, iter, thread};

use greenpatch_server::WorkerClass::{self, Async, Green, Gthread, Sync};
use greenpatch_third_party::servers::Server;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::running::{Running, in_each_class, program};

type Answer = Response<Body>;

/// Answers with an error are answers; a connection for each request, of which class `sync` serves one at a time.
fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false);
    config.max_idle_connections(0).build().new_agent()
}

fn get(url: String) -> Answer {
    agent().get(url).call().unwrap()
}

fn text(mut answer: Answer) -> String {
    answer.body_mut().read_to_string().unwrap()
}

fn json_of(answer: Answer) -> Value {
    serde_json::from_str(&text(answer)).unwrap()
}

/// Does the same on so many OS threads at the same time.
fn at_once<T: Send + 'static>(
    count: usize,
    ask: impl Fn(usize) -> T + Send + std::marker::Sync + 'static,
) -> Vec<T> {
    let (ask, all_here) = (Arc::new(ask), Arc::new(Barrier::new(count)));
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let (ask, all_here) = (ask.clone(), all_here.clone());
            thread::spawn(move || {
                all_here.wait();
                ask(number)
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

#[test]
fn the_first_lines_of_each_application_name_its_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("applications");
    let mut found = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let command =
            format!("cargo run --release -p greenpatch-examples --bin {name} -- -k green");
        let source = fs::read_to_string(&path).unwrap();
        let first_lines: Vec<&str> = source.lines().take(5).collect();
        assert!(
            first_lines.join("\n").contains(&command),
            "{name}: {first_lines:#?}"
        );
        assert!(program(name).exists(), "{name} is no program");
        found += 1;
    }
    assert_eq!(found, 12);
}

#[test]
fn handlers_that_sleep_overlap_in_the_classes_that_have_a_thread_for_each() {
    for name in ["sleep", "sleep_axum"] {
        in_each_class(name, |running, class| {
            let url = running.url("/?seconds=2");
            let answers = thread::spawn(move || at_once(2, move |_| text(get(url.clone()))));
            let lines = iter::repeat_with(|| running.wait_for_line(""));
            let said = lines.filter(|line| line.starts_with("hello ") || line == "world");
            let order: Vec<String> = said.take(4).collect();
            let overlapping = ["hello 0", "hello 1", "world", "world"];
            let queued = ["hello 0", "world", "hello 1", "world"];
            let expected = match class {
                Green | Gthread => overlapping,
                Sync | Async => queued,
            };
            assert_eq!(order, expected);
            assert_eq!(answers.join().unwrap(), ["{}", "{}"]);
        });
    }
}

#[test]
fn images_are_uploaded_and_squares_added_up() {
    for name in ["image_uploader", "image_uploader_axum"] {
        in_each_class(name, |running, _| {
            let url = running.url("/upload");
            let answers = at_once(6, move |_| {
                json_of(agent().post(url.clone()).send_empty().unwrap())
            });
            assert_eq!(answers, vec![json!({ "success": true }); 6]);
            let sum = json_of(get(running.url("/calc")));
            assert_eq!(sum, json!({ "result": 333_332_833_333_500_000u64 }));
        });
    }
}

#[test]
fn packages_are_created_read_updated_and_deleted() {
    for name in ["pyaday", "pyaday_axum"] {
        in_each_class(name, |running, _| {
            let (all, one) = (running.url("/packages"), running.url("/packages/dynaconf"));
            let send = |asked: ureq::RequestBuilder<ureq::typestate::WithBody>, value: &Value| {
                let asked = asked.content_type("application/json");
                asked.send(value.to_string()).unwrap()
            };
            let package = json!({ "name": "dynaconf", "short_desc": "Projects" });
            let created = send(agent().post(&all), &package);
            assert_eq!(created.status(), 201);
            assert_eq!(created.headers()["location"], "/packages/dynaconf");
            assert_eq!(json_of(get(one.clone())), package);
            let update = json!({ "short_desc": "Project" });
            assert_eq!(send(agent().put(&one), &update).status(), 204);
            assert_eq!(json_of(get(one.clone()))["short_desc"], "Project");
            assert_eq!(agent().delete(&one).call().unwrap().status(), 204);
            let missing = get(one);
            assert_eq!(missing.status(), 404);
            assert_eq!(
                missing.headers()["content-type"],
                "application/problem+json"
            );
            assert!(json_of(get(running.url("/rand")))["name"].is_string());
        });
    }
}

#[test]
fn the_pool_of_redis_is_open_before_the_server_serves_and_closed_after_it_stops() {
    let redis = Server::redis();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    for class in WorkerClass::ALL {
        let mut running = Running::start_with("cache", class, ("REDIS_URL", &url));
        running.wait_for_line("8 connections to Redis are open.");
        let put = agent().put(running.url("/cache?key=class"));
        assert_eq!(put.send(class.name()).unwrap().status(), 204);
        let url = running.url("/cache?key=class");
        let expected = json!({ "data": class.name() });
        assert_eq!(
            at_once(20, move |_| json_of(get(url.clone()))),
            vec![expected; 20]
        );
        let lines = running.stop();
        let closed = |line: &&String| *line == "The connections to Redis are closed.";
        assert_eq!(lines.iter().filter(closed).count(), 1, "{lines:#?}");
    }
}

#[test]
fn without_redis_the_server_does_not_start() {
    let mut program = Command::new(program("cache"));
    let program = program
        .args(["-b", "127.0.0.1:0"])
        .env("REDIS_URL", "no URL");
    let program = program.output().unwrap();
    let errors = String::from_utf8_lossy(&program.stderr);
    assert_eq!(program.status.code(), Some(4), "{errors}");
    assert!(
        errors.contains("The application cannot be built: "),
        "{errors}"
    );
}

#[test]
fn packages_are_in_postgresql() {
    let postgres = Server::postgres();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    for class in WorkerClass::ALL {
        let mut running = Running::start_with("packages", class, ("DATABASE_URL", &url));
        running.wait_for_line("connections to PostgreSQL are open.");
        let package = json!({ "name": class.name(), "short_desc": "a class" });
        let create = agent()
            .post(running.url("/packages"))
            .content_type("application/json");
        assert_eq!(create.send(package.to_string()).unwrap().status(), 201);
        let url = running.url(&format!("/packages/{class}"));
        assert_eq!(
            at_once(20, move |_| json_of(get(url.clone()))),
            vec![package; 20]
        );
        let lines = running.stop();
        let closed = lines
            .iter()
            .any(|line| line == "The connections to PostgreSQL are closed.");
        assert!(closed, "{lines:#?}");
    }
}

#[test]
fn images_are_in_the_store() {
    let s3 = Server::s3("images");
    let url = format!("http://127.0.0.1:{}", s3.port());
    for class in WorkerClass::ALL {
        let running = Running::start_with("images", class, ("S3_URL", &url));
        assert!(text(get(running.url("/"))).contains("<html"));
        let image = format!("<svg>{}</svg>", class.name().repeat(30_000));
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{class}.svg\"\r\n\
             Content-Type: image/svg+xml\r\n\r\n{image}\r\n--b--\r\n"
        );
        let upload = agent().post(running.url("/images"));
        let shown = upload
            .content_type("multipart/form-data; boundary=b")
            .send(form)
            .unwrap();
        assert_eq!(shown.headers()["content-type"], "image/svg+xml");
        assert_eq!(text(shown), image);
        running.stop();
    }
}

#[test]
fn who_polls_waits_for_a_message() {
    // In the other classes who waits holds up everybody.
    for class in [Green, Gthread] {
        let running = Running::start("long_polling", class);
        assert!(text(get(running.url("/"))).contains("<html"));
        let url = running.url("/messages");
        let listening = thread::spawn(move || at_once(3, move |_| json_of(get(url.clone()))));
        let said = agent()
            .post(running.url("/messages"))
            .send("hello")
            .unwrap();
        assert_eq!(said.status(), 204);
        let heard = json!({ "messages": ["hello"], "next": 1 });
        assert_eq!(listening.join().unwrap(), vec![heard; 3]);
        running.stop();
    }
}

#[test]
fn events_come_until_the_client_leaves() {
    in_each_class("events", |running, _| {
        assert!(text(get(running.url("/"))).contains("<html"));
        let events = get(running.url("/events?milliseconds=1")).into_body();
        let lines = BufReader::new(events.into_reader())
            .lines()
            .map(Result::unwrap);
        let ids: Vec<String> = lines
            .filter(|line| line.starts_with("id:"))
            .take(3)
            .collect();
        assert_eq!(ids, ["id: 0", "id: 1", "id: 2"]);
    });
}

#[test]
fn who_is_in_a_room_hears_what_is_said_there() {
    in_each_class("chat", |running, _| {
        assert!(text(get(running.url("/"))).contains("<html"));
        let enter = |room, name| {
            let url = running.url(&format!("/rooms/{room}?name={name}"));
            tungstenite::connect(url.replace("http", "ws")).unwrap().0
        };
        let message = |name, text| json!({ "name": name, "text": text });
        macro_rules! heard {
            ($socket:ident) => {
                serde_json::from_str::<Value>(&$socket.read().unwrap().into_text().unwrap())
                    .unwrap()
            };
        }
        let mut ada = enter("kitchen", "Ada");
        assert_eq!(heard!(ada), message("Ada", "enters"));
        let mut bob = enter("attic", "Bob");
        assert_eq!(heard!(bob), message("Bob", "enters"));
        let mut cleo = enter("kitchen", "Cleo");
        assert_eq!(heard!(cleo), message("Cleo", "enters"));
        assert_eq!(heard!(ada), message("Cleo", "enters"));
        bob.send("nobody here".into()).unwrap();
        cleo.send("tea?".into()).unwrap();
        assert_eq!(heard!(bob), message("Bob", "nobody here"));
        assert_eq!(heard!(cleo), message("Cleo", "tea?"));
        assert_eq!(heard!(ada), message("Cleo", "tea?"));
        cleo.close(None).unwrap();
        // The connection ends when the server agrees.
        while cleo.read().is_ok() {}
        assert_eq!(heard!(ada), message("Cleo", "leaves"));
    });
}
