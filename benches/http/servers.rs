//! The servers, each the whole of a child process.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use greenpatch_server::application::{ResponseExt, response};
use greenpatch_server::{Server as GreenServer, Settings, WorkerClass};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::thread::{CpuSet, sched_setaffinity};

/// What all of them answer, besides the content.
const TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NAME: HeaderValue = HeaderValue::from_static("bench");

/// The end of what all of them answer.
pub(crate) const CONTENT: &[u8] = b"Hello, World";

/// A server, and the one that it is compared with.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) peer: Option<&'static str>,
    serve: fn() -> Result<(), Box<dyn Error>>,
}

pub(crate) const SERVERS: [Server; 6] = [
    Server {
        name: "hyper, Tokio",
        peer: None,
        serve: || hyper_on_tokio(http1::Builder::new().timer(TokioTimer::new())),
    },
    Server {
        name: "hyper, no time-outs",
        peer: Some("hyper, Tokio"),
        serve: || hyper_on_tokio(&http1::Builder::new()),
    },
    Server {
        name: "axum, Tokio",
        peer: None,
        serve: axum_on_tokio,
    },
    Server {
        name: "axum::serve",
        peer: Some("axum, Tokio"),
        serve: axum_serve,
    },
    Server {
        name: "function, green",
        peer: Some("hyper, Tokio"),
        serve: function_on_green,
    },
    Server {
        name: "axum, green",
        peer: Some("axum, Tokio"),
        serve: axum_on_green,
    },
];

/// Becomes the server of that name, on the first processor.
pub(crate) fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let server = SERVERS.iter().find(|server| server.name == name);
    let server = server.ok_or_else(|| format!("there is no server '{name}'"))?;
    let mut first = CpuSet::new();
    first.set(0);
    // Where it may not run there, it runs anywhere, and so does the load.
    let _ = sched_setaffinity(None, &first);
    (server.serve)()
}

/// Tells the parent where the server listens.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

/// Runs `serve` for each connection, as tasks of Tokio's current-thread runtime.
fn on_tokio<F: Future<Output = ()> + 'static>(
    serve: impl Fn(TokioIo<tokio::net::TcpStream>) -> F,
) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(serve(TokioIo::new(stream)));
        }
    })
}

fn hyper_on_tokio(connections: &http1::Builder) -> Result<(), Box<dyn Error>> {
    async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let mut response = Response::new(Full::new(Bytes::from_static(CONTENT)));
        response.headers_mut().insert(CONTENT_TYPE, TYPE);
        response.headers_mut().insert(SERVER, NAME);
        Ok(response)
    }
    on_tokio(|stream| {
        let connection = connections.serve_connection(stream, service_fn(hello));
        // A client that goes away is no error here.
        async { drop(connection.await) }
    })
}

/// The application that runs on Tokio and on green threads.
fn router() -> Router {
    let hello = async || ([(CONTENT_TYPE, TYPE), (SERVER, NAME)], CONTENT);
    Router::new().route("/", get(hello))
}

fn axum_on_tokio() -> Result<(), Box<dyn Error>> {
    let router = router();
    let mut connections = auto::Builder::new(TokioExecutor::new());
    connections.http1().timer(TokioTimer::new());
    connections.http2().timer(TokioTimer::new());
    on_tokio(|stream| {
        let (connections, router) = (connections.clone(), router.clone());
        async move {
            let service = TowerToHyperService::new(router);
            // A client that goes away is no error here.
            drop(
                connections
                    .serve_connection_with_upgrades(stream, service)
                    .await,
            );
        }
    })
}

fn axum_serve() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        Ok(axum::serve(listener, router()).await?)
    })
}

/// Class green with the defaults, but for a limit on idle connections that would end the measurement of their memory, and
/// without the request's id in the response.
fn green() -> Result<GreenServer, Box<dyn Error>> {
    let mut settings = Settings {
        worker_class: WorkerClass::Green,
        worker_connections: 20_000,
        ..Settings::default()
    };
    settings.timeouts.keep_alive = Duration::from_secs(600);
    settings.logging.request_id = false;
    let server = GreenServer::bind("127.0.0.1:0", settings)?;
    announce(server.local_addr())?;
    Ok(server)
}

fn function_on_green() -> Result<(), Box<dyn Error>> {
    fn hello(_: greenpatch_server::Request) -> greenpatch_server::Response {
        response::text("Hello, World").with_header(SERVER, NAME)
    }
    Ok(green()?.serve(hello)?)
}

fn axum_on_green() -> Result<(), Box<dyn Error>> {
    Ok(green()?.serve(router())?)
}
