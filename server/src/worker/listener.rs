//! Listening sockets, and the tasks that accept from them.
//!
//! Each socket has a task of its own. It takes what there is, up to [`AT_A_TIME`] connections in one turn, and then lets others have
//! theirs: with thousands of busy connections a turn comes seldom, and newcomers are not to wait for several.
//!
//! It stops taking when as many connections are open as may be, and when there is no descriptor for another one; the kernel
//! keeps newcomers for that time, none is turned away. A descriptor is there again when a connection ends.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use greenpatch::future::{AsyncFd, sleep};

use super::control::StopHandle;
use crate::application::Peer;
use crate::log;
use crate::protocol::registry::Registry;

/// Connections that are accepted before others have their turn.
const AT_A_TIME: usize = 256;

/// How long to wait for a connection to end after an accept has failed, before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// A socket that listens, of either kind.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A path, or an abstract name.
    #[allow(dead_code, reason = "the arbiter will make them")]
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// What is accepted.
pub(crate) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Accepted {
    /// The socket, and who is at the other end.
    pub(crate) fn into_parts(self) -> (OwnedFd, Peer) {
        match self {
            Accepted::Tcp(stream, address) => (stream.into(), Peer::Tcp(address)),
            Accepted::Unix(stream) => (stream.into(), Peer::Unix),
        }
    }
}

/// A listening socket on the reactor.
enum Acceptor {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Acceptor> {
        Ok(match listener {
            Listener::Tcp(listener) => Acceptor::Tcp(AsyncFd::new(listener)?),
            Listener::Unix(listener) => Acceptor::Unix(AsyncFd::new(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, address))
            }
            Acceptor::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }

    /// Accepts what the kernel has already, without waiting.
    fn accept_now(&self) -> io::Result<Accepted> {
        match self {
            Acceptor::Tcp(listener) => {
                listener.get_ref().set_nonblocking(true)?;
                let (stream, address) = listener.get_ref().accept()?;
                Ok(Accepted::Tcp(stream, address))
            }
            Acceptor::Unix(listener) => {
                listener.get_ref().set_nonblocking(true)?;
                Ok(Accepted::Unix(listener.get_ref().accept()?.0))
            }
        }
    }
}

/// Accepts connections and hands them to `admit`, until the worker is to stop; then those that had come before, at most
/// `backlog` of them.
pub(super) async fn accept_until_stopped(
    listener: Listener,
    registry: Arc<Registry>,
    stop: StopHandle,
    backlog: u32,
    admit: impl Fn(Accepted),
) {
    let acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            log::error(format_args!("cannot accept connections: {error}"));
            return;
        }
    };
    let mut paused = Paused::default();
    let mut taken = 0;
    loop {
        let next = async {
            registry.until_room().await;
            acceptor.accept().await
        };
        let Some(accepted) = before(stop.until_stopping(), next).await else {
            break;
        };
        match accepted {
            Ok(accepted) => {
                paused.end();
                admit(accepted);
                taken += 1;
                if taken % AT_A_TIME == 0 {
                    let _ = before(stop.until_stopping(), let_others_go_first()).await;
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                paused.begin(&error);
                let room = before(registry.until_ended(), sleep(PAUSE));
                let _ = before(stop.until_stopping(), room).await;
            }
        }
    }
    // The reactor may not have told yet of connections that came before the stop, so the socket itself is asked. More than may
    // be open are no harm any more.
    let mut room = backlog;
    while room > 0 {
        match acceptor.accept_now() {
            Ok(accepted) => admit(accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                paused.begin(&error);
                before(registry.until_ended(), sleep(PAUSE)).await;
            }
        }
        room -= 1;
    }
}

/// Whether a failed accept says something of that connection alone.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// Whether accepting is interrupted by an error, which is told of once.
#[derive(Default)]
struct Paused(bool);

impl Paused {
    #[cold]
    fn begin(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            log::error(format_args!(
                "cannot accept a connection: {error}; \
                 raise the limit on open files (ulimit -n) or lower --worker-connections"
            ));
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.0) {
            log::info("Connections are accepted again");
        }
    }
}

/// Waits for `future`; `None` if `end` comes first.
pub(super) async fn before<E: Future, F: Future>(end: E, future: F) -> Option<F::Output> {
    let (mut end, mut future) = (pin!(end), pin!(future));
    std::future::poll_fn(|context| match end.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(context).map(Some),
    })
    .await
}

/// Is pending once, with its task woken.
async fn let_others_go_first() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
