//! A router for plain functions: methods, path parameters, nesting, middleware.
//!
//! It does what a small application expects of one, and no more. Who wants extractors and tower layers takes axum's, which is
//! served as well.
//!
//! **How a request finds its function.** The paths of all routes, nested ones included, stand in one tree (the crate
//! `matchit`), so finding one costs the length of the path. A fixed segment goes before a parameter; the order of registration
//! does not matter. At the path found, the method decides. Prefixes that leave everything below them to one function stand in
//! a tree of their own, which is asked when there is no route. Then the middleware runs, the first one added outermost, and
//! at the end of it the function.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::marker;
use super::parameters::Parameters;
use crate::observe as metrics;

use super::{Handler, IntoResponse, Request, Response, ResponseExt, response};

/// Routes by path and method, each with a function that answers.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// use greenpatch_server::application::{HttpError, Next, Request, RequestExt, Router};
///
/// fn user(request: Request) -> Result<String, HttpError> {
///     let id: u64 = request.parameter("id")?;
///     Ok(format!("user {id}\n"))
/// }
///
/// // State is what closures share.
/// let visits = Arc::new(AtomicU64::new(0));
/// let count = visits.clone();
///
/// let users = Router::new().get("/{id}", user);
/// let router = Router::new()
///     .get("/", move || format!("visit {}\n", count.fetch_add(1, Ordering::Relaxed)))
///     .post("/echo", |request: Request| request.into_body())
///     .nest("/users", users)
///     .middleware(|request: Request, next: Next| {
///         println!("{} {}", request.method(), request.uri());
///         next.run(request)
///     });
/// # use greenpatch_server::application::{Body, Handler};
/// # let ask = |path| {
/// #     let response = router.call(http::Request::get(path).body(Body::empty()).unwrap());
/// #     (response.status().as_u16(), response.into_body().into_string(100).unwrap())
/// # };
/// # assert_eq!(ask("/"), (200, "visit 0\n".into()));
/// # assert_eq!(ask("/users/7"), (200, "user 7\n".into()));
/// # assert_eq!(ask("/users/seven").0, 404);
/// # assert_eq!(ask("/echo").0, 405);
/// ```
///
/// # Paths
///
/// `/users/{id}` takes one segment, `/files/{*path}` all that remain. Parameters are percent-decoded by
/// [`RequestExt::parameter`](super::RequestExt::parameter). A path that differs from a route's only in a slash at its end is redirected (308).
///
/// # Methods
///
/// HEAD is answered by GET's function, whose content is left away. OPTIONS is answered with the methods there are, unless it
/// has a route of its own. Other methods get 405, with `Allow`.
#[derive(Default)]
pub struct Router {
    tree: matchit::Router<usize>,
    /// By the number that `tree` gives.
    places: Vec<Place>,
    prefix_tree: matchit::Router<usize>,
    /// By the number that `prefix_tree` gives.
    prefixes: Vec<Prefix>,
    fallback: Option<Route>,
    middleware: Vec<Middleware>,
}

/// The name of what is below a prefix; nobody asks for it.
const BELOW: &str = "greenpatch below";

