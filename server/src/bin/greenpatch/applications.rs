//! The applications that come with the server: ordinary handlers, with nothing in them that knows
//! of green threads.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenpatch_server::application::{ForwardedHost, PeerAddress, Scheme};
use greenpatch_server::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use greenpatch_server::http::{self, Method, StatusCode};
use greenpatch_server::{Body, Request, Response};

use crate::arguments::App;

/// The number of the next call of a `hello` handler.
static STEP: AtomicUsize = AtomicUsize::new(0);

/// Prints `hello N`, sleeps, prints `world`, answers JSON.
fn hello(sleep: Duration) -> Response {
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    println!("hello {step}");
    thread::sleep(sleep);
    println!("world");
    json(&serde_json::json!({}))
}

/// [`hello`] as an async handler, with the event loop's own sleep.
async fn hello_async(sleep: Duration) -> Response {
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    println!("hello {step}");
    greenpatch::future::sleep(sleep).await;
    println!("world");
    json(&serde_json::json!({}))
}

fn plain() -> Response {
    text("Hello, World!\n")
}

fn echo(request: Request) -> Response {
    let mut content = Vec::new();
    match request.into_body().read_to_end(&mut content) {
        Ok(_) => Response::new(content.into()),
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// Answers with the request as it was understood; at `/connection`, with what is known of where it comes from.
fn inspect(head: &http::request::Parts, content: io::Result<&[u8]>) -> Response {
    if head.uri.path() == "/connection" {
        return text(connection(&head.extensions));
    }
    let mut answer = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        let line = format!("{name}: {}", value.as_bytes().escape_ascii());
        // Writing to a string does not fail.
        let _ = writeln!(answer, "{}", line.trim_end());
    }
    let _ = match content {
        Ok([]) => writeln!(answer, "no content"),
        Ok(content) => {
            let length = content.len();
            writeln!(answer, "{length} bytes: {}", content.escape_ascii())
        }
        Err(error) => writeln!(answer, "faulty content: {error}"),
    };
    text(answer)
}

/// What the extensions tell of a request's origin, a line each.
fn connection(extensions: &http::Extensions) -> String {
    let mut answer = String::new();
    if let Some(PeerAddress(peer)) = extensions.get() {
        let _ = writeln!(answer, "peer: {peer}");
    }
    if let Some(scheme) = extensions.get::<Scheme>() {
        let _ = writeln!(answer, "scheme: {scheme}");
    }
    if let Some(ForwardedHost(authority)) = extensions.get() {
        let _ = writeln!(answer, "forwarded host: {authority}");
    }
    #[cfg(feature = "tls")]
    if let Some(tls) = extensions.get::<greenpatch_server::TlsDetails>() {
        let alpn = tls.alpn().map_or("none".into(), String::from_utf8_lossy);
        let _ = writeln!(answer, "tls: {} {}", tls.version(), tls.cipher());
        let _ = writeln!(answer, "alpn: {alpn}");
        let _ = writeln!(
            answer,
            "server name: {}",
            tls.server_name().unwrap_or("none")
        );
        let _ = writeln!(
            answer,
            "client certificates: {}",
            tls.peer_certificates().len()
        );
        let _ = writeln!(answer, "resumed: {}", tls.is_resumed());
    }
    answer
}

fn inspect_blocking(request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut content = Vec::new();
    let outcome = body.read_to_end(&mut content).map(|_| &content[..]);
    inspect(&head, outcome)
}

/// The application as a function that blocks.
pub(crate) fn blocking(
    app: App,
    sleep: Duration,
) -> impl Fn(Request) -> Response + Send + Sync + 'static {
    move |request: Request| match refusal(app, request.method(), request.uri().path()) {
        Some(refusal) => refusal,
        None => match app {
            App::Hello => hello(sleep),
            App::Plain => plain(),
            App::Echo => echo(request),
            App::Inspect => inspect_blocking(request),
            App::Panic => panic!("the application panic was asked for"),
        },
    }
}

/// The application `hello` as an async function.
pub(crate) async fn hello_without_blocking(request: Request, sleep: Duration) -> Response {
    match refusal(App::Hello, request.method(), request.uri().path()) {
        Some(refusal) => refusal,
        None => hello_async(sleep).await,
    }
}

/// What is answered to a path other than `/`, or a method that the application does not know.
fn refusal(app: App, method: &Method, path: &str) -> Option<Response> {
    if app == App::Inspect {
        return None;
    }
    if path != "/" {
        return Some(refuse(
            StatusCode::NOT_FOUND,
            format!("there is no {path}; try /\n"),
        ));
    }
    let allowed = if app == App::Echo {
        "POST, PUT"
    } else {
        "GET, HEAD"
    };
    if allowed.split(", ").any(|allowed| method == allowed) {
        return None;
    }
    let reason = format!("{method} is not allowed here; use {allowed}\n");
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, reason);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    Some(response)
}

fn refuse(status: StatusCode, reason: String) -> Response {
    let mut response = text(reason);
    *response.status_mut() = status;
    response
}

fn text(content: impl Into<Body>) -> Response {
    with_type("text/plain; charset=utf-8", content.into())
}

fn json(value: &serde_json::Value) -> Response {
    with_type("application/json", format!("{value}\n").into())
}

fn with_type(content_type: &'static str, content: Body) -> Response {
    let mut response = Response::new(content);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
