//! What a server serves: [`Application`], and what becomes one by [`IntoApplication`].
//!
//! There are three doors. A **tower service** (axum's `Router`, tonic's `Routes`, anything with layers around it) is taken as
//! it is. An **async function** is one without ceremony. A **plain function** blocks, and needs to know nothing of futures:
//! it is called on whichever thread the worker class has for it.
//!
//! The doors are told apart by a marker type, which the compiler finds by itself: each of the impls stands for one marker, so
//! that they do not overlap, and only one of them fits what it is given.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_service::Service;

use super::{Body, BoxError, Handler, IntoResponse, Request, Response};

/// What a server calls for each request. Clones are cheap, and there is one for each connection.
///
/// Usually not implemented by hand, but had from a function or a tower service by [`IntoApplication`].
pub trait Application: Clone + Send + Sync + 'static {
    /// Whether polling the future blocks the thread until the response is there, as a plain function does.
    const BLOCKS: bool;

    /// The response that is being made. Nothing has happened before its first poll.
    type Future: Future<Output = Result<Response, BoxError>> + Send + 'static;

    /// Begins to answer a request. This does not block.
    fn call(&self, request: Request) -> Self::Future;

    /// Answers a request on the calling thread, which waits meanwhile.
    ///
    /// # Errors
    /// What the future of [`call`](Self::call) would give.
    fn answer(&self, request: Request) -> Result<Response, BoxError> {
        greenpatch::block_on(self.call(request))
    }
}

/// What can be served. `Marker` is found by the compiler.
///
/// ```
/// use greenpatch_server::application::{Application, IntoApplication, Request, Response, response};
///
/// fn serve<Marker>(_application: impl IntoApplication<Marker>) {}
///
/// // Plain functions and closures:
/// fn hello(_request: Request) -> Response {
///     response::text("hello")
/// }
/// serve(hello);
/// serve(|| "hello");
/// serve(|_| "hello");
/// serve(|request: Request| request.uri().to_string());
///
/// // Async ones:
/// serve(async |request: Request| request.uri().to_string());
/// serve(|request: Request| async move { request.uri().to_string() });
///
/// // Tower services:
/// serve(axum::Router::<()>::new());
/// ```
///
/// A closure whose parameter has no type can be served, but not look into the request: Rust must know the type before it
/// reads the body. Write `|request: Request|`, or let [`function`](super::function) tell it:
///
/// ```compile_fail
/// # use greenpatch_server::application::{IntoApplication, Request};
/// # fn serve<Marker>(_application: impl IntoApplication<Marker>) {}
/// serve(|request| request.uri().to_string());
/// ```
pub trait IntoApplication<Marker> {
    /// The kind of application.
    type Application: Application;

    /// Makes it one.
    fn into_application(self) -> Self::Application;
}

/// The markers by which [`IntoApplication`] and [`Handler`] tell the doors apart.
pub mod marker {
    use std::marker::PhantomData;

    /// It is an application already.
    pub struct Itself;

    /// It is a tower service.
    pub struct TowerService;

    /// It is a function that blocks, of the kind `Kind`.
    pub struct Blocking<Kind>(PhantomData<Kind>);

    /// It is an async function.
    pub struct Async;

    /// The function takes the request.
    pub struct WithRequest;

    /// The function takes nothing.
    pub struct WithoutRequest;
}

impl<A: Application> IntoApplication<marker::Itself> for A {
    type Application = A;

    fn into_application(self) -> A {
        self
    }
}

impl<S, B> IntoApplication<marker::TowerService> for S
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Application = TowerApplication<S>;

    fn into_application(self) -> TowerApplication<S> {
        TowerApplication(self)
    }
}

impl<F, Kind> IntoApplication<marker::Blocking<Kind>> for F
where
    F: Handler<Kind>,
    Kind: 'static,
{
    type Application = Blocking<F, Kind>;

    fn into_application(self) -> Blocking<F, Kind> {
        Blocking {
            handler: Arc::new(self),
            kind: PhantomData,
        }
    }
}

impl<F, T> IntoApplication<marker::Async> for F
where
    F: Fn(Request) -> T + Send + Sync + 'static,
    T: Future + Send + 'static,
    T::Output: IntoResponse,
{
    type Application = Async<F>;

    fn into_application(self) -> Async<F> {
        Async(Arc::new(self))
    }
}

/// A tower service, as an [`Application`].
#[derive(Clone, Debug)]
pub struct TowerApplication<S>(S);

impl<S, B> Application for TowerApplication<S>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    const BLOCKS: bool = false;

    type Future = TowerFuture<S>;

    fn call(&self, request: Request) -> TowerFuture<S> {
        TowerFuture {
            response: Oneshot::new(self.0.clone(), request),
        }
    }
}

pin_project! {
    /// The response of a tower service that is being made.
    pub struct TowerFuture<S>
    where
        S: Service<Request>,
    {
        #[pin]
        response: Oneshot<S, Request>,
    }
}

impl<S, B> Future for TowerFuture<S>
where
    S: Service<Request, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().response.poll(context));
        Poll::Ready(match response {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(error.into()),
        })
    }
}

/// A function that blocks, as an [`Application`].
pub struct Blocking<F, Kind> {
    handler: Arc<F>,
    kind: PhantomData<fn() -> Kind>,
}

impl<F, Kind> Clone for Blocking<F, Kind> {
    fn clone(&self) -> Self {
        Blocking {
            handler: self.handler.clone(),
            kind: PhantomData,
        }
    }
}

