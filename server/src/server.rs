//! A bound server: its listening socket, and the way to stop it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::application::IntoApplication;
use crate::observe::{Observe, Observer, attached};
use crate::settings::Settings;
use crate::worker::listener::{Listener, listen, remedy};
use crate::worker::{self, Hooks, StopHandle};

/// A server that listens and does not serve yet: one worker, in this process.
///
/// It serves until [`StopHandle::stop`] is called and the requests then under way are answered. There is no master, so the settings
/// that are a master's say nothing here: addresses to listen on, number and recycling of workers, admin listener, files of its own,
/// identity, reloading. [`Program`](crate::Program) obeys all of them.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    stop: StopHandle,
}

/// How long is waited for the access log to take its last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

impl Server {
    /// Listens on `address`, as `HOST:PORT`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be resolved or listened on.
    pub fn bind(address: &str, settings: Settings) -> Result<Server, BindError> {
        let fail = |source| BindError {
            address: address.to_owned(),
            source,
        };
        let listener = listen(address, settings.backlog).map_err(fail)?;
        Ok(Server {
            address: listener.local_addr().map_err(fail)?,
            listener,
            settings,
            stop: StopHandle::new(),
        })
    }

    /// The address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stops the server from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Serves an application in the worker class that the settings name, until it is stopped.
    ///
    /// # Errors
    /// If the runtime, a thread, the listening socket or the access log cannot be made ready.
    pub fn serve<M>(self, application: impl IntoApplication<M>) -> Result<(), ServeError> {
        let observer = Observer::new(Observe::from_settings(&self.settings)?);
        attached::tell_of_worker(&observer);
        let served = worker::serve(
            application.into_application(),
            vec![Listener::OwnTcp(self.listener)],
            &self.settings,
            &self.stop,
            Hooks::only(Arc::clone(&observer)),
        );
        observer.flush(LAST_LINES);
        served
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, source } = self;
        write!(
            f,
            "cannot listen on {address}: {source}; {}",
            remedy(source)
        )
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A server that could not begin to serve.
#[derive(Debug)]
pub enum ServeError {
    /// The green-thread runtime could not be built.
    Runtime(greenpatch::BuildError),
    /// The listening socket, the event loop or a thread could not be set up.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Runtime(error) => {
                write!(f, "cannot build the green-thread runtime: {error}")
            }
            ServeError::Io(error) => write!(f, "cannot begin to serve: {error}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Runtime(error) => Some(error),
            ServeError::Io(error) => Some(error),
        }
    }
}

impl From<greenpatch::BuildError> for ServeError {
    fn from(error: greenpatch::BuildError) -> ServeError {
        ServeError::Runtime(error)
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> ServeError {
        ServeError::Io(error)
    }
}
