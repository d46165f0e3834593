//! TLS by rustls: certificates and keys from PEM files, HTTP/2 and HTTP/1.1 offered by ALPN, certificates of clients.
//!
//! [`Tls`] holds what new connections begin with. [`Tls::reload`] reads the files again and replaces that as a whole: sessions
//! under way keep what they began with, and files that cannot be used leave everything as it was. A handshake is a future of its
//! connection's task, and what it computes is computed there: a tenth of a millisecond for the signature of an ECDSA key, ten times as
//! much for one of RSA with 2048 bits.
//!
//! Clients resume sessions by tickets. Their keys are made anew at each reload and are each worker process's own: a client that
//! comes to another worker begins a new session.

mod files;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use files::TlsError;
use files::{Problem, about, load_authorities, load_keys};

use super::stream::Stream;
use crate::settings::{self, ClientCerts};

/// The type of the first record of every handshake.
const HANDSHAKE: u8 = 22;

/// What a client reads that speaks HTTP without TLS, as nginx words it.
const PLAIN_HTTP: &str =
    "400 Bad Request: the plain HTTP request was sent to HTTPS port; use https://\n";

/// What TLS sessions begin with, until the next reload.
pub(crate) struct Tls {
    settings: settings::Tls,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files that `settings` names.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub(crate) fn load(settings: &settings::Tls) -> Result<Tls, TlsError> {
        Ok(Tls {
            config: RwLock::new(configure(settings)?),
            settings: settings.clone(),
        })
    }

    /// Reads the files again; sessions that begin from now on go by what stands in them now.
    ///
    /// # Errors
    /// If one of them cannot be used. Everything is then as before.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let config = configure(&self.settings)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Begins a session on a fresh connection.
    ///
    /// # Errors
    /// If the client speaks no TLS, or none that suits. It has then been told so, and the connection is ended.
    pub(super) async fn accept(&self, mut stream: Stream) -> io::Result<TlsStream<Stream>> {
        match stream.peek(1).await? {
            [] => return Err(ErrorKind::UnexpectedEof.into()),
            [HANDSHAKE, ..] => {}
            [first, ..] => {
                if first.is_ascii_alphabetic() {
                    refuse_plain_http(&mut stream).await?;
                }
                let problem = "the client speaks no TLS";
                return Err(io::Error::new(ErrorKind::InvalidData, problem));
            }
        }
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        match TlsAcceptor::from(config)
            .accept(stream)
            .into_fallible()
            .await
        {
            Ok(session) => Ok(session),
            Err((error, stream)) => {
                // So that the client sees the alert that says why.
                stream.socket().linger().await;
                Err(error)
            }
        }
    }
}

async fn refuse_plain_http(stream: &mut Stream) -> io::Result<()> {
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{PLAIN_HTTP}",
        PLAIN_HTTP.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.socket().linger().await;
    Ok(())
}

/// What is known of the TLS session that a request came by; found in the request's extensions.
///
/// ```
/// use greenpatch_server::TlsDetails;
///
/// fn describe<B>(request: &http::Request<B>) -> String {
///     match request.extensions().get::<TlsDetails>() {
///         Some(tls) => format!("{} with {}", tls.version(), tls.cipher()),
///         None => "plain".to_owned(),
///     }
/// }
/// # assert_eq!(describe(&http::Request::new(())), "plain");
/// ```
#[derive(Clone)]
pub struct TlsDetails(Arc<Details>);

struct Details {
    version: Option<String>,
    cipher: Option<String>,
    alpn: Option<Vec<u8>>,
    server_name: Option<String>,
    peer_certificates: Vec<CertificateDer<'static>>,
    is_resumed: bool,
}

impl TlsDetails {
    /// Of a session whose handshake is done.
    pub(super) fn of(session: &ServerConnection) -> TlsDetails {
        let version = session.protocol_version().and_then(|version| {
            // rustls names them as its constants, OpenSSL (and all who read logs) with a dot.
            Some(version.as_str()?.replace("TLSv1_", "TLSv1."))
        });
        let cipher = session.negotiated_cipher_suite().and_then(|suite| {
            let name = suite.suite().as_str()?;
            Some(name.replace("TLS13_", "TLS_"))
        });
        TlsDetails(Arc::new(Details {
            version,
            cipher,
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            server_name: session.server_name().map(str::to_owned),
            peer_certificates: session
                .peer_certificates()
                .map_or_else(Vec::new, |chain| chain.to_vec()),
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }))
    }

    /// The protocol's version, such as `TLSv1.3`.
    pub fn version(&self) -> &str {
        self.0.version.as_deref().unwrap_or("unknown")
    }

    /// The cipher suite by IANA's name, such as `TLS_AES_256_GCM_SHA384`.
    pub fn cipher(&self) -> &str {
        self.0.cipher.as_deref().unwrap_or("unknown")
    }

    /// The protocol agreed on by ALPN: `h2`, `http/1.1`, or none if the client offered none.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn.as_deref()
    }

    /// The host name that the client asked for (SNI).
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// The client's certificate and those that it sent to prove it, each in DER; empty if it showed none. They were verified
    /// against the setting `ca_certs`.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.peer_certificates
    }

    /// Whether the session continues an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.0.is_resumed
    }
}

impl fmt::Debug for TlsDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDetails")
            .field("version", &self.version())
            .field("cipher", &self.cipher())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name())
            .field("peer_certificates", &self.peer_certificates().len())
            .field("is_resumed", &self.is_resumed())
            .finish()
    }
}

/// Reads every file and makes rustls's settings of them.
fn configure(settings: &settings::Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let general = about(Path::new(""));
    let provider = Arc::new(ring::default_provider());
    let keys = load_keys(settings, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| general(Problem::Setup(error.to_string())))?;
    let builder = match (settings.client_certs, &settings.ca_certs) {
        (ClientCerts::None, _) => builder.with_no_client_auth(),
        (asked, None) => return Err(general(Problem::NoAuthorities(asked))),
        (asked, Some(file)) => {
            let roots = Arc::new(load_authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match asked {
                ClientCerts::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier
                .build()
                .map_err(|error| about(file)(Problem::Setup(error.to_string())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer =
        ring::Ticketer::new().map_err(|error| general(Problem::Setup(error.to_string())))?;
    Ok(Arc::new(config))
}

/// Chooses a certificate by the name that the client asks for, among those whose key it can verify; else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ByName(keys) = self;
        if keys.len() == 1 {
            return keys.first().cloned();
        }
        let usable = |key: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            key.key.choose_scheme(schemes).is_some()
        };
        let name = hello.server_name();
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| {
            let mut usable = keys.iter().filter(usable);
            usable.find(|key| is_valid_for(key, &name))
        });
        let chosen = named.or_else(|| keys.iter().find(usable));
        chosen.or(keys.first()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Ok(certificate) = key.end_entity_cert() else {
        return false;
    };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
