//! hyper's HTTP/1.1 connections on Tokio: the current-thread runtime for one thread, the multi-thread runtime for more.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::{CONTENT, Outcome, Settings};

/// With the time-out for heads that hyper has on as soon as it gets a timer.
pub(crate) fn serve(settings: Settings) -> Outcome {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    serve_with(settings, builder)
}

/// Without any time-out.
pub(crate) fn serve_bare(settings: Settings) -> Outcome {
    serve_with(settings, http1::Builder::new())
}

fn serve_with(settings: Settings, builder: http1::Builder) -> Outcome {
    let runtime = runtime(settings.threads)?;
    let wait = settings.wait;
    if settings.threads > 1 {
        return runtime.block_on(async {
            let listener = tokio_listener(settings.address)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(connection(stream, builder.clone(), wait));
            }
        });
    }
    // Tasks that stay on their thread are cheaper.
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio_listener(settings.address)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(connection(stream, builder.clone(), wait));
        }
    })
}

/// Serves a connection. A client that goes away is no error here.
async fn connection(stream: TcpStream, builder: http1::Builder, wait: Duration) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |_| answer(wait));
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(wait: Duration) -> Result<Response<Full<Bytes>>, Infallible> {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(CONTENT.as_bytes())));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(response)
}

/// Tokio with so many threads.
pub(crate) fn runtime(threads: usize) -> std::io::Result<Runtime> {
    match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
    }
}

/// A listener of Tokio's with a queue of 2,048.
pub(crate) fn tokio_listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = crate::listener(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
