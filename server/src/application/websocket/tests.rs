//! Real clients against functions, over real sockets, with nothing of a worker's around.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::{Control, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket as Client};

use super::super::{Body, Request, Response};
use super::*;
use crate::settings::Settings;
use crate::{Server, WorkerClass};

/// Serves one connection with `answer`, and gives the client's end of it.
fn connect(answer: impl Fn(Request) -> Response + Send + 'static) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let io = TokioIo::new(tokio::net::TcpStream::from_std(server).unwrap());
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let response = answer(request.map(Body::from));
                async { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            connection.with_upgrades().await.unwrap();
            // The upgraded stream is polled by others, and lives by this runtime.
            std::future::pending::<()>().await;
        });
    });
    client
}

/// A client of a function.
fn open<F>(upgrade: Upgrade, serve: F) -> Client<TcpStream>
where
    F: Fn(&WebSocket) -> Result<(), Error> + Clone + Send + 'static,
{
    let stream = connect(move |request| upgrade.accept(request, serve.clone()));
    tungstenite::client("ws://test/", stream).unwrap().0
}

fn echo(socket: &WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.read()? {
        socket.send(message)?;
    }
    Ok(())
}

/// The code that the server closes with.
fn closed_with(client: &mut Client<TcpStream>) -> CloseCode {
    loop {
        match client.read().unwrap() {
            Message::Close(frame) => return frame.unwrap().code,
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The server's answer to a request, up to the end of its fields.
fn answer_to(request: &str) -> String {
    let mut stream = connect(|request| upgrade(request, echo));
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[test]
fn messages_of_both_kinds_come_back() {
    let mut client = open(Upgrade::new(), echo);
    for message in [
        Message::from("grün"),
        Message::from(vec![0, 255]),
        Message::from(""),
        Message::from("x".repeat(1_000_000)),
    ] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
    client.close(None).unwrap();
    assert_eq!(client.read().unwrap(), Message::Close(None));
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn a_function_that_returns_closes_the_socket() {
    let mut client = open(Upgrade::new(), |socket| socket.send("bye"));
    assert_eq!(client.read().unwrap(), Message::from("bye"));
    assert_eq!(closed_with(&mut client), CloseCode::Normal);
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn a_function_that_panics_or_fails_closes_it_with_1011() {
    let mut client = open(Upgrade::new(), |_| panic!("on purpose"));
    assert_eq!(closed_with(&mut client), CloseCode::Error);
    let mut client = open(Upgrade::new(), |_| {
        Err(Error::Io(std::io::Error::other("on purpose")))
    });
    assert_eq!(closed_with(&mut client), CloseCode::Error);
}

#[test]
fn pings_are_answered_while_the_function_only_reads() {
    let mut client = open(Upgrade::new(), |socket| socket.read().map(drop));
    client.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(
        client.read().unwrap(),
        Message::Pong("are you there".into())
    );
}

#[test]
fn the_first_protocol_that_both_know_is_agreed_upon() {
    let upgrade = Upgrade::new().protocols(["v3", "v2", "v1"]);
    let say = |socket: &WebSocket| socket.send(socket.protocol().unwrap_or("none").to_owned());
    for (offer, agreed) in [("v1, v2", "v2"), ("v3", "v3"), ("v4", "none"), ("", "none")] {
        let (upgrade, mut request) = (upgrade.clone(), "ws://test/".into_client_request().unwrap());
        let offered = (!offer.is_empty()).then(|| offer.parse().unwrap());
        request
            .headers_mut()
            .extend(offered.map(|offer| (header::SEC_WEBSOCKET_PROTOCOL, offer)));
        let stream = connect(move |request| upgrade.accept(request, say));
        // A client of tungstenite's takes no answer without a protocol that it has asked for.
        match tungstenite::client(request, stream) {
            Ok((mut client, _)) => assert_eq!(client.read().unwrap(), Message::from(agreed)),
            Err(error) => assert_eq!((offer, agreed), ("v4", "none"), "{error}"),
        }
    }
}

#[test]
fn what_the_client_does_wrong_is_told_by_the_code() {
    let mut client = open(Upgrade::new().max_message_size(10), echo);
    client.send(Message::from("0123456789")).unwrap();
    assert_eq!(client.read().unwrap(), Message::from("0123456789"));
    client.send(Message::from("0123456789a")).unwrap();
    assert_eq!(closed_with(&mut client), CloseCode::Size);

    let mut client = open(Upgrade::new(), echo);
    let text = OpCode::Data(tungstenite::protocol::frame::coding::Data::Text);
    client
        .send(Message::Frame(Frame::message(vec![0xff], text, true)))
        .unwrap();
    assert_eq!(closed_with(&mut client), CloseCode::Invalid);

    let mut client = open(Upgrade::new(), echo);
    let header = FrameHeader {
        is_final: false,
        opcode: OpCode::Control(Control::Ping),
        ..FrameHeader::default()
    };
    client
        .send(Message::Frame(Frame::from_payload(
            header,
            "part of a ping".into(),
        )))
        .unwrap();
    assert_eq!(closed_with(&mut client), CloseCode::Protocol);
}

#[test]
fn a_client_that_goes_without_a_word_ends_the_function() {
    let (sender, receiver) = mpsc::channel();
    let client = open(Upgrade::new(), move |socket| {
        let error = socket.read().unwrap_err();
        sender.send(error.to_string()).unwrap();
        Err(error)
    });
    drop(client);
    assert_eq!(
        receiver.recv().unwrap(),
        "WebSocket protocol error: Connection reset without closing handshake"
    );
}

#[test]
fn reading_may_be_limited_in_time() {
    let mut client = open(Upgrade::new(), |socket| {
        let error = socket.read_timeout(Duration::from_millis(1)).unwrap_err();
        socket.send(error.to_string())?;
        echo(socket)
    });
    let told = client.read().unwrap().into_text().unwrap();
    assert!(told.contains("timed out"), "{told}");
    client.send(Message::from("usable")).unwrap();
    assert_eq!(client.read().unwrap(), Message::from("usable"));
}

#[test]
fn a_sender_that_is_kept_keeps_nothing_open() {
    let (give, take) = mpsc::channel();
    let mut client = open(Upgrade::new(), move |socket| {
        give.send(socket.sender()).unwrap();
        Ok(())
    });
    let sender = take.recv().unwrap();
    assert_eq!(closed_with(&mut client), CloseCode::Normal);
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
    let error = sender.send("too late").unwrap_err();
    let after_closing = Error::Protocol(ProtocolError::SendAfterClosing);
    let expected = [after_closing, Error::AlreadyClosed].map(|error| error.to_string());
    assert!(expected.contains(&error.to_string()), "{error}");
}

#[test]
fn others_send_while_one_reads_and_the_client_takes_its_time() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 50;
    let large = "x".repeat(100_000);
    let sent = large.clone();
    let mut client = open(Upgrade::new(), move |socket| {
        let threads: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (sender, text) = (socket.sender(), sent.clone());
                thread::spawn(move || (0..MESSAGES).try_for_each(|_| sender.send(text.clone())))
            })
            .collect();
        // Answered pings write as well, amidst the senders.
        let mut read = 0;
        while let Some(message) = socket.read()? {
            assert_eq!(message, Message::from("small"));
            read += 1;
            if read == MESSAGES {
                break;
            }
        }
        for thread in threads {
            thread.join().unwrap()?;
        }
        socket.send(format!("read {read}"))
    });
    // The senders are stuck soon, as nobody takes what they send, and the reader must go on.
    for _ in 0..MESSAGES {
        client.send(Message::Ping("still there?".into())).unwrap();
        client.send(Message::from("small")).unwrap();
    }
    let mut whole = 0;
    loop {
        match client.read().unwrap() {
            Message::Text(text) if text.as_str() == large => whole += 1,
            Message::Text(text) => {
                assert_eq!(text, format!("read {MESSAGES}"));
                break;
            }
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(whole, SENDERS * MESSAGES);
}

#[test]
fn a_request_that_is_no_websocket_is_refused() {
    let fields = "Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let right = format!("GET / HTTP/1.1\r\n{fields}{key}Sec-WebSocket-Version: 13\r\n\r\n");
    let answer = answer_to(&right);
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        "{answer}"
    );

    let answer = answer_to("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    let answer = answer_to(&right.replace(": 13", ": 12"));
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    assert!(
        answer.contains("\r\nsec-websocket-version: 13\r\n"),
        "{answer}"
    );
    let answer = answer_to(&right.replace("GET", "POST"));
    assert!(answer.starts_with("http/1.1 405 "), "{answer}");
    assert!(answer.contains("\r\nallow: get\r\n"), "{answer}");
    let answer = answer_to(&right.replace("==", "="));
    assert!(answer.starts_with("http/1.1 400 "), "{answer}");
}

/// The graceful time-out is longer than the test's patience.
#[test]
fn a_worker_that_stops_tells_its_clients_and_does_not_wait_for_more() {
    for class in WorkerClass::ALL {
        let mut settings = Settings {
            worker_class: class,
            ..Settings::default()
        };
        settings.timeouts.graceful = Duration::from_secs(600);
        let server = Server::bind("127.0.0.1:0", settings).unwrap();
        let (address, stop) = (server.local_addr(), server.stop_handle());
        let serving = thread::spawn(move || server.serve(|request| upgrade(request, echo)));
        let stream = TcpStream::connect(address).unwrap();
        let mut client = tungstenite::client("ws://test/", stream).unwrap().0;
        client.send(Message::from("hello")).unwrap();
        assert_eq!(client.read().unwrap(), Message::from("hello"));
        stop.stop();
        assert_eq!(closed_with(&mut client), CloseCode::Away, "{class}");
        // The library's answer to the close frame.
        assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
        serving.join().unwrap().unwrap();
    }
}
