//! The cookies of a client: what RFC 6265 asks of one that speaks to a single host.

use std::cmp::Reverse;

use cookie::Cookie;
use cookie::time::OffsetDateTime;
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

use crate::application::Scheme;

/// No two have both the same name and the same path.
#[derive(Default)]
pub(super) struct Cookies(Vec<Cookie<'static>>);

impl Cookies {
    /// Takes over what a response to a request of `path` sets, and forgets what it ends.
    pub(super) fn take_from(&mut self, fields: &HeaderMap, path: &str) {
        for field in fields.get_all(SET_COOKIE) {
            let text = field.to_str().ok();
            let Some(Ok(mut cookie)) = text.map(|text| Cookie::parse(text.to_owned())) else {
                continue;
            };
            if !cookie.path().is_some_and(|path| path.starts_with('/')) {
                cookie.set_path(directory(path).to_owned());
            }
            self.insert(cookie);
        }
    }

    fn insert(&mut self, cookie: Cookie<'static>) {
        self.0
            .retain(|known| (known.name(), known.path()) != (cookie.name(), cookie.path()));
        if !is_over(&cookie) {
            self.0.push(cookie);
        }
    }

    /// The field for a request of `path`: those with the longest path first.
    pub(super) fn field_for(&self, path: &str, scheme: Scheme) -> Option<HeaderValue> {
        let mut sent: Vec<&Cookie<'static>> = self.0.iter().collect();
        sent.retain(|cookie| {
            let is_open = scheme == Scheme::Https || cookie.secure() != Some(true);
            is_open && !is_over(cookie) && covers(cookie.path().unwrap_or("/"), path)
        });
        sent.sort_by_key(|cookie| Reverse(cookie.path().map(str::len)));
        let pairs: Vec<String> = sent.iter().map(|cookie| pair(cookie)).collect();
        HeaderValue::try_from(pairs.join("; "))
            .ok()
            .filter(|field| !field.is_empty())
    }

    pub(super) fn value(&self, name: &str) -> Option<String> {
        let mut known = self.0.iter().filter(|cookie| !is_over(cookie));
        let found = known.find(|cookie| cookie.name() == name)?;
        Some(found.value().to_owned())
    }

    #[track_caller]
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let is_plain = |text: &str| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
        };
        assert!(
            is_plain(name) && is_plain(value) && !name.contains('='),
            "cookie `{name}` cannot be {value:?}: percent-encode what is no letter or digit"
        );
        self.insert(
            Cookie::build((name.to_owned(), value.to_owned()))
                .path("/")
                .build(),
        );
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn pair(cookie: &Cookie<'_>) -> String {
    format!("{}={}", cookie.name(), cookie.value())
}

/// `Max-Age` goes before `Expires`. A positive age outlives any test.
fn is_over(cookie: &Cookie<'_>) -> bool {
    match (cookie.max_age(), cookie.expires_datetime()) {
        (Some(age), _) => !age.is_positive(),
        (None, Some(end)) => end <= OffsetDateTime::now_utc(),
        (None, None) => false,
    }
}

/// RFC 6265, section 5.1.4: the path of a cookie that names none.
fn directory(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(last) => &path[..last],
    }
}

/// The same section: whether a cookie of one path is sent to another.
fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie.ends_with('/'))
}
