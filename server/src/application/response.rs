//! Responses: what a handler may return ([`IntoResponse`]), and short ways to make one.
//!
//! ```
//! use greenpatch_server::application::{Response, ResponseExt, response};
//! use http::{StatusCode, header};
//!
//! let response: Response = response::html("<p>gone")
//!     .with_status(StatusCode::GONE)
//!     .with_header(header::CACHE_CONTROL, "no-store");
//! assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
//! ```

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{BadContent, BadParameter, Body, HttpError, Response};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A response of plain text, in UTF-8.
pub fn text(text: impl Into<Body>) -> Response {
    typed(TEXT, text.into())
}

/// A response of HTML, in UTF-8. The text is sent as it is: what comes from elsewhere must have been escaped.
pub fn html(text: impl Into<Body>) -> Response {
    typed(HTML, text.into())
}

/// A response of JSON.
///
/// A value that JSON cannot say, such as a map whose keys are no strings, is answered 500 and logged.
pub fn json(value: &(impl Serialize + ?Sized)) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => typed(JSON, json.into()),
        Err(error) => HttpError::from(error).into_response(),
    }
}

/// A response that sends the client elsewhere: 303, so that it asks for `location` by GET, whatever it asked here.
///
/// For a resource that has moved, add [`with_status`](ResponseExt::with_status): 308 for good, 307 for now.
///
/// # Panics
///
/// If `location` has characters that a field cannot hold, such as line ends. Text from elsewhere is percent-encoded first.
pub fn redirect(location: &str) -> Response {
    status(StatusCode::SEE_OTHER).with_header(header::LOCATION, location)
}

/// A response of that status, with its usual reason as text, as far as there may be one.
///
/// ```
/// use greenpatch_server::application::response;
///
/// let response = response::status(http::StatusCode::NOT_FOUND);
/// assert_eq!(response.into_body().into_string(100).unwrap(), "404 Not Found\n");
/// ```
pub fn status(status: StatusCode) -> Response {
    let has_content = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        );
    let response = if has_content {
        text(format!("{status}\n"))
    } else {
        Response::default()
    };
    response.with_status(status)
}

