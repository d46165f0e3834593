//! What an application supplies: a function from request to response, blocking or async.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};

use crate::log;

/// A request as a blocking handler sees it; its body is read from the connection as the handler
/// asks for it.
pub type Request<'a> = http::Request<Body<'a>>;

/// A request as an async handler sees it, with the whole of its content.
pub type AsyncRequest = http::Request<Bytes>;

/// A response. The server adds `Content-Length`, `Date` and `Server`, and leaves the content away
/// where there must be none.
pub type Response = http::Response<Bytes>;

/// What an [`AsyncHandler`] returns.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A blocking application. Every function `Fn(Request) -> Response` is one.
///
/// It is called on the thread of the connection. A panic is answered 500 and logged; the server
/// and the connection go on.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request<'_>) -> Response;
}

impl<F> Handler for F
where
    F: Fn(Request<'_>) -> Response + Send + Sync + 'static,
{
    fn handle(&self, request: Request<'_>) -> Response {
        self(request)
    }
}

/// An application for the worker class `async`. Every `Fn(AsyncRequest) -> impl Future` is one.
///
/// All its futures run on one event loop, so a handler that blocks its thread stops every other.
pub trait AsyncHandler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: AsyncRequest) -> ResponseFuture;
}

impl<F, T> AsyncHandler for F
where
    F: Fn(AsyncRequest) -> T + Send + Sync + 'static,
    T: Future<Output = Response> + Send + 'static,
{
    fn handle(&self, request: AsyncRequest) -> ResponseFuture {
        Box::pin(self(request))
    }
}

/// The content of a request, read from the connection as it is asked for.
///
/// What the handler leaves unread, the server reads over. Content that is malformed, too long or
/// too slow ends in an error; whatever the handler then returns, the client gets the status that
/// belongs to the fault.
pub struct Body<'a>(&'a mut (dyn BodySource + Send));

/// Where a [`Body`] gets its bytes.
pub(crate) trait BodySource {
    /// Reads content into `out`; 0 means that there is no more.
    fn read_body(&mut self, out: &mut [u8]) -> io::Result<usize>;
}

impl<'a> Body<'a> {
    pub(crate) fn new(source: &'a mut (dyn BodySource + Send)) -> Body<'a> {
        Body(source)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            Ok(0)
        } else {
            self.0.read_body(out)
        }
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

/// Calls a handler; a panic becomes a response of status 500.
pub(crate) fn call(handler: &dyn Handler, request: Request<'_>) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // A panic leaves nothing of ours half done: the body's decoder moves on byte by byte. What it
    // leaves of the application's is the application's own affair, as with any thread.
    match catch_unwind(AssertUnwindSafe(|| handler.handle(request))) {
        Ok(response) => require_final(response, &method, &uri),
        Err(panic) => after_panic(&*panic, &method, &uri),
    }
}

/// Calls an async handler; a panic becomes a response of status 500.
pub(crate) async fn call_async(handler: &dyn AsyncHandler, request: AsyncRequest) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut future = match catch_unwind(AssertUnwindSafe(|| handler.handle(request))) {
        Ok(future) => future,
        Err(panic) => return after_panic(&*panic, &method, &uri),
    };
    std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(response)) => Poll::Ready(require_final(response, &method, &uri)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(after_panic(&*panic, &method, &uri)),
        }
    })
    .await
}

fn after_panic(panic: &(dyn Any + Send), method: &Method, uri: &Uri) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    log::error(format_args!(
        "handler panicked at {method} {uri}: {message}; answered 500"
    ));
    status_response(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed")
}

/// A status below 200 announces another response, and none would follow.
fn require_final(response: Response, method: &Method, uri: &Uri) -> Response {
    let status = response.status();
    if !status.is_informational() {
        return response;
    }
    log::error(format_args!(
        "handler returned {status} at {method} {uri}, which is no final status; answered 500"
    ));
    status_response(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed")
}

/// A response of one line of text: the status and a reason.
pub(crate) fn status_response(status: StatusCode, reason: &str) -> Response {
    let mut response = Response::new(Bytes::from(format!("{status}: {reason}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
