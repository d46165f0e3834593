//! Handshakes of real clients, with certificates made for each test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use harness::Directory;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;

use super::*;
use crate::application::{Peer, Scheme};
use crate::protocol::entry::{Entry, Opened, Shut};
use crate::settings::Settings;

/// An authority, and a directory for what it issues.
struct Authority {
    directory: Directory,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let directory = Directory::new();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the tests' authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        directory.file("ca.pem", certificate.pem().as_bytes());
        Authority {
            directory,
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues a certificate for `host`: the files `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host: &str) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        self.directory
            .file(&format!("{name}.pem"), certificate.as_bytes());
        self.directory.file(&format!("{name}.key"), key.as_bytes());
    }

    /// Settings of a server with these certificates.
    fn settings(&self, names: &[&str]) -> Settings {
        let files = |end| {
            names
                .iter()
                .map(|name| self.path(&format!("{name}.{end}")))
                .collect()
        };
        let mut settings = Settings::default();
        settings.tls.certfile = files("pem");
        settings.tls.keyfile = files("key");
        settings
    }

    /// Settings of a client that trusts the authority, and shows the certificate of that name.
    fn client(&self, shown: Option<&str>, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
                let chain = vec![chain.unwrap()];
                builder.with_client_auth_cert(chain, key.unwrap()).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What `client` does on one end of a connection, while the other is opened by `entry`.
fn meet<T: Send + 'static>(
    entry: &Entry,
    client: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Result<Opened, Shut>, T) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, address) = listener.accept().unwrap();
    let client = thread::spawn(move || client(stream));
    let stream = Stream::new(accepted, Peer::Tcp(address)).unwrap();
    let mut opened = greenpatch::block_on(entry.open(stream));
    if let Ok(opened) = &mut opened {
        // Whatever the client says is echoed once, so that it sees its tickets.
        greenpatch::block_on(async {
            use tokio::io::AsyncWriteExt;
            let mut io = hyper_util::rt::TokioIo::new(&mut opened.io);
            let mut buffer = [0; 5];
            io.read_exact(&mut buffer).await.unwrap();
            io.write_all(&buffer).await.unwrap();
            io.shutdown().await.unwrap();
        });
    }
    (opened, client.join().unwrap())
}

/// A client that says hello by TLS, and tells which certificate it was shown.
fn hello(
    config: &Arc<ClientConfig>,
    host: &str,
) -> impl FnOnce(TcpStream) -> io::Result<CertificateDer<'static>> + Send + 'static {
    let session =
        ClientConnection::new(Arc::clone(config), host.to_owned().try_into().unwrap()).unwrap();
    move |stream| {
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(b"hello")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        assert_eq!(text, "hello");
        Ok(stream.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned())
    }
}

fn on_the_runtime(test: impl FnOnce() + Send + 'static) {
    greenpatch::run(test);
}

fn certificate(authority: &Authority, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(authority.path(&format!("{name}.pem"))).unwrap()
}

#[test]
fn a_session_tells_what_was_agreed() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let entry = Entry::new(&authority.settings(&["a"])).unwrap();
        let config = authority.client(None, &["h2", "http/1.1"]);
        let (opened, shown) = meet(&entry, hello(&config, "a.example"));
        let opened = opened.unwrap();
        assert_eq!(shown.unwrap(), certificate(&authority, "a"));
        assert_eq!(opened.scheme, Scheme::Https);
        assert!(opened.io.is_http2_agreed());
        let tls = opened.tls.unwrap();
        assert_eq!(tls.version(), "TLSv1.3");
        assert_eq!(tls.cipher(), "TLS_AES_256_GCM_SHA384");
        assert_eq!(tls.alpn(), Some(&b"h2"[..]));
        assert_eq!(tls.server_name(), Some("a.example"));
        assert!(tls.peer_certificates().is_empty() && !tls.is_resumed());

        let config = authority.client(None, &[]);
        let opened = meet(&entry, hello(&config, "a.example")).0.unwrap();
        assert_eq!(opened.tls.unwrap().alpn(), None);
        assert!(!opened.io.is_http2_agreed());
    });
}

#[test]
fn a_client_that_comes_again_resumes_its_session() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let entry = Entry::new(&authority.settings(&["a"])).unwrap();
        let config = authority.client(None, &[]);
        let is_resumed = || {
            let opened = meet(&entry, hello(&config, "a.example")).0.unwrap();
            opened.tls.unwrap().is_resumed()
        };
        assert!(!is_resumed());
        assert!(is_resumed());
        entry.reload().unwrap();
        assert!(!is_resumed(), "its ticket is of before the reload");
        assert!(is_resumed());
    });
}

#[test]
fn the_certificate_is_chosen_by_name() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        authority.issue("b", "*.b.example");
        let entry = Entry::new(&authority.settings(&["a", "b"])).unwrap();
        let config = authority.client(None, &[]);
        let shown = |host| meet(&entry, hello(&config, host)).1;
        assert_eq!(shown("a.example").unwrap(), certificate(&authority, "a"));
        assert_eq!(
            shown("www.b.example").unwrap(),
            certificate(&authority, "b")
        );
        let error = shown("c.example").unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    });
}

#[test]
fn clients_show_a_certificate_where_they_have_to() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        authority.issue("client", "client.example");
        let stranger = Authority::new();
        stranger.issue("client", "client.example");
        let open = |asked, config: &Arc<ClientConfig>| {
            let mut settings = authority.settings(&["a"]);
            settings.tls.client_certs = asked;
            settings.tls.ca_certs = Some(authority.path("ca.pem"));
            let entry = Entry::new(&settings).unwrap();
            let opened = meet(&entry, hello(config, "a.example")).0;
            opened.map(|opened| opened.tls.unwrap().peer_certificates().to_vec())
        };
        let with = authority.client(Some("client"), &[]);
        let without = authority.client(None, &[]);
        let mut wrong = ClientConfig::clone(&authority.client(None, &[]));
        wrong.client_auth_cert_resolver = Arc::clone(
            &stranger
                .client(Some("client"), &[])
                .client_auth_cert_resolver,
        );
        let wrong = Arc::new(wrong);
        let shown = vec![certificate(&authority, "client")];
        assert_eq!(open(ClientCerts::Required, &with), Ok(shown.clone()));
        assert_eq!(open(ClientCerts::Required, &without), Err(Shut::Tls));
        assert_eq!(open(ClientCerts::Optional, &with), Ok(shown));
        assert_eq!(open(ClientCerts::Optional, &without), Ok(vec![]));
        assert_eq!(open(ClientCerts::None, &with), Ok(vec![]));
        for asked in [ClientCerts::Required, ClientCerts::Optional] {
            assert_eq!(open(asked, &wrong), Err(Shut::Tls));
        }
    });
}

#[test]
fn plain_http_is_told_that_it_came_to_the_wrong_port() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let entry = Entry::new(&authority.settings(&["a"])).unwrap();
        let (opened, answer) = meet(&entry, |mut stream: TcpStream| {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(opened.err(), Some(Shut::Tls));
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with(PLAIN_HTTP), "{answer}");
    });
}

#[test]
fn a_refusal_goes_through_the_session() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let entry = Entry::new(&authority.settings(&["a"])).unwrap();
        let config = authority.client(None, &[]);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let client = thread::spawn(move || {
            let name = "a.example".try_into().unwrap();
            let session = ClientConnection::new(config, name).unwrap();
            let mut text = String::new();
            StreamOwned::new(session, theirs)
                .read_to_string(&mut text)
                .map(|_| text)
        });
        greenpatch::block_on(async {
            let stream = Stream::new(ours, Peer::Unix).unwrap();
            let mut opened = entry.open(stream).await.ok().unwrap();
            opened
                .io
                .socket()
                .refuse(bytes::Bytes::from_static(b"refused"));
            let mut io = hyper_util::rt::TokioIo::new(&mut opened.io);
            assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(
            client.join().unwrap().unwrap(),
            "refused",
            "with a close_notify, or it is an error"
        );
    });
}

#[test]
fn what_is_neither_is_closed_and_so_is_who_says_nothing() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let mut settings = authority.settings(&["a"]);
        let entry = Entry::new(&settings).unwrap();
        let (opened, answer) = meet(&entry, |mut stream: TcpStream| {
            stream.write_all(b"\0\0\0\0").unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        assert_eq!((opened.err(), answer), (Some(Shut::Tls), vec![]));
        assert_eq!(meet(&entry, drop).0.err(), Some(Shut::Gone));

        settings.timeouts.header = Duration::from_millis(20);
        let entry = Entry::new(&settings).unwrap();
        let silent = |mut stream: TcpStream| stream.read(&mut [0]).unwrap();
        assert_eq!(meet(&entry, silent).0.err(), Some(Shut::Timeout));
    });
}

#[test]
fn a_reload_serves_the_new_certificate_and_a_broken_file_the_old_one() {
    on_the_runtime(|| {
        let authority = Authority::new();
        authority.issue("a", "a.example");
        let entry = Entry::new(&authority.settings(&["a"])).unwrap();
        let config = authority.client(None, &[]);
        let shown = || meet(&entry, hello(&config, "a.example")).1.unwrap();
        let first = certificate(&authority, "a");
        assert_eq!(shown(), first);
        authority.issue("a", "a.example");
        assert_eq!(shown(), first, "it is not yet reloaded");
        entry.reload().unwrap();
        let second = certificate(&authority, "a");
        assert_ne!(first, second);
        assert_eq!(shown(), second);
        authority.directory.file("a.key", b"");
        assert!(entry.reload().is_err());
        assert_eq!(shown(), second);
    });
}

/// What loading the settings fails with, the directory's name left away.
fn failure(authority: &Authority, change: impl FnOnce(&mut settings::Tls)) -> String {
    let mut settings = authority.settings(&["a"]);
    change(&mut settings.tls);
    let error = Tls::load(&settings.tls)
        .err()
        .expect("it must fail")
        .to_string();
    error.replace(&format!("{}/", authority.directory.path().display()), "")
}

#[test]
fn errors_name_file_cause_and_remedy() {
    let authority = Authority::new();
    authority.issue("a", "a.example");
    authority.issue("b", "b.example");
    authority.directory.file("empty.pem", b"");
    authority
        .directory
        .file("cut.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n");
    authority.directory.file(
        "der.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    authority.directory.file(
        "encrypted.key",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    authority.directory.file(
        "old.key",
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    );
    authority.directory.file(
        "weak.key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let key = |name| failure(&authority, |tls| tls.keyfile = vec![authority.path(name)]);
    let chain = |name| failure(&authority, |tls| tls.certfile = vec![authority.path(name)]);
    for (error, expected) in [
        (
            chain("none.pem"),
            "cannot read none.pem: No such file or directory",
        ),
        (chain("empty.pem"), "empty.pem has no certificate; "),
        (chain("a.key"), "a.key has no certificate; "),
        (chain("cut.pem"), "cut.pem is not PEM: "),
        (chain("der.pem"), "cannot use a certificate in der.pem: "),
        (
            key("none.key"),
            "cannot read none.key: No such file or directory",
        ),
        (
            key("empty.pem"),
            "empty.pem has no private key; name the key's file by --keyfile",
        ),
        (key("a.pem"), "a.pem has no private key; "),
        (
            key("encrypted.key"),
            "the private key in encrypted.key is encrypted; decrypt it: openssl pkey",
        ),
        (key("old.key"), "the private key in old.key is encrypted; "),
        (key("weak.key"), "cannot use the private key in weak.key: "),
        (
            key("b.key"),
            "the private key in b.key is not that of the certificate in a.pem; ",
        ),
        (
            failure(&authority, |tls| tls.certfile.push(authority.path("b.pem"))),
            "2 certificate files and 1 key files; give --keyfile once for each --certfile",
        ),
        (
            failure(&authority, |tls| tls.client_certs = ClientCerts::Required),
            "--client-certs required needs --ca-certs",
        ),
        (
            failure(&authority, |tls| {
                tls.client_certs = ClientCerts::Optional;
                tls.ca_certs = Some(authority.path("a.key"));
            }),
            "a.key has no certificate; ",
        ),
    ] {
        assert!(error.starts_with(expected), "{error}\nis not\n{expected}");
    }
}

#[test]
fn a_key_may_stand_in_its_certificates_file() {
    let authority = Authority::new();
    authority.issue("a", "a.example");
    let read = |name| std::fs::read(authority.path(name)).unwrap();
    let both = [read("a.key"), read("a.pem")].concat();
    authority.directory.file("both.pem", &both);
    let mut settings = authority.settings(&["both"]);
    settings.tls.keyfile.clear();
    assert!(Tls::load(&settings.tls).is_ok());
}
