use http::HeaderMap;
use http::header::HeaderName;

use super::*;
use crate::observe::request_id::RequestIds;

/// A format with every atom that does not depend on the time, and what gunicorn 27.0.1 wrote with it for requests like these; its
/// application answered with `X-Out: say "hi"` and, but for HEAD, 5 bytes. It leaves a backslash as it is, we do not.
const ATOMS: &str = "%(h)s|%(l)s|%(u)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(b)s|%(B)s|%(f)s|%(a)s|%({X-Thing}i)s|\
                     %({x-out}o)s|%({remote_addr}e)s|%({HTTP_X_THING}e)s|%({raw_uri}e)s|%({path_info}e)s|%({no_such}e)s|\
                     %({no-such}i)s|100%%";

type Case = (
    (&'static str, &'static str, Version),
    &'static [(&'static str, &'static str)],
    u16,
    &'static str,
);

const GUNICORNS: [Case; 8] = [
    (
        ("GET", "/", Version::HTTP_11),
        &[],
        200,
        r#"127.0.0.1|-|-|GET / HTTP/1.1|GET|/||HTTP/1.1|200|5|5|-|-|-|say \"hi\"|127.0.0.1|-|/|/|-|-|100%"#,
    ),
    (
        ("GET", "/a%20b/%22q%22?x=1&y=%20", Version::HTTP_11),
        &[
            ("Referer", r#"http://r/?"q""#),
            ("User-Agent", r#"cur"l"#),
            ("X-Thing", r#"th"ing"#),
        ],
        200,
        r#"127.0.0.1|-|-|GET /a%20b/%22q%22?x=1&y=%20 HTTP/1.1|GET|/a b/\"q\"|x=1&y=%20|HTTP/1.1|200|5|5|http://r/?\"q\"|cur\"l|th\"ing|say \"hi\"|127.0.0.1|th\"ing|/a%20b/%22q%22?x=1&y=%20|/a b/\"q\"|-|-|100%"#,
    ),
    (
        ("POST", "/missing", Version::HTTP_10),
        &[("Authorization", "Basic dXNlcjpwYXNz")],
        404,
        r#"127.0.0.1|-|user|POST /missing HTTP/1.0|POST|/missing||HTTP/1.0|404|5|5|-|-|-|say \"hi\"|127.0.0.1|-|/missing|/missing|-|-|100%"#,
    ),
    (
        ("GET", "http://h/p?q", Version::HTTP_11),
        &[],
        200,
        r#"127.0.0.1|-|-|GET http://h/p?q HTTP/1.1|GET|/p|q|HTTP/1.1|200|5|5|-|-|-|say \"hi\"|127.0.0.1|-|http://h/p?q|/p|-|-|100%"#,
    ),
    (
        ("GET", "/tab", Version::HTTP_11),
        &[("User-Agent", "a\tb"), ("Authorization", "Basic OnBhc3M=")],
        200,
        "127.0.0.1|-|-|GET /tab HTTP/1.1|GET|/tab||HTTP/1.1|200|5|5|-|a\tb|-|say \\\"hi\\\"|127.0.0.1|-|/tab|/tab|-|-|100%",
    ),
    (
        ("GET", "/x?", Version::HTTP_11),
        &[("User-Agent", ""), ("Authorization", "Bearer abc")],
        200,
        r#"127.0.0.1|-|-|GET /x? HTTP/1.1|GET|/x||HTTP/1.1|200|5|5|-||-|say \"hi\"|127.0.0.1|-|/x?|/x|-|-|100%"#,
    ),
    (
        ("HEAD", "/h", Version::HTTP_11),
        &[],
        200,
        r#"127.0.0.1|-|-|HEAD /h HTTP/1.1|HEAD|/h||HTTP/1.1|200|0|0|-|-|-|say \"hi\"|127.0.0.1|-|/h|/h|-|-|100%"#,
    ),
    (
        ("OPTIONS", "*", Version::HTTP_11),
        &[],
        200,
        r#"127.0.0.1|-|-|OPTIONS * HTTP/1.1|OPTIONS|*||HTTP/1.1|200|5|5|-|-|-|say \"hi\"|127.0.0.1|-|*|*|-|-|100%"#,
    ),
];

fn record(
    format: &Format,
    (method, target, version): (&str, &str, Version),
    fields: &[(&str, &str)],
    status: u16,
) -> Record {
    let mut all = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        all.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let out = HeaderMap::from_iter([(
        HeaderName::from_static("x-out"),
        HeaderValue::from_static(r#"say "hi""#),
    )]);
    let pick = |names: &[HeaderName], fields: &HeaderMap| {
        names.iter().map(|name| fields.get(name).cloned()).collect()
    };
    Record {
        peer: Some("127.0.0.1:4000".parse().unwrap()),
        head: Some(Head {
            method: method.parse().unwrap(),
            uri: target.parse().unwrap(),
            version,
        }),
        request_fields: pick(format.request_fields(), &all),
        response_fields: pick(format.response_fields(), &out),
        status: StatusCode::from_u16(status).ok(),
        bytes: if method == "HEAD" { 0 } else { 5 },
        is_complete: true,
        duration: Duration::from_micros(2_034_005),
        queued: Duration::from_micros(7),
        id: RequestIds::new().take_over_or_make(&all),
        route: Route::new("/access-test/{id}"),
    }
}

fn line(format: &Format, record: &Record) -> String {
    let mut clock = Clock::default();
    clock.read();
    let mut line = Vec::new();
    format.write(record, &clock, &mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    String::from_utf8(line).unwrap()
}

/// gunicorn writes a backslash as it is, so that one before a quote seems to take it into the text.
#[test]
fn a_backslash_does_not_take_the_closing_quote_along() {
    let format: Format = r#""%(a)s" %(s)s"#.parse().unwrap();
    let fields = [("User-Agent", r#"a\" 500 b\"#)];
    let record = record(&format, ("GET", "/", Version::HTTP_11), &fields, 200);
    assert_eq!(line(&format, &record), r#""a\\\" 500 b\\" 200"#);
}

#[test]
fn lines_are_gunicorns() {
    let format: Format = ATOMS.parse().unwrap();
    for (head, fields, status, expected) in GUNICORNS {
        let record = record(&format, head, fields, status);
        assert_eq!(line(&format, &record), expected);
    }
}

#[test]
fn durations_are_in_gunicorns_units() {
    let format: Format = "%(T)s %(M)d %(D)s %(L)s %(p)s".parse().unwrap();
    let record = record(&format, ("GET", "/", Version::HTTP_11), &[], 200);
    let process = std::process::id();
    assert_eq!(
        line(&format, &record),
        format!("2 2034 2034005 2.034005 <{process}>")
    );
}

#[test]
fn our_own_variables_are_known_as_well() {
    let format: Format = "%({request_id}e)s %({route}e)s %({queue_time}e)s %({remote_port}e)s"
        .parse()
        .unwrap();
    let mut record = record(
        &format,
        ("GET", "/", Version::HTTP_11),
        &[("x-request-id", "mine")],
        200,
    );
    assert_eq!(
        line(&format, &record),
        "mine /access-test/{id} 0.000007 4000"
    );
    record.route = Route::NONE;
    record.peer = None;
    assert_eq!(line(&format, &record), "mine - 0.000007 -");
}

#[test]
fn a_variable_that_nobody_knows_is_the_processs() {
    let cargo = std::env::var("CARGO_PKG_NAME").unwrap();
    let format: Format = "%({CARGO_PKG_NAME}e)s".parse().unwrap();
    let record = record(&format, ("GET", "/", Version::HTTP_11), &[], 200);
    assert_eq!(line(&format, &record), cargo);
}

#[test]
fn the_named_formats_are_the_common_ones() {
    let combined: Format = "combined".parse().unwrap();
    let record = record(
        &combined,
        ("GET", "/a?b", Version::HTTP_2),
        &[("Referer", "http://r/"), ("User-Agent", "tester")],
        304,
    );
    let line = line(&combined, &record);
    let (begin, rest) = line.split_once('[').unwrap();
    let (time, rest) = rest.split_once(']').unwrap();
    assert_eq!(begin, "127.0.0.1 - - ");
    jiff::Zoned::strptime("%d/%b/%Y:%H:%M:%S %z", time).unwrap();
    assert_eq!(rest, r#" "GET /a?b HTTP/2.0" 304 5 "http://r/" "tester""#);

    let common: Format = "common".parse().unwrap();
    let line = self::line(&common, &record);
    assert!(line.ends_with(r#" "GET /a?b HTTP/2.0" 304 5"#), "{line}");
    assert_eq!(
        Format::default().request_fields(),
        combined.request_fields()
    );
}

#[test]
fn what_a_client_sends_stays_in_its_place() {
    let format: Format = "%(U)s %({x-thing}i)s".parse().unwrap();
    let mut record = record(
        &format,
        ("GET", "/%0a%1b%00%ff%C3%A9%22%5C", Version::HTTP_11),
        &[],
        200,
    );
    record.request_fields = vec![Some(
        HeaderValue::from_bytes(b"caf\xe9 \xc3\xa9 \xc2\x85").unwrap(),
    )];
    assert_eq!(
        line(&format, &record),
        "/\\x0a\\x1b\\x00\\xff\u{e9}\\\"\\\\ caf\\xe9 \u{e9} \\xc2\\x85"
    );
}

#[test]
fn a_request_that_was_never_understood_has_a_line_too() {
    let format: Format = "combined".parse().unwrap();
    let mut record = record(&format, ("GET", "/", Version::HTTP_11), &[], 408);
    record.head = None;
    record.request_fields.clear();
    let line = line(&format, &record);
    assert!(line.ends_with(r#" "-" 408 5 "-" "-""#), "{line}");
}

#[test]
fn json_has_what_there_is() {
    let format: Format = "json".parse().unwrap();
    let fields = [
        ("User-Agent", "a \"b\" \u{e9}"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("X-Request-Id", "mine"),
    ];
    let mut record = record(&format, ("GET", "/a%20b?c", Version::HTTP_11), &fields, 200);
    let read = |record: &Record| -> serde_json::Value {
        serde_json::from_str(&line(&format, record)).unwrap()
    };
    let mut json = read(&record);
    let time = json["time"].take();
    time.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "time": null,
            "pid": std::process::id(),
            "request_id": "mine",
            "remote_addr": "127.0.0.1",
            "remote_port": 4000,
            "user": "user",
            "method": "GET",
            "target": "/a%20b?c",
            "protocol": "HTTP/1.1",
            "status": 200,
            "bytes": 5,
            "complete": true,
            "duration": 2.034005,
            "queue_time": 0.000007,
            "route": "/access-test/{id}",
            "user_agent": "a \"b\" \u{e9}",
        })
    );
    record.head = None;
    record.status = None;
    record.is_complete = false;
    let json = read(&record);
    assert!(json.get("status").is_none() && json.get("target").is_none());
    assert_eq!(json["complete"], false);
}

#[test]
fn what_is_no_format_is_refused_with_a_remedy() {
    for (text, part) in [
        (
            "%(x)s",
            r#"there is no atom "x"; the atoms are h l u t r m"#,
        ),
        ("%({a}x)s", r#"there is no atom "{a}x""#),
        ("%({a b}i)s", r#""a b" cannot be the name of a field"#),
        ("50%", "write %% for a percent sign"),
        ("%h", "% begins an atom, as in %(h)s"),
        ("%(h", "% begins an atom, as in %(h)s"),
        (
            "%(h)x",
            "%(h) must be followed by s, as in %(h)s, not by 'x'",
        ),
        ("%(h)", "%(h) must be followed by s"),
        ("a\nb", "line end"),
    ] {
        let error = text.parse::<Format>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn a_format_is_shown_as_it_was_written() {
    for text in ["json", "combined", "%(h)s 100%% %({x-a}i)s"] {
        assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
    }
}
