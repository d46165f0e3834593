// What a program may expect of `TcpListener` and `TcpStream`, std's or ours: included where these names, `everywhere` and
// `start` are in scope.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let ours = TcpStream::connect(address).unwrap();
    let (theirs, peer) = listener.accept().unwrap();
    assert_eq!(peer, ours.local_addr().unwrap());
    (ours, theirs)
}

/// An address where nobody listens, nor ever will: it is taken.
fn deserted() -> SocketAddr {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    std::mem::forget(socket);
    address
}

#[test]
fn each_method_has_the_same_signature() {
    use std::io::Result;
    type Time = Option<Duration>;
    let _: fn(&'static str) -> Result<TcpListener> = TcpListener::bind;
    let _: fn(&TcpListener) -> Result<(TcpStream, SocketAddr)> = TcpListener::accept;
    let _: fn(&TcpListener) -> Result<SocketAddr> = TcpListener::local_addr;
    let _: fn(&TcpListener) -> Result<TcpListener> = TcpListener::try_clone;
    let _: fn(&TcpListener, bool) -> Result<()> = TcpListener::set_nonblocking;
    let _: fn(&TcpListener, u32) -> Result<()> = TcpListener::set_ttl;
    let _: fn(&TcpListener) -> Result<u32> = TcpListener::ttl;
    let _: fn(&TcpListener) -> Result<Option<std::io::Error>> = TcpListener::take_error;
    let _: for<'a> fn(&'a TcpListener) -> Incoming<'a> = TcpListener::incoming;
    let _: fn(&'static str) -> Result<TcpStream> = TcpStream::connect;
    let _: fn(&SocketAddr, Duration) -> Result<TcpStream> = TcpStream::connect_timeout;
    let _: fn(&TcpStream) -> Result<SocketAddr> = TcpStream::local_addr;
    let _: fn(&TcpStream) -> Result<SocketAddr> = TcpStream::peer_addr;
    let _: fn(&TcpStream) -> Result<TcpStream> = TcpStream::try_clone;
    let _: fn(&TcpStream, Shutdown) -> Result<()> = TcpStream::shutdown;
    let _: fn(&TcpStream, Time) -> Result<()> = TcpStream::set_read_timeout;
    let _: fn(&TcpStream, Time) -> Result<()> = TcpStream::set_write_timeout;
    let _: fn(&TcpStream) -> Result<Time> = TcpStream::read_timeout;
    let _: fn(&TcpStream) -> Result<Time> = TcpStream::write_timeout;
    let _: fn(&TcpStream, &mut [u8]) -> Result<usize> = TcpStream::peek;
    let _: fn(&TcpStream, bool) -> Result<()> = TcpStream::set_nodelay;
    let _: fn(&TcpStream) -> Result<bool> = TcpStream::nodelay;
    let _: fn(&TcpStream, u32) -> Result<()> = TcpStream::set_ttl;
    let _: fn(&TcpStream) -> Result<u32> = TcpStream::ttl;
    let _: fn(&TcpStream) -> Result<Option<std::io::Error>> = TcpStream::take_error;
    let _: fn(&TcpStream, bool) -> Result<()> = TcpStream::set_nonblocking;
    fn shared<T: Send + Sync + std::fmt::Debug + std::panic::UnwindSafe>() {}
    shared::<TcpListener>();
    shared::<TcpStream>();
    fn descriptor<T: std::os::fd::AsFd + AsRawFd + IntoRawFd + FromRawFd + From<OwnedFd>>()
    where
        OwnedFd: From<T>,
    {
    }
    descriptor::<TcpListener>();
    descriptor::<TcpStream>();
}

#[test]
fn megabytes_arrive_in_order_through_small_buffers() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = data.clone();
        let writer = start(move || {
            ours.write_all(&data).unwrap();
            ours.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"done");
        });
        let mut received = Vec::new();
        let mut buffer = [0; 1500];
        loop {
            match theirs.read(&mut buffer).unwrap() {
                0 => break,
                read => received.extend_from_slice(&buffer[..read]),
            }
        }
        assert!(received == expected);
        theirs.write_all(b"done").unwrap();
        drop(theirs);
        writer();
    });
}

