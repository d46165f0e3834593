//! Certificates made for a test: an authority of its own, and what it issues.

use std::path::PathBuf;

use harness::Directory;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority with a directory for its files: `ca.pem`, and what is issued.
pub(crate) struct Authority {
    directory: Directory,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, which nobody else knows.
    pub(crate) fn new() -> Authority {
        let directory = Directory::new();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority in {}", directory.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        directory.file("ca.pem", certificate.pem().as_bytes());
        Authority {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    /// The path of a file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path as an argument.
    pub(crate) fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Issues a certificate for `host`, as `NAME.pem` and `NAME.key`, in place of one of that name.
    pub(crate) fn issue(&self, name: &str, host: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Writes a file, as whole as a rename makes it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).expect("the directory is ours");
        std::fs::rename(new, self.path(name)).expect("the directory is ours");
    }
}
