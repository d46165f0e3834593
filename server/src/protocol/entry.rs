//! The way of a connection from the accepted socket to hyper: a PROXY header first, then the TLS handshake, if the settings
//! want them. Both together have the time that the setting for a request's head gives.

use std::fmt;
#[cfg(feature = "tls")]
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenpatch::future::timeout;

use super::io::Io;
use super::proxy::{Expectation, ProxyError};
use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::{Tls, TlsDetails, TlsError};
use crate::application::{Peer, Scheme};
use crate::observe::log::{self, Repeated};
use crate::settings::{self, Settings};

/// Strangers can have as many connections refused as they like.
static STRANGERS: Repeated = Repeated::new(Duration::from_secs(10));

/// How the connections of a server begin.
pub(crate) struct Entry {
    proxy: Expectation,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    limit: Duration,
}

/// A connection that is ready for hyper.
pub(crate) struct Opened {
    pub(crate) io: Io,
    /// The client, or what stands before it: what the PROXY header says, else the socket's other end.
    pub(crate) peer: Peer,
    pub(crate) scheme: Scheme,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsDetails>,
}

/// Why a connection ended before it reached hyper; it is closed then, and told of in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The client left.
    Gone,
    /// It took too long.
    Timeout,
    /// The PROXY header was not as it should be.
    Proxy,
    /// There was no TLS handshake, or it failed.
    #[cfg(feature = "tls")]
    Tls,
}

impl Entry {
    /// Makes ready what connections need; reads the TLS files.
    ///
    /// # Errors
    /// If one of those cannot be used.
    pub(crate) fn new(settings: &Settings) -> Result<Entry, EntryError> {
        let tls = match settings.tls.is_on() {
            true => Some(load(&settings.tls)?),
            false => None,
        };
        #[cfg(not(feature = "tls"))]
        let _: Option<()> = tls;
        Ok(Entry {
            proxy: Expectation::new(&settings.proxy),
            #[cfg(feature = "tls")]
            tls,
            limit: settings.timeouts.header,
        })
    }

    /// Reads the TLS files again, for connections that begin from now on.
    ///
    /// # Errors
    /// If one of them cannot be used. Everything is then as before.
    pub(crate) fn reload(&self) -> Result<(), EntryError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.reload()?;
        }
        Ok(())
    }

    /// Brings a fresh connection as far as its first request, on a green thread.
    ///
    /// # Errors
    /// If it does not come so far. It is closed then, and the log tells why.
    pub(crate) async fn open(&self, stream: Stream) -> Result<Opened, Shut> {
        if self.is_plain() {
            return Ok(Opened {
                peer: stream.peer(),
                io: stream.into(),
                scheme: Scheme::Http,
                #[cfg(feature = "tls")]
                tls: None,
            });
        }
        let peer = stream.peer();
        match timeout(self.limit, self.negotiate(stream)).await {
            Ok(opened) => opened,
            Err(_) => {
                tracing::debug!(
                    "{peer} did not begin its connection within {:?}; closed",
                    self.limit
                );
                Err(Shut::Timeout)
            }
        }
    }

    /// Whether connections begin with HTTP.
    fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        self.proxy.is_off()
    }

    async fn negotiate(&self, mut stream: Stream) -> Result<Opened, Shut> {
        let announced = match self.proxy.receive(&mut stream).await {
            Ok(announced) => announced,
            Err(ProxyError::Io(error)) => {
                tracing::debug!("{} left: {error}", stream.peer());
                return Err(Shut::Gone);
            }
            Err(error) => {
                let message = format_args!("Closed a connection of {}: {error}", stream.peer());
                match error {
                    ProxyError::Forbidden | ProxyError::Missing(_) => STRANGERS.warning(message),
                    _ => log::warning(message),
                }
                return Err(Shut::Proxy);
            }
        };
        if let Some(peer) = announced.and_then(|announced| announced.peer) {
            stream.set_peer(peer);
        }
        let peer = stream.peer();
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return match tls.accept(stream).await {
                Ok(session) => Ok(Opened {
                    peer,
                    scheme: Scheme::Https,
                    tls: Some(TlsDetails::of(session.get_ref().1)),
                    io: session.into(),
                }),
                Err(error) if is_departure(error.kind()) => {
                    tracing::debug!("{peer} left during its TLS handshake: {error}");
                    Err(Shut::Gone)
                }
                Err(error) => {
                    tracing::debug!("the TLS handshake of {peer} failed: {error}");
                    Err(Shut::Tls)
                }
            };
        }
        Ok(Opened {
            peer,
            scheme: announced
                .and_then(|announced| announced.scheme)
                .unwrap_or(Scheme::Http),
            #[cfg(feature = "tls")]
            tls: None,
            io: stream.into(),
        })
    }
}

/// Whether the files of TLS can be used, read from `directory` if their paths are relative.
///
/// # Errors
/// As [`Entry::new`].
pub(crate) fn check_files(tls: &settings::Tls, directory: &Path) -> Result<(), EntryError> {
    if !tls.is_on() {
        return Ok(());
    }
    let from_there = |paths: &[PathBuf]| paths.iter().map(|path| directory.join(path)).collect();
    let tls = settings::Tls {
        certfile: from_there(&tls.certfile),
        keyfile: from_there(&tls.keyfile),
        ca_certs: tls.ca_certs.as_ref().map(|path| directory.join(path)),
        client_certs: tls.client_certs,
    };
    load(&tls).map(drop)
}

#[cfg(feature = "tls")]
fn load(settings: &settings::Tls) -> Result<Tls, EntryError> {
    Tls::load(settings).map_err(EntryError::Tls)
}

#[cfg(not(feature = "tls"))]
fn load(_: &settings::Tls) -> Result<(), EntryError> {
    Err(EntryError::NoTls)
}

/// Whether an error says that the client has left.
#[cfg(feature = "tls")]
fn is_departure(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Settings with which no connection can begin.
#[derive(Debug)]
pub enum EntryError {
    /// A certificate, a key or an authority cannot be used.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// TLS is wanted of a build that has none.
    #[cfg(not(feature = "tls"))]
    NoTls,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "tls")]
            EntryError::Tls(error) => error.fmt(f),
            #[cfg(not(feature = "tls"))]
            EntryError::NoTls => f.write_str(
                "--certfile is given, but this server was built without TLS; build it with the feature `tls`",
            ),
        }
    }
}

impl std::error::Error for EntryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "tls")]
            EntryError::Tls(error) => Some(error),
            #[cfg(not(feature = "tls"))]
            EntryError::NoTls => None,
        }
    }
}

#[cfg(feature = "tls")]
impl From<TlsError> for EntryError {
    fn from(error: TlsError) -> EntryError {
        EntryError::Tls(error)
    }
}