#[test]
fn one_write_takes_everything_however_slow_the_reader() {
    everywhere(|| {
        const LENGTH: usize = 16 << 20;
        let (mut ours, mut theirs) = pair();
        let writer = start(move || ours.write(&vec![7; LENGTH]).unwrap());
        let mut received = 0;
        let mut buffer = vec![0; 64 << 10];
        while received < LENGTH {
            received += theirs.read(&mut buffer).unwrap();
        }
        assert_eq!(writer(), LENGTH);
    });
}

#[test]
fn several_buffers_are_written_and_read_at_once() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let parts = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
        assert_eq!(ours.write_vectored(&parts).unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 9]);
        let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(theirs.read_vectored(&mut parts).unwrap(), 5);
        assert_eq!((&first, &second[..4]), (b"h", &b"ello"[..]));
    });
}

#[test]
fn of_more_buffers_than_the_kernel_takes_the_first_are_written_and_read() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let parts = [IoSlice::new(b"x"); 1025];
        let written = ours.write_vectored(&parts).unwrap();
        assert!((1..=1024).contains(&written), "{written}");
        let mut bytes = [0; 1025];
        let mut parts: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
        assert_eq!(theirs.read_vectored(&mut parts).unwrap(), written);
    });
}

#[test]
fn a_read_ends_with_would_block_when_its_time_is_over() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let timeout = Duration::from_millis(30);
        assert_eq!(ours.read_timeout().unwrap(), None);
        ours.set_read_timeout(Some(timeout)).unwrap();
        assert!(ours.read_timeout().unwrap().unwrap() >= timeout);
        let start = Instant::now();
        let error = ours.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = ours.peek(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= 2 * timeout);
        theirs.write_all(b"late").unwrap();
        assert_eq!(ours.read(&mut [0; 10]).unwrap(), 4);
        ours.set_read_timeout(None).unwrap();
        assert_eq!(ours.read_timeout().unwrap(), None);
    });
}

