//! What a handler asks of a request's target: the parameters of its path, and its query.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::Request;

/// The parameters that a path had, as they stand in it.
#[derive(Clone)]
pub(super) struct Parameters(Vec<(Box<str>, Box<str>)>);

impl Parameters {
    /// Those of a match, but for the one of that name.
    pub(super) fn new(params: &matchit::Params<'_, '_>, without: &str) -> Parameters {
        let named = params.iter().filter(|(name, _)| *name != without);
        let named = named.map(|(name, value)| (name.into(), value.into()));
        Parameters(named.collect())
    }

    pub(super) fn put_into(self, request: &mut Request) {
        if self.0.is_empty() {
            return;
        }
        // A router may be mounted in another one.
        match request.extensions_mut().get_mut::<Parameters>() {
            Some(Parameters(outer)) => outer.extend(self.0),
            None => drop(request.extensions_mut().insert(self)),
        }
    }
}

/// What handlers ask of a request.
pub trait RequestExt {
    /// The parameter `name` of the route's path, percent-decoded and parsed.
    ///
    /// Passed on by `?` as an [`HttpError`](super::HttpError), a parameter that is not of the type is answered 404.
    fn parameter<T>(&self, name: &'static str) -> Result<T, BadParameter>
    where
        T: FromStr,
        T::Err: fmt::Display;

    /// The first value of `name` in the target's query, decoded.
    ///
    /// ```
    /// use greenpatch_server::application::{Request, RequestExt};
    ///
    /// let mut request = Request::default();
    /// *request.uri_mut() = "/search?text=green+threads&page=2".parse().unwrap();
    /// assert_eq!(request.query("text").as_deref(), Some("green threads"));
    /// assert_eq!(request.query("author"), None);
    /// ```
    fn query(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl<B> RequestExt for http::Request<B> {
    fn parameter<T>(&self, name: &'static str) -> Result<T, BadParameter>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let parameters = self.extensions().get::<Parameters>();
        let mut parameters = parameters.iter().flat_map(|parameters| &parameters.0);
        let raw = parameters.find_map(|(known, raw)| (**known == *name).then_some(raw));
        let raw = raw.ok_or(BadParameter::NotInRoute { name })?;
        let malformed = |reason: String| BadParameter::Malformed {
            name,
            value: raw.to_string(),
            reason,
        };
        let decoded = percent_decode_str(raw).decode_utf8();
        let decoded = decoded.map_err(|error| malformed(error.to_string()))?;
        decoded
            .parse()
            .map_err(|error: T::Err| malformed(error.to_string()))
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.uri().query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(known, value)| (known == name).then_some(value))
    }
}

/// Why a path parameter cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadParameter {
    /// The route has no parameter of that name: a mistake in the program.
    NotInRoute {
        /// What was asked for.
        name: &'static str,
    },
    /// It is not of the type that was asked for.
    Malformed {
        /// Its name.
        name: &'static str,
        /// Its value, as it stands in the path.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for BadParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadParameter::NotInRoute { name } => write!(
                f,
                "the route has no parameter `{name}`; write `{{{name}}}` in its path"
            ),
            BadParameter::Malformed {
                name,
                value,
                reason,
            } => write!(f, "parameter `{name}` cannot be `{value}`: {reason}"),
        }
    }
}

impl Error for BadParameter {}
