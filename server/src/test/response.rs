//! The response to a test's request.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::application::{Ambient, BadContent, Response};

/// A response, whose content is read as it is made: by [`Read`], or whole by [`text`](TestResponse::text) and its kin.
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use greenpatch_server::application::{Event, EventStream};
/// use greenpatch_server::test::Client;
///
/// // Events without end.
/// let client = Client::new(|| {
///     EventStream::new(|sender| (0..).try_for_each(|n| sender.send(&Event::data(n.to_string()))))
/// });
/// let lines = BufReader::new(client.get("/").send()).lines();
/// let data: Vec<String> = lines.map(Result::unwrap).filter(|line| !line.is_empty()).take(2).collect();
/// assert_eq!(data, ["data: 0", "data: 1"]);
/// ```
pub struct TestResponse {
    response: Response,
    /// What makes the content may need it.
    ambient: Arc<Ambient>,
}

impl TestResponse {
    pub(super) fn new(response: Response, ambient: Arc<Ambient>) -> TestResponse {
        TestResponse { response, ambient }
    }

    /// The status. It can be compared with a number.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Gives the response back if it has this status.
    ///
    /// # Panics
    ///
    /// If it has another one, with the response's content, which is likely to tell why.
    #[track_caller]
    pub fn assert_status(self, expected: u16) -> TestResponse {
        let status = self.status();
        if status != expected {
            let content = self.content();
            let content = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            panic!("answered {status} instead of {expected}: {content:?}");
        }
        self
    }

    /// The fields.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The first field of that name, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// A value that the application has put into the response's extensions.
    pub fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<&T> {
        self.response.extensions().get()
    }

    /// The whole content.
    ///
    /// # Panics
    ///
    /// If it cannot be made. So do [`text`](TestResponse::text) and [`json`](TestResponse::json), which also panic if it is of another form.
    #[track_caller]
    pub fn bytes(self) -> Bytes {
        let status = self.status();
        self.content()
            .unwrap_or_else(|error| panic!("answered {status}, but {error}"))
    }

    /// The whole content as text.
    #[track_caller]
    pub fn text(self) -> String {
        let status = self.status();
        String::from_utf8(self.bytes().into())
            .unwrap_or_else(|error| panic!("answered {status} with what is not UTF-8: {error}"))
    }

    /// The whole content as JSON.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(self) -> T {
        let status = self.status();
        let content = self.bytes();
        serde_json::from_slice(&content).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(&content);
            panic!("answered {status} with what is not the JSON expected: {error}; it is {text:?}")
        })
    }

    /// The response as the application gave it.
    pub fn into_inner(self) -> Response {
        self.response
    }

    fn content(self) -> Result<Bytes, BadContent> {
        let _inside = self.ambient.entry().enter();
        self.response.into_body().into_bytes(usize::MAX)
    }
}

impl Read for TestResponse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let _inside = self.ambient.entry().enter();
        self.response.body_mut().read(out)
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestResponse")
            .field("status", &self.status())
            .field("headers", self.headers())
            .finish_non_exhaustive()
    }
}