#[test]
fn a_write_ends_with_would_block_when_its_time_is_over() {
    everywhere(|| {
        let (mut ours, _theirs) = pair();
        ours.set_write_timeout(Some(Duration::from_millis(30)))
            .unwrap();
        let block = vec![0; 1 << 20];
        let error = loop {
            // Nobody reads; a write that gets rid of a part counts as one.
            if let Err(error) = ours.write(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn no_time_at_all_is_no_timeout() {
    everywhere(|| {
        let (ours, _theirs) = pair();
        let zero = Duration::ZERO;
        for error in [
            ours.set_read_timeout(Some(zero)).unwrap_err(),
            ours.set_write_timeout(Some(zero)).unwrap_err(),
            TcpStream::connect_timeout(&deserted(), zero).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn in_non_blocking_mode_nothing_waits() {
    everywhere(|| {
        let (listener, address) = listener();
        let other = listener.try_clone().unwrap();
        listener.set_nonblocking(true).unwrap();
        for handle in [&listener, &other] {
            assert_eq!(handle.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        other.set_nonblocking(false).unwrap();
        let mut theirs = TcpStream::connect(address).unwrap();
        let (mut ours, _) = listener.accept().unwrap();

        ours.try_clone().unwrap().set_nonblocking(true).unwrap();
        let error = ours.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = ours.peek(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let block = vec![0; 1 << 20];
        let mut written = 0;
        let error = loop {
            match ours.write(&block) {
                Ok(part) => written += part,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let reader = start(move || {
            let mut buffer = Vec::new();
            theirs.read_to_end(&mut buffer).unwrap();
            buffer.len()
        });
        ours.set_nonblocking(false).unwrap();
        ours.write_all(&block).unwrap();
        drop(ours);
        assert_eq!(reader(), written + block.len());
    });
}

#[test]
fn a_refused_connection_says_so() {
    everywhere(|| {
        let refused = deserted();
        let error = TcpStream::connect(refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_timeout(&refused, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_first_address_that_answers_is_taken() {
    everywhere(|| {
        let (listener, address) = listener();
        let stream = TcpStream::connect(&[deserted(), address, deserted()][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        listener.accept().unwrap();
        let error = TcpStream::connect(&[deserted(), deserted()][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let free = TcpListener::bind(&[address, "127.0.0.1:0".parse().unwrap()][..]).unwrap();
        assert_ne!(free.local_addr().unwrap(), address);
        let error = TcpListener::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn no_address_is_invalid_input() {
    everywhere(|| {
        let none: &[SocketAddr] = &[];
        for error in [
            TcpStream::connect(none).unwrap_err(),
            TcpListener::bind(none).unwrap_err(),
            TcpStream::connect("127.0.0.1:port").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_connect_that_nobody_answers_times_out() {
    everywhere(|| {
        let (listener, address) = listener();
        // Room for one; requests beyond that are dropped.
        rustix::net::listen(&listener, 0).unwrap();
        let first = TcpStream::connect(address).unwrap();
        let timeout = Duration::from_millis(30);
        let begin = Instant::now();
        let error = TcpStream::connect_timeout(&address, timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= timeout);

        let second = start(move || TcpStream::connect(address).unwrap());
        harness::pause();
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer, first.local_addr().unwrap());
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, second().local_addr().unwrap());
        drop(stream);
    });
}

#[test]
fn a_shutdown_wakes_a_reader_on_another_thread() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let reader = {
            let ours = ours.try_clone().unwrap();
            start(move || (&ours).read(&mut [0; 10]).unwrap())
        };
        harness::pause();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader(), 0);
        let error = (&ours).write(b"too late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(theirs);
    });
}

#[test]
fn a_peer_that_drops_what_it_has_not_read_resets_the_connection() {
    everywhere(|| {
        let (mut ours, theirs) = pair();
        ours.write_all(b"unread").unwrap();
        // It has come.
        theirs.peek(&mut [0; 1]).unwrap();
        drop(theirs);
        let error = ours.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(ours.take_error().unwrap().is_none());
    });
}

#[test]
fn two_readers_of_one_connection_share_what_comes() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let total = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (ours, total) = (ours.try_clone().unwrap(), total.clone());
                start(move || {
                    let mut buffer = [0; 7];
                    loop {
                        match (&ours).read(&mut buffer).unwrap() {
                            0 => return,
                            read => total.fetch_add(read, Ordering::Relaxed),
                        };
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            theirs.write_all(b"0123456789").unwrap();
        }
        drop(theirs);
        readers.into_iter().for_each(|reader| reader());
        assert_eq!(total.load(Ordering::Relaxed), 10_000);
    });
}

#[test]
fn one_thread_reads_while_another_writes() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        let ends: Vec<_> = [ours, theirs]
            .into_iter()
            .flat_map(|end| {
                let reader = end.clone();
                let write = start(move || {
                    for _ in 0..100 {
                        (&*end).write_all(&[1; 100_000]).unwrap();
                    }
                    end.shutdown(Shutdown::Write).unwrap();
                    10_000_000
                });
                let read = start(move || {
                    let mut bytes = 0;
                    let mut buffer = vec![0; 30_000];
                    loop {
                        match (&*reader).read(&mut buffer).unwrap() {
                            0 => return bytes,
                            read => bytes += read,
                        }
                    }
                });
                [write, read]
            })
            .collect();
        for end in ends {
            assert_eq!(end(), 10_000_000);
        }
    });
}

#[test]
fn many_threads_accept_from_clones_of_one_listener() {
    everywhere(|| {
        const CLIENTS: usize = 50;
        let (listener, address) = listener();
        let acceptors: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let listener = listener.try_clone().unwrap();
                start(move || listener.accept().unwrap().0.write_all(b"!").unwrap())
            })
            .collect();
        drop(listener);
        for _ in 0..CLIENTS {
            let mut answer = [0];
            TcpStream::connect(address)
                .unwrap()
                .read_exact(&mut answer)
                .unwrap();
            assert_eq!(&answer, b"!");
        }
        acceptors.into_iter().for_each(|acceptor| acceptor());
    });
}

#[test]
fn a_peek_leaves_the_data() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let peeked = start(move || {
            let mut peeked = [0; 10];
            // Waits for the first byte.
            let first = ours.peek(&mut peeked[..1]).unwrap();
            (ours, peeked, first)
        });
        harness::pause();
        theirs.write_all(b"seen").unwrap();
        let (mut ours, mut peeked, first) = peeked();
        assert_eq!((first, peeked[0]), (1, b's'));
        assert_eq!(ours.peek(&mut peeked).unwrap(), 4);
        // Less than was asked for, and yet there is something to read.
        let mut read = [0; 10];
        assert_eq!(ours.read(&mut read).unwrap(), 4);
        assert_eq!(read, peeked);
    });
}

#[test]
fn descriptor_numbers_are_used_again_without_a_stale_event_or_a_lost_one() {
    everywhere(|| {
        let (listener, address) = listener();
        let server = start(move || {
            for stream in listener.incoming().take(1000) {
                let mut stream = stream.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
            }
        });
        for n in 0..1000_u32 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[n as u8]).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [n as u8]);
        }
        server();
    });
}

#[test]
fn options_are_the_sockets_own() {
    everywhere(|| {
        let (ours, _theirs) = pair();
        for nodelay in [true, false] {
            ours.set_nodelay(nodelay).unwrap();
            assert_eq!(ours.try_clone().unwrap().nodelay().unwrap(), nodelay);
        }
        ours.set_ttl(42).unwrap();
        assert_eq!(ours.ttl().unwrap(), 42);
        ours.set_quickack(false).unwrap();
        assert!(!ours.quickack().unwrap());
        assert!(ours.take_error().unwrap().is_none());
        let (listener, _) = listener();
        listener.set_ttl(17).unwrap();
        assert_eq!(listener.ttl().unwrap(), 17);
        assert!(listener.take_error().unwrap().is_none());
        assert_eq!(
            format!("{listener:?}"),
            format!(
                "TcpListener {{ addr: {}, fd: {} }}",
                listener.local_addr().unwrap(),
                listener.as_raw_fd()
            )
        );
        assert_eq!(
            format!("{ours:?}"),
            format!(
                "TcpStream {{ addr: {}, peer: {}, fd: {} }}",
                ours.local_addr().unwrap(),
                ours.peer_addr().unwrap(),
                ours.as_raw_fd()
            )
        );
    });
}

#[test]
fn a_descriptor_goes_in_and_out() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let number = ours.as_raw_fd();
        let mut ours = TcpStream::from(OwnedFd::from(ours));
        assert_eq!(ours.as_raw_fd(), number);
        theirs.write_all(b"1").unwrap();
        ours.read_exact(&mut [0]).unwrap();
        let raw = ours.into_raw_fd();
        // SAFETY: just taken out.
        let mut ours = unsafe { TcpStream::from_raw_fd(raw) };
        let reader = start(move || ours.read(&mut [0]).unwrap());
        harness::pause();
        theirs.write_all(b"2").unwrap();
        assert_eq!(reader(), 1);

        let (listener, address) = listener();
        let listener = TcpListener::from(OwnedFd::from(listener));
        // SAFETY: just taken out.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        let client = start(move || TcpStream::connect(address).unwrap());
        listener.accept().unwrap();
        client();
    });
}
