//! The id of a request, by which the lines of several logs are found again.
//!
//! It is the client's where the client, or a proxy before us, has sent a sound one: `X-Request-Id`, or the trace id of a W3C
//! `traceparent`. Otherwise it is made of a number that this process drew when it started and a count, so that making one
//! costs an atomic addition and no memory. Written out, it is 32 hexadecimal digits, which is the form of a trace id too.
//!
//! While a handler runs, its request's id is in thread-local storage, which green threads have of their own, so an
//! application's log lines carry it without a span for every request. A thread that the handler starts begins without one.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::fields::NameLengths;

/// The field that carries it, in requests and in responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Of a client's id; UUIDs and the ids of load balancers are shorter.
const LONGEST: usize = 128;

thread_local! {
    static CURRENT: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// The id of a request: the client's, if it sent a sound one, or ours. It is in the request's extensions.
///
/// ```
/// use greenpatch_server::RequestId;
///
/// fn trace<B>(request: &http::Request<B>) -> String {
///     match request.extensions().get::<RequestId>() {
///         Some(id) => id.to_string(),
///         None => "not served by greenpatch".to_owned(),
///     }
/// }
/// # assert_eq!(trace(&http::Request::new(())), "not served by greenpatch");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// Made here, by the process that drew the first number, as its so-and-so-manyth.
    Made(u64, u64),
    /// Letters, digits and a few signs.
    Given(HeaderValue),
}

impl RequestId {
    /// The id of the request whose handler the caller runs in.
    ///
    /// ```
    /// // Off a handler there is none.
    /// assert!(greenpatch_server::RequestId::current().is_none());
    /// ```
    pub fn current() -> Option<RequestId> {
        // As the thread ends, when its values are gone, nobody handles a request.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// As a field's value.
    pub fn to_header(&self) -> HeaderValue {
        match &self.0 {
            Form::Made(process, count) => HeaderValue::from_bytes(&digits(*process, *count))
                .expect("hexadecimal digits may stand in a field"),
            Form::Given(value) => value.clone(),
        }
    }

    /// Makes this the [current](RequestId::current) one until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        let previous = CURRENT
            .try_with(|current| current.replace(Some(self.clone())))
            .ok()
            .flatten();
        Entered {
            previous,
            stays_on_its_thread: PhantomData,
        }
    }

    /// The client's, if it has sent one that is sound.
    fn of(fields: &HeaderMap) -> Option<RequestId> {
        let lengths = NameLengths::of(fields);
        if !lengths.may_have(&X_REQUEST_ID) && !lengths.may_have(&TRACEPARENT) {
            return None;
        }
        if let Some(value) = fields.get(X_REQUEST_ID)
            && is_sound(value.as_bytes())
        {
            return Some(RequestId(Form::Given(value.clone())));
        }
        let trace_id = trace_id(fields.get(TRACEPARENT)?.as_bytes())?;
        let value = HeaderValue::from_bytes(trace_id).ok()?;
        Some(RequestId(Form::Given(value)))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Made(process, count) => write!(f, "{process:016x}{count:016x}"),
            Form::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// While it lives, a request's id is the [current](RequestId::current) one of this thread.
pub(crate) struct Entered {
    previous: Option<RequestId>,
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.previous.take();
        let _ = CURRENT.try_with(|current| current.replace(previous));
    }
}

/// What makes ids; one a process, so that no two processes make the same.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        RequestIds {
            // The keys of std's hash maps come from the kernel's random numbers.
            process: RandomState::new().hash_one(std::process::id()),
            next: AtomicU64::new(1),
        }
    }

    /// The id of the request with these fields.
    pub(crate) fn take_over_or_make(&self, fields: &HeaderMap) -> RequestId {
        RequestId::of(fields).unwrap_or_else(|| {
            let count = self.next.fetch_add(1, Ordering::Relaxed);
            RequestId(Form::Made(self.process, count))
        })
    }
}

fn digits(process: u64, count: u64) -> [u8; 32] {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    let number = (u128::from(process) << 64) | u128::from(count);
    std::array::from_fn(|at| HEXADECIMAL[(number >> (4 * (31 - at))) as usize & 15])
}

/// Neither empty nor long, and of letters that mean nothing to a log, a shell or a page.
fn is_sound(id: &[u8]) -> bool {
    let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(may_stand)
}

/// The trace id of a `traceparent`, as W3C's Trace Context (2021) lays it out: version, trace id, parent id and flags in
/// lower-case hexadecimal digits with dashes between; a trace id of zeros is none, nor is one of version ff.
fn trace_id(parent: &[u8]) -> Option<&[u8]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = parent.split(|byte| *byte == b'-');
    for (length, is_trace_id) in [(2, false), (32, true), (16, false), (2, false)] {
        let part = parts.next()?;
        if part.len() != length || !part.iter().all(is_digit) {
            return None;
        }
        if is_trace_id && part.iter().all(|byte| *byte == b'0') {
            return None;
        }
    }
    let is_version_0 = parent.starts_with(b"00");
    if parent.starts_with(b"ff") || (is_version_0 && parts.next().is_some()) {
        return None;
    }
    parent.get(3..35)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id_of(fields: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        RequestIds::new().take_over_or_make(&map).to_string()
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sound_id_of_the_client_is_taken_over() {
        assert_eq!(id_of(&[("x-request-id", "a-B_9.:/+=@~")]), "a-B_9.:/+=@~");
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(id_of(&[("traceparent", PARENT)]), trace_id);
        let both = [("traceparent", PARENT), ("x-request-id", "mine")];
        assert_eq!(id_of(&both), "mine");
        let unsound = [("traceparent", PARENT), ("x-request-id", "a b")];
        assert_eq!(id_of(&unsound), trace_id);
    }

    #[test]
    fn any_other_is_replaced() {
        let long = "x".repeat(LONGEST + 1);
        for unsound in ["", "a b", "a\"b", "a\tb", "<script>", long.as_str()] {
            let id = id_of(&[("x-request-id", unsound)]);
            assert_eq!(id.len(), 32, "{unsound} became {id}");
            assert_ne!(id, unsound);
        }
        let zeros = "0".repeat(32);
        for unsound in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
        ] {
            let id = id_of(&[("traceparent", unsound)]);
            assert!(!unsound.contains(&id), "{unsound} became {id}");
        }
    }

    #[test]
    fn no_two_are_the_same() {
        let makers = [RequestIds::new(), RequestIds::new()];
        let ids: HashSet<String> = (0..2000)
            .map(|i| {
                let id = makers[i % 2].take_over_or_make(&HeaderMap::new());
                assert_eq!(id.to_header().to_str().unwrap(), id.to_string());
                id.to_string()
            })
            .collect();
        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn the_current_one_is_that_of_the_innermost_guard() {
        let ids = RequestIds::new();
        let [outer, inner] = [(); 2].map(|()| ids.take_over_or_make(&HeaderMap::new()));
        assert_eq!(RequestId::current(), None);
        let guard = outer.enter();
        {
            let _guard = inner.enter();
            assert_eq!(RequestId::current(), Some(inner.clone()));
        }
        assert_eq!(RequestId::current(), Some(outer.clone()));
        drop(guard);
        assert_eq!(RequestId::current(), None);
    }
}