type Function = Arc<dyn Fn(Request) -> Response + Send + Sync>;
type Middleware = Arc<dyn Fn(Request, Next<'_>) -> Response + Send + Sync>;

/// What stands at one path.
#[derive(Clone)]
struct Place {
    path: String,
    methods: Vec<(Method, Route)>,
    /// For the methods that are not named.
    any: Option<Route>,
    name: RouteName,
}

/// A path that one function answers with all that is below it.
#[derive(Clone)]
struct Prefix {
    path: String,
    /// Whether the function sees paths without the prefix.
    is_mount: bool,
    route: Route,
    name: RouteName,
}

/// A function, with the middleware that it brought along from a nested router.
#[derive(Clone)]
struct Route {
    middleware: Vec<Middleware>,
    function: Function,
}

impl Route {
    fn new<Kind>(handler: impl Handler<Kind>) -> Route {
        Route {
            middleware: Vec::new(),
            function: Arc::new(move |request| handler.call(request)),
        }
    }
}

impl Router {
    /// No routes yet: everything is answered 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Answers `method` at `path` by `handler`.
    ///
    /// In a router that is to be [nested](Router::nest), the empty path stands for the prefix itself.
    ///
    /// # Panics
    ///
    /// If the path is neither empty nor begins with `/`, is no valid pattern, cannot be told from another route's, or has that method
    /// already. So do the other methods that add routes.
    #[must_use]
    #[track_caller]
    pub fn route<Kind>(
        mut self,
        method: Method,
        path: &str,
        handler: impl Handler<Kind>,
    ) -> Router {
        self.add(path, Some(method), Route::new(handler));
        self
    }

    /// Answers GET and HEAD.
    #[must_use]
    #[track_caller]
    pub fn get<Kind>(self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.route(Method::GET, path, handler)
    }

    /// Answers POST.
    #[must_use]
    #[track_caller]
    pub fn post<Kind>(self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.route(Method::POST, path, handler)
    }

    /// Answers PUT.
    #[must_use]
    #[track_caller]
    pub fn put<Kind>(self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.route(Method::PUT, path, handler)
    }

    /// Answers PATCH.
    #[must_use]
    #[track_caller]
    pub fn patch<Kind>(self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.route(Method::PATCH, path, handler)
    }

    /// Answers DELETE.
    #[must_use]
    #[track_caller]
    pub fn delete<Kind>(self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.route(Method::DELETE, path, handler)
    }

    /// Answers all methods that have no route of their own at `path`.
    #[must_use]
    #[track_caller]
    pub fn any<Kind>(mut self, path: &str, handler: impl Handler<Kind>) -> Router {
        self.add(path, None, Route::new(handler));
        self
    }

    /// Takes over all routes of another router, under a prefix such as `/api`.
    ///
    /// Its middleware stays around its own routes, inside of this router's. Its fallback answers what is under the prefix.
    ///
    /// ```
    /// use greenpatch_server::application::Router;
    /// use greenpatch_server::test::Client;
    ///
    /// let users = Router::new().get("", || "all").get("/{id}", || "one");
    /// let client = Client::new(Router::new().nest("/users", users));
    /// assert_eq!(client.get("/users").send().text(), "all");
    /// assert_eq!(client.get("/users/7").send().text(), "one");
    /// ```
    #[must_use]
    #[track_caller]
    pub fn nest(mut self, prefix: &str, router: Router) -> Router {
        let prefix = valid_prefix(prefix);
        let inside = |route: Route| Route {
            middleware: [&router.middleware[..], &route.middleware[..]].concat(),
            function: route.function,
        };
        for place in router.places {
            let path = format!("{prefix}{}", place.path);
            for (method, route) in place.methods {
                self.add(&path, Some(method), inside(route));
            }
            if let Some(any) = place.any {
                self.add(&path, None, inside(any));
            }
        }
        let fallback = router.fallback.map(|route| Prefix {
            path: String::new(),
            is_mount: false,
            route,
            name: RouteName::default(),
        });
        for mut below in router.prefixes.into_iter().chain(fallback) {
            below.path.insert_str(0, prefix);
            below.route = inside(below.route);
            self.add_prefix(below);
        }
        self
    }

    /// Leaves everything under a prefix, such as `/static`, to `handler`, which sees paths without that prefix.
    ///
    /// ```no_run
    /// use greenpatch_server::application::{Directory, Router};
    ///
    /// let router = Router::new().mount("/static", Directory::new("public")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn mount<Kind>(mut self, prefix: &str, handler: impl Handler<Kind>) -> Router {
        self.add_prefix(Prefix {
            path: valid_prefix(prefix).to_owned(),
            is_mount: true,
            route: Route::new(handler),
            name: RouteName::default(),
        });
        self
    }

    /// Answers what no route answers, instead of 404.
    #[must_use]
    pub fn fallback<Kind>(mut self, handler: impl Handler<Kind>) -> Router {
        self.fallback = Some(Route::new(handler));
        self
    }

    /// Runs `middleware` around everything that this router answers, also what was added before, and also 404 and 405.
    ///
    /// The first one added is the outermost. It answers itself, or calls [`Next::run`] and looks at what comes back.
    #[must_use]
    pub fn middleware<F, T>(mut self, middleware: F) -> Router
    where
        F: Fn(Request, Next<'_>) -> T + Send + Sync + 'static,
        T: IntoResponse,
    {
        self.middleware.push(Arc::new(move |request, next| {
            middleware(request, next).into_response()
        }));
        self
    }

    #[track_caller]
    fn add(&mut self, path: &str, method: Option<Method>, route: Route) {
        assert!(
            path.is_empty() || path.starts_with('/'),
            "route `{path}` does not begin with `/`: write `/{path}`"
        );
        let known = self.places.iter().position(|place| place.path == path);
        let number = known.unwrap_or_else(|| {
            // No request has an empty path, so the place is for a router that takes this one over.
            if !path.is_empty()
                && let Err(error) = self.tree.insert(path, self.places.len())
            {
                panic!("route `{path}` cannot be added: {error}");
            }
            self.places.push(Place {
                path: path.to_owned(),
                methods: Vec::new(),
                any: None,
                name: RouteName::default(),
            });
            self.places.len() - 1
        });
        let place = &mut self.places[number];
        let free = match &method {
            Some(method) => place.methods.iter().all(|(known, _)| known != method),
            None => place.any.is_none(),
        };
        let name = method.as_ref().map_or("any method", Method::as_str);
        assert!(free, "route `{path}` has {name} already");
        match method {
            Some(method) => place.methods.push((method, route)),
            None => place.any = Some(route),
        }
    }

    #[track_caller]
    fn add_prefix(&mut self, prefix: Prefix) {
        let path = &prefix.path;
        for pattern in [path, &format!("{path}/"), &format!("{path}/{{*{BELOW}}}")] {
            if pattern.is_empty() {
                continue;
            }
            if let Err(error) = self.prefix_tree.insert(pattern, self.prefixes.len()) {
                panic!("prefix `{path}` cannot be added: {error}");
            }
        }
        self.prefixes.push(prefix);
    }

    /// The same path with a slash more or less, if there is a route for it.
    fn find_other_slash(&self, uri: &Uri) -> Option<String> {
        let path = uri.path();
        // `//elsewhere` in a redirect would be another host.
        if path == "/" || path.starts_with("//") {
            return None;
        }
        let other = match path.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{path}/"),
        };
        let place = &self.places[*self.tree.at(&other).ok()?.value];
        let query = uri.query().map(|query| format!("?{query}"));
        let is_exact = !place.path.contains("{*");
        is_exact.then(|| other + &query.unwrap_or_default())
    }

    fn dispatch(&self, mut request: Request) -> Response {
        let path = request.uri().path();
        if let Ok(found) = self.tree.at(path) {
            let place = &self.places[*found.value];
            Parameters::new(&found.params, BELOW).put_into(&mut request);
            let response = match place.route(request.method()) {
                Some(route) => self.run(request, &route.middleware, &*route.function),
                None => self.run(request, &[], &|request| place.without_route(&request)),
            };
            return place.name.put_into(response, &place.path);
        }
        if let Ok(found) = self.prefix_tree.at(path) {
            let prefix = &self.prefixes[*found.value];
            Parameters::new(&found.params, BELOW).put_into(&mut request);
            let inner = &prefix.route.middleware;
            let response = self.run(request, inner, &|request| prefix.call(request));
            return prefix.name.put_into(response, &prefix.path);
        }
        match &self.fallback {
            Some(route) => self.run(request, &route.middleware, &*route.function),
            None => self.run(request, &[], &|request| self.without_place(&request)),
        }
    }

    /// Runs the middleware, and inside of it the function.
    fn run(
        &self,
        request: Request,
        inner: &[Middleware],
        last: &dyn Fn(Request) -> Response,
    ) -> Response {
        let next = Next {
            outer: &self.middleware,
            inner,
            last,
        };
        next.run(request)
    }

    fn without_place(&self, request: &Request) -> Response {
        match self.find_other_slash(request.uri()) {
            Some(other) => response::redirect(&other).with_status(StatusCode::PERMANENT_REDIRECT),
            None => response::status(StatusCode::NOT_FOUND),
        }
    }
}

