//! A request in the making, and its way through the application.

use std::fmt;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, Entry, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use http::{Extensions, Method, StatusCode, Uri};
use http_body::Body as _;
use serde::Serialize;

use super::{Client, Form, MOST_REDIRECTS, TestResponse};
use crate::application::{Body, PeerAddress, Request, Response, Scheme};

/// A request that [`send`](TestRequest::send) sends.
#[must_use = "nothing is asked before `send` is called"]
pub struct TestRequest<'a> {
    client: &'a Client,
    method: Method,
    target: Target,
    fields: HeaderMap,
    extensions: Extensions,
    content: Body,
}

/// Where a request goes.
#[derive(Clone)]
struct Target {
    scheme: Scheme,
    host: HeaderValue,
    /// Path and query, as the first line of a request has them.
    uri: Uri,
}

impl<'a> TestRequest<'a> {
    #[track_caller]
    pub(super) fn new(client: &'a Client, method: Method, target: &str) -> TestRequest<'a> {
        let local = Target {
            scheme: Scheme::Http,
            host: HeaderValue::from_static("localhost"),
            uri: Uri::from_static("/"),
        };
        TestRequest {
            client,
            method,
            target: local.at(target).unwrap_or_else(|wrong| {
                panic!("cannot ask for `{target}`: {wrong}; give a path that begins with `/`, or a URL of http or https")
            }),
            fields: client.headers.clone(),
            extensions: Extensions::new(),
            content: Body::empty(),
        }
    }

    /// Sets a field, instead of those of its name.
    ///
    /// # Panics
    ///
    /// If the name or the value has characters that a field cannot hold.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> TestRequest<'a>
    where
        N: TryInto<HeaderName, Error: fmt::Display>,
        V: TryInto<HeaderValue, Error: fmt::Display>,
    {
        let (name, value) = field(name, value);
        self.fields.insert(name, value);
        self
    }

    /// Adds to the query, encoded.
    ///
    /// ```
    /// # use greenpatch_server::application::{Request, RequestExt};
    /// # use greenpatch_server::test::Client;
    /// let client = Client::new(|request: Request| request.query("text").unwrap().into_owned());
    /// let response = client.get("/search?page=2").query("text", "green & threads").send();
    /// assert_eq!(response.text(), "green & threads");
    /// ```
    pub fn query(mut self, name: &str, value: &str) -> TestRequest<'a> {
        let uri = &self.target.uri;
        let before = uri.query().map(|query| format!("{query}&"));
        let mut query = form_urlencoded::Serializer::new(before.unwrap_or_default());
        query.append_pair(name, value);
        let target = format!("{}?{}", uri.path(), query.finish());
        self.target.uri = target
            .parse()
            .expect("an encoded query can stand after any path");
        self
    }

    /// Puts a value into the request's extensions, where the server or a layer would have put it.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> TestRequest<'a> {
        self.extensions.insert(value);
        self
    }

    /// Sends this content, whose type [`header`](TestRequest::header) may tell.
    pub fn body(mut self, content: impl Into<Body>) -> TestRequest<'a> {
        self.content = content.into();
        self
    }

    /// Sends a value as JSON.
    ///
    /// # Panics
    ///
    /// If JSON cannot say the value, such as a map whose keys are no strings.
    #[track_caller]
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> TestRequest<'a> {
        match serde_json::to_vec(value) {
            Ok(json) => self.typed("application/json", json),
            Err(error) => panic!("JSON cannot say the value: {error}"),
        }
    }

    /// Sends a form without files.
    ///
    /// ```
    /// # use greenpatch_server::application::Request;
    /// # use greenpatch_server::test::Client;
    /// let client = Client::new(|request: Request| request.into_body());
    /// let response = client.post("/").form([("name", "Ada"), ("born", "1815")]).send();
    /// assert_eq!(response.text(), "name=Ada&born=1815");
    /// ```
    pub fn form<N, V>(self, fields: impl IntoIterator<Item = (N, V)>) -> TestRequest<'a>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        self.typed("application/x-www-form-urlencoded", form.finish())
    }

    /// Sends a form with files.
    pub fn multipart(self, form: &Form) -> TestRequest<'a> {
        let (content_type, content) = form.encode();
        self.typed(&content_type, content)
    }

    fn typed(mut self, content_type: &str, content: impl Into<Bytes>) -> TestRequest<'a> {
        let content_type = HeaderValue::try_from(content_type);
        let content_type = content_type.expect("what this module writes can stand in a field");
        self.fields.insert(CONTENT_TYPE, content_type);
        self.body(content.into())
    }

    /// Asks the application, and returns its response as soon as it has one; the content may still be in the making.
    ///
    /// # Panics
    ///
    /// If the handler panics, with its panic; if the application gives an error instead of a response, which a server would answer
    /// by 500; if there are too many redirects.
    #[track_caller]
    pub fn send(mut self) -> TestResponse {
        let client = self.client;
        let (mut method, mut content) = (self.method, self.content);
        for _ in 0..=MOST_REDIRECTS {
            let again = content.whole().cloned();
            let request = client.complete(
                &method,
                &self.target,
                &self.fields,
                &self.extensions,
                content,
            );
            let response = client.ask(request, &self.target);
            let Some(location) = redirect(&response).filter(|_| client.follows_redirects) else {
                return TestResponse::new(response, client.ambient.clone());
            };
            self.target = self.target.follow(location).unwrap_or_else(|wrong| {
                panic!("the application redirects to `{location}`: {wrong}")
            });
            content = match (response.status(), again) {
                (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, Some(same)) => {
                    Body::from(same)
                }
                (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, None) => panic!(
                    "the application redirects to `{location}`, where streamed content cannot be sent once more; give it as bytes"
                ),
                _ => {
                    if method != Method::HEAD {
                        method = Method::GET;
                    }
                    self.fields.remove(CONTENT_TYPE);
                    Body::empty()
                }
            };
        }
        panic!(
            "the application has redirected {MOST_REDIRECTS} times, and does so once more to {}",
            self.target.uri
        );
    }
}

