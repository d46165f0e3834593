//! Listening sockets: made from settings, or taken over from the process that has started this one.
//!
//! All are in non-blocking mode. The mode belongs to the socket and not to a process's descriptor, and where several processes
//! accept on one socket, a connection that one of them is woken for may be another's by the time that it calls `accept`.
//! Sockets that are accepted take `TCP_NODELAY` over from the listening one: a response leaves in one piece, and waiting for
//! more only delays it.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use listenfd::ListenFd;
use rustix::fs::Mode;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open, umask};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::channel::MAX_SOCKETS;
use super::identity::Identity;
use crate::command::bind::Bind;
use crate::settings::Settings;
use crate::worker::listener::{close_door, listen, queue_length, remedy};

/// The first descriptor that a service manager hands down (systemd's `SD_LISTEN_FDS_START`).
const FIRST_ACTIVATED: i32 = 3;

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Socket {
    /// For TCP, over either version of IP.
    Tcp(TcpListener),
    /// For Unix streams.
    Unix(UnixListener),
}

impl Socket {
    /// Takes a descriptor, which must be one that listens, and puts it into the mode that all are in.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Result<Socket, &'static str> {
        const NONE: &str = "it is no socket that listens";
        if !socket_acceptconn(&descriptor).map_err(|_| NONE)? {
            return Err(NONE);
        }
        let family = socket_domain(&descriptor).map_err(|_| NONE)?;
        let raw = RawSocket::from(descriptor);
        let is_tcp = [AddressFamily::INET, AddressFamily::INET6].contains(&family);
        if !is_tcp && family != AddressFamily::UNIX || !matches!(raw.r#type(), Ok(Type::STREAM)) {
            return Err("it listens neither for TCP nor for Unix streams");
        }
        raw.set_nonblocking(true)
            .map_err(|_| "it cannot be put into non-blocking mode")?;
        if is_tcp {
            // Fails on no TCP socket; without it responses would only be slower.
            let _ = raw.set_tcp_nodelay(true);
            Ok(Socket::Tcp(raw.into()))
        } else {
            Ok(Socket::Unix(OwnedFd::from(raw).into()))
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// The address that it listens on, without a scheme: `127.0.0.1:8000`, `unix:/run/app.sock`.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self {
            Socket::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Socket::Unix(listener) => listener.local_addr().map(|address| {
                let name = address.as_abstract_name();
                let name = name.map(|name| format!("@{}", String::from_utf8_lossy(name)));
                let path = address.as_pathname().map(|path| path.display().to_string());
                format!("unix:{}", path.or(name).unwrap_or_default())
            }),
        };
        f.write_str(address.as_deref().unwrap_or("an unknown address"))
    }
}

/// A socket that a master holds for its workers, and what it was made from.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: Socket,
    pub(crate) bind: Bind,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
    /// Whether that is ours to remove, and not another master's.
    owns_file: Cell<bool>,
}

