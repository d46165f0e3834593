//! Plain functions that answer requests: [`Handler`], and [`function`] for closures without types.

use super::marker;
use super::{IntoResponse, Request, Response};

/// A function that answers a request and may block: `Fn(Request) -> impl IntoResponse`, or `Fn() -> impl IntoResponse`.
///
/// ```
/// use greenpatch_server::application::{Handler, IntoResponse, Request};
///
/// fn greet(request: Request) -> String {
///     format!("hello, {}\n", request.uri().path())
/// }
/// let response = Handler::call(&greet, Request::default());
/// assert_eq!(response.into_body().into_string(100).unwrap(), "hello, /\n");
/// ```
pub trait Handler<Kind>: Send + Sync + 'static {
    /// Answers a request, on the calling thread.
    fn call(&self, request: Request) -> Response;
}

impl<F, T> Handler<marker::WithRequest> for F
where
    F: Fn(Request) -> T + Send + Sync + 'static,
    T: IntoResponse,
{
    fn call(&self, request: Request) -> Response {
        self(request).into_response()
    }
}

impl<F, T> Handler<marker::WithoutRequest> for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: IntoResponse,
{
    fn call(&self, _: Request) -> Response {
        self().into_response()
    }
}

/// Gives a closure back, and tells the compiler meanwhile that its parameter is a [`Request`].
///
/// ```
/// use greenpatch_server::application::function;
///
/// let application = function(|request| request.uri().path().to_owned());
/// ```
pub fn function<F, T>(function: F) -> F
where
    F: Fn(Request) -> T + Send + Sync + 'static,
{
    function
}
