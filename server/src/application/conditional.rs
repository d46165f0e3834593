//! Conditional requests and ranges, as RFC 9110 has them (sections 13 and 14): what of a representation is to be sent.
//!
//! A malformed condition is as none, and so is a malformed range: the client then gets the whole, which is never wrong. The
//! same goes for a set of ranges that asks for more than there is or comes in very many pieces, which only costs (its section
//! 17.15 warns of them).

use std::ops::Range;
use std::time::SystemTime;

use headers::{
    ETag, Header, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince,
};
use http::{HeaderMap, HeaderValue, Method, header};

/// Most ranges that one request may ask for.
const RANGES: usize = 32;

/// By what a client knows a representation again.
pub(super) struct Validators {
    pub(super) etag: HeaderValue,
    /// To the second, as HTTP has it.
    pub(super) modified: Option<SystemTime>,
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// 206: these parts, which are not empty and lie inside.
    Parts(Vec<Range<u64>>),
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    Unsatisfiable,
}

/// Decides by the request's fields; `length` is the representation's.
pub(super) fn judge(
    method: &Method,
    fields: &HeaderMap,
    validators: &Validators,
    length: u64,
) -> Verdict {
    let is_get = method == Method::GET;
    let reads = is_get || method == Method::HEAD;
    let etag = ETag::decode(&mut std::iter::once(&validators.etag)).ok();
    let modified = validators.modified;

    if let Some(condition) = tags::<IfMatch>(fields) {
        let matches = |etag| condition.precondition_passes(etag);
        if !condition.is_any() && !etag.as_ref().is_some_and(matches) {
            return Verdict::Failed;
        }
    } else if let Some(condition) = fields.typed_get::<IfUnmodifiedSince>()
        && modified.is_some_and(|modified| !condition.precondition_passes(modified))
    {
        return Verdict::Failed;
    }

    if fields.contains_key(header::IF_NONE_MATCH) {
        let condition = tags::<IfNoneMatch>(fields);
        let passes = |etag| {
            condition
                .as_ref()
                .is_none_or(|c| c.precondition_passes(etag))
        };
        if !etag.as_ref().is_none_or(passes) {
            return if reads {
                Verdict::NotModified
            } else {
                Verdict::Failed
            };
        }
    } else if reads
        && let Some(condition) = fields.typed_get::<IfModifiedSince>()
        && modified.is_some_and(|modified| !condition.is_modified(modified))
    {
        return Verdict::NotModified;
    }

    match fields.get(header::RANGE).map(HeaderValue::to_str) {
        Some(Ok(range)) if is_get && is_same(fields, validators) => match ranges(range, length) {
            None => Verdict::Whole,
            Some(ranges) if ranges.is_empty() => Verdict::Unsatisfiable,
            Some(ranges) => Verdict::Parts(ranges),
        },
        _ => Verdict::Whole,
    }
}

/// A condition that lists entity tags. No tag has a space or a tab in it, at which `headers` panics in a debug build.
fn tags<T: Header>(fields: &HeaderMap) -> Option<T> {
    let lines = fields.get_all(T::name()).iter();
    let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    // As `headers` reads several lines: a quote that one leaves open goes on in the next.
    let list = lines.join(&b", "[..]);
    let parts = list.split(|byte| *byte == b'"');
    // Every other part stands between quotes.
    let mut tags = parts.skip(1).step_by(2);
    let is_sound = tags.all(|tag| !tag.contains(&b' ') && !tag.contains(&b'\t'));
    is_sound.then(|| fields.typed_get())?
}

/// Whether `If-Range` allows parts. It compares strongly: a weak tag, or a date other than the very one, allows none.
fn is_same(fields: &HeaderMap, validators: &Validators) -> bool {
    let Some(condition) = fields.get(header::IF_RANGE) else {
        return true;
    };
    if condition == validators.etag {
        return !condition.as_bytes().starts_with(b"W/");
    }
    let date = condition.to_str().ok();
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    date.is_some() && date == validators.modified
}

/// The ranges that can be satisfied, in the order asked for; `None` if the field is to be ignored.
fn ranges(field: &str, length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = Vec::new();
    let mut total = 0_u64;
    for (count, spec) in set.split(',').map(str::trim).enumerate() {
        if count == RANGES {
            return None;
        }
        // Lists may have empty elements.
        if spec.is_empty() {
            continue;
        }
        let (first, last) = spec.split_once('-')?;
        let range = match (first, last) {
            ("", suffix) => length.saturating_sub(number(suffix)?)..length,
            (first, "") => number(first)?..length,
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                first..last.saturating_add(1).min(length)
            }
        };
        if range.start < range.end {
            total = total.checked_add(range.end - range.start)?;
            ranges.push(range);
        }
    }
    (total <= length).then_some(ranges)
}

