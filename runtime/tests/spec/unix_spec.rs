// What a program may expect of `UnixListener`, `UnixStream` and `UnixDatagram`, std's or ours: included where these names,
// `everywhere` and `start` are in scope.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A path that nobody else uses, in a directory that goes with it.
struct FreshPath {
    path: PathBuf,
}

impl FreshPath {
    fn new() -> FreshPath {
        let directory = std::env::temp_dir().join(crate::fresh_name());
        std::fs::create_dir(&directory).unwrap();
        FreshPath {
            path: directory.join("socket"),
        }
    }
}

impl std::ops::Deref for FreshPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for FreshPath {
    fn drop(&mut self) {
        let directory = self.path.parent().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }
}

fn fresh_address() -> SocketAddr {
    SocketAddr::from_abstract_name(crate::fresh_name()).unwrap()
}

#[test]
fn each_method_has_the_same_signature() {
    use std::io::Result;
    type Time = Option<Duration>;
    type Accepted = (UnixStream, SocketAddr);
    type Pair<T> = (T, T);
    type Datagram = (usize, SocketAddr);
    let _: fn(&'static str) -> Result<UnixListener> = UnixListener::bind;
    let _: fn(&SocketAddr) -> Result<UnixListener> = UnixListener::bind_addr;
    let _: fn(&UnixListener) -> Result<Accepted> = UnixListener::accept;
    let _: fn(&UnixListener) -> Result<SocketAddr> = UnixListener::local_addr;
    let _: fn(&UnixListener) -> Result<UnixListener> = UnixListener::try_clone;
    let _: fn(&UnixListener, bool) -> Result<()> = UnixListener::set_nonblocking;
    let _: fn(&UnixListener) -> Result<Option<std::io::Error>> = UnixListener::take_error;
    let _: for<'a> fn(&'a UnixListener) -> Incoming<'a> = UnixListener::incoming;
    let _: fn(&'static str) -> Result<UnixStream> = UnixStream::connect;
    let _: fn(&SocketAddr) -> Result<UnixStream> = UnixStream::connect_addr;
    let _: fn() -> Result<Pair<UnixStream>> = UnixStream::pair;
    let _: fn(&UnixStream) -> Result<UnixStream> = UnixStream::try_clone;
    let _: fn(&UnixStream) -> Result<SocketAddr> = UnixStream::local_addr;
    let _: fn(&UnixStream) -> Result<SocketAddr> = UnixStream::peer_addr;
    let _: fn(&UnixStream, Time) -> Result<()> = UnixStream::set_read_timeout;
    let _: fn(&UnixStream, Time) -> Result<()> = UnixStream::set_write_timeout;
    let _: fn(&UnixStream) -> Result<Time> = UnixStream::read_timeout;
    let _: fn(&UnixStream) -> Result<Time> = UnixStream::write_timeout;
    let _: fn(&UnixStream, bool) -> Result<()> = UnixStream::set_nonblocking;
    let _: fn(&UnixStream) -> Result<Option<std::io::Error>> = UnixStream::take_error;
    let _: fn(&UnixStream, Shutdown) -> Result<()> = UnixStream::shutdown;
    let _: fn(&'static str) -> Result<UnixDatagram> = UnixDatagram::bind;
    let _: fn(&SocketAddr) -> Result<UnixDatagram> = UnixDatagram::bind_addr;
    let _: fn() -> Result<UnixDatagram> = UnixDatagram::unbound;
    let _: fn() -> Result<Pair<UnixDatagram>> = UnixDatagram::pair;
    let _: fn(&UnixDatagram, &'static str) -> Result<()> = UnixDatagram::connect;
    let _: fn(&UnixDatagram, &SocketAddr) -> Result<()> = UnixDatagram::connect_addr;
    let _: fn(&UnixDatagram) -> Result<UnixDatagram> = UnixDatagram::try_clone;
    let _: fn(&UnixDatagram) -> Result<SocketAddr> = UnixDatagram::local_addr;
    let _: fn(&UnixDatagram) -> Result<SocketAddr> = UnixDatagram::peer_addr;
    let _: fn(&UnixDatagram, &mut [u8]) -> Result<Datagram> = UnixDatagram::recv_from;
    let _: fn(&UnixDatagram, &mut [u8]) -> Result<usize> = UnixDatagram::recv;
    let _: fn(&UnixDatagram, &[u8], &'static str) -> Result<usize> = UnixDatagram::send_to;
    let _: fn(&UnixDatagram, &[u8], &SocketAddr) -> Result<usize> = UnixDatagram::send_to_addr;
    let _: fn(&UnixDatagram, &[u8]) -> Result<usize> = UnixDatagram::send;
    let _: fn(&UnixDatagram, Time) -> Result<()> = UnixDatagram::set_read_timeout;
    let _: fn(&UnixDatagram, Time) -> Result<()> = UnixDatagram::set_write_timeout;
    let _: fn(&UnixDatagram) -> Result<Time> = UnixDatagram::read_timeout;
    let _: fn(&UnixDatagram) -> Result<Time> = UnixDatagram::write_timeout;
    let _: fn(&UnixDatagram, bool) -> Result<()> = UnixDatagram::set_nonblocking;
    let _: fn(&UnixDatagram) -> Result<Option<std::io::Error>> = UnixDatagram::take_error;
    let _: fn(&UnixDatagram, Shutdown) -> Result<()> = UnixDatagram::shutdown;
    fn shared<T: Send + Sync + std::fmt::Debug + std::panic::UnwindSafe>() {}
    shared::<UnixListener>();
    shared::<UnixStream>();
    shared::<UnixDatagram>();
    fn descriptor<T: std::os::fd::AsFd + AsRawFd + IntoRawFd + FromRawFd + From<OwnedFd>>()
    where
        OwnedFd: From<T>,
    {
    }
    descriptor::<UnixListener>();
    descriptor::<UnixStream>();
    descriptor::<UnixDatagram>();
}

#[test]
fn a_listener_at_a_path_serves_clients_at_once() {
    everywhere(|| {
        const CLIENTS: u8 = 20;
        let path = FreshPath::new();
        let listener = UnixListener::bind(&*path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        let server = start(move || {
            let clients: Vec<_> = listener
                .incoming()
                .take(CLIENTS.into())
                .map(Result::unwrap)
                .collect();
            // Nobody is answered before all have come: they all wait at once.
            for mut client in clients {
                let mut name = [0];
                client.read_exact(&mut name).unwrap();
                client.write_all(&name).unwrap();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let mut stream = UnixStream::connect(&*path).unwrap();
                start(move || {
                    stream.write_all(&[n]).unwrap();
                    let mut answer = [0];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n]);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client());
        server();
    });
}

#[test]
fn an_abstract_address_needs_no_file() {
    everywhere(|| {
        let address = fresh_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let client = {
            let address = address.clone();
            start(move || UnixStream::connect_addr(&address).unwrap())
        };
        let (theirs, peer) = listener.accept().unwrap();
        assert!(peer.is_unnamed());
        let ours = client();
        let name = address.as_abstract_name();
        assert_eq!(ours.peer_addr().unwrap().as_abstract_name(), name);
        assert_eq!(theirs.local_addr().unwrap().as_abstract_name(), name);
        assert!(theirs.peer_addr().unwrap().is_unnamed());
        let error = UnixListener::bind_addr(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn what_cannot_be_reached_says_why() {
    everywhere(|| {
        let path = FreshPath::new();
        let error = UnixStream::connect(&*path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        drop(UnixListener::bind(&*path).unwrap());
        let error = UnixStream::connect(&*path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UnixListener::bind(&*path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let error = UnixStream::connect_addr(&fresh_address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let too_long = Path::new("/tmp").join("x".repeat(110));
        for error in [
            UnixStream::connect(&too_long).unwrap_err(),
            UnixListener::bind(&too_long).unwrap_err(),
            UnixDatagram::bind(&too_long).unwrap_err(),
            UnixDatagram::unbound()
                .unwrap()
                .send_to(b"x", &too_long)
                .unwrap_err(),
            UnixStream::connect("/tmp/a\0b").unwrap_err(),
            UnixStream::connect("").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_connect_waits_while_the_listeners_queue_is_full() {
    everywhere(|| {
        let address = fresh_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        // Room for one.
        rustix::net::listen(&listener, 0).unwrap();
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let address = address.clone();
                start(move || UnixStream::connect_addr(&address).map(drop).unwrap())
            })
            .collect();
        harness::pause();
        for stream in listener.incoming().take(5) {
            stream.unwrap();
        }
        clients.into_iter().for_each(|client| client());
    });
}

#[test]
fn a_stream_is_read_and_written_through_each_end() {
    everywhere(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let echo = start(move || {
            let mut buffer = [0; 1000];
            loop {
                match (&theirs).read(&mut buffer).unwrap() {
                    0 => return,
                    read => (&theirs).write_all(&buffer[..read]).unwrap(),
                }
            }
        });
        let data: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = data.clone();
        let writer = {
            let ours = ours.try_clone().unwrap();
            start(move || {
                assert_eq!((&ours).write(&data).unwrap(), data.len());
                ours.shutdown(Shutdown::Write).unwrap();
            })
        };
        let mut received = Vec::new();
        (&ours).read_to_end(&mut received).unwrap();
        assert!(received == expected);
        writer();
        echo();
    });
}

#[test]
fn several_buffers_are_written_and_read_at_once() {
    everywhere(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let parts = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
        assert_eq!(ours.write_vectored(&parts).unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 9]);
        let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(theirs.read_vectored(&mut parts).unwrap(), 5);
        assert_eq!((&first, &second[..4]), (b"h", &b"ello"[..]));
    });
}

#[test]
fn a_stream_ends_with_its_peer() {
    everywhere(|| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let reader = {
            let mut ours = ours.try_clone().unwrap();
            start(move || ours.read(&mut [0]).unwrap())
        };
        harness::pause();
        drop(theirs);
        assert_eq!(reader(), 0);
        let error = ours.write(b"too late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn calls_end_with_would_block_when_their_time_is_over() {
    everywhere(|| {
        let timeout = Duration::from_millis(20);
        let begin = Instant::now();

        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(timeout)).unwrap();
        ours.set_write_timeout(Some(timeout)).unwrap();
        assert!(ours.read_timeout().unwrap().unwrap() >= timeout);
        assert!(ours.write_timeout().unwrap().unwrap() >= timeout);
        let error = (&ours).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = (&ours).write_all(&vec![0; 8 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        let address = fresh_address();
        let ours = UnixDatagram::bind_addr(&address).unwrap();
        ours.set_read_timeout(Some(timeout)).unwrap();
        ours.set_write_timeout(Some(timeout)).unwrap();
        let error = ours.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = ours.recv_from(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_write_timeout(Some(timeout)).unwrap();
        let error = loop {
            if let Err(error) = sender.send_to_addr(b"unread", &address) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        sender.connect_addr(&address).unwrap();
        let error = sender.send(b"unread").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        assert!(begin.elapsed() >= 6 * timeout);
        for error in [
            ours.set_read_timeout(Some(Duration::ZERO)).unwrap_err(),
            ours.set_write_timeout(Some(Duration::ZERO)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn in_non_blocking_mode_nothing_waits() {
    everywhere(|| {
        let address = fresh_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        listener.try_clone().unwrap().set_nonblocking(true).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.try_clone().unwrap().set_nonblocking(true).unwrap();
        let error = (&ours).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!((&ours).write(&vec![0; 8 << 20]).unwrap() < 8 << 20);
        let error = (&ours).write(b"more").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        let address = fresh_address();
        let ours = UnixDatagram::bind_addr(&address).unwrap();
        ours.set_nonblocking(true).unwrap();
        let error = ours.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        let error = loop {
            if let Err(error) = sender.send_to_addr(b"unread", &address) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn datagrams_tell_where_they_come_from() {
    everywhere(|| {
        let (path, other) = (FreshPath::new(), FreshPath::new());
        let ours = UnixDatagram::bind(&*path).unwrap();
        let mut buffer = [0; 10];

        let unnamed = UnixDatagram::unbound().unwrap();
        assert_eq!(unnamed.send_to(b"nobody", &*path).unwrap(), 6);
        let (length, from) = ours.recv_from(&mut buffer).unwrap();
        assert!(length == 6 && from.is_unnamed());

        let named = UnixDatagram::bind(&*other).unwrap();
        named.send_to(b"", &*path).unwrap();
        let (length, from) = ours.recv_from(&mut buffer).unwrap();
        assert_eq!((length, from.as_pathname()), (0, Some(&*other)));

        let address = fresh_address();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        hidden.connect(&*path).unwrap();
        assert_eq!(hidden.peer_addr().unwrap().as_pathname(), Some(&*path));
        assert_eq!(hidden.send(b"hidden").unwrap(), 6);
        let (_, from) = ours.recv_from(&mut buffer).unwrap();
        assert_eq!(from.as_abstract_name(), address.as_abstract_name());
        assert_eq!(ours.send_to_addr(b"answer", &from).unwrap(), 6);
        assert_eq!(hidden.recv(&mut buffer).unwrap(), 6);
        let error = unnamed.send_to_addr(b"x", &address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    });
}

#[test]
fn a_datagram_that_does_not_fit_is_cut_off() {
    everywhere(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"too long").unwrap();
        theirs.send(b"next").unwrap();
        let mut buffer = [0; 3];
        assert_eq!(ours.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"too");
        assert_eq!(ours.recv_from(&mut buffer).unwrap().0, 3);
        assert_eq!(&buffer, b"nex");
    });
}

#[test]
fn a_sender_waits_while_the_receivers_queue_is_full() {
    everywhere(|| {
        const COUNT: u32 = 1000;
        let address = fresh_address();
        let ours = UnixDatagram::bind_addr(&address).unwrap();
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect_addr(&address).unwrap();
        let senders = [
            start(move || {
                for n in 0..COUNT {
                    connected.send(&n.to_ne_bytes()).unwrap();
                }
            }),
            start(move || {
                let unbound = UnixDatagram::unbound().unwrap();
                for n in COUNT..2 * COUNT {
                    unbound.send_to_addr(&n.to_ne_bytes(), &address).unwrap();
                }
            }),
        ];
        harness::pause();
        let (mut first, mut second) = (0, COUNT);
        for _ in 0..2 * COUNT {
            let mut bytes = [0; 4];
            ours.recv(&mut bytes).unwrap();
            let n = u32::from_ne_bytes(bytes);
            let expected = if n < COUNT { &mut first } else { &mut second };
            assert_eq!(n, *expected);
            *expected += 1;
        }
        senders.into_iter().for_each(|sender| sender());
    });
}

#[test]
fn a_shutdown_wakes_the_receiver_of_datagrams() {
    everywhere(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let receiver = {
            let ours = ours.try_clone().unwrap();
            start(move || ours.recv(&mut [0]).unwrap())
        };
        harness::pause();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(receiver(), 0);
        let error = theirs.send(b"too late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(ours.take_error().unwrap().is_none());
    });
}

#[test]
fn descriptors_go_in_and_out() {
    everywhere(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(format!("{ours:?}").starts_with("UnixStream {"));
        let ours = UnixStream::from(OwnedFd::from(ours));
        // SAFETY: just taken out.
        let mut ours = unsafe { UnixStream::from_raw_fd(ours.into_raw_fd()) };
        let reader = start(move || ours.read(&mut [0]).unwrap());
        harness::pause();
        theirs.write_all(b"!").unwrap();
        assert_eq!(reader(), 1);

        let address = fresh_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let listener = UnixListener::from(OwnedFd::from(listener));
        let client = start(move || UnixStream::connect_addr(&address).unwrap());
        (&listener).into_iter().next().unwrap().unwrap();
        client();
        assert!(listener.take_error().unwrap().is_none());
    });
}