impl<F, Kind> Application for Blocking<F, Kind>
where
    F: Handler<Kind>,
    Kind: 'static,
{
    const BLOCKS: bool = true;

    type Future = Call<F, Kind>;

    fn call(&self, request: Request) -> Call<F, Kind> {
        Call {
            handler: self.clone(),
            request: Some(request),
        }
    }

    fn answer(&self, request: Request) -> Result<Response, BoxError> {
        Ok(self.handler.call(request))
    }
}

/// A call of a function that blocks, made by the first poll.
pub struct Call<F, Kind> {
    handler: Blocking<F, Kind>,
    request: Option<Request>,
}

impl<F, Kind> Future for Call<F, Kind>
where
    F: Handler<Kind>,
{
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let request = self.request.take();
        let request = request.expect("a future that has ended is not polled again");
        Poll::Ready(Ok(self.handler.handler.call(request)))
    }
}

/// An async function, as an [`Application`].
pub struct Async<F>(Arc<F>);

impl<F> Clone for Async<F> {
    fn clone(&self) -> Self {
        Async(self.0.clone())
    }
}

impl<F, T> Application for Async<F>
where
    F: Fn(Request) -> T + Send + Sync + 'static,
    T: Future + Send + 'static,
    T::Output: IntoResponse,
{
    const BLOCKS: bool = false;

    type Future = AsyncCall<F, T>;

    fn call(&self, request: Request) -> AsyncCall<F, T> {
        AsyncCall {
            function: self.0.clone(),
            request: Some(request),
            response: None,
        }
    }
}

pin_project! {
    /// A call of an async function, begun by the first poll.
    pub struct AsyncCall<F, T> {
        function: Arc<F>,
        request: Option<Request>,
        #[pin]
        response: Option<T>,
    }
}

impl<F, T> Future for AsyncCall<F, T>
where
    F: Fn(Request) -> T,
    T: Future,
    T::Output: IntoResponse,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(request) = this.request.take() {
            this.response.set(Some((this.function)(request)));
        }
        let response = this.response.as_pin_mut();
        let response = response.expect("it was begun above, or by a poll before");
        Poll::Ready(Ok(ready!(response.poll(context)).into_response()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use tower::ServiceBuilder;

    use super::super::{Json, function, response};
    use super::*;

    /// The status and the text that an application answers to `GET /path`.
    fn ask<M, A: IntoApplication<M>>(application: A) -> (u16, String, bool) {
        let request = http::Request::get("/path").body(Body::empty()).unwrap();
        let application = application.into_application();
        let response = greenpatch::block_on(application.call(request)).unwrap();
        let (parts, body) = response.into_parts();
        let text = body.into_string(1000).unwrap();
        (parts.status.as_u16(), text, A::Application::BLOCKS)
    }

    fn named(request: Request) -> Response {
        response::text(request.uri().path().to_owned())
    }

    async fn named_async(request: Request) -> Response {
        named(request)
    }

    #[test]
    fn plain_functions_and_closures_are_applications_that_block() {
        let answer = |text: &str| (200, text.to_owned(), true);
        assert_eq!(ask(named), answer("/path"));
        assert_eq!(ask(named as fn(Request) -> Response), answer("/path"));
        assert_eq!(ask(|_| "text"), answer("text"));
        assert_eq!(ask(|| "text"), answer("text"));
        assert_eq!(ask(|r: Request| r.uri().path().to_owned()), answer("/path"));
        assert_eq!(
            ask(function(|r| r.uri().path().to_owned())),
            answer("/path")
        );
        assert_eq!(ask(|_| Json([1, 2])), answer("[1,2]"));
        let fails = |_| Err::<(), _>((StatusCode::CONFLICT, "taken"));
        assert_eq!(ask(fails), (409, "taken".to_owned(), true));
    }

    #[test]
    fn async_functions_are_applications_that_do_not() {
        let answer = |text: &str| (200, text.to_owned(), false);
        assert_eq!(ask(named_async), answer("/path"));
        assert_eq!(ask(|_| async { "text" }), answer("text"));
        assert_eq!(ask(async |_: Request| "text"), answer("text"));
    }

    #[test]
    fn tower_services_are_taken_with_their_layers() {
        let service = tower::service_fn(|request: Request| async {
            Ok::<_, Infallible>(named(request).map(http_body_util::combinators::UnsyncBoxBody::new))
        });
        let layered = ServiceBuilder::new()
            .map_request(|mut request: Request| {
                *request.uri_mut() = "/layered".parse().unwrap();
                request
            })
            .service(service);
        assert_eq!(ask(layered), (200, "/layered".to_owned(), false));
        let router =
            axum::Router::<()>::new().route("/path", axum::routing::get(async || "of axum"));
        assert_eq!(ask(router), (200, "of axum".to_owned(), false));
    }

    #[test]
    fn a_service_that_fails_gives_its_error() {
        let service = tower::service_fn(|_: Request| async {
            Err::<http::Response<Body>, _>(std::io::Error::other("down"))
        });
        let call = service.into_application().call(Request::default());
        assert_eq!(greenpatch::block_on(call).unwrap_err().to_string(), "down");
    }

    #[test]
    fn a_function_is_called_when_its_future_is_polled_first() {
        let application = (|| -> Response { panic!("called") }).into_application();
        drop(application.call(Request::default()));
    }
}
