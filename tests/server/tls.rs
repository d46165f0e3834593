//! HTTPS, as clients of every day see it: curl and OpenSSL.

mod certificates;
#[macro_use]
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use certificates::Authority;
use greenpatch_server::{Request, Settings, WorkerClass};
use harness::eventually;
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use server::{PATIENCE, Server};

in_each_class! { {
    sync: ["-k", "sync"],
    gthread: ["-k", "gthread", "--threads", "8"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    speaks_http_1_and_2
    echoes_long_content
    shows_the_client_certificate
    tells_plain_http_that_it_is_wrong_here
    slow_handshakes_hold_nobody_up
} }

/// A server with a certificate for `a.example`, and the authority that issued it.
struct Secure {
    authority: Authority,
    server: Server,
}

impl Secure {
    fn start(class: &[&str], arguments: &[&str]) -> Secure {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        authority.issue("client", "client.example");
        Secure::with(authority, class, arguments)
    }

    fn with(authority: Authority, class: &[&str], arguments: &[&str]) -> Secure {
        let (certificate, key) = (authority.argument("a.pem"), authority.argument("a.key"));
        let mut all = vec!["--certfile", &certificate, "--keyfile", &key];
        all.extend(class);
        all.extend(arguments);
        let server = Server::start(&all);
        Secure { authority, server }
    }

    /// Runs curl on a path of `a.example`.
    fn curl(&self, path: &str, arguments: &[&str]) -> Output {
        let address = self.server.address();
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(self.authority.path("ca.pem"))
            .args([
                "--resolve",
                &format!("*:{}:{}", address.port(), address.ip()),
            ])
            .args(arguments)
            .arg(format!("https://a.example:{}{path}", address.port()))
            .output()
            .expect("curl runs")
    }

    /// What curl gets.
    fn get(&self, path: &str, arguments: &[&str]) -> String {
        text(self.curl(path, arguments))
    }

    /// Runs `openssl s_client`, which sends a request and reads until the server closes the connection.
    fn s_client(&self, arguments: &[&str]) -> String {
        let mut client = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &self.server.address().to_string(),
                "-CAfile",
            ])
            .arg(self.authority.path("ca.pem"))
            .args(["-servername", "a.example", "-ign_eof"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        let request = b"GET /connection HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
        // It may have failed before.
        let _ = client.stdin.take().expect("a pipe").write_all(request);
        let output = client.wait_with_output().expect("it ends");
        let lossy = String::from_utf8_lossy;
        format!("{}{}", lossy(&output.stdout), lossy(&output.stderr))
    }
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn speaks_http_1_and_2(class: &[&str]) {
    let secure = Secure::start(class, &["--app", "inspect"]);
    let versions = ["--write-out", "%{http_version}"];
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = secure.get("/connection", &[&versions[..], &[option]].concat());
        let alpn = if version == "2" { "h2" } else { "http/1.1" };
        assert!(answer.contains("scheme: https\n"), "{answer}");
        assert!(
            answer.contains("tls: TLSv1.3 TLS_AES_256_GCM_SHA384\n"),
            "{answer}"
        );
        assert!(answer.contains(&format!("alpn: {alpn}\n")), "{answer}");
        assert!(answer.contains("server name: a.example\n"), "{answer}");
        assert!(answer.ends_with(version), "{answer}");
    }
}

fn echoes_long_content(class: &[&str]) {
    let secure = Secure::start(class, &["--app", "echo"]);
    let content: Vec<u8> = (0..5_000_000_u32)
        .flat_map(u32::to_le_bytes)
        .step_by(4)
        .collect();
    std::fs::write(secure.authority.path("content"), &content).expect("the directory is ours");
    let file = format!("@{}", secure.authority.argument("content"));
    for version in ["--http1.1", "--http2"] {
        let output = secure.curl("/", &[version, "--data-binary", &file]);
        assert!(
            output.status.success(),
            "{version}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.stdout == content,
            "{version}: {} bytes",
            output.stdout.len()
        );
    }
}

fn shows_the_client_certificate(class: &[&str]) {
    let authority = Authority::new();
    authority.issue("a", "a.example");
    authority.issue("client", "client.example");
    let file = authority.argument("ca.pem");
    let arguments = [
        "--app",
        "inspect",
        "--client-certs",
        "required",
        "--ca-certs",
        &file,
    ];
    let secure = Secure::with(authority, class, &arguments);
    let (certificate, key) = (
        secure.authority.argument("client.pem"),
        secure.authority.argument("client.key"),
    );
    let answer = secure.get("/connection", &["--cert", &certificate, "--key", &key]);
    assert!(answer.contains("client certificates: "), "{answer}");
    assert!(!answer.contains("client certificates: 0\n"), "{answer}");
    let refused = secure.curl("/connection", &[]);
    assert!(
        !refused.status.success() && refused.stdout.is_empty(),
        "{refused:?}"
    );
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("certificate required"), "{told}");
}

