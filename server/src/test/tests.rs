use std::io::{self, Read};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{panic, thread};

use http::header::SET_COOKIE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::RequestId;
use crate::application::{
    Body, HttpError, Json, PeerAddress, RequestExt, ResponseExt, Router, Scheme, response,
};

/// What a handler sees of its request.
fn mirror(request: Request) -> Json<Value> {
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request.headers().iter();
    let headers: serde_json::Map<String, Value> = headers
        .map(|(name, value)| (name.to_string(), text(value).into()))
        .collect();
    let peer = request.extensions().get::<PeerAddress>().unwrap().0;
    let scheme = request.extensions().get::<Scheme>().unwrap().as_str();
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let content = request.into_body().into_string(10_000).unwrap();
    Json(json!({
        "method": method, "uri": uri, "headers": headers,
        "peer": peer.to_string(), "scheme": scheme, "content": content,
    }))
}

/// The message of the panic that `run` ends with.
fn panic_of(run: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn a_handler_sees_what_the_server_would_show_it() {
    let client = Client::new(mirror);
    let seen: Value = client.get("/path?a=1").send().json();
    let expected = json!({
        "method": "GET", "uri": "/path?a=1", "headers": { "host": "localhost" },
        "peer": "127.0.0.1", "scheme": "http", "content": "",
    });
    assert_eq!(seen, expected);
    let client = client.with_peer(Peer::Unix).with_header("accept", "*/*");
    let asked = client.put("https://example.org:8443/path");
    let seen: Value = asked.header("x-a", "1").json(&[1, 2]).send().json();
    let expected = json!({
        "method": "PUT", "uri": "/path", "peer": "unix", "scheme": "https", "content": "[1,2]",
        "headers": {
            "accept": "*/*", "content-length": "5", "content-type": "application/json",
            "host": "example.org:8443", "x-a": "1",
        },
    });
    assert_eq!(seen, expected);
}

#[test]
fn a_request_has_an_id_and_what_the_test_puts_into_it() {
    let client = Client::new(|request: Request| {
        let id = request.extensions().get::<RequestId>().unwrap();
        let number = request.extensions().get::<u32>().unwrap();
        format!("{id} {number}")
    });
    let asked = client
        .get("/")
        .header("x-request-id", "abc")
        .extension(7u32);
    assert_eq!(asked.send().text(), "abc 7");
}

#[test]
fn every_method_has_its_way() {
    let client = Client::new(|request: Request| request.method().to_string());
    assert_eq!(client.get("/").send().text(), "GET");
    assert_eq!(client.post("/").send().text(), "POST");
    assert_eq!(client.put("/").send().text(), "PUT");
    assert_eq!(client.patch("/").send().text(), "PATCH");
    assert_eq!(client.delete("/").send().text(), "DELETE");
    let options = client.request(Method::OPTIONS, "/").send();
    assert_eq!(options.text(), "OPTIONS");
    // As over HTTP.
    assert_eq!(client.head("/").send().text(), "");
}

#[test]
fn tower_services_and_async_functions_are_asked_as_well() {
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "axum" }));
    assert_eq!(Client::new(router).get("/").send().text(), "axum");
    let client = Client::new(async |request: Request| request.uri().to_string());
    assert_eq!(client.get("/async").send().text(), "/async");
}

#[test]
fn a_handler_blocks_the_thread_that_asks_and_no_other() {
    let all_here = Arc::new(Barrier::new(3));
    let client = Client::new(move || {
        all_here.wait();
        "met"
    });
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.get("/").send().text())
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.join().unwrap(), "met");
    }
}

#[test]
fn on_green_threads_handlers_park() {
    let text = greenpatch::run(|| {
        let client = Client::new(|| {
            assert!(greenpatch::thread::is_green());
            greenpatch::time::sleep(Duration::from_millis(1));
            "parked"
        });
        client.get("/").send().text()
    });
    assert_eq!(text, "parked");
}

