//! Plain functions, the same in each class: nothing async anywhere.

use std::io::{Read, Write};
use std::sync::{Arc, Barrier};

use greenpatch_server::WorkerClass;
use greenpatch_server::application::{
    Body, Directory, Event, EventStream, HttpError, Request, RequestExt, Router, websocket,
};

use crate::serving::{Serving, in_each_class};

fn application() -> Router {
    Router::new()
        .get("/", || "hello")
        .get("/square/{number}", |request: Request| {
            request
                .parameter("number")
                .map(|number: u64| (number * number).to_string())
        })
        .post("/length", |mut request: Request| {
            let length = std::io::copy(request.body_mut(), &mut std::io::sink())?;
            Ok::<_, HttpError>(length.to_string())
        })
        .post("/echo", |request: Request| request.into_body())
        .get("/lines", || {
            Body::from_writer(|writer| {
                (0..1000).try_for_each(|number| writeln!(writer, "{number}"))
            })
        })
        .get("/zeros", || {
            Body::from_reader(std::io::repeat(b'0').take(1_000_000))
        })
        .get("/events", || {
            EventStream::new(|events| {
                (0..3).try_for_each(|number| events.send(&Event::data(number.to_string())))
            })
        })
        .get("/socket", |request: Request| {
            websocket::upgrade(request, |socket| {
                while let Some(message) = socket.read()? {
                    socket.send(message)?;
                }
                Ok(())
            })
        })
        .mount(
            "/source",
            Directory::new(env!("CARGO_MANIFEST_DIR")).unwrap(),
        )
}

#[test]
fn functions_answer() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        assert_eq!(server.get("/"), "hello");
        assert_eq!(server.get("/square/12"), "144");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            server.get("/source/Cargo.toml"),
            std::fs::read_to_string(path).unwrap()
        );
    });
}

#[test]
fn contents_are_read_and_written_by_blocking_code() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(server.get("/lines"), lines);
        assert_eq!(server.get("/zeros"), "0".repeat(1_000_000));
        for length in [0, 1, 65_537, 1_500_000] {
            let content = "x".repeat(length);
            let mut answer = ureq::post(server.url("/length")).send(&content).unwrap();
            assert_eq!(
                answer.body_mut().read_to_string().unwrap(),
                length.to_string()
            );
            // The response is sent while the request still comes.
            let mut answer = ureq::post(server.url("/echo")).send(&content).unwrap();
            assert_eq!(answer.body_mut().read_to_string().unwrap(), content);
        }
    });
}

#[test]
fn events_and_websockets() {
    in_each_class(|class| {
        let server = Serving::start(class, application());
        assert_eq!(server.get("/events"), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
        let url = server.url("/socket").replace("http", "ws");
        let (mut socket, _) = tungstenite::connect(url).unwrap();
        for text in ["first", "second", &"x".repeat(100_000)] {
            let message = tungstenite::Message::from(text);
            socket.send(message.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), message);
        }
        socket.close(None).unwrap();
        assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(_))));
    });
}

/// A chat: what one says, all hear. Each client's function reads while others send to it.
#[test]
fn a_chat_of_many() {
    const CLIENTS: usize = 20;
    const SAID: usize = 20;
    for class in [WorkerClass::Green, WorkerClass::Gthread, WorkerClass::Async] {
        eprintln!("class {}", class.name());
        let members = Arc::new(greenpatch::sync::Mutex::new(Vec::<websocket::Sender>::new()));
        let chat = move |request: Request| {
            let members = members.clone();
            websocket::upgrade(request, move |socket| {
                members.lock().unwrap().push(socket.sender());
                socket.send("welcome")?;
                while let Some(message) = socket.read()? {
                    let all = members.lock().unwrap().clone();
                    for member in all {
                        // Who has left hears no more.
                        let _ = member.send(message.clone());
                    }
                }
                Ok(())
            })
        };
        let server = Serving::start(class, Router::new().get("/", chat));
        let url = server.url("/").replace("http", "ws");
        let all_are_in = Arc::new(Barrier::new(CLIENTS));
        let clients = greenpatch_third_party::threads::threads(CLIENTS, move |number| {
            let (mut socket, _) = tungstenite::connect(&url).unwrap();
            assert_eq!(socket.read().unwrap(), "welcome".into());
            all_are_in.wait();
            for _ in 0..SAID {
                socket.send(number.to_string().into()).unwrap();
            }
            let mut heard = vec![0; CLIENTS];
            for _ in 0..CLIENTS * SAID {
                let text = socket.read().unwrap().into_text().unwrap();
                heard[text.parse::<usize>().unwrap()] += 1;
            }
            assert_eq!(heard, [SAID; CLIENTS]);
            all_are_in.wait();
        });
        greenpatch_third_party::threads::join(clients);
    }
}

#[test]
fn a_thousand_functions_block_at_the_same_time() {
    const MANY: usize = 1000;
    let barrier = Arc::new(Barrier::new(MANY));
    let wait = move |_: Request| {
        barrier.wait();
        "all here"
    };
    let server = Serving::start(WorkerClass::Green, wait);
    assert_eq!(server.get_at_once("/", MANY), MANY);
}
