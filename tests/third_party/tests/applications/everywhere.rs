//! An axum application with what axum applications have, the same in each class.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Multipart, Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::stream;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::serving::{Serving, in_each_class};

type Visits = Arc<AtomicU64>;

fn application() -> Router {
    let api = Router::new()
        .route(
            "/echo",
            post(|Json(value): Json<Value>| async { Json(value) }),
        )
        .route("/users/{id}", get(user));
    Router::new()
        .route("/", get(|| async { "hello" }))
        .nest("/api", api)
        .route("/visits", get(visit))
        .route("/events", get(events))
        .route(
            "/socket",
            get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }),
        )
        .route("/upload", post(upload))
        .route(
            "/content",
            post(|content: axum::body::Bytes| async move { content.len().to_string() }),
        )
        .route("/stream", get(stream_of_lines))
        .route("/sleep", get(sleep))
        .route("/panic", get(panic))
        .nest_service("/source", ServeDir::new(env!("CARGO_MANIFEST_DIR")))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here") })
        .with_state(Visits::default())
}

async fn user(Path(id): Path<u64>, Query(query): Query<Vec<(String, String)>>) -> Json<Value> {
    Json(json!({ "id": id, "query": query }))
}

async fn visit(State(visits): State<Visits>) -> String {
    visits.fetch_add(1, Ordering::Relaxed).to_string()
}

async fn events() -> impl IntoResponse {
    let events = stream::unfold(0, |number| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        (number < 3).then(|| {
            (
                Ok::<_, Infallible>(Event::default().data(number.to_string())),
                number + 1,
            )
        })
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

async fn upload(mut form: Multipart) -> String {
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.unwrap() {
        let name = part.name().unwrap().to_owned();
        parts.push(format!("{name}: {}", part.bytes().await.unwrap().len()));
    }
    parts.join(", ")
}

async fn stream_of_lines() -> Response {
    let lines = |from| {
        (from..from + 100)
            .map(|number| format!("{number}\n"))
            .collect::<String>()
    };
    let pieces = (0..10).map(move |hundreds| Ok::<_, Infallible>(lines(100 * hundreds)));
    axum::body::Body::from_stream(stream::iter(pieces)).into_response()
}

async fn sleep() -> String {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let spawned = tokio::spawn(async { tokio::fs::read_to_string("/proc/self/stat").await });
    let blocking = tokio::task::spawn_blocking(|| 7);
    format!(
        "{} {}",
        spawned.await.unwrap().is_ok(),
        blocking.await.unwrap()
    )
}

async fn panic() -> &'static str {
    panic!("on purpose")
}

#[test]
fn routes_state_and_json() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        assert_eq!(server.get("/"), "hello");
        assert_eq!(server.get("/visits"), "0");
        assert_eq!(server.get("/visits"), "1");
        let user: Value = serde_json::from_str(&server.get("/api/users/7?a=1")).unwrap();
        assert_eq!(user, json!({ "id": 7, "query": [["a", "1"]] }));
        let value = json!({ "numbers": [1, 2], "text": "grün" }).to_string();
        let asked = ureq::post(server.url("/api/echo")).content_type("application/json");
        assert_eq!(
            asked
                .send(&value)
                .unwrap()
                .body_mut()
                .read_to_string()
                .unwrap(),
            value
        );
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .build();
        let mut missing = config
            .new_agent()
            .get(server.url("/nowhere"))
            .call()
            .unwrap();
        assert_eq!(missing.status(), 404);
        assert_eq!(missing.body_mut().read_to_string().unwrap(), "nothing here");
    });
}

#[test]
fn contents_of_any_length_in_both_directions() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(server.get("/stream"), lines);
        for length in [0, 1, 65_536, 65_537, 1_500_000] {
            let mut answer = ureq::post(server.url("/content"))
                .send(vec![7; length])
                .unwrap();
            assert_eq!(
                answer.body_mut().read_to_string().unwrap(),
                length.to_string()
            );
            // The same without a length, by chunks.
            let mut content = std::io::Read::take(std::io::repeat(7), length as u64);
            let content = ureq::SendBody::from_reader(&mut content);
            let mut answer = ureq::post(server.url("/content")).send(content).unwrap();
            assert_eq!(
                answer.body_mut().read_to_string().unwrap(),
                length.to_string()
            );
        }
    });
}

#[test]
fn multipart_forms() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let file = "x".repeat(100_000);
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhello\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{file}\r\n--b--\r\n"
        );
        let asked =
            ureq::post(server.url("/upload")).content_type("multipart/form-data; boundary=b");
        let answer = asked
            .send(&form)
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        assert_eq!(answer, "text: 5, file: 100000");
    });
}

#[test]
fn events_and_what_else_needs_tokio() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        assert_eq!(server.get("/events"), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
        assert_eq!(server.get("/sleep"), "true 7");
    });
}

#[test]
fn websockets() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let url = server.url("/socket").replace("http", "ws");
        let (mut socket, _) = tungstenite::connect(url).unwrap();
        for text in ["first", "second", &"x".repeat(100_000)] {
            let message = tungstenite::Message::from(text);
            socket.send(message.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), message);
        }
        socket.close(None).unwrap();
        assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(_))));
    });
}

#[test]
fn files_of_a_directory() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            server.get("/source/Cargo.toml"),
            std::fs::read_to_string(path).unwrap()
        );
    });
}

#[test]
fn layers_of_tower_http() {
    let request_id = HeaderName::from_static("x-request-id");
    let layered = application()
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(CorsLayer::permissive())
        .layer(RequestBodyLimitLayer::new(1000))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(30),
        ))
        .layer(PropagateRequestIdLayer::new(request_id.clone()))
        .layer(SetRequestIdLayer::new(request_id, MakeRequestUuid))
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-layered"),
            HeaderValue::from_static("yes"),
        ))
        .layer(TraceLayer::new_for_http());
    in_each_class(|class| {
        let server = Serving::start(class, layered.clone());
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .build();
        let agent = config.new_agent();
        let asked = agent
            .get(server.url("/stream"))
            .header("accept-encoding", "gzip");
        let answer = asked.header("origin", "http://elsewhere").call().unwrap();
        let field = |name| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(field("content-encoding"), Some("gzip"));
        assert_eq!(field("access-control-allow-origin"), Some("*"));
        assert_eq!(field("x-layered"), Some("yes"));
        assert_eq!(field("x-request-id").map(str::len), Some(36));
        assert_eq!(
            agent.get(server.url("/panic")).call().unwrap().status(),
            500
        );
        let too_long = agent
            .post(server.url("/content"))
            .send(vec![7; 1001])
            .unwrap();
        assert_eq!(too_long.status(), 413);
    });
}

#[test]
fn many_streams_of_one_http2_connection() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let contents = crate::blocking::get_over_http2(&server, "/stream", 20);
        let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(contents, vec![lines; 20]);
    });
}

/// The type that a body is collected as is hyper's, so that this stands here once.
pub(crate) async fn text_of<B>(body: B) -> String
where
    B: hyper::body::Body<Data = hyper::body::Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
