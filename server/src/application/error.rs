//! Why a handler does not answer as it was asked to: [`HttpError`] for all reasons, [`BadContent`] for the commonest.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;

use super::{BadParameter, BoxError, IntoResponse, Response, ResponseExt, response};

/// An error that is answered with a status and a line of text, for handlers that use `?`.
///
/// Any other error becomes one. What the client sent wrongly ([`BadContent`], [`BadParameter`]) keeps its status and text;
/// everything else is answered 500, and only the log learns what it was.
///
/// ```
/// use greenpatch_server::application::{HttpError, Request, Response, response};
/// use http::StatusCode;
///
/// fn load(request: Request) -> Result<String, HttpError> {
///     let name = request.into_body().into_string(100)?;
///     if name.starts_with('.') {
///         return Err(HttpError::new(StatusCode::FORBIDDEN, "hidden files stay hidden"));
///     }
///     Ok(std::fs::read_to_string(name)?)
/// }
/// # use greenpatch_server::application::IntoResponse;
/// # let answer = |name: &'static str| load(Request::new(name.into())).into_response().status();
/// # assert_eq!(answer(".bashrc"), StatusCode::FORBIDDEN);
/// # assert_eq!(answer("no such file"), StatusCode::INTERNAL_SERVER_ERROR);
/// ```
pub struct HttpError {
    status: StatusCode,
    /// For the client.
    text: Cow<'static, str>,
    /// For the log.
    cause: Option<BoxError>,
}

impl HttpError {
    /// An error that is answered with this status and text.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> HttpError {
        HttpError {
            status,
            text: text.into(),
            cause: None,
        }
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The error that it was made from.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.cause.as_deref()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HttpError {
    fn from(error: E) -> HttpError {
        let any = &error as &dyn Any;
        let status = if let Some(content) = any.downcast_ref::<BadContent>() {
            status_of(content)
        } else if let Some(BadParameter::Malformed { .. }) = any.downcast_ref() {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let text = match status {
            StatusCode::INTERNAL_SERVER_ERROR => Cow::Borrowed(""),
            _ => error.to_string().into(),
        };
        HttpError {
            status,
            text,
            cause: Some(error.into()),
        }
    }
}

fn status_of(content: &BadContent) -> StatusCode {
    match content {
        BadContent::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BadContent::NotText(_) | BadContent::NotJson(_) => StatusCode::BAD_REQUEST,
        BadContent::Broken(error) => match error.kind() {
            io::ErrorKind::TimedOut => StatusCode::REQUEST_TIMEOUT,
            io::ErrorKind::FileTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        },
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        if let Some(cause) = self.cause.filter(|_| self.status.is_server_error()) {
            tracing::error!("handler failed: {cause}; answered {}", self.status.as_u16());
        }
        if self.text.is_empty() {
            return response::status(self.status);
        }
        response::text(format!("{}: {}\n", self.status, self.text)).with_status(self.status)
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpError")
            .field("status", &self.status)
            .field("text", &self.text)
            .field("cause", &self.cause)
            .finish()
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.status),
            None => write!(f, "{}: {}", self.status, self.text),
        }
    }
}

/// Why content could not be had in the form that was asked for.
///
/// It is a response as well (413, 400, 408), so a handler passes it on by `?`.
#[derive(Debug)]
#[non_exhaustive]
pub enum BadContent {
    /// It is longer than the caller allows.
    TooLong {
        /// The greatest length allowed, in bytes.
        limit: usize,
    },
    /// It is not UTF-8.
    NotText(std::str::Utf8Error),
    /// It is not JSON, or not of the form that is asked for.
    NotJson(serde_json::Error),
    /// It did not arrive, or could not be made.
    Broken(io::Error),
}

impl fmt::Display for BadContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadContent::TooLong { limit } => write!(f, "content longer than {limit} bytes"),
            BadContent::NotText(error) => write!(f, "content is not UTF-8: {error}"),
            BadContent::NotJson(error) => write!(f, "content is not the JSON expected: {error}"),
            BadContent::Broken(error) => write!(f, "content is incomplete: {error}"),
        }
    }
}

impl Error for BadContent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BadContent::TooLong { .. } => None,
            BadContent::NotText(error) => Some(error),
            BadContent::NotJson(error) => Some(error),
            BadContent::Broken(error) => Some(error),
        }
    }
}

impl From<io::Error> for BadContent {
    fn from(error: io::Error) -> BadContent {
        BadContent::Broken(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Body;
    use super::*;

    fn answered(error: impl Into<HttpError>) -> (u16, String) {
        let response = error.into().into_response();
        let status = response.status().as_u16();
        (status, response.into_body().into_string(1000).unwrap())
    }

    #[test]
    fn what_the_client_did_wrong_is_told_to_it() {
        let error = Body::from("long").into_bytes(3).unwrap_err();
        let text = "413 Payload Too Large: content longer than 3 bytes\n";
        assert_eq!(answered(error), (413, text.to_owned()));
        let error = Body::from("long").into_json::<u8>(9).unwrap_err();
        assert_eq!(answered(error).0, 400);
        let slow = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(answered(BadContent::Broken(slow)).0, 408);
    }

    #[test]
    fn what_the_server_did_wrong_is_not() {
        let secret = io::Error::other("password is 1234");
        let text = "500 Internal Server Error\n".to_owned();
        assert_eq!(answered(secret), (500, text));
    }
}