fn tells_plain_http_that_it_is_wrong_here(class: &[&str]) {
    let secure = Secure::start(class, &["--app", "plain"]);
    let output = Command::new("curl")
        .args(["--silent", "--include", "--max-time", "30"])
        .arg(format!("http://{}/", secure.server.address()))
        .output()
        .expect("curl runs");
    let answer = text(output);
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("plain HTTP request was sent to HTTPS port"),
        "{answer}"
    );
}

fn slow_handshakes_hold_nobody_up(class: &[&str]) {
    const SLOW: usize = 500;
    let secure = Secure::start(class, &["--app", "plain", "--header-timeout", "3600"]);
    let slow: Vec<TcpStream> = (0..SLOW)
        .map(|number| {
            let mut stream = TcpStream::connect(secure.server.address()).expect("it listens");
            // Half of them begin a handshake.
            if number % 2 == 0 {
                stream
                    .write_all(b"\x16\x03\x01\x02\x00\x01")
                    .expect("it is open");
            }
            stream
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(secure.get("/", &[]), "Hello, World!\n");
    }
    drop(slow);
}

#[test]
fn openssl_agrees_on_a_protocol_and_resumes() {
    let secure = Secure::start(&["-k", "green"], &["--app", "inspect"]);
    let session = secure.authority.argument("session");
    let first = secure.s_client(&["-alpn", "http/1.1", "-sess_out", &session]);
    assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
    assert!(first.contains("ALPN protocol: http/1.1"), "{first}");
    assert!(first.contains("New, TLSv1.3"), "{first}");
    assert!(first.contains("resumed: false\n"), "{first}");
    let second = secure.s_client(&["-alpn", "http/1.1", "-sess_in", &session]);
    assert!(second.contains("Reused, TLSv1.3"), "{second}");
    assert!(second.contains("resumed: true\n"), "{second}");
}

#[test]
fn tls_1_2_is_spoken_and_resumed_and_older_versions_are_not() {
    let secure = Secure::start(&["-k", "green"], &["--app", "inspect"]);
    let session = secure.authority.argument("session");
    let first = secure.s_client(&["-tls1_2", "-sess_out", &session]);
    assert!(
        first.contains("tls: TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n"),
        "{first}"
    );
    let second = secure.s_client(&["-tls1_2", "-sess_in", &session]);
    assert!(second.contains("Reused, TLSv1.2"), "{second}");
    let old = secure.s_client(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(old.contains("SSL alert number"), "{old}");
    assert!(!old.contains("HTTP/1.1"), "{old}");
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused() {
    let secure = Secure::start(&["-k", "green"], &["--app", "inspect"]);
    let answer = secure.s_client(&["-alpn", "spdy/3"]);
    assert!(answer.contains("alert no application protocol"), "{answer}");
}

#[test]
fn each_name_has_its_certificate() {
    let authority = Authority::new();
    authority.issue("a", "a.example");
    authority.issue("b", "*.b.example");
    let (certificate, key) = (authority.argument("b.pem"), authority.argument("b.key"));
    let arguments = [
        "--app",
        "plain",
        "--certfile",
        &certificate,
        "--keyfile",
        &key,
    ];
    let secure = Secure::with(authority, &["-k", "green"], &arguments);
    let port = secure.server.address().port();
    let other = format!("https://www.b.example:{port}/");
    assert_eq!(secure.get("/", &[&other]), "Hello, World!\nHello, World!\n");
    let stranger = format!("https://c.example:{port}/");
    let output = secure.curl("/", &["--fail-early", &stranger]);
    assert_eq!(output.status.code(), Some(60), "{output:?}");
}

#[test]
fn a_key_that_does_not_fit_is_told_before_anything_is_served() {
    let authority = Authority::new();
    authority.issue("a", "a.example");
    authority.issue("b", "b.example");
    let output = Command::new(env!("CARGO_BIN_EXE_greenpatch"))
        .args(["serve", "--bind", "127.0.0.1:0", "--certfile"])
        .arg(authority.path("a.pem"))
        .arg("--keyfile")
        .arg(authority.path("b.key"))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(
        told.contains("b.key is not that of the certificate in"),
        "{told}"
    );
}

/// What [`Session::get`] gets.
const CONTENT: &str = "Hello, World!\n";

/// Settings of a client that trusts the authority.
fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.path("ca.pem")).expect("a certificate"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A session over a connection of its own, as a library's client has it.
struct Session(StreamOwned<ClientConnection, TcpStream>);

impl Session {
    fn begin(config: &Arc<ClientConfig>, address: SocketAddr) -> Session {
        let name = "a.example".try_into().expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Session(StreamOwned::new(session, stream))
    }

    /// Sends a request on a connection that is kept, and reads the response.
    fn get(&mut self) -> String {
        let Session(stream) = self;
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        stream.write_all(request).expect("it takes the request");
        let mut response = Vec::new();
        while !response.ends_with(CONTENT.as_bytes()) {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).expect("it answers");
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&response));
            response.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(response).expect("text")
    }

    fn certificate(&self) -> Vec<u8> {
        let chain = self
            .0
            .conn
            .peer_certificates()
            .expect("the handshake is done");
        chain[0].to_vec()
    }
}

/// Ends the load, however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn certificates_are_replaced_under_load_and_nothing_is_lost() {
    const RELOADS: usize = 10;
    let authority = Authority::new();
    authority.issue("a", "a.example");
    let mut settings = Settings {
        worker_class: WorkerClass::Green,
        ..Settings::default()
    };
    settings.timeouts.keep_alive = PATIENCE;
    settings.tls.certfile = vec![authority.path("a.pem")];
    settings.tls.keyfile = vec![authority.path("a.key")];
    let server = greenpatch_server::Server::bind("127.0.0.1:0", settings).expect("an address");
    let (address, handle) = (server.local_addr(), server.stop_handle());
    let serving = thread::spawn(move || server.serve(|_: Request| CONTENT));

    let config = trusting(&authority);
    let mut kept = Session::begin(&config, address);
    kept.get();
    let first = kept.certificate();
    let is_over = AtomicBool::new(false);
    let begun = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let response = Session::begin(&config, address).get();
                    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&is_over);
        let mut before = first.clone();
        for number in 0..RELOADS {
            // Others begin while this goes on.
            let seen = begun.load(Ordering::Relaxed);
            while begun.load(Ordering::Relaxed) < seen + 4 {
                thread::yield_now();
            }
            authority.issue("a", "a.example");
            handle.reload_certificates().expect("it fits");
            let mut session = Session::begin(&config, address);
            session.get();
            let now = session.certificate();
            assert_ne!(before, now, "reload {number}");
            before = now;
            kept.get();
        }
        authority.write("a.key", "");
        let error = handle.reload_certificates().expect_err("an empty file");
        assert!(error.to_string().contains("has no private key"), "{error}");
        let mut session = Session::begin(&config, address);
        session.get();
        assert_eq!(session.certificate(), before);
    });
    assert_eq!(kept.certificate(), first);
    drop(kept);
    handle.stop();
    serving.join().expect("no panic").expect("it serves");
}

#[test]
fn a_hangup_replaces_certificates_and_one_that_does_not_fit_changes_nothing() {
    let mut secure = Secure::start(&["-k", "green"], &["--app", "plain"]);
    let address = secure.server.address();
    let config = trusting(&secure.authority);
    let shown = || {
        let mut session = Session::begin(&config, address);
        session.get();
        session.certificate()
    };
    let issued = |name| {
        let file = secure.authority.path(name);
        CertificateDer::from_pem_file(file)
            .expect("it was issued")
            .to_vec()
    };
    assert_eq!(shown(), issued("a.pem"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    Session::begin(&config, address).get();
                }
            });
        }
        secure.authority.issue("a", "a.example");
        secure.server.signal(Signal::HUP);
        let second = issued("a.pem");
        eventually(|| shown() == second);
        secure.authority.issue("b", "b.example");
        let key = std::fs::read_to_string(secure.authority.path("b.key")).expect("it was issued");
        secure.authority.write("a.key", &key);
        secure.server.signal(Signal::HUP);
        secure
            .server
            .wait_for_line("a.key is not that of the certificate in");
        // The first worker may serve on for a moment beside the second.
        eventually(|| shown() == second);
    });
}