/// A Unix socket's file, known by its number, so that another server's in the same place is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listening {
    /// Makes or takes over what `bind` names.
    pub(crate) fn open(
        bind: &Bind,
        settings: &Settings,
        activated: &mut Activated,
    ) -> Result<Listening, BindError> {
        let fail = |source| BindError::Refused {
            bind: bind.clone(),
            source,
        };
        let (descriptor, file) = match bind {
            Bind::Tcp { host, port } => {
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                let listener = listen((host, *port), settings.backlog).map_err(fail)?;
                (listener.into(), None)
            }
            Bind::Unix(path) => listen_unix(path, settings).map_err(fail)?,
            Bind::Fd(number) => (activated.take(*number).map_err(fail)?, None),
        };
        let socket = Socket::from_descriptor(descriptor)
            .map_err(|reason| fail(io::Error::new(io::ErrorKind::InvalidInput, reason)))?;
        Ok(Listening {
            socket,
            bind: bind.clone(),
            file,
            owns_file: Cell::new(true),
        })
    }

    /// One that another master has made, and owns for as long as it lives.
    pub(crate) fn shared(socket: Socket, bind: Bind, file: Option<SocketFile>) -> Listening {
        Listening {
            socket,
            bind,
            file,
            owns_file: Cell::new(false),
        }
    }

    /// Lets nobody begin to connect any more. Who has begun is still let in, until the last process closes the socket: without
    /// this, who comes between its last `accept` and its `close` would be reset. Whoever comes now tries again a second later,
    /// and is refused.
    ///
    /// A socket that a service manager has handed down goes on to listen after us, and is left alone.
    pub(crate) fn turn_away(&self) {
        if let (Socket::Tcp(listener), Bind::Tcp { .. }) = (&self.socket, &self.bind) {
            // A kernel without filters resets, as it always did.
            let _ = close_door(listener);
        }
    }

    /// The socket's file.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    /// Takes over the socket's file from another master, or leaves it to one.
    pub(crate) fn set_owns_file(&self, owns: bool) {
        self.owns_file.set(owns);
    }
}

/// Sockets for these addresses: those among `present` that were made for the same ones, and new ones for the others.
///
/// # Errors
///
/// If an address cannot be listened on; sockets that were made for others are closed again.
pub(crate) fn open_all(
    bind: &[Bind],
    present: &[Rc<Listening>],
    settings: &Settings,
    activated: &mut Activated,
) -> Result<Vec<Rc<Listening>>, BindError> {
    let mut sockets: Vec<Rc<Listening>> = Vec::new();
    for bind in bind {
        let is_free = |it: &&Rc<Listening>| {
            it.bind == *bind && !sockets.iter().any(|used| Rc::ptr_eq(used, it))
        };
        let socket = match present.iter().find(is_free) {
            Some(socket) => Rc::clone(socket),
            None => Rc::new(Listening::open(bind, settings, activated)?),
        };
        sockets.push(socket);
    }
    if sockets.len() > MAX_SOCKETS {
        return Err(BindError::TooMany(sockets.len()));
    }
    Ok(sockets)
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && self.owns_file.get()
            && SocketFile::at(&file.path).is_ok_and(|present| present == *file)
        {
            // It may have been removed by hand in between.
            let _ = fs::remove_file(&file.path);
        }
    }
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        let data = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            path: path.to_owned(),
            device: data.dev(),
            inode: data.ino(),
        })
    }
}

/// Listens on a path, where the file of a server that has died is removed before.
fn listen_unix(path: &Path, settings: &Settings) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") {
        let name = [b"\0", name].concat();
        socket.bind(&SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(
            &name,
        )))?)?;
        socket.listen(queue_length(settings.backlog))?;
        return Ok((socket.into(), None));
    }
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let before = umask(Mode::from_raw_mode(settings.process.umask.unwrap_or(0)));
    let bound = socket.bind(&address);
    umask(before);
    bound?;
    let file = SocketFile::at(path)?;
    let identity = Identity::of(&settings.process);
    if identity.differs() {
        chown(path, identity.uid(), identity.gid())?;
    }
    socket.listen(queue_length(settings.backlog))?;
    Ok((socket.into(), Some(file)))
}

