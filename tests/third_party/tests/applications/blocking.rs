//! Handlers that block where they should not: alone in class green, together in class async.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use greenpatch_server::WorkerClass;
use greenpatch_third_party::servers;
use harness::eventually;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::everywhere::text_of;
use crate::serving::Serving;

const MANY: usize = 1000;

/// How many are inside at a time.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Inside {
    fn sleep(&self, time: Duration) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        thread::sleep(time);
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits in an `async fn`, by std, until `count` requests are in it.
fn waits_for_all(count: usize) -> Router {
    let barrier = Arc::new(Barrier::new(count));
    let wait = move || {
        let barrier = barrier.clone();
        async move {
            barrier.wait();
            "all here"
        }
    };
    Router::new().route("/", get(wait))
}

fn sleeps(inside: &Arc<Inside>, time: Duration) -> Router {
    let inside = inside.clone();
    let sleep = move || {
        let inside = inside.clone();
        async move { inside.sleep(time) }
    };
    Router::new().route("/", get(sleep))
}

/// The answers to requests that are all under way at the same time on one connection.
pub(crate) fn get_over_http2(server: &Serving, path: &str, count: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connection = tokio::net::TcpStream::connect(server.address())
            .await
            .unwrap();
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(count as u32)
            .initial_max_send_streams(count)
            .handshake(TokioIo::new(connection))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let url = server.url(path);
        let asked: Vec<_> = (0..count)
            .map(|_| {
                let mut sender = sender.clone();
                let request = hyper::Request::get(&url)
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                tokio::spawn(async move {
                    let answer = sender.send_request(request).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    text_of(answer.into_body()).await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.await.unwrap());
        }
        drop(sender);
        driver.await.unwrap().unwrap();
        answers
    })
}

#[test]
fn a_thousand_async_functions_block_at_the_same_time() {
    let server = Serving::start(WorkerClass::Green, waits_for_all(MANY));
    assert_eq!(server.get_at_once("/", MANY), MANY);
}

#[test]
fn a_thousand_streams_of_one_connection_block_at_the_same_time() {
    let server = Serving::start(WorkerClass::Green, waits_for_all(MANY));
    assert_eq!(get_over_http2(&server, "/", MANY), vec!["all here"; MANY]);
}

#[test]
fn a_thousand_sleeps_of_a_second_are_one() {
    let inside = Arc::new(Inside::default());
    let server = Serving::start(WorkerClass::Green, sleeps(&inside, Duration::from_secs(1)));
    assert_eq!(server.get_at_once("/", MANY), MANY);
    // A slow machine is still sending requests when the first ones have slept.
    assert!(inside.most.load(Ordering::Relaxed) > MANY / 10);
}

#[test]
fn in_class_async_they_wait_for_each_other() {
    let inside = Arc::new(Inside::default());
    let server = Serving::start(
        WorkerClass::Async,
        sleeps(&inside, Duration::from_millis(50)),
    );
    assert_eq!(server.get_at_once("/", 5), 5);
    assert_eq!(inside.most.load(Ordering::Relaxed), 1);
}

#[test]
fn a_lock_of_std_is_held_across_a_wait() {
    let state = Arc::new(Mutex::new(0));
    let (counted, inside) = (state.clone(), Arc::new(Inside::default()));
    let seen = inside.clone();
    let count = move || {
        let (state, inside) = (counted.clone(), inside.clone());
        async move {
            let mut count = state.lock().unwrap();
            inside.sleep(Duration::from_millis(1));
            *count += 1;
        }
    };
    let server = Serving::start(WorkerClass::Green, Router::new().route("/", get(count)));
    assert_eq!(server.get_at_once("/", 200), 200);
    assert_eq!(*state.lock().unwrap(), 200);
    assert_eq!(seen.most.load(Ordering::Relaxed), 1);
}

#[test]
fn handlers_wait_in_postgresql_by_diesel() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection, RunQueryDsl, sql_query};

    const CLIENTS: usize = 20;
    let database = servers::Server::postgres();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", database.port());
    // It listens before it is ready.
    eventually(|| PgConnection::establish(&url).is_ok());
    let mut connection = PgConnection::establish(&url).unwrap();
    connection
        .batch_execute("CREATE TABLE here (client int)")
        .unwrap();
    let meet = move || {
        let url = url.clone();
        async move {
            let mut connection = PgConnection::establish(&url).unwrap();
            connection
                .batch_execute("INSERT INTO here VALUES (1)")
                .unwrap();
            // Waits in the database until all are there.
            let query = format!(
                "DO $$ BEGIN WHILE (SELECT count(*) FROM here) < {CLIENTS} LOOP \
                 PERFORM pg_sleep(0.01); END LOOP; END $$"
            );
            sql_query(query).execute(&mut connection).unwrap();
            "met"
        }
    };
    let server = Serving::start(WorkerClass::Green, Router::new().route("/", get(meet)));
    assert_eq!(server.get_at_once("/", CLIENTS), CLIENTS);
}

#[test]
fn handlers_wait_in_redis() {
    const CLIENTS: usize = 100;
    let database = servers::Server::redis();
    let url = format!("redis://127.0.0.1:{}", database.port());
    let pushing = url.clone();
    let wait = move || {
        let url = url.clone();
        async move {
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            redis::cmd("INCR")
                .arg("waiting")
                .query::<i64>(&mut connection)
                .unwrap();
            let (_, text): (String, String) = redis::cmd("BLPOP")
                .arg("list")
                .arg(0)
                .query(&mut connection)
                .unwrap();
            text
        }
    };
    let server = Serving::start(WorkerClass::Green, Router::new().route("/", get(wait)));
    let pusher = thread::spawn(move || {
        let mut connection = redis::Client::open(pushing)
            .unwrap()
            .get_connection()
            .unwrap();
        // Nobody is let go before all are waiting.
        loop {
            let waiting: Option<usize> = redis::cmd("GET")
                .arg("waiting")
                .query(&mut connection)
                .unwrap();
            if waiting == Some(CLIENTS) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..CLIENTS {
            redis::cmd("RPUSH")
                .arg("list")
                .arg("x")
                .query::<i64>(&mut connection)
                .unwrap();
        }
    });
    assert_eq!(server.get_at_once("/", CLIENTS), CLIENTS);
    pusher.join().unwrap();
}