fn typed(content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// Changes to a response, one after the other.
pub trait ResponseExt: Sized {
    /// The same with another status.
    #[must_use]
    fn with_status(self, status: StatusCode) -> Self;

    /// The same with that field, instead of those of its name.
    ///
    /// # Panics
    ///
    /// If the value has characters that a field cannot hold, such as line ends.
    #[must_use]
    fn with_header<V>(self, name: HeaderName, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: fmt::Debug;
}

impl<B> ResponseExt for http::Response<B> {
    fn with_status(mut self, status: StatusCode) -> Self {
        *self.status_mut() = status;
        self
    }

    fn with_header<V>(mut self, name: HeaderName, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: fmt::Debug,
    {
        let value = value.try_into().unwrap_or_else(|error| {
            panic!(
                "the value for field `{name}` has characters that a field cannot hold: {error:?}"
            )
        });
        self.headers_mut().insert(name, value);
        self
    }
}

/// What a plain function may return.
///
/// | type | status | content |
/// |---|---|---|
/// | [`http::Response`] of anything that becomes a [`Body`] | its own | its own |
/// | `&'static str`, `String`, `Cow` | 200 | `text/plain` |
/// | [`Bytes`], `Vec<u8>` | 200 | `application/octet-stream` |
/// | [`Body`] | 200 | without a type |
/// | [`Json<T>`] | 200 | `application/json` |
/// | `()` | 204 | none |
/// | [`StatusCode`] | that | its reason |
/// | `(StatusCode, T)` | that | `T`'s |
/// | `(HeaderMap, T)` | `T`'s | `T`'s, with these fields instead of its own |
/// | `Option<T>` | `T`'s, or 404 | `T`'s |
/// | `Result<T, E>` | `T`'s or `E`'s | `T`'s or `E`'s |
/// | [`HttpError`], [`BadContent`], [`BadParameter`] | its own | a line of text |
pub trait IntoResponse {
    /// Makes a response of it.
    fn into_response(self) -> Response;
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    fn into_response(self) -> Response {
        self.map(Into::into)
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        text(self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        text(self)
    }
}

impl IntoResponse for Cow<'static, str> {
    fn into_response(self) -> Response {
        match self {
            Cow::Borrowed(borrowed) => text(borrowed),
            Cow::Owned(owned) => text(owned),
        }
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        typed(BYTES, self.into())
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        typed(BYTES, self.into())
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        status(StatusCode::NO_CONTENT)
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        status(self)
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<T: IntoResponse> IntoResponse for (HeaderMap, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        let headers = response.headers_mut();
        for name in self.0.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.0 {
            headers.append(name, value.clone());
        }
        response
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        self.map_or_else(|| status(StatusCode::NOT_FOUND), T::into_response)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// A value that is answered as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(&self.0)
    }
}

impl IntoResponse for BadParameter {
    fn into_response(self) -> Response {
        HttpError::from(self).into_response()
    }
}

impl IntoResponse for BadContent {
    fn into_response(self) -> Response {
        HttpError::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn parts(answer: impl IntoResponse) -> (u16, Option<String>, String) {
        let (parts, body) = answer.into_response().into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned());
        let text = body.into_string(1000).unwrap();
        (parts.status.as_u16(), content_type, text)
    }

    fn expected(status: u16, content_type: &str, text: &str) -> (u16, Option<String>, String) {
        (status, Some(content_type.to_owned()), text.to_owned())
    }

    const TEXT: &str = "text/plain; charset=utf-8";

    #[test]
    fn each_type_has_its_status_and_content_type() {
        assert_eq!(parts("a"), expected(200, TEXT, "a"));
        assert_eq!(parts("a".to_owned()), expected(200, TEXT, "a"));
        assert_eq!(parts(Cow::Borrowed("a")), expected(200, TEXT, "a"));
        let bytes = expected(200, "application/octet-stream", "a");
        assert_eq!(parts(Bytes::from("a")), bytes);
        assert_eq!(parts(vec![b'a']), bytes);
        assert_eq!(parts(Body::from("a")), (200, None, "a".into()));
        assert_eq!(parts(()), (204, None, String::new()));
        let json = expected(200, "application/json", r#"{"a":1}"#);
        assert_eq!(parts(Json(HashMap::from([("a", 1)]))), json);
        assert_eq!(parts(html("<p>")).1.unwrap(), "text/html; charset=utf-8");
        assert_eq!(parts(StatusCode::GONE), expected(410, TEXT, "410 Gone\n"));
        assert_eq!(parts(StatusCode::NOT_MODIFIED), (304, None, String::new()));
        assert_eq!(parts((StatusCode::CREATED, "a")), expected(201, TEXT, "a"));
        assert_eq!(parts(None::<()>), expected(404, TEXT, "404 Not Found\n"));
        let failed = Err::<(), _>((StatusCode::CONFLICT, "taken"));
        assert_eq!(parts(failed), expected(409, TEXT, "taken"));
    }

    #[test]
    fn fields_beside_a_value_replace_its_own() {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, "text/csv".parse().unwrap());
        fields.append(header::SET_COOKIE, "a=1".parse().unwrap());
        fields.append(header::SET_COOKIE, "b=2".parse().unwrap());
        let response = (fields, "x,y").into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/csv");
        let cookies = response.headers().get_all(header::SET_COOKIE);
        assert!(cookies.iter().eq(["a=1", "b=2"]));
    }

    #[test]
    fn a_redirect_leads_on_by_get() {
        let response = redirect("/elsewhere");
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[header::LOCATION], "/elsewhere");
    }

    #[test]
    #[should_panic(expected = "the value for field `location` has characters")]
    fn a_redirect_is_no_way_to_put_fields_into_the_head() {
        let _ = redirect("/\r\nset-cookie: a=1");
    }

    #[test]
    fn what_json_cannot_say_is_a_failure() {
        let map = HashMap::from([([1], 1)]);
        let (status, _, text) = parts(Json(map));
        assert_eq!((status, &*text), (500, "500 Internal Server Error\n"));
    }
}