/// Removes a socket's file on which nobody listens any more.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(data) if !data.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file, which is no socket",
            ));
        }
        Ok(_) => {}
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog must not hold us up.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The sockets that a service manager has handed down (systemd's socket activation, `LISTEN_FDS`), and any other descriptor that
/// this process was started with.
pub(crate) struct Activated {
    sockets: ListenFd,
    /// All that were handed down, to this master or to the one before it.
    numbers: Vec<i32>,
}

impl Activated {
    /// What the environment tells of. Take it once, for each descriptor can be taken once.
    pub(crate) fn from_environment() -> Activated {
        let sockets = ListenFd::from_env();
        let count = i32::try_from(sockets.len()).unwrap_or(i32::MAX);
        Activated {
            numbers: (FIRST_ACTIVATED..FIRST_ACTIVATED.saturating_add(count)).collect(),
            sockets,
        }
    }

    /// What was handed down to an earlier master, from which this one has the sockets.
    pub(crate) fn to_earlier_master(numbers: Vec<i32>) -> Activated {
        Activated {
            sockets: ListenFd::empty(),
            numbers,
        }
    }

    /// The descriptors that were handed down.
    pub(crate) fn numbers(&self) -> &[i32] {
        &self.numbers
    }

    /// Where to listen: on what the settings say, or, as in gunicorn, on the sockets that a service manager has handed down if
    /// the settings name no descriptor by its number.
    pub(crate) fn instead_of(&self, bind: &[Bind]) -> Vec<Bind> {
        let by_number = bind.iter().any(|bind| matches!(bind, Bind::Fd(_)));
        if by_number || self.numbers.is_empty() {
            return bind.to_vec();
        }
        self.numbers.iter().copied().map(Bind::Fd).collect()
    }

    fn take(&mut self, number: i32) -> io::Result<OwnedFd> {
        let Some(index) = self.numbers.iter().position(|given| *given == number) else {
            return duplicate(number);
        };
        match self.sockets.take_tcp_listener(index) {
            Ok(Some(listener)) => return Ok(listener.into()),
            // It was taken before.
            Ok(None) => return duplicate(number),
            // It is not for TCP.
            Err(_) => {}
        }
        let listener = self.sockets.take_unix_listener(index)?;
        Ok(listener.ok_or(io::ErrorKind::NotFound)?.into())
    }
}

/// Another descriptor for what this process has under this number, whoever gave it that. The kernel's call for it makes no
/// assumption about who owns the number.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let duplicate = pidfd_getfd(this, number, PidfdGetfdFlags::empty());
    duplicate.map_err(|error| match error {
        rustix::io::Errno::BADF => io::Error::new(
            io::ErrorKind::NotFound,
            "this process was started with no such descriptor",
        ),
        rustix::io::Errno::PERM | rustix::io::Errno::NOSYS => io::Error::new(
            io::ErrorKind::Unsupported,
            "the system forbids pidfd_getfd (a container without CAP_SYS_PTRACE?)",
        ),
        error => error.into(),
    })
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub(crate) enum BindError {
    /// The system refuses it.
    Refused {
        /// The address.
        bind: Bind,
        /// What it says.
        source: io::Error,
    },
    /// There are more than workers can be given.
    TooMany(usize),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bind, source) = match self {
            BindError::Refused { bind, source } => (bind, source),
            BindError::TooMany(count) => {
                return write!(
                    f,
                    "cannot listen on {count} addresses; give at most {MAX_SOCKETS}, or an address that stands for several, \
                     such as 0.0.0.0"
                );
            }
        };
        let remedy = match (bind, source.kind()) {
            (Bind::Fd(_), io::ErrorKind::Unsupported) => {
                "hand the socket down as systemd does, with LISTEN_FDS"
            }
            (Bind::Fd(_), _) => {
                "give the number of a listening socket that the parent process has left open"
            }
            (Bind::Unix(_), io::ErrorKind::AlreadyExists) => "remove it or choose another path",
            (Bind::Unix(_), io::ErrorKind::AddrInUse) => {
                "stop the program that listens there or choose another path"
            }
            (Bind::Unix(_), _) => "give a path in a directory that exists and can be written to",
            (Bind::Tcp { .. }, _) => remedy(source),
        };
        write!(f, "cannot listen on {bind}: {source}; {remedy}")
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BindError::Refused { source, .. } => Some(source),
            BindError::TooMany(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use harness::Directory;

    use super::*;

    fn open(bind: &str) -> Result<Listening, BindError> {
        let bind = bind.parse().expect("an address");
        Listening::open(
            &bind,
            &Settings::default(),
            &mut Activated::to_earlier_master(Vec::new()),
        )
    }

    fn refusal(bind: &str) -> String {
        open(bind)
            .expect_err("it cannot be listened on")
            .to_string()
    }

    #[test]
    fn tcp_sockets_listen_without_blocking_on_either_version_of_ip() {
        for bind in ["127.0.0.1:0", "[::1]:0", "localhost:0", ":0"] {
            let listening = open(bind).expect("loopback");
            let Socket::Tcp(listener) = &listening.socket else {
                panic!("{bind} is TCP");
            };
            let error = listener.accept().expect_err("nobody connects");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let address = listening.socket.to_string();
            TcpStream::connect(&address).expect("it listens");
        }
    }

    #[test]
    fn an_address_in_use_is_refused_with_its_remedy() {
        let first = open("127.0.0.1:0").expect("loopback");
        let text = refusal(&first.socket.to_string());
        assert!(
            text.contains("in use") && text.ends_with("choose another port"),
            "{text}"
        );
        assert!(refusal("192.0.2.1:0").ends_with("an address of this machine"));
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_a_dead_one_and_removes_only_its_own_file() {
        let directory = Directory::new();
        let path = directory.path().join("socket");
        let bind = format!("unix:{}", path.display());
        drop(UnixListener::bind(&path).expect("a path"));

        let first = open(&bind).expect("nobody listens");
        assert_eq!(first.socket.to_string(), bind);
        UnixStream::connect(&path).expect("it listens");
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o777);
        assert!(refusal(&bind).ends_with("listens there or choose another path"));

        fs::remove_file(&path).expect("it is there");
        let second = open(&bind).expect("the file is gone");
        drop(first);
        UnixStream::connect(&path).expect("the second one's file is left alone");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_not_taken_for_a_dead_socket() {
        let directory = Directory::new();
        let path = directory.path().join("file");
        fs::write(&path, "mine").expect("a new file");
        let text = refusal(&format!("unix:{}", path.display()));
        assert!(text.contains("no socket; remove it"), "{text}");
        assert!(path.exists());
        let text = refusal(&format!("unix:{}/none/socket", directory.path().display()));
        assert!(
            text.contains("No such file") && text.contains("that exists"),
            "{text}"
        );
    }

    #[test]
    fn an_abstract_name_needs_no_file() {
        let bind = format!("unix:@greenpatch-test-{}", std::process::id());
        let listening = open(&bind).expect("a name of our own");
        assert_eq!(listening.socket.to_string(), bind);
    }

    #[test]
    fn who_had_connected_is_let_in_after_newcomers_are_turned_away() {
        let listening = open("127.0.0.1:0").expect("loopback");
        let Socket::Tcp(listener) = &listening.socket else {
            panic!("it is TCP");
        };
        let address = listener.local_addr().expect("bound");
        let mut early = TcpStream::connect(address).expect("it listens");
        listening.turn_away();
        let short = std::time::Duration::from_millis(100);
        let error = TcpStream::connect_timeout(&address, short).expect_err("it is filtered");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut stream, _) = listener.accept().expect("it was there before");
        stream.write_all(b"x").expect("it is open");
        let mut byte = [0];
        early
            .read_exact(&mut byte)
            .expect("the accepted socket has no filter");
    }

    #[test]
    fn a_descriptor_is_taken_by_its_number() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let listening = open(&format!("fd://{}", listener.as_raw_fd())).expect("it listens");
        assert_eq!(listening.socket.to_string(), address);

        let text = refusal("fd://9999");
        assert!(
            text.contains("fd://9999") && text.contains("no such descriptor"),
            "{text}"
        );
        let text = refusal(&format!(
            "fd://{}",
            fs::File::open("/").expect("it exists").as_raw_fd()
        ));
        assert!(text.contains("fd://"), "{text}");
        let stream = TcpStream::connect(&address).expect("it listens");
        let text = refusal(&format!("fd://{}", stream.as_raw_fd()));
        assert!(text.contains("no socket that listens"), "{text}");
    }
}
