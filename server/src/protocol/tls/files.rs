//! The PEM files of TLS, and what can be wrong with them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::{self, ClientCerts};

/// A TLS setting that cannot be used: which file, why, and what to do.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    Unreadable(io::Error),
    Malformed(pem::Error),
    NoCertificate,
    NoKey,
    EncryptedKey,
    UnusableKey(rustls::Error),
    UnusableCertificate(rustls::Error),
    WrongKey { certificate: PathBuf },
    Unpaired { certificates: usize, keys: usize },
    NoAuthorities(ClientCerts),
    Setup(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.problem {
            Problem::Unreadable(error) => write!(
                f,
                "cannot read {file}: {error}; name a PEM file that the server's user may read"
            ),
            Problem::Malformed(error) => write!(
                f,
                "{file} is not PEM: {error}; convert it (openssl x509 or openssl pkey) or copy it again"
            ),
            Problem::NoCertificate => write!(
                f,
                "{file} has no certificate; it must have a section that begins with -----BEGIN CERTIFICATE-----"
            ),
            Problem::NoKey => write!(
                f,
                "{file} has no private key; name the key's file by --keyfile, or put the key into the certificate's file"
            ),
            Problem::EncryptedKey => write!(
                f,
                "the private key in {file} is encrypted; decrypt it: openssl pkey -in {file} -out KEYFILE"
            ),
            Problem::UnusableKey(error) => write!(
                f,
                "cannot use the private key in {file}: {error}; use an RSA key of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519"
            ),
            Problem::UnusableCertificate(error) => write!(
                f,
                "cannot use a certificate in {file}: {error}; look at it: openssl x509 -in {file} -text"
            ),
            Problem::WrongKey { certificate } => write!(
                f,
                "the private key in {file} is not that of the certificate in {}; \
                 name the key that the certificate was made for (and the server's own certificate first in its file)",
                certificate.display()
            ),
            Problem::Unpaired { certificates, keys } => write!(
                f,
                "{certificates} certificate files and {keys} key files; give --keyfile once for each --certfile, in the same order, \
                 or never if each certificate's file has its key"
            ),
            Problem::NoAuthorities(asked) => write!(
                f,
                "--client-certs {} needs --ca-certs, the file of the authorities that may have signed clients' certificates",
                asked.name()
            ),
            Problem::Setup(error) => write!(f, "cannot set TLS up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Unreadable(error) => Some(error),
            Problem::Malformed(error) => Some(error),
            Problem::UnusableKey(error) | Problem::UnusableCertificate(error) => Some(error),
            _ => None,
        }
    }
}

/// Makes an error about `file` of a problem.
pub(super) fn about(file: &Path) -> impl Fn(Problem) -> TlsError {
    |problem| TlsError {
        file: file.to_owned(),
        problem,
    }
}

/// The certificates with their keys, in the order of the settings.
pub(super) fn load_keys(
    settings: &settings::Tls,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    let (certificates, keys) = (&settings.certfile, &settings.keyfile);
    if !keys.is_empty() && keys.len() != certificates.len() {
        let problem = Problem::Unpaired {
            certificates: certificates.len(),
            keys: keys.len(),
        };
        return Err(about(Path::new(""))(problem));
    }
    certificates
        .iter()
        .enumerate()
        .map(|(index, certificate)| {
            let key = keys.get(index).unwrap_or(certificate);
            load_key(certificate, key, provider).map(Arc::new)
        })
        .collect()
}

/// A certificate chain and its private key.
fn load_key(
    certificate_file: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = load_certificates(certificate_file)?;
    let about_key = about(key_file);
    let text = read(key_file)?;
    if is_encrypted(&text) {
        return Err(about_key(Problem::EncryptedKey));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        about_key(match error {
            pem::Error::NoItemsFound => Problem::NoKey,
            error => Problem::Malformed(error),
        })
    })?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| about_key(Problem::UnusableKey(error)))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(about_key(Problem::WrongKey {
            certificate: certificate_file.to_owned(),
        })),
        Err(error) => Err(about(certificate_file)(Problem::UnusableCertificate(error))),
    }
}

/// Every certificate in a file; at least one.
fn load_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| about(file)(Problem::Malformed(error)))?;
    if chain.is_empty() {
        return Err(about(file)(Problem::NoCertificate));
    }
    Ok(chain)
}

/// The authorities whose signature a client's certificate may bear.
pub(super) fn load_authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| about(file)(Problem::UnusableCertificate(error)))?;
    }
    Ok(roots)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| about(file)(Problem::Unreadable(error)))
}

/// Whether a file has a private key that a pass phrase locks: in PKCS #8's form, or in the older one of OpenSSL.
fn is_encrypted(text: &[u8]) -> bool {
    [
        &b"BEGIN ENCRYPTED PRIVATE KEY"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ]
    .iter()
    .any(|mark| memchr::memmem::find(text, mark).is_some())
}