/// Digits only. A number too large for us is beyond any end.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const MODIFIED: Duration = Duration::from_secs(784_111_777);
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const DAY_BEFORE: &str = "Sat, 05 Nov 1994 08:49:37 GMT";

    fn verdict_for(
        method: &Method,
        etag: &'static str,
        fields: &[(&'static str, &str)],
    ) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        let validators = Validators {
            etag: HeaderValue::from_static(etag),
            modified: Some(UNIX_EPOCH + MODIFIED),
        };
        judge(method, &map, &validators, 100)
    }

    fn verdict(fields: &[(&'static str, &str)]) -> Verdict {
        verdict_for(&Method::GET, "\"a\"", fields)
    }

    #[test]
    fn a_tag_with_a_space_in_it_is_malformed() {
        assert_eq!(verdict(&[("if-match", "\"a b\"")]), Verdict::Whole);
        assert_eq!(
            verdict(&[("if-none-match", "\"a\", \"a\tb\"")]),
            Verdict::Whole
        );
    }

    #[test]
    fn a_client_that_has_it_gets_304() {
        for fields in [
            ("if-none-match", "\"a\""),
            ("if-none-match", "W/\"a\""),
            ("if-none-match", "\"b\", \"a\""),
            ("if-none-match", "*"),
            ("if-modified-since", DATE),
        ] {
            assert_eq!(verdict(&[fields]), Verdict::NotModified, "{fields:?}");
            let head = verdict_for(&Method::HEAD, "\"a\"", &[fields]);
            assert_eq!(head, Verdict::NotModified, "{fields:?}");
        }
        let put = verdict_for(&Method::PUT, "\"a\"", &[("if-none-match", "*")]);
        assert_eq!(put, Verdict::Failed);
    }

    #[test]
    fn a_client_that_has_it_not_gets_it() {
        for fields in [
            ("if-none-match", "\"b\""),
            ("if-modified-since", DAY_BEFORE),
            ("if-modified-since", "no date"),
            ("if-match", "\"a\""),
            ("if-match", "*"),
            ("if-unmodified-since", DATE),
            ("if-unmodified-since", "no date"),
        ] {
            assert_eq!(verdict(&[fields]), Verdict::Whole, "{fields:?}");
        }
        // The tag decides alone where there is one.
        let both = [("if-none-match", "\"b\""), ("if-modified-since", DATE)];
        assert_eq!(verdict(&both), Verdict::Whole);
    }

    #[test]
    fn a_condition_that_does_not_hold_gets_412() {
        for fields in [
            ("if-match", "\"b\""),
            ("if-match", "W/\"a\""),
            ("if-unmodified-since", DAY_BEFORE),
        ] {
            assert_eq!(verdict(&[fields]), Verdict::Failed, "{fields:?}");
        }
    }

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        for (field, parts) in [
            ("bytes=0-0", vec![(0, 1)]),
            ("bytes=10-19", vec![(10, 20)]),
            ("BYTES = 90-", vec![(90, 100)]),
            ("bytes=-1", vec![(99, 100)]),
            ("bytes=-1000", vec![(0, 100)]),
            ("bytes=50-1000", vec![(50, 100)]),
            ("bytes=0-18446744073709551615", vec![(0, 100)]),
            ("bytes=0-0, ,-1", vec![(0, 1), (99, 100)]),
            ("bytes=100-, 0-1", vec![(0, 2)]),
        ] {
            let parts = parts.into_iter().map(|(start, end)| start..end);
            let expected = Verdict::Parts(parts.collect());
            assert_eq!(verdict(&[("range", field)]), expected, "{field}");
        }
    }

    #[test]
    fn ranges_beyond_the_end_get_416() {
        for field in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(
                verdict(&[("range", field)]),
                Verdict::Unsatisfiable,
                "{field}"
            );
        }
    }

    #[test]
    fn malformed_and_costly_ranges_get_the_whole() {
        let many = format!("bytes={}", ["0-0"; RANGES + 1].join(","));
        for field in [
            "bytes",
            "bytes=a-",
            "bytes=1",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=--1",
            "lines=1-2",
            "bytes=0-,0-",
            "bytes=0-60,50-99",
            &many,
        ] {
            assert_eq!(verdict(&[("range", field)]), Verdict::Whole, "{field}");
        }
        let head = verdict_for(&Method::HEAD, "\"a\"", &[("range", "bytes=0-0")]);
        assert_eq!(head, Verdict::Whole);
    }

    #[test]
    fn parts_are_for_who_has_the_rest_of_the_same() {
        let range = ("range", "bytes=0-9");
        let parts = Verdict::Parts(std::iter::once(0..10).collect());
        for (condition, expected) in [
            ("\"a\"", &parts),
            (DATE, &parts),
            ("\"b\"", &Verdict::Whole),
            ("W/\"a\"", &Verdict::Whole),
            (DAY_BEFORE, &Verdict::Whole),
        ] {
            assert_eq!(
                &verdict(&[range, ("if-range", condition)]),
                expected,
                "{condition}"
            );
        }
        let weak = verdict_for(&Method::GET, "W/\"a\"", &[range, ("if-range", "W/\"a\"")]);
        assert_eq!(weak, Verdict::Whole);
    }
}