impl fmt::Debug for TestRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRequest")
            .field("method", &self.method)
            .field("target", &self.target.uri)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The request as a handler gets it from the server.
    fn complete(
        &self,
        method: &Method,
        target: &Target,
        fields: &HeaderMap,
        extensions: &Extensions,
        content: Body,
    ) -> Request {
        let length = content.size_hint().exact();
        let mut request = Request::new(content);
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(fields);
        set(headers, HOST, || Some(target.host.clone()));
        set(headers, COOKIE, || {
            self.cookies().field_for(target.uri.path(), target.scheme)
        });
        set(headers, CONTENT_LENGTH, || {
            length.filter(|length| *length > 0).map(HeaderValue::from)
        });
        let id = self.ids.take_over_or_make(headers);
        let known = request.extensions_mut();
        known.insert(PeerAddress(self.peer));
        known.insert(target.scheme);
        known.insert(id);
        known.extend(extensions.clone());
        request
    }

    /// The response as a client gets it from the server.
    #[track_caller]
    fn ask(&self, request: Request, target: &Target) -> Response {
        let method = request.method().clone();
        let _inside = self.ambient.entry().enter();
        let mut response = (self.call)(request).unwrap_or_else(|error| {
            panic!("the application failed at {method} {}: {error}", target.uri)
        });
        self.cookies()
            .take_from(response.headers(), target.uri.path());
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }
}

impl Target {
    /// What a path or a URL means from here.
    fn at(&self, target: &str) -> Result<Target, String> {
        if !target.starts_with('/') && !target.contains("://") {
            return Err("it is no path".to_owned());
        }
        let uri = target.parse::<Uri>().map_err(|error| error.to_string())?;
        let parts = uri.into_parts();
        let scheme = match parts.scheme.as_ref().map(|scheme| scheme.as_str()) {
            None => self.scheme,
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => return Err(format!("`{other}` is not served")),
        };
        let host = match parts.authority {
            None => self.host.clone(),
            Some(authority) => HeaderValue::try_from(authority.as_str())
                .map_err(|error| format!("its host is malformed: {error}"))?,
        };
        let uri = parts
            .path_and_query
            .map_or(Uri::from_static("/"), Uri::from);
        Ok(Target { scheme, host, uri })
    }

    /// The same for the location of a redirect, which may also be relative to this path.
    fn follow(&self, location: &str) -> Result<Target, String> {
        if location.starts_with('/') || location.contains("://") {
            return self.at(location);
        }
        let path = self.uri.path();
        let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
        self.at(&format!("{directory}{location}"))
    }
}

/// Sets a field that the test has not set itself.
fn set(fields: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> Option<HeaderValue>) {
    if let Entry::Vacant(entry) = fields.entry(name)
        && let Some(value) = value()
    {
        entry.insert(value);
    }
}

/// Where a response sends the client on to.
fn redirect(response: &Response) -> Option<&str> {
    let location = || response.headers().get(LOCATION)?.to_str().ok();
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(location)
        .flatten()
}

/// A field that a test has written.
#[track_caller]
pub(super) fn field<N, V>(name: N, value: V) -> (HeaderName, HeaderValue)
where
    N: TryInto<HeaderName, Error: fmt::Display>,
    V: TryInto<HeaderValue, Error: fmt::Display>,
{
    let name = name
        .try_into()
        .unwrap_or_else(|error| panic!("the name cannot be a field's: {error}"));
    let value = value
        .try_into()
        .unwrap_or_else(|error| panic!("the value cannot be that of field `{name}`: {error}"));
    (name, value)
}
