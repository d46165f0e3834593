//! Listening sockets, and the tasks that accept from them.
//!
//! Each socket has a task of its own, which [goes early](super::executor): with thousands of busy connections newcomers would wait
//! for a turn of everybody, and if more come in that time than the kernel keeps, it drops them. The task takes up to
//! [`AT_A_TIME`] connections in one turn, about as many as others are polled until its next one, and then lets them have theirs.
//!
//! It stops taking when as many connections are open as may be, and when there is no descriptor for another one; the kernel
//! keeps newcomers for that time, none is turned away. A descriptor is there again when a connection ends. While a newcomer waits for
//! a place, the connection that has been idle for longest is ended.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use greenpatch::future::{AsyncFd, sleep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::control::StopHandle;
use crate::application::Peer;
use crate::log;
use crate::observe::log::Repeated;
use crate::observe::{Observer, Refusal};
use crate::protocol::registry::Registry;

/// Connections that are accepted before others have their turn.
const AT_A_TIME: usize = 16;

/// How often a socket is asked for the last time, and how long it is left alone in between: time for those to arrive whom the
/// kernel had begun to let in.
const LAST_LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How often to look whether a newcomer waits for a place.
const BETWEEN_CHECKS: Duration = Duration::from_millis(100);

/// How long to wait for a connection to end after an accept has failed, before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// A socket that listens, of either kind.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A TCP port, on which other processes may accept as well. Its door is closed by the master, if it is to be closed.
    Tcp(TcpListener),
    /// A TCP port on which nobody else accepts, so that what comes after the end finds nobody.
    OwnTcp(TcpListener),
    /// A path, or an abstract name.
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) | Listener::OwnTcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listener {
    /// Its address of TCP, if it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) | Listener::OwnTcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }
}

/// Listens on the first of these addresses that lets us.
///
/// Accepted sockets take `TCP_NODELAY` over from the listening one: a response leaves in one piece, and waiting for more only
/// delays it.
///
/// # Errors
/// What is wrong with the last of them; `NotFound` if there is none.
pub(crate) fn listen(addresses: impl ToSocketAddrs, backlog: u32) -> io::Result<TcpListener> {
    let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
    for address in addresses.to_socket_addrs()? {
        let listen = || {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_tcp_nodelay(true)?;
            socket.bind(&address.into())?;
            socket.listen(queue_length(backlog))?;
            Ok(socket.into())
        };
        match listen() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The backlog as the kernel wants it, which has a limit of its own.
pub(crate) fn queue_length(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// What helps if a TCP address cannot be listened on.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "stop the program that listens there or choose another port",
        ErrorKind::AddrNotAvailable => "choose an address of this machine",
        ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "give an address as HOST:PORT, such as 127.0.0.1:8000",
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

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Acceptor::Tcp(listener) => listener.get_ref().as_fd(),
            Acceptor::Unix(listener) => listener.get_ref().as_fd(),
        }
    }
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Acceptor> {
        Ok(match listener {
            Listener::Tcp(listener) | Listener::OwnTcp(listener) => {
                Acceptor::Tcp(AsyncFd::new(listener)?)
            }
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

    /// Closes the door, if it is a TCP port's.
    fn close_door(&self) -> io::Result<()> {
        match self {
            Acceptor::Tcp(listener) => close_door(listener.get_ref()),
            Acceptor::Unix(_) => Ok(()),
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

/// Has the kernel turn newcomers away from now on, silently, while it goes on with those that it has begun to let in: the
/// segments that ask for a connection are dropped, as if the network had lost them. To close a socket on which somebody
/// is just being let in would reset that connection.
pub(crate) fn close_door(listener: &TcpListener) -> io::Result<()> {
    /// Offset of the byte with the flags in a segment's header.
    const FLAGS: u32 = 13;
    const SYN: u32 = 2;
    const ACK: u32 = 16;
    // Load the byte; mask it; SYN alone? drop the segment; else keep it. (Codes of linux/bpf_common.h.)
    const PROGRAM: [SockFilter; 5] = [
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN | ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&PROGRAM)
}

/// Accepts connections and hands them to `admit`, until the worker is to stop; then those that had come before, at most
/// `backlog` of them.
pub(super) async fn accept_until_stopped(
    listener: Listener,
    registry: Arc<Registry>,
    stop: StopHandle,
    backlog: u32,
    observer: &Observer,
    admit: impl Fn(Accepted),
) {
    let is_own = matches!(listener, Listener::OwnTcp(_));
    let acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            log::error(format_args!("cannot accept connections: {error}"));
            return;
        }
    };
    let mut taken = 0;
    loop {
        let next = async {
            if !registry.has_room() {
                observer.accept_paused();
                until_room(&acceptor, &registry).await;
            }
            acceptor.accept().await
        };
        let Some(accepted) = before(stop.until_stopping(), next).await else {
            break;
        };
        match accepted {
            Ok(accepted) => {
                admit(accepted);
                taken += 1;
                if taken % AT_A_TIME == 0 {
                    let _ = before(stop.until_stopping(), let_others_go_first()).await;
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tell(&error, observer);
                let room = before(registry.until_ended(), sleep(PAUSE));
                let _ = before(stop.until_stopping(), room).await;
            }
        }
    }
    // The reactor may not have told yet of connections that came before the stop, so the socket itself is asked. More than may
    // be open are no harm any more.
    let mut looks = LAST_LOOKS;
    if is_own && acceptor.close_door().is_err() {
        // Newcomers come on and on.
        looks = 1;
    }
    let mut room = backlog;
    while room > 0 && looks > 0 {
        match acceptor.accept_now() {
            Ok(accepted) => admit(accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                looks -= 1;
                if looks > 0 {
                    sleep(BETWEEN_LOOKS).await;
                }
                continue;
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tell(&error, observer);
                before(registry.until_ended(), sleep(PAUSE)).await;
            }
        }
        room -= 1;
    }
}

/// Waits until one more connection may be accepted, and makes room for somebody who waits for that.
async fn until_room(listener: &impl AsFd, registry: &Registry) {
    loop {
        // From before the look, so that no end is missed.
        let ended = registry.until_ended();
        if registry.has_room() {
            return;
        }
        if somebody_waits(listener) {
            registry.end_longest_idle();
        }
        before(ended, sleep(BETWEEN_CHECKS)).await;
    }
}

/// Whether the kernel has a connection to be accepted.
fn somebody_waits(listener: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Whether a failed accept says something of that connection alone.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// Tells of an error that stops accepting for a while: the log once, then now and then.
#[cold]
fn tell(error: &io::Error, observer: &Observer) {
    static STOPPED: Repeated = Repeated::new(Duration::from_secs(10));
    observer.refused(match Errno::from_io_error(error) {
        Some(Errno::NOBUFS | Errno::NOMEM) => Refusal::Memory,
        _ => Refusal::Descriptors,
    });
    STOPPED.error(format_args!(
        "cannot accept a connection: {error}; \
         raise the limit on open files (ulimit -n) or lower --worker-connections"
    ));
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
