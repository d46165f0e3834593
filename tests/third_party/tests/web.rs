//! HTTP, WebSocket and TLS: clients and servers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use greenpatch_third_party::http::Gate;
use greenpatch_third_party::threads::{join, threads};
use harness::{eventually, on_one_worker};

const CLIENTS: usize = 50;

#[test]
fn ureq_asks() {
    let gate = Gate::open(CLIENTS);
    on_one_worker(move || {
        let gate = Arc::new(gate);
        let agent = ureq::Agent::new_with_defaults();
        // The second round finds the connections of the first in the agent's pool.
        for _ in 0..2 {
            let (agent, gate) = (agent.clone(), gate.clone());
            let answers = join(threads(CLIENTS, move |number| {
                let mut answer = agent.get(gate.url(number)).call().unwrap();
                answer.body_mut().read_to_string().unwrap()
            }));
            assert_eq!(answers, paths());
        }
    });
}

#[test]
fn reqwest_asks_with_a_client_for_all() {
    let gate = Gate::open(CLIENTS);
    on_one_worker(move || {
        let gate = Arc::new(gate);
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .build()
            .unwrap();
        let answers = join(threads(CLIENTS, move |number| {
            client.get(gate.url(number)).send().unwrap().text().unwrap()
        }));
        assert_eq!(answers, paths());
    });
}

#[test]
fn reqwest_asks_with_a_client_for_each() {
    let gate = Gate::open(CLIENTS);
    on_one_worker(move || {
        let gate = Arc::new(gate);
        let answers = join(threads(CLIENTS, move |number| {
            let client = reqwest::blocking::Client::builder()
                .no_proxy()
                .build()
                .unwrap();
            client.get(gate.url(number)).send().unwrap().text().unwrap()
        }));
        assert_eq!(answers, paths());
    });
}

fn paths() -> Vec<String> {
    (0..CLIENTS).map(|number| format!("/{number}")).collect()
}

#[test]
fn tiny_http_serves() {
    on_one_worker(|| {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let all_here = Arc::new(Barrier::new(CLIENTS));
        let arrived = Arc::new(AtomicUsize::new(0));
        let handlers = threads(CLIENTS, {
            let arrived = arrived.clone();
            move |_| {
                let request = server.recv().unwrap();
                arrived.fetch_add(1, Ordering::Relaxed);
                all_here.wait();
                let path = request.url().to_owned();
                request
                    .respond(tiny_http::Response::from_string(path))
                    .unwrap();
            }
        });
        let clients = threads(CLIENTS, move |number| {
            // One by one: connections that come together may be given to the same thread of tiny_http's pool, which reads the
            // next one's request when it is done with the first.
            eventually(|| arrived.load(Ordering::Relaxed) >= number);
            let url = format!("http://127.0.0.1:{port}/{number}");
            let mut answer = ureq::get(url).call().unwrap();
            answer.body_mut().read_to_string().unwrap()
        });
        let answers = join(clients);
        assert_eq!(answers, paths());
        join(handlers);
    });
}

#[test]
fn tungstenite_on_both_sides() {
    use tungstenite::Message;

    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let all_here = Arc::new(Barrier::new(CLIENTS));
        let server = thread::spawn(move || {
            let sessions: Vec<_> = listener
                .incoming()
                .take(CLIENTS)
                .map(|stream| {
                    let all_here = all_here.clone();
                    thread::spawn(move || {
                        let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                        all_here.wait();
                        while let Ok(message) = socket.read() {
                            if message.is_text() {
                                socket.send(message).unwrap();
                            }
                        }
                    })
                })
                .collect();
            join(sessions);
        });
        let clients = threads(CLIENTS, move |number| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut socket, _) =
                tungstenite::client(format!("ws://127.0.0.1:{port}/"), stream).unwrap();
            for round in 0..5 {
                let text = format!("{number} {round}");
                socket.send(Message::text(text.clone())).unwrap();
                assert_eq!(socket.read().unwrap(), Message::text(text));
            }
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
        });
        join(clients);
        server.join().unwrap();
    });
}

#[test]
fn rustls_on_both_sides() {
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    };

    // Made before the first green thread, as long-lived programs do.
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server_config, client_config) = (Arc::new(server_config), Arc::new(client_config));

    on_one_worker(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let all_here = Arc::new(Barrier::new(CLIENTS));
        let server = thread::spawn(move || {
            let sessions: Vec<_> = listener
                .incoming()
                .take(CLIENTS)
                .map(|stream| {
                    let session = ServerConnection::new(server_config.clone()).unwrap();
                    let mut stream = StreamOwned::new(session, stream.unwrap());
                    let all_here = all_here.clone();
                    thread::spawn(move || {
                        let mut number = [0; 4];
                        stream.read_exact(&mut number).unwrap();
                        all_here.wait();
                        // More than a socket's buffers hold.
                        let text = number.repeat(1 << 20);
                        stream.write_all(&text).unwrap();
                        stream.conn.send_close_notify();
                        stream.flush().unwrap();
                    })
                })
                .collect();
            join(sessions);
        });
        let clients = threads(CLIENTS, move |number| {
            let name = ServerName::try_from("localhost").unwrap();
            let session = ClientConnection::new(client_config.clone(), name).unwrap();
            let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut stream = StreamOwned::new(session, socket);
            let number = (number as u32).to_le_bytes();
            stream.write_all(&number).unwrap();
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            assert!(text == number.repeat(1 << 20));
        });
        join(clients);
        server.join().unwrap();
    });
}
