//! The applications that come with the server: ordinary handlers, with nothing in them that knows
//! of green threads.
//!
//! Each is a plain function; those that can show a difference are also an async one. Either runs in every worker class.

use std::fmt::{Display, Write as _};
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenpatch::future;
use greenpatch_server::application::{
    Directory, ForwardedHost, HttpError, IntoResponse, PeerAddress, Request, Response, ResponseExt,
    Router, Scheme, response,
};
use greenpatch_server::http::{HeaderValue, StatusCode, header};
use greenpatch_server::{Bytes, http};

use http_body_util::{BodyExt, Collected};

use crate::arguments::{Application, AsyncApplication, FilesArguments};
use crate::demo::mark::{self, Marked};
use crate::waiting::Wait;

/// The number of the next call of a `hello` handler.
static STEP: AtomicUsize = AtomicUsize::new(0);

/// Prints `hello N`, sleeps, or waits for something else, prints `world`, answers JSON.
fn hello(sleep: Duration, wait: Wait) -> io::Result<Response> {
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    println!("hello {step}");
    wait.wait(sleep)?;
    println!("world");
    Ok(nothing())
}

/// [`hello`] as an async function.
async fn hello_async(sleep: Duration) -> Response {
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    println!("hello {step}");
    match future::Handle::current() {
        Ok(runtime) => runtime.sleep(sleep).await,
        // An OS thread of class gthread, which has this handler to itself.
        Err(_) => thread::sleep(sleep),
    }
    println!("world");
    nothing()
}

/// A line of JSON with nothing in it.
fn nothing() -> Response {
    let json = HeaderValue::from_static("application/json");
    Response::new("{}\n".into()).with_header(header::CONTENT_TYPE, json)
}

fn plain() -> Response {
    response::text("Hello, World!\n")
}

fn echo(request: Request) -> Result<Bytes, HttpError> {
    // How much there may be is for --limit-request-body to say.
    Ok(request.into_body().into_bytes(usize::MAX)?)
}

/// [`echo`] as an async function.
async fn echo_async(request: Request) -> Result<Bytes, HttpError> {
    let content = request.into_body().collect().await;
    // The server answers for content that is not as it should be.
    let content =
        content.map_err(|error| HttpError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(content.to_bytes())
}

/// Answers with the request as it was understood; at `/connection`, with what is known of where it comes from.
fn inspect(request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut content = Vec::new();
    let outcome = body.read_to_end(&mut content).map(|_| &content[..]);
    response::text(describe(&head, outcome))
}

/// [`inspect`] as an async function.
async fn inspect_async(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let outcome = body.collect().await.map(Collected::to_bytes);
    let outcome = outcome.as_ref().map(|content| &content[..]);
    response::text(describe(&head, outcome))
}

fn describe(head: &http::request::Parts, content: Result<&[u8], impl Display>) -> String {
    if head.uri.path() == "/connection" {
        return connection(&head.extensions);
    }
    let mut answer = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        let line = format!("{name}: {}", value.as_bytes().escape_ascii());
        // Writing to a string does not fail, here and below.
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
    answer
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

fn files(arguments: &FilesArguments) -> io::Result<Directory> {
    let mut directory = Directory::new(&arguments.directory)?.precompressed();
    if arguments.hidden {
        directory = directory.with_hidden();
    }
    Ok(directory.index(&arguments.index))
}

/// The application as plain functions.
pub(crate) fn functions(application: &Application) -> io::Result<Router> {
    let router = Router::new();
    Ok(match application {
        Application::Hello(arguments) => {
            let (sleep, wait) = (arguments.sleep, arguments.wait);
            let router = router.get("/", move || hello(sleep, wait).map_err(HttpError::from));
            match arguments.marks {
                true => router.middleware(mark::around),
                false => router,
            }
        }
        Application::Plain(_) => router.get("/", plain),
        Application::Echo(_) => router.post("/", echo).put("/", echo),
        Application::Inspect(_) => router.fallback(inspect),
        Application::Panic => router.get("/", || -> Response {
            panic!("the application panic was asked for")
        }),
        Application::Files(arguments) => router.mount("/", files(arguments)?),
    })
}

/// The application as an async function.
pub(crate) async fn answer(application: AsyncApplication, request: Request) -> Response {
    match application {
        AsyncApplication::Inspect => inspect_async(request).await,
        AsyncApplication::Hello { sleep, marks } => match refusal(&request, "GET, HEAD") {
            Some(refusal) => refusal,
            None => {
                let _marked = marks.then(|| Marked::begin(&request));
                hello_async(sleep).await
            }
        },
        AsyncApplication::Plain => refusal(&request, "GET, HEAD").unwrap_or_else(plain),
        AsyncApplication::Echo => match refusal(&request, "POST, PUT") {
            Some(refusal) => refusal,
            None => echo_async(request).await.into_response(),
        },
    }
}

/// What is answered to a path other than `/`, or to a method that is not among the allowed.
fn refusal(request: &Request, allowed: &'static str) -> Option<Response> {
    if request.uri().path() != "/" {
        return Some(response::status(StatusCode::NOT_FOUND));
    }
    if allowed.split(", ").any(|method| request.method() == method) {
        return None;
    }
    let refusal = response::status(StatusCode::METHOD_NOT_ALLOWED);
    Some(refusal.with_header(header::ALLOW, allowed))
}