#[test]
fn a_panic_of_a_handler_is_the_tests() {
    let client = Client::new(|| -> &str { panic!("no such {}", "luck") });
    assert_eq!(panic_of(|| drop(client.get("/").send())), "no such luck");
    let failing = tower::service_fn(|_: Request| async {
        Err::<Response, _>(io::Error::other("disk on fire"))
    });
    let text = panic_of(|| drop(Client::new(failing).get("/a").send()));
    assert_eq!(text, "the application failed at GET /a: disk on fire");
}

#[test]
fn content_that_breaks_off_is_no_content() {
    let client = Client::new(|| {
        Body::from_writer(|writer| {
            writer.send("part")?;
            panic!("at the disco")
        })
    });
    let mut part = [0; 4];
    let mut response = client.get("/").send();
    response.read_exact(&mut part).unwrap();
    assert_eq!(&part, b"part");
    let text = panic_of(|| drop(client.get("/").send().text()));
    assert!(text.starts_with("answered 200 OK, but"), "{text}");
    assert!(text.contains("at the disco"), "{text}");
}

#[test]
fn an_unexpected_status_is_told_with_the_content() {
    let fails = |_: Request| -> Result<(), HttpError> {
        Err(HttpError::new(StatusCode::CONFLICT, "taken"))
    };
    let client = Client::new(fails);
    let refused = client.post("/").send().assert_status(409);
    assert_eq!(refused.text(), "409 Conflict: taken\n");
    let text = panic_of(|| drop(client.post("/").send().assert_status(201)));
    assert_eq!(
        text,
        "answered 409 Conflict instead of 201: Ok(\"409 Conflict: taken\\n\")"
    );
    let text = panic_of(|| drop(client.post("/").send().json::<Value>()));
    assert!(text.contains(r#"it is "409 Conflict: taken\n""#), "{text}");
}

#[test]
fn a_target_that_is_none_is_told_so() {
    let client = Client::new(mirror);
    for target in ["rand", "", "ftp://host/", "/a b"] {
        let text = panic_of(|| drop(client.get(target)));
        assert!(
            text.starts_with(&format!("cannot ask for `{target}`: ")),
            "{text}"
        );
    }
    let text = panic_of(|| drop(client.get("/").header("x-a", "1\r\nx-b: 2")));
    assert!(
        text.starts_with("the value cannot be that of field `x-a`"),
        "{text}"
    );
}

#[test]
fn cookies_come_back_where_they_belong() {
    let set = |request: Request| {
        let cookie = request.query("set").unwrap().into_owned();
        response::text("").with_header(SET_COOKIE, cookie)
    };
    let show = |request: Request| {
        let cookie = request.headers().get("cookie");
        cookie.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let router = Router::new().get("/a/set", set).get("/{*path}", show);
    let client = Client::new(router);
    let set = |cookie| drop(client.get("/a/set").query("set", cookie).send());
    let show = |path: &str| client.get(path).send().text();
    set("all=1; Path=/; HttpOnly");
    set("a=2");
    set("closed=3; Path=/; Secure");
    assert_eq!(show("/b"), "all=1");
    assert_eq!(show("/ab"), "all=1");
    assert_eq!(show("/a/b"), "a=2; all=1");
    assert_eq!(show("https://localhost/b"), "all=1; closed=3");
    assert_eq!(client.cookie("closed").as_deref(), Some("3"));
    set("all=4; Path=/; Max-Age=100");
    assert_eq!(show("/b"), "all=4");
    set("all=; Path=/; Max-Age=0");
    set("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(show("/a/b"), "");
    client.set_cookie("mine", "5");
    assert_eq!(show("/a/b"), "mine=5");
    let asked = client.get("/b").header("cookie", "other=6");
    assert_eq!(asked.send().text(), "other=6");
    client.clear_cookies();
    assert_eq!(client.cookie("mine"), None);
    let text = panic_of(|| client.set_cookie("a", "1; Path=/b"));
    assert!(text.contains("percent-encode what"), "{text}");
}

#[test]
fn redirects_are_followed_on_request() {
    let to = |location: &'static str, status: u16| {
        move |_: Request| {
            let status = StatusCode::from_u16(status).unwrap();
            response::redirect(location).with_status(status)
        }
    };
    let router = Router::new()
        .any("/other", to("/mirror", 303))
        .any("/same", to("/mirror?again", 307))
        .any("/host", to("https://example.org/mirror", 302))
        .any("/circle", to("/circle", 301))
        .any("/in/relative", to("mirror?in", 301))
        .any("/in/mirror", mirror)
        .any("/mirror", mirror);
    let client = Client::new(router);
    assert_eq!(client.get("/other").send().status(), 303);
    let client = client.follow_redirects();
    let seen: Value = client.post("/other").json(&1).send().json();
    assert_eq!(
        (&seen["method"], &seen["content"]),
        (&json!("GET"), &json!(""))
    );
    assert_eq!(seen["headers"], json!({ "host": "localhost" }));
    let seen: Value = client.post("/same").json(&1).send().json();
    assert_eq!(
        (&seen["method"], &seen["content"]),
        (&json!("POST"), &json!("1"))
    );
    assert_eq!(seen["uri"], "/mirror?again");
    let seen: Value = client.get("/host").send().json();
    assert_eq!(
        (&seen["scheme"], &seen["headers"]["host"]),
        (&json!("https"), &json!("example.org"))
    );
    let seen: Value = client.get("/in/relative").send().json();
    assert_eq!(seen["uri"], "/in/mirror?in");
    let text = panic_of(|| drop(client.get("/circle").send()));
    assert!(
        text.starts_with("the application has redirected 10 times"),
        "{text}"
    );
    let streamed = Body::from_reader(&b"once"[..]);
    let text = panic_of(|| drop(client.post("/same").body(streamed).send()));
    assert!(
        text.contains("streamed content cannot be sent once more"),
        "{text}"
    );
}

#[test]
fn forms_with_files_are_what_browsers_send() {
    let form = Form::new()
        .text("title", "grün")
        .file("image\"", "a\r\nb.png", &b"\x89PNG"[..]);
    let client = Client::new(|request: Request| request.into_body());
    let response = client.post("/").multipart(&form).send();
    let content = response.bytes();
    let expected = "--greenpatch-test-0\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\ngrün\r\n\
        --greenpatch-test-0\r\nContent-Disposition: form-data; name=\"image%22\"; filename=\"a%0D%0Ab.png\"\r\n\
        Content-Type: image/png\r\n\r\n";
    let expected = [expected.as_bytes(), b"\x89PNG\r\n--greenpatch-test-0--\r\n"].concat();
    assert_eq!(content, expected);
    let form = Form::new().text("a", "greenpatch-test-0");
    let (content_type, _) = form.encode();
    assert_eq!(
        content_type,
        "multipart/form-data; boundary=greenpatch-test-1"
    );
}

#[test]
fn multipart_of_axum_reads_them() {
    use axum::extract::Multipart;
    let upload = |mut form: Multipart| async move {
        let mut parts = Vec::new();
        while let Some(part) = form.next_field().await.unwrap() {
            let name = part.file_name().or(part.name()).unwrap().to_owned();
            parts.push(format!("{name}: {}", part.bytes().await.unwrap().len()));
        }
        parts.join(", ")
    };
    let router = axum::Router::new().route("/", axum::routing::post(upload));
    let form = Form::new()
        .text("title", "duck")
        .file("image", "duck.png", vec![7; 5000]);
    let response = Client::new(router).post("/").multipart(&form).send();
    assert_eq!(response.text(), "title: 4, duck.png: 5000");
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_is_around_handlers_and_what_they_stream() {
    let sleep = || tokio::time::sleep(Duration::from_millis(1));
    let stream = move || async move {
        sleep().await;
        let pieces = futures::stream::unfold(0, move |number| async move {
            sleep().await;
            (number < 3).then(|| (Ok::<_, io::Error>(number.to_string()), number + 1))
        });
        axum::body::Body::from_stream(pieces)
    };
    let router = axum::Router::new().route("/", axum::routing::get(stream));
    assert_eq!(Client::new(router).get("/").send().text(), "012");
}
