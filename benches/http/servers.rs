//! The servers, each the whole of a child process.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use greenpatch_server::{Server as GreenServer, Settings, WorkerClass};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::thread::{CpuSet, sched_setaffinity};

/// What all of them answer.
pub(crate) const CONTENT: &[u8] = b"Hello, World";

/// A server, and the one that it is compared with.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) peer: Option<&'static str>,
    serve: fn() -> Result<(), Box<dyn Error>>,
}

pub(crate) const SERVERS: [Server; 4] = [
    Server {
        name: "hyper, Tokio",
        peer: None,
        serve: hyper_on_tokio,
    },
    Server {
        name: "axum, Tokio",
        peer: None,
        serve: axum_on_tokio,
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

fn current_thread() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn hyper_on_tokio() -> Result<(), Box<dyn Error>> {
    async fn hello(_: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::new(Bytes::from_static(CONTENT))))
    }
    let runtime = current_thread()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                // A client that goes away is no error here.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(hello))
                    .await;
            });
        }
    })
}

/// The application that runs on Tokio and on green threads.
fn router() -> Router {
    Router::new().route("/", get(|| async { CONTENT }))
}

fn axum_on_tokio() -> Result<(), Box<dyn Error>> {
    current_thread()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        Ok(axum::serve(listener, router()).await?)
    })
}

/// Class green with the defaults, but for a limit on idle connections that would end the measurement of their memory.
fn green() -> Result<GreenServer, Box<dyn Error>> {
    let mut settings = Settings {
        worker_class: WorkerClass::Green,
        worker_connections: 20_000,
        ..Settings::default()
    };
    settings.timeouts.keep_alive = Duration::from_secs(60);
    let server = GreenServer::bind("127.0.0.1:0", settings)?;
    announce(server.local_addr())?;
    Ok(server)
}

fn function_on_green() -> Result<(), Box<dyn Error>> {
    fn hello(_: greenpatch_server::Request) -> &'static str {
        "Hello, World"
    }
    Ok(green()?.serve(hello)?)
}

fn axum_on_green() -> Result<(), Box<dyn Error>> {
    Ok(green()?.serve(router())?)
}