impl Prefix {
    fn call(&self, mut request: Request) -> Response {
        if self.is_mount {
            let segments = self.path.matches('/').count();
            *request.uri_mut() = without_segments(request.uri(), segments);
        }
        (self.route.function)(request)
    }
}

/// A route's name, for metrics and logs.
///
/// Names are kept for ever, so it is made when the router is complete and has begun to serve: then its path is the whole one.
#[derive(Clone, Default)]
struct RouteName(OnceLock<metrics::Route>);

impl RouteName {
    /// Puts it into the response, unless an inner router has put its own.
    fn put_into(&self, mut response: Response, path: &str) -> Response {
        let extensions = response.extensions_mut();
        if extensions.get::<metrics::Route>().is_none() {
            extensions.insert(*self.0.get_or_init(|| metrics::Route::new(path)));
        }
        response
    }
}

impl Place {
    fn route(&self, method: &Method) -> Option<&Route> {
        let named = |wanted: &Method| {
            let mut methods = self.methods.iter();
            methods.find_map(|(known, route)| (known == wanted).then_some(route))
        };
        let route = named(method).or_else(|| match *method {
            Method::HEAD => named(&Method::GET),
            _ => None,
        });
        route.or(self.any.as_ref())
    }

    fn without_route(&self, request: &Request) -> Response {
        let status = match *request.method() {
            Method::OPTIONS => StatusCode::NO_CONTENT,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        response::status(status).with_header(header::ALLOW, self.allow())
    }

    fn allow(&self) -> HeaderValue {
        let mut names: Vec<&str> = self
            .methods
            .iter()
            .map(|(method, _)| method.as_str())
            .collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.push("OPTIONS");
        names.sort_unstable();
        names.dedup();
        let names = names.join(", ");
        HeaderValue::try_from(names).expect("methods are tokens, which fields can hold")
    }
}

impl Handler<marker::Itself> for Router {
    fn call(&self, request: Request) -> Response {
        self.dispatch(request)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.places.iter().map(|place| &place.path);
        f.debug_list().entries(paths).finish()
    }
}

#[track_caller]
fn valid_prefix(prefix: &str) -> &str {
    let is_valid = prefix.is_empty() || prefix.starts_with('/');
    assert!(
        is_valid,
        "prefix `{prefix}` does not begin with `/`: write `/{prefix}`"
    );
    assert!(
        !prefix.contains("{*"),
        "prefix `{prefix}` has a wildcard, which leaves nothing for the routes under it"
    );
    prefix.trim_end_matches('/')
}

/// The same target without the first segments of its path.
fn without_segments(uri: &Uri, segments: usize) -> Uri {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let path_length = uri.path().len();
    let slashes = target[..path_length].match_indices('/').map(|(at, _)| at);
    let cut = slashes.clone().nth(segments).unwrap_or(path_length);
    let rest = &target[cut..];
    let rest = match rest.starts_with('/') {
        true => Cow::Borrowed(rest),
        false => Cow::Owned(format!("/{rest}")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = rest.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static("/"))
}

/// What comes after a [middleware](Router::middleware): the others, and then the function.
pub struct Next<'a> {
    outer: &'a [Middleware],
    inner: &'a [Middleware],
    last: &'a dyn Fn(Request) -> Response,
}

impl Next<'_> {
    /// Runs it.
    pub fn run(mut self, request: Request) -> Response {
        let list = match self.outer.is_empty() {
            true => &mut self.inner,
            false => &mut self.outer,
        };
        match list.split_first() {
            Some((first, rest)) => {
                *list = rest;
                first(request, self)
            }
            None => (self.last)(request),
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middleware = self.outer.len() + self.inner.len();
        f.debug_struct("Next")
            .field("middleware", &middleware)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Application, Body, IntoApplication, RequestExt};
    use super::*;

    fn request(method: &str, target: &str) -> Request {
        let request = http::Request::builder().method(method).uri(target);
        request.body(Body::empty()).unwrap()
    }

    fn ask(router: &Router, method: &str, target: &str) -> (u16, String) {
        let response = router.call(request(method, target));
        let status = response.status().as_u16();
        (status, response.into_body().into_string(1000).unwrap())
    }

    fn allow(router: &Router, method: &str, target: &str) -> (u16, String) {
        let response = router.call(request(method, target));
        let allow = response.headers()[header::ALLOW].to_str().unwrap();
        (response.status().as_u16(), allow.to_owned())
    }

    fn location(router: &Router, target: &str) -> Option<String> {
        let response = router.call(request("GET", target));
        let location = response.headers().get(header::LOCATION)?;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        Some(location.to_str().unwrap().to_owned())
    }

    /// A function that says its name, and the path that it sees.
    fn named(name: &'static str) -> impl Fn(Request) -> String {
        move |request| format!("{name} {}", request.uri())
    }

    fn ok(text: &str) -> (u16, String) {
        (200, text.to_owned())
    }

    #[test]
    fn fixed_segments_go_before_parameters_and_those_before_wildcards() {
        let router = Router::new()
            .get("/{*rest}", || "wildcard")
            .get("/users/{id}", || "parameter")
            .get("/users/me", || "fixed")
            .mount("/users/7", || "mounted");
        assert_eq!(ask(&router, "GET", "/users/me"), ok("fixed"));
        assert_eq!(ask(&router, "GET", "/users/7"), ok("parameter"));
        assert_eq!(ask(&router, "GET", "/users/7/x"), ok("wildcard"));
        assert_eq!(ask(&router, "GET", "/"), (404, "404 Not Found\n".into()));
    }

    #[test]
    fn the_method_decides_and_others_are_told_which_there_are() {
        let router = Router::new()
            .get("/x", || "get")
            .post("/x", || "post")
            .put("/y", || "put")
            .any("/z", || "any")
            .delete("/z", || "delete");
        assert_eq!(ask(&router, "GET", "/x"), ok("get"));
        assert_eq!(ask(&router, "HEAD", "/x"), ok("get"));
        assert_eq!(ask(&router, "POST", "/x"), ok("post"));
        let methods = "GET, HEAD, OPTIONS, POST".to_owned();
        assert_eq!(allow(&router, "PUT", "/x"), (405, methods.clone()));
        assert_eq!(allow(&router, "OPTIONS", "/x"), (204, methods));
        assert_eq!(allow(&router, "HEAD", "/y"), (405, "OPTIONS, PUT".into()));
        assert_eq!(ask(&router, "BREW", "/z"), ok("any"));
        assert_eq!(ask(&router, "DELETE", "/z"), ok("delete"));
        assert_eq!(ask(&router, "GET", "/nowhere").0, 404);
    }

    #[test]
    fn parameters_are_decoded_and_parsed() {
        let router = Router::new()
            .get("/text/{text}", |request: Request| {
                request.parameter::<String>("text")
            })
            .get("/number/{number}", |request: Request| {
                request.parameter("number").map(|n: u8| (n / 2).to_string())
            })
            .get("/other/{name}", |request: Request| {
                request.parameter::<String>("nam")
            });
        assert_eq!(
            ask(&router, "GET", "/text/gr%C3%BCn%2Fblau"),
            ok("grün/blau")
        );
        assert_eq!(ask(&router, "GET", "/number/84"), ok("42"));
        let (status, text) = ask(&router, "GET", "/number/256");
        assert_eq!(status, 404);
        let reason = "parameter `number` cannot be `256`: number too large to fit in target type";
        assert_eq!(text, format!("404 Not Found: {reason}\n"));
        assert_eq!(ask(&router, "GET", "/text/%ff").0, 404);
        assert_eq!(ask(&router, "GET", "/other/x").0, 500);
    }

    #[test]
    fn a_slash_more_or_less_is_redirected() {
        let router = Router::new()
            .get("/folder/", || "")
            .get("/file", || "")
            .get("/all/{*rest}", || "");
        assert_eq!(location(&router, "/folder?a=1").unwrap(), "/folder/?a=1");
        assert_eq!(location(&router, "/file/").unwrap(), "/file");
        assert_eq!(location(&router, "/"), None);
        assert_eq!(location(&router, "//folder"), None);
    }

    #[test]
    fn nested_routers_keep_their_middleware_and_their_fallback() {
        let label = |label: &'static str| {
            move |request: Request, next: Next<'_>| {
                let body = next.run(request).into_body();
                format!("{label}({})", body.into_string(1000).unwrap())
            }
        };
        let users = Router::new()
            .middleware(label("inner"))
            .get("/", named("list"))
            .get("/{id}", named("one"))
            .fallback(named("no user"));
        let router = Router::new()
            .get("/", named("home"))
            .nest("/users", users)
            .middleware(label("first"))
            .middleware(label("second"));
        let asked = |path| ask(&router, "GET", path).1;
        assert_eq!(asked("/"), "first(second(home /))");
        assert_eq!(asked("/users/"), "first(second(inner(list /users/)))");
        assert_eq!(asked("/users/7"), "first(second(inner(one /users/7)))");
        assert_eq!(
            asked("/users/7/x"),
            "first(second(inner(no user /users/7/x)))"
        );
        assert_eq!(asked("/other"), "first(second(404 Not Found\n))");
    }

    #[test]
    fn middleware_may_answer_itself() {
        let router =
            Router::new()
                .get("/", || "home")
                .middleware(|request: Request, next: Next<'_>| {
                    if request.headers().contains_key(header::AUTHORIZATION) {
                        Ok(next.run(request))
                    } else {
                        Err(StatusCode::UNAUTHORIZED)
                    }
                });
        assert_eq!(ask(&router, "GET", "/").0, 401);
    }

    #[test]
    fn what_is_mounted_sees_its_own_paths_only() {
        let inner = Router::new()
            .get("/sub/x", named("inner router"))
            .fallback(named("other"));
        let router = Router::new()
            .mount("/a/b", inner)
            .mount("/tenant/{name}", |request: Request| {
                let name = request.parameter::<String>("name").unwrap();
                format!("{name} {}", request.uri())
            })
            .nest("/deep", Router::new().mount("/er", named("deeper")));
        let asked = |path| ask(&router, "GET", path);
        assert_eq!(asked("/a/b/sub/x?q=1"), ok("inner router /sub/x?q=1"));
        assert_eq!(asked("/a/b"), ok("other /"));
        assert_eq!(asked("/a/b?q=1"), ok("other /?q=1"));
        assert_eq!(asked("/a/b/"), ok("other /"));
        assert_eq!(asked("/a/bc").0, 404);
        assert_eq!(asked("/tenant/x/y/z"), ok("x /y/z"));
        assert_eq!(asked("/deep/er/and/x"), ok("deeper /and/x"));
        assert_eq!(asked("/a/b//evil"), ok("other //evil"));
    }

    #[test]
    fn a_response_tells_by_which_route_it_came() {
        let users = Router::new().get("/{id}", || "");
        let router = Router::new()
            .nest("/users", users)
            .mount("/files", || StatusCode::NOT_FOUND);
        let name = |method, target| {
            let response = router.call(request(method, target));
            let route = response.extensions().get::<metrics::Route>().copied();
            route.map(metrics::Route::name)
        };
        assert_eq!(name("GET", "/users/7"), Some("/users/{id}"));
        assert_eq!(name("POST", "/users/7"), Some("/users/{id}"));
        assert_eq!(name("GET", "/files/a/b"), Some("/files"));
        assert_eq!(name("GET", "/nowhere"), None);
    }

    #[test]
    fn a_router_is_an_application_and_the_fallback_answers_the_rest() {
        let application = Router::new().fallback(named("fallback")).into_application();
        let call = application.call(request("GET", "/x"));
        let response = greenpatch::block_on(call).unwrap();
        assert_eq!(response.into_body().into_string(99).unwrap(), "fallback /x");
    }

    #[test]
    #[should_panic(expected = "route `/x` has GET already")]
    fn the_same_route_twice_is_a_mistake() {
        let _ = Router::new().get("/x", || "").get("/x", || "");
    }

    #[test]
    #[should_panic(expected = "route `/{b}` cannot be added: Insertion failed due to conflict")]
    fn routes_that_cannot_be_told_apart_are_a_mistake() {
        let _ = Router::new().get("/{a}", || "").get("/{b}", || "");
    }

    #[test]
    #[should_panic(expected = "route `x` does not begin with `/`: write `/x`")]
    fn a_route_without_a_slash_is_a_mistake() {
        let _ = Router::new().get("x", || "");
    }
}
