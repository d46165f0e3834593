//! Testing an application without a server: a blocking [`Client`] that calls it as a worker would, and needs no socket.
//!
//! ```
//! use greenpatch_server::application::{Json, Router};
//! use greenpatch_server::test::Client;
//! use serde_json::{Value, json};
//!
//! fn application() -> Router {
//!     Router::new().get("/rand", || Json(json!({ "name": "flask" })))
//! }
//!
//! let client = Client::new(application());
//! let response = client.get("/rand").send();
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.header("content-type"), Some("application/json"));
//! assert_eq!(response.json::<Value>()["name"], "flask");
//! ```
//!
//! Any [application](crate::application::IntoApplication) can be asked: plain functions, async ones, axum's router.
//!
//! **Where a handler runs.** On the thread that asks: one of the test harness, or a green thread under [`greenpatch::run`] and
//! [`greenpatch::test`](macro@greenpatch::test). What blocks in a handler blocks or parks that thread, and a panic in it is a panic of the test. With the
//! feature `tokio` a handler finds a Tokio runtime around it, as in a worker. To ask several things at the same time, clone
//! the client into threads.
//!
//! **What is not there.** The server itself: its limits and time-outs, its access log, the fields `Date` and `Server`, HTTP/1.1 and
//! HTTP/2. WebSockets take over a connection, so they need one: [`Server::bind`](crate::Server::bind) on port 0 is as quick.

mod cookies;
mod form;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::cookies::Cookies;
pub use self::form::{Form, Part};
pub use self::request::TestRequest;
pub use self::response::TestResponse;
use crate::application::{
    Ambient, Application, BoxError, IntoApplication, Peer, Request, Response,
};
use crate::observe::RequestIds;

/// How many redirects are followed one after the other.
const MOST_REDIRECTS: usize = 10;

/// Asks an application, and keeps its cookies as a browser does. Clones share them.
///
/// ```
/// use greenpatch_server::application::{Request, ResponseExt, Router, response};
/// use greenpatch_server::test::Client;
///
/// fn sign_in(request: Request) -> greenpatch_server::Response {
///     let name = request.into_body().into_string(100).unwrap();
///     response::redirect("/").with_header(http::header::SET_COOKIE, format!("name={name}"))
/// }
///
/// fn home(request: Request) -> String {
///     format!("{:?}", request.headers()["cookie"])
/// }
///
/// let application = Router::new().get("/", home).post("/sign-in", sign_in);
/// let client = Client::new(application).follow_redirects();
/// let response = client.post("/sign-in").body("Ada").send();
/// assert_eq!(response.text(), "\"name=Ada\"");
/// assert_eq!(client.cookie("name").as_deref(), Some("Ada"));
/// ```
#[derive(Clone)]
pub struct Client {
    call: Arc<dyn Fn(Request) -> Result<Response, BoxError> + Send + Sync>,
    ambient: Arc<Ambient>,
    ids: Arc<RequestIds>,
    cookies: Arc<Mutex<Cookies>>,
    headers: HeaderMap,
    peer: Peer,
    follows_redirects: bool,
}

impl Client {
    /// A client of this application, which has no cookies yet.
    ///
    /// # Panics
    ///
    /// If the Tokio runtime around handlers cannot be built (feature `tokio`).
    pub fn new<M>(application: impl IntoApplication<M>) -> Client {
        let application = application.into_application();
        let ambient = Ambient::build()
            .unwrap_or_else(|error| panic!("no Tokio runtime can be built for handlers: {error}"));
        Client {
            call: Arc::new(move |request| greenpatch::block_on(application.call(request))),
            ambient: Arc::new(ambient),
            ids: Arc::new(RequestIds::new()),
            cookies: Arc::default(),
            headers: HeaderMap::new(),
            peer: Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            follows_redirects: false,
        }
    }

    /// Sends this field with every request that does not set it itself.
    ///
    /// # Panics
    ///
    /// If the name or the value has characters that a field cannot hold.
    #[must_use]
    #[track_caller]
    pub fn with_header<N, V>(mut self, name: N, value: V) -> Client
    where
        N: TryInto<HeaderName, Error: fmt::Display>,
        V: TryInto<HeaderValue, Error: fmt::Display>,
    {
        let (name, value) = request::field(name, value);
        self.headers.insert(name, value);
        self
    }

    /// Asks as this peer, which handlers find as [`PeerAddress`](crate::application::PeerAddress). It is 127.0.0.1 otherwise.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Client {
        self.peer = peer;
        self
    }

    /// Goes where a redirect leads to, ten times at most, and gives the response that is there.
    #[must_use]
    pub fn follow_redirects(mut self) -> Client {
        self.follows_redirects = true;
        self
    }

    /// Begins a GET request of `target`: a path with or without a query, or a whole URL, which also tells the host.
    #[track_caller]
    pub fn get(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::GET, target)
    }

    /// Begins a HEAD request.
    #[track_caller]
    pub fn head(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::HEAD, target)
    }

    /// Begins a POST request.
    #[track_caller]
    pub fn post(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::POST, target)
    }

    /// Begins a PUT request.
    #[track_caller]
    pub fn put(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::PUT, target)
    }

    /// Begins a PATCH request.
    #[track_caller]
    pub fn patch(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::PATCH, target)
    }

    /// Begins a DELETE request.
    #[track_caller]
    pub fn delete(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::DELETE, target)
    }

    /// Begins a request of any method.
    ///
    /// # Panics
    ///
    /// If `target` is neither a path that begins with `/` nor a URL of `http` or `https`. So do the methods that are named
    /// after one.
    #[track_caller]
    pub fn request(&self, method: Method, target: &str) -> TestRequest<'_> {
        TestRequest::new(self, method, target)
    }

    /// The value of a cookie that would be sent to `/`.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies().value(name)
    }

    /// Has a cookie from now on, as if the application had set it for all paths.
    ///
    /// # Panics
    ///
    /// If the name or the value has characters that a cookie cannot hold.
    #[track_caller]
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies().set(name, value);
    }

    /// Forgets all cookies.
    pub fn clear_cookies(&self) {
        self.cookies().clear();
    }

    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        // Each change of them is whole.
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("headers", &self.headers)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
